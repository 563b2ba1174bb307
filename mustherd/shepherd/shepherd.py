"""The shepherd's loop: a thread that owns the sockets and the herd's state machines.

Other threads ask through methods that return futures. Nothing slow ever runs in this thread, so that no heartbeat
waits for a search, a file or a report.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from mustherd.herd.timing import BEAT_PERIOD_S, LATE_AFTER_S
from mustherd.reasons import Reason
from mustherd.shepherd.events import HerdError, HerdEvent
from mustherd.shepherd.server import ShepherdServer
from mustherd.shepherd.session import reject
from mustherd.shepherd.sink import LogSink
from mustherd.terms import Load, Setting
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint

log = logging.getLogger(__name__)

IDLE_S = 0.1
"""Longest sleep: membership is judged at least this often."""

DEAF_AT_MOST_S = 5.0
"""A shepherd that is held up again and again judges so often all the same."""

EVENTS_KEPT = 10_000
"""Events that nobody has taken; further ones are lost, and now and then one is logged."""

COMPLAIN_EVERY_S = 60.0
"""Between two log lines about messages that could not be handled, or events that nobody took."""


class Patience:
    """When a herd's silence may be judged: not by a shepherd that was itself held up, until it has heard what waits."""

    def __init__(self, now: float) -> None:
        self._came_round = self._judged = now
        self._deaf_until = -float("inf")

    def may_judge(self, now: float) -> bool:
        """The loop has come round: whether who was not heard has fallen silent.

        What arrived during a hold-up is heard within a beat; who is held up all the time judges every so often still.
        """
        if now - self._came_round > LATE_AFTER_S / 2:
            self._deaf_until = now + BEAT_PERIOD_S
        self._came_round = now
        if now < self._deaf_until and now - self._judged < DEAF_AT_MOST_S:
            return False
        self._judged = now
        return True


