"""One window: settle, flush, ramp, count; energy, knobs and load over the same interval of the node's clock."""

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from mustherd.node.energy import MeterError, Tally
from mustherd.node.logger import Rows
from mustherd.node.node import CountingNode, Node, RunningLoad
from mustherd.terms import Energy, LoadReport, Reading
from mustherd.wire.messages import Measure

SAMPLE_PERIOD_S = 10.0
"""Between two looks at the counters and logs while a window is open: far below one wrap of any counter."""

FLUSH_PERIOD_S = 1.0
"""Between two flushes while a window waits to be opened, so that the last one, before it opens, is short."""

OPEN_WAIT_S = 600.0
"""How long a window waits at most for a load from elsewhere."""

READS_AT_MOST = 1000
"""Of one log in one go."""


class Streams(Enum):
    """What a window wants of the node's text streams."""

    FLUSH = "flush"
    """Throw away what has piled up."""
    OPEN = "open"
    CLOSE = "close"
    """Read to the end."""


@dataclass
class Result:
    """What a window saw."""

    t0_s: float
    t1_s: float
    energies: tuple[Energy, ...]
    load: LoadReport | None
    rows: dict[str, int]
    rows_lost: dict[str, int]
    meter_error: str
    counts: dict[str, float]
    """What the node counted by itself."""


@dataclass
class Progress:
    """What a step brought: rows to ship, and when the next step is due on the node's clock."""

    rows: list[tuple[str, Rows]] = field(default_factory=list)
    next_step: float | None = None
    opened: bool = False
    """The window has just been opened: now is the time to read the knobs, unless they were read ahead of it."""
    wanted: Streams | None = None
    """What the text streams shall do; the next step waits for them, on a clock that stands still if it can."""


class Window:
    """Measures one window on a node, a step at a time: call `step` at the time that the last one named."""

    def __init__(self, node: Node, order: Measure, ahead: Callable[[], tuple[Reading, ...]] | None = None) -> None:
        """`ahead` reads the knobs where that takes its time: it is called once all has settled, before any load."""
        self.order = order
        self._ahead = ahead
        self.before: tuple[Reading, ...] = ()
        self.result: Result | None = None
        self.t0_s = 0.0
        """When it opened, once it has."""
        self._open = not order.outside
        self._node = node
        self._load: RunningLoad | None = None
        self._expected: dict[str, int] = {}
        self._rows: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        self._steps = self._run()

    def step(self) -> Progress:
        """Do what is due now. After the last step `result` is there and `next_step` is None."""
        progress = next(self._steps)
        self._node.clock.stop_at(progress.next_step)
        return progress

    def open(self) -> None:
        """A load from elsewhere is being measured: the next step opens the window."""
        self._open = True

    def close(self) -> None:
        """End early: the load stops, the clock runs on."""
        self._steps.close()
        try:
            self._node.stop_load()
        finally:
            self._node.clock.stop_at(None)

    def _run(self) -> Generator[Progress, None, None]:
        node, clock, order = self._node, self._node.clock, self.order
        at = clock.now()
        if order.settle_s > 0:
            at += order.settle_s
            # What has piled up since the last window takes its time, so the first flush falls into the settling.
            yield Progress(next_step=at, wanted=Streams.FLUSH)
        if self._ahead is not None:
            self.before = self._ahead()
            at = clock.now()
        if order.load is not None:
            self._load = node.start_load(order.load, order.seed)
        if order.ramp_s > 0:
            at += order.ramp_s
            yield Progress(next_step=at)
        give_up = at + OPEN_WAIT_S
        while not self._open:
            at = clock.now()
            if at > give_up:
                raise TimeoutError(f"no load from elsewhere began within {OPEN_WAIT_S:g} s")
            self._flush()
            yield Progress(next_step=at + FLUSH_PERIOD_S, wanted=Streams.FLUSH)
        if node.text_loggers:
            yield Progress(next_step=at, wanted=Streams.FLUSH)
        self._flush()
        if self._load is not None:
            self._load.open_window()
        t0 = self.t0_s = clock.now()
        meter_error = ""
        tally = None
        counted = _counts(node)
        try:
            tally = Tally(node.meter.zones, node.meter.read()) if node.meter is not None else None
        except MeterError as error:
            meter_error = str(error)
        end = t0 + order.window_s
        at = min(t0 + SAMPLE_PERIOD_S, end)
        yield Progress(next_step=at, opened=True, wanted=Streams.OPEN)
        while at < end:
            meter_error = meter_error or self._sample(tally)
            at = min(at + SAMPLE_PERIOD_S, end)
            yield Progress(rows=self._drain(), next_step=at)
        meter_error = meter_error or self._sample(tally)
        t1 = clock.now()
        counts = _since(counted, _counts(node))
        load = self._load.close_window() if self._load is not None else None
        rows = self._drain()
        if node.text_loggers:
            yield Progress(rows=rows, next_step=t1, wanted=Streams.CLOSE)
            rows = []
        node.stop_load()
        energies = tally.energies() if tally is not None and not meter_error else ()
        self.result = Result(t0, t1, energies, load, self._rows, self._lost, meter_error, counts)
        yield Progress(rows=rows)

    def _flush(self) -> None:
        for logger in self._node.loggers:
            logger.flush()

    def _sample(self, tally: Tally | None) -> str:
        if tally is None or self._node.meter is None:
            return ""
        try:
            tally.add(self._node.meter.read())
        except MeterError as error:
            return str(error)
        return ""

    def _drain(self) -> list[tuple[str, Rows]]:
        drained = []
        for logger in self._node.loggers:
            stream = logger.stream
            # One read ends at a gap, so there may be more behind it; a source that never ends must not hold us up.
            for _ in range(READS_AT_MOST):
                rows = logger.read()
                if not len(rows):
                    break
                # A source that counts from its beginning again has lost nothing that could be numbered.
                lost = max(0, rows.first - self._expected.get(stream, rows.first))
                self._expected[stream] = rows.first + len(rows)
                self._rows[stream] = self._rows.get(stream, 0) + len(rows) + lost
                self._lost[stream] = self._lost.get(stream, 0) + lost
                drained.append((stream, rows))
        return drained


def _since(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """What was counted in between; of a total that went back, nothing: it began anew."""
    return {name: value - before[name] for name, value in now.items() if value >= before.get(name, math.inf)}


def _counts(node: Node) -> Mapping[str, float]:
    return node.counts() if isinstance(node, CountingNode) else {}
