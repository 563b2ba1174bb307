"""A node in memory, whose knobs can be told to misbehave."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mustherd.muster.claims import Kept
from mustherd.muster.journal import Journal
from mustherd.node.clock import Clock, MonotonicClock
from mustherd.node.knob import KnobError, Site
from mustherd.node.logger import Rows, TextLogger
from mustherd.terms import NODE, Facts, KnobInfo, Load, LoadReport, Zone
from mustherd.wire import codec
from mustherd.wire import messages as m


@dataclass
class FakeKnob:
    """Holds what is written to it, unless told otherwise."""

    info: KnobInfo
    value: int
    writes: list[int] = field(default_factory=list)
    read_error: Exception | None = None
    write_error: Exception | None = None
    deaf: bool = False
    """Writes are taken and forgotten."""
    on_write: Callable[[int], None] = lambda _value: None

    def read(self) -> int:
        if self.read_error is not None:
            raise self.read_error
        return self.value

    def running(self) -> int | None:
        return self.read()

    def write(self, value: int) -> None:
        if not self.info.allows(value):
            raise KnobError(f"{self.info.name}: {value} is not allowed")
        if self.write_error is not None:
            raise self.write_error
        self.on_write(value)
        self.writes.append(value)
        if not self.deaf:
            self.value = value

    def lands_on(self, value: int) -> int:
        return value

    def tolerance(self, applied: int, running: int) -> int:
        return 0


@dataclass
class ClaimedKnob(FakeKnob):
    """A knob that one muster of a machine has."""

    site: Site = field(kw_only=True)


@dataclass
class FakeMeter:
    """One counter that moves on by `step` with every read."""

    zones: tuple[Zone, ...] = (
        Zone(name="package-0", kind="package", package=0, joules_per_count=0.5, counts_per_wrap=100),
    )
    step: int = 10
    count: int = 95
    error: Exception | None = None

    def read(self) -> tuple[int, ...]:
        if self.error is not None:
            raise self.error
        self.count = (self.count + self.step) % 100
        return (self.count,)


@dataclass
class FakeLogger:
    """Gives out what was put into `waiting`."""

    stream: str = "rows-node-0"
    waiting: list[Rows] = field(default_factory=list)

    def flush(self) -> None:
        self.waiting.clear()

    def read(self) -> Rows:
        return self.waiting.pop(0) if self.waiting else Rows(first=0, columns={})


@dataclass
class FakeLoad:
    """A load that reports whatever was asked for."""

    load: Load
    clock: Clock
    opened_at: float = 0.0

    def open_window(self) -> None:
        self.opened_at = self.clock.now()

    def close_window(self) -> LoadReport:
        return LoadReport(
            generator="fake",
            t0_s=self.opened_at,
            t1_s=self.clock.now(),
            offered_qps=self.load.qps,
            achieved_qps=self.load.qps,
            requests=1,
            misses=0,
            samples=1,
            read_us={"p99": 1.0},
            update_us={},
        )


class FakeNode:
    """Two knobs, `itr-delay` at 1 and `dvfs` at 2600."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.facts = Facts(kind="fake")
        self.clock: Clock = clock or MonotonicClock()
        self.itr = FakeKnob(KnobInfo(name="itr-delay", sheep=NODE, unit="us", values=(1,), low=2, high=400), 1)
        self.dvfs = FakeKnob(KnobInfo(name="dvfs", sheep=NODE, unit="MHz", low=1200, high=2600, step=100), 2600)
        self.knobs: list[FakeKnob] = [self.itr, self.dvfs]
        self.meter: FakeMeter | None = FakeMeter()
        self.loggers: list[FakeLogger] = [FakeLogger()]
        self.text_loggers: list[TextLogger] = []
        self.loads: list[FakeLoad] = []
        self.loaded = False

    @property
    def values(self) -> dict[str, int]:
        return {k.info.name: k.value for k in self.knobs}

    def start_load(self, load: Load, seed: int) -> FakeLoad:
        self.loaded = True
        self.loads.append(FakeLoad(load, self.clock))
        return self.loads[-1]

    def stop_load(self) -> None:
        self.loaded = False

    def close(self) -> None:
        pass


class MemorySink:
    """Takes blocks into memory; they are durable at once unless told otherwise."""

    log = 7

    def __init__(self, *, durable: bool = True) -> None:
        self.blocks: list[m.Block] = []
        self.rows: list[bytes] = []
        self.error: Exception | None = None
        self.makes_durable = durable
        self.safe: dict[tuple[str, int], int] = {}
        self._tell: Callable[[str, int, int], None] = lambda _m, _s, _n: None

    def attach(self, durable: Callable[[str, int, int], None]) -> None:
        self._tell = durable

    def met(self, hello: m.Hello) -> None:
        pass

    def watermark(self, muster: str, spool: int) -> int:
        return self.safe.get((muster, spool), 0)

    def put(self, muster: str, block: m.Block, rows: memoryview) -> None:
        if self.error is not None:
            raise self.error
        self.blocks.append(block)
        self.rows.append(bytes(rows))
        if self.makes_durable:
            self.release(muster)

    def release(self, muster: str) -> None:
        """Everything so far is durable."""
        spool, seq = self.blocks[-1].spool, self.blocks[-1].seq
        self.safe[muster, spool] = seq
        self._tell(muster, spool, seq)

    def columns(self) -> list[m.RowColumns]:
        """The rows of all blocks, which are of form `columns`."""
        return [codec.row_columns(rows) for rows in self.rows]


ORIGINALS = {"itr-delay": 1, "dvfs": 2600}


class MemoryJournal(Journal):
    """A journal that outlives a simulated crash because the test holds it."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Kept] = {}
        self.behind = False

    def __len__(self) -> int:
        return len(self.entries)

    def originals(self) -> dict[tuple[str, str], Kept]:
        return dict(self.entries)

    def record(self, found: Mapping[tuple[str, str], Kept]) -> None:
        self.entries = {**found, **self.entries}

    def forget(self, keys: Iterable[tuple[str, str]]) -> None:
        for key in list(keys):
            self.entries.pop(key, None)

    def take_word(self) -> None:
        return None

    def close(self) -> None:
        pass
