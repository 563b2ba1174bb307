"""The windows that a shepherd asks for: one at a time, measured step by step, reported or given up with a reason."""

import logging
from collections.abc import Callable

from mustherd.errors import text_of
from mustherd.muster.logs import Logs
from mustherd.muster.pasture import Pasture
from mustherd.muster.window import Window
from mustherd.node.node import Node
from mustherd.reasons import Reason
from mustherd.terms import MUSTER_CPU
from mustherd.wire import messages as m

log = logging.getLogger(__name__)

SLOW_S = 0.2
"""Knobs whose reading takes longer are read before the load begins: a window of seconds must not wait for them."""


class Windows:
    """A window that was begun ends in one report: what it saw, or why it was given up."""

    def __init__(
        self,
        node: Node,
        pasture: Pasture,
        logs: Logs,
        report: Callable[[m.Report], None],
        in_force: Callable[[], int],
        *,
        now: Callable[[], float],
        own_cpu_s: Callable[[], float],
    ) -> None:
        """`own_cpu_s`: CPU time that MustHerd has taken on this node so far; each window says how much it was."""
        self._node = node
        self._pasture = pasture
        self._logs = logs
        self._report = report
        self._in_force = in_force
        self._now = now
        self._own_cpu_s = own_cpu_s
        self._cpu_before_s = 0.0
        self._window: Window | None = None
        self._next_step: float | None = None
        self._unkept: dict[str, int] = {}

    @property
    def under_way(self) -> bool:
        """Whether there is one, so that streams belong to it."""
        return self._window is not None

    def pause(self, now: float) -> float:
        """Real seconds until the next step is due; streams on their way to an end say for themselves when it is."""
        if self._next_step is None or self._logs.taps.busy(now):
            return float("inf")
        return self._node.clock.wall_seconds_until(self._next_step)

    def work(self, now: float) -> None:
        """Do the steps that are due."""
        while self._window is not None and self.pause(now) <= 0:
            self._step(self._window)

    def begin(self, order: m.Measure) -> None:
        """Measure a window; one that was under way is given up."""
        self.drop("superseded by another window")
        slow = self._pasture.readings_s > SLOW_S
        self._window = Window(self._node, order, self._pasture.readings if slow else None)
        self._step(self._window)

    def open(self, measure: int) -> None:
        """The load of a window that waits for it has begun."""
        if self._window is not None and self._window.order.measure == measure:
            self._window.open()
            self._next_step = self._node.clock.now()

    def decided(self, *, sets: bool) -> None:
        """A decision is about to be carried out: a window that it doesn't belong to is given up."""
        if self._window is not None and not (sets and self._window.order.changing):
            self.drop("superseded by a decision")

    def cancel(self, measure: int) -> None:
        """Give that window up, if it is the one under way."""
        if self._window is not None and self._window.order.measure == measure:
            self.drop("cancelled")

    def drop(self, detail: str, reason: Reason = Reason.WINDOW_DROPPED) -> None:
        """Give up the window under way, if there is one."""
        window, self._window, self._next_step = self._window, None, None
        self._unkept = {}
        if window is None:
            return
        self._logs.taps.stop()
        try:
            window.close()
        except Exception:
            log.exception("the window did not end cleanly")
        self._report(m.NotMeasured(measure=window.order.measure, reason=reason, detail=detail[:2000]))

    def _step(self, window: Window) -> None:
        try:
            progress = window.step()
        except ValueError as error:  # a load that this node can't offer, which is no fault of it
            log.error("the window could not be measured: %.200s", error)  # noqa: TRY400
            self.drop(f"{type(error).__name__}: {text_of(error)}", Reason.NODE_ERROR)
            return
        except Exception as error:  # a node's driver may raise anything; the muster lives on
            log.exception("the window could not be measured")
            self.drop(f"{type(error).__name__}: {text_of(error)}", Reason.NODE_ERROR)
            return
        label = window.order.label
        if progress.opened:
            if window.order.outside:
                self._report(m.Opened(measure=window.order.measure, t0_s=window.t0_s))
            window.before = window.before or self._pasture.readings()
            self._cpu_before_s = self._own_cpu_s()
        self._next_step = progress.next_step
        for stream, rows in progress.rows:
            self._unkept[stream] = self._unkept.get(stream, 0) + self._logs.outbox.keep(label, stream, rows)
        if progress.wanted is not None:
            self._logs.taps.direct(progress.wanted, label, self._now())
        if window.result is not None:
            self._window = None
            self._report(self._measured(window))

    def _measured(self, window: Window) -> m.Measured:
        result = window.result
        if result is None:
            raise ValueError("the window has not ended")
        unkept, self._unkept = self._unkept, {}
        produced, losses = self._logs.taps.counts()
        result.rows.update(produced)
        for stream, number in (*unkept.items(), *losses.items()):
            result.rows_lost[stream] = result.rows_lost.get(stream, 0) + number
        return m.Measured(
            measure=window.order.measure,
            in_force=self._in_force(),
            t0_s=result.t0_s,
            t1_s=result.t1_s,
            energies=result.energies,
            before=window.before,
            after=self._pasture.readings(),
            load=result.load,
            rows=result.rows,
            rows_lost=result.rows_lost,
            last_block=self._logs.outbox.last,
            spool=self._logs.outbox.spool,
            meter_error=result.meter_error[:2000],
            counts={**result.counts, MUSTER_CPU: max(0.0, self._own_cpu_s() - self._cpu_before_s)},
        )