class Shepherd:
    """A herd to drive: `start`, ask, `stop`. Methods may be called from any thread unless they say otherwise.

    `events` is the queue of everything that happened unasked. Every block of log rows goes to `sink`, once each and in
    order; without one, musters keep the rows that they have and send none.
    """

    def __init__(
        self,
        end: ShepherdEndpoint,
        *,
        experiment: str = "",
        folder: str = "",
        sink: LogSink | None = None,
        now: Callable[[], float] = time.monotonic,
        broken: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`broken` is called, from any thread, when the shepherd's own thread ends unasked, and gets the reason."""
        self.events: queue.SimpleQueue[HerdEvent] = queue.SimpleQueue()
        self._end = end
        self._now = now
        self._server = ShepherdServer(end, experiment=experiment, folder=folder, sink=sink, tell=self._tell, now=now)
        self._measures = 0
        self._next_complaint = -float("inf")
        self._broken = broken
        self._asked: deque[tuple[Future[Any], Callable[[], None]]] = deque()
        self._over = False
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        if sink is not None:
            sink.attach(self._durable)
        self._thread = threading.Thread(target=self._run, name="shepherd", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop listening; whatever is still asked for fails. Musters put their nodes back when their lease ends."""
        self._stopping.set()
        with self._lock:
            if not self._over:
                self._end.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        else:
            self._finish()

    def reread_keys(self) -> None:
        """Read the accepted keys again, as happens by itself a moment after they have changed; a signal handler may."""
        self._end.reread()

    def musters(self) -> dict[str, m.MusterView]:
        """Every muster that ever said hello, as of now."""
        return self._server.views()

    def decide(self, muster: str, settings: tuple[Setting, ...]) -> Future[m.Applied]:
        """Want `settings` of a muster; none gives the node back.

        The future holds the muster's answer, with every knob read back, whatever the outcome. HerdError when the muster
        is or goes missing, or never answers. ValueError for settings that can't be told to a muster.
        """
        probe = m.Decision(shepherd_epoch=1, seq=1, issued_s=0, ttl_s=0, settings=settings)
        try:
            codec.decision(codec.encode(probe))
        except (TypeError, OverflowError) as error:
            raise ValueError(str(error)) from None
        future: Future[m.Applied] = Future()
        self._ask(future, lambda: self._server.orders.decide(muster, settings, future))
        return future

    def measure(
        self,
        muster: str,
        *,
        settle_s: float,
        ramp_s: float,
        window_s: float,
        load: Load | None,
        seed: int = 0,
        label: str = "",
        changing: bool = False,
    ) -> Future[m.Measured]:
        """Measure one window on a muster, in seconds of its node's clock. HerdError when it can't be had.

        `label` is what its log rows will belong to; "": the window's number. A decision ends it, unless it is
        `changing` and the decision sets something. ValueError for times, a load, a seed or a
        label that can't be told to a muster.
        """
        order = self._measure_order(settle_s, ramp_s, window_s, load, seed, label, outside=False, changing=changing)
        future: Future[m.Measured] = Future()
        self._ask(future, lambda: self._server.orders.measure(muster, order, future))
        return future

    def window(
        self, muster: str, *, settle_s: float, window_s: float, label: str = "", changing: bool = False
    ) -> "OutsideWindow":
        """A window on a muster under a load from elsewhere: it waits, once settled, until it is told to open.

        ValueError as `measure`.
        """
        order = self._measure_order(settle_s, 0.0, window_s, None, 0, label, outside=True, changing=changing)
        future: Future[m.Measured] = Future()
        self._ask(future, lambda: self._server.orders.measure(muster, order, future))
        return OutsideWindow(self, muster, order.measure, future)

    def _measure_order(  # noqa: PLR0917
        self,
        settle_s: float,
        ramp_s: float,
        window_s: float,
        load: Load | None,
        seed: int,
        label: str,
        *,
        outside: bool,
        changing: bool,
    ) -> m.Measure:
        with self._lock:
            self._measures += 1
            number = self._measures
        order = m.Measure(
            measure=number,
            settle_s=settle_s,
            ramp_s=ramp_s,
            window_s=window_s,
            load=load,
            seed=seed,
            label=label or f"window-{number}",
            outside=outside,
            changing=changing,
        )
        try:
            codec.order(codec.encode(order))
        except (TypeError, OverflowError) as error:
            raise ValueError(str(error)) from None
        return order

    def log(self, muster: str, wanted: m.LogAction) -> Future[m.Logged]:
        """Start, stop or flush text streams of a muster outside windows.

        HerdError when it can't be had; ValueError for what can't be told to a muster.
        """
        with self._lock:
            self._measures += 1
            number = self._measures
        order = m.LogOrder(order=number, wanted=wanted)
        try:
            codec.order(codec.encode(order))
        except (TypeError, OverflowError) as error:
            raise ValueError(str(error)) from None
        future: Future[m.Logged] = Future()
        self._ask(future, lambda: self._server.orders.log_order(muster, order, future))
        return future

    def _durable(self, muster: str, spool: int, number: int) -> None:
        """Let the muster forget blocks up to `number`, which are safe; callable from any thread."""
        nobody: Future[None] = Future()
        self._ask(nobody, lambda: self._server.intake.durable(muster, spool, number))

    def _run(self) -> None:
        patience = Patience(self._now())
        try:
            while not self._stopping.is_set():
                pause_s = self._pause()
                rest_s = 0.0 if self._asked else min(self._server.rest_s(), pause_s)
                for received in self._end.receive(pause_s, rest_s=rest_s):
                    try:
                        self._server.handle(received)
                    except Exception as error:  # one muster's odd message must not end everybody's shepherd
                        self._complain(received.sender, error)
                while self._asked:
                    future, ask = self._asked.popleft()
                    try:
                        ask()
                    except Exception as error:
                        reject(future, HerdError(Reason.SHEPHERD_ERROR, f"{type(error).__name__}: {error}"))
                now = self._now()
                self._server.tick(now, judge=patience.may_judge(now))
        except Exception as error:
            log.critical("the shepherd's loop broke", exc_info=True)
            self._broken(f"the shepherd's loop broke: {type(error).__name__}: {error}")
        finally:
            self._finish()

    def _finish(self) -> None:
        """Nobody waits for an answer that will never come."""
        self._stopping.set()
        with self._lock:
            self._over = True
        error = HerdError(Reason.SHEPHERD_STOPPED, "the shepherd has stopped")
        for future, _ in self._asked:
            reject(future, error)
        self._asked.clear()
        self._server.fail(error)
        self._end.close()

    def _complain(self, sender: str, error: Exception) -> None:
        now = self._now()
        if now >= self._next_complaint:
            self._next_complaint = now + COMPLAIN_EVERY_S
            log.error("a message from %r could not be handled", sender, exc_info=error)

    def _tell(self, event: HerdEvent) -> None:
        if self.events.qsize() < EVENTS_KEPT:
            self.events.put(event)
        elif (now := self._now()) >= self._next_complaint:
            self._next_complaint = now + COMPLAIN_EVERY_S
            log.warning("nobody takes the herd's events; this one and others are lost: %s", event)

    def _ask(self, future: Future[Any], what: Callable[[], None]) -> None:
        """Have the shepherd's thread do something; callable from any thread."""
        # From here on nobody can cancel it, so that the shepherd's thread alone decides how it ends.
        future.set_running_or_notify_cancel()
        with self._lock:
            if not self._over:
                self._asked.append((future, what))
                self._end.wake()
                return
        reject(future, HerdError(Reason.SHEPHERD_STOPPED, "the shepherd has stopped"))

    def _pause(self) -> float:
        return 0.0 if self._asked else min(IDLE_S, max(0.0, self._server.next_tick() - self._now()))


class OutsideWindow:
    """A window that waits for a load from elsewhere; `measured` holds what it saw, or a HerdError."""

    def __init__(self, shepherd: Shepherd, muster: str, number: int, measured: Future[m.Measured]) -> None:
        self.measured = measured
        self._shepherd = shepherd
        self._muster = muster
        self._number = number

    def open(self) -> Future[m.Opened]:
        """Open it now; the future holds when it began, on the node's clock. HerdError when it can't be."""
        future: Future[m.Opened] = Future()
        self._shepherd._ask(future, lambda: self._shepherd._server.orders.open(self._muster, self._number, future))
        return future

    def cancel(self) -> None:
        """Give it up; harmless when it has ended."""
        nobody: Future[None] = Future()
        self._shepherd._ask(nobody, lambda: self._shepherd._server.orders.cancel(self._muster, self._number))
