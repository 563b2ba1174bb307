"""The muster's loop: one thread that listens, acts, beats and otherwise sleeps."""

import logging
import time
from collections.abc import Callable

from mustherd.herd.flow import Sender
from mustherd.herd.lease import Act, GiveBack, Lease
from mustherd.herd.link import Link, LinkFullError
from mustherd.herd.timing import BEAT_PERIOD_S, HELLO_PERIOD_S, REFUSED_PERIOD_S
from mustherd.muster.config import Config
from mustherd.muster.pasture import Pasture
from mustherd.muster.window import Window
from mustherd.node.logger import Rows
from mustherd.node.node import Node
from mustherd.terms import Reading
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.ends import MusterEnd, new_session

log = logging.getLogger(__name__)

RESTORE_RETRY_S = 5.0
"""Between two attempts to put back a knob that would not go."""


class Muster:
    """Acts for one shepherd at a time on one node.

    `run` returns after `stop` was called (a signal handler may call it), with the node put back as it was found as far
    as it can be: `unrestored` says how many knobs could not.
    """

    def __init__(
        self, config: Config, node: Node, pasture: Pasture, end: MusterEnd, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._node = node
        self._pasture = pasture
        self._end = end
        self._now = now
        self._boot = new_session()
        self._lease = Lease(config.lease_s)
        self._link: Link[m.Report, m.Order] = Link()
        self._flow: Sender[m.Block] = Sender()
        self._window: Window | None = None
        self._next_step: float | None = None
        self._unkept: dict[str, int] = {}
        self._late_report: m.Restored | None = None
        self._next_beat = 0.0
        self._next_hello = 0.0
        self._next_restore = float("inf")
        self._stopping = False

    @property
    def unrestored(self) -> int:
        """Knobs that are not back at their original."""
        return self._pasture.unrestored

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._stopping = True

    def run(self) -> None:
        """Serve until stopped."""
        if self._pasture.changed:
            log.warning("a former life of this muster left knobs changed; putting them back")
            self._late_report = m.Restored(
                reason="a former life left the node changed", readings=self._pasture.restore()
            )
            self._next_restore = self._now() + RESTORE_RETRY_S
        try:
            while not self._stopping:
                for message in self._end.receive(self._pause()):
                    # Whatever woke us may have waited long: what the time has ended ends before anything else happens.
                    self._tick()
                    self._handle(message)
                self._tick()
        finally:
            self._leave()

    def _pause(self) -> float:
        now = self._now()
        deadline = min(
            self._next_beat if self._lease.reign else self._next_hello,
            self._link.next_due(),
            self._flow.next_due(),
            self._lease.next_tick(),
            self._next_restore,
        )
        pause = max(0.0, deadline - now)
        if self._next_step is not None:
            pause = min(pause, self._node.clock.wall_seconds_until(self._next_step))
        return pause

    def _tick(self) -> None:
        now = self._now()
        ended = self._lease.tick(now)
        if ended is not None:
            self._give_back(ended)
        if now >= self._next_restore:
            self._next_restore = float("inf")
            if self._pasture.changed and not self._lease.in_force:
                self._restore("another attempt")
        if self._window is not None and self._next_step is not None:
            while self._next_step is not None and self._node.clock.wall_seconds_until(self._next_step) <= 0:
                self._step(self._window)
        if not self._lease.reign:
            if now >= self._next_hello:
                self._hello(now)
            return
        for numbered in self._link.due(now):
            self._transmit(numbered.seq, numbered.body)
        self._ship(now)
        if now >= self._next_beat:
            self._beat(now)

    def _handle(self, message: m.Down | m.Credit | m.Decision) -> None:
        now = self._now()
        match message:
            case m.ShepherdBeat(boot=self._boot, reign=self._lease.reign):
                self._lease.beat(message.reign, message.sent_s, now)
                self._link.acknowledged(message.ack, now)
            case m.Decision():
                self._decision(message, now)
            case m.Frame(boot=self._boot, reign=self._lease.reign):
                self._link.acknowledged(message.ack, now)
                try:
                    bodies = self._link.received(message.seq, codec.order(memoryview(message.body)))
                except ValueError as error:
                    log.warning("malformed order dropped: %s", error)
                    return
                for body in bodies:
                    self._order(body)
            case m.Credit(boot=self._boot, reign=self._lease.reign):
                self._flow.credit(message.ack, message.until, now)
            case m.Welcome(boot=self._boot):
                self._welcome(message, now)
            case m.Refusal():
                log.error("the shepherd refuses this muster: %s", message.reason)
                self._next_hello = now + REFUSED_PERIOD_S
            case m.WhoAreYou():
                self._hello(now)
            case _:
                log.debug("ignored %s of another life", type(message).__name__)

    def _hello(self, now: float) -> None:
        self._next_hello = now + HELLO_PERIOD_S
        node = self._node
        self._end.send_pulse(
            m.Hello(
                version=m.PROTOCOL_VERSION,
                muster=self._config.muster,
                boot=self._boot,
                facts=dict(node.facts),
                knobs=self._pasture.infos,
                zones=tuple(node.meter.zones) if node.meter is not None else (),
                streams=tuple(logger.stream for logger in node.loggers),
                groups=self._config.groups,
                lease_s=self._config.lease_s,
            )
        )

    def _welcome(self, message: m.Welcome, now: float) -> None:
        another = message.reign != self._lease.reign
        given_back = self._lease.welcome(message.reign, message.sent_s, now)
        if not another:
            return
        log.info("welcomed by the shepherd")
        # What was under way with the shepherd of before dies with it.
        self._link = Link()
        self._flow = Sender()
        self._drop_window("the shepherd changed")
        if given_back is not None:
            self._give_back(given_back)
        if self._late_report is not None:
            self._report(self._late_report)
            self._late_report = None
        self._beat(now)

    def _beat(self, now: float) -> None:
        self._next_beat = now + BEAT_PERIOD_S
        self._end.send_pulse(
            m.MusterBeat(
                boot=self._boot,
                reign=self._lease.reign,
                in_force=self._lease.in_force,
                ack=self._link.ack,
                malformed=self._end.malformed,
                unrestored=0 if self._lease.in_force else self._pasture.unrestored,
            )
        )

    def _decision(self, message: m.Decision, now: float) -> None:
        verdict = self._lease.offer(
            reign=message.reign,
            seq=message.seq,
            settings=message.settings,
            issued_s=message.issued_s,
            ttl_s=message.ttl_s,
            now=now,
        )
        if not isinstance(verdict, Act):
            log.debug("decision %d not acted on: %s", message.seq, verdict.reason)
            return
        self._drop_window("superseded by a decision")
        if not verdict.settings:
            readings = self._pasture.restore()
            self._lease.carried_out(verdict.seq, changed=False)
            self._report(m.Applied(seq=verdict.seq, outcome="restored", readings=readings))
        else:
            outcome = self._pasture.apply(verdict.settings)
            if outcome.word == "refused" and self._lease.in_force:
                # What the shepherd wanted before is over; what it wants now can't be: the node goes back.
                self._pasture.restore()
            self._lease.carried_out(verdict.seq, changed=outcome.word == "applied")
            if outcome.word != "applied":
                log.error("decision %d %s: %s", verdict.seq, outcome.word, outcome.detail)
            self._report(
                m.Applied(
                    seq=verdict.seq, outcome=outcome.word, readings=outcome.readings, detail=outcome.detail[:2000]
                )
            )
        if self._pasture.changed and not self._lease.in_force:
            self._next_restore = now + RESTORE_RETRY_S

    def _order(self, order: m.Order) -> None:
        if isinstance(order, m.Cancel):
            if self._window is not None and self._window.order.measure == order.measure:
                self._drop_window("cancelled")
            return
        self._drop_window("superseded by another window")
        self._window = Window(self._node, order)
        self._step(self._window)

    def _step(self, window: Window) -> None:
        try:
            progress = window.step()
            if progress.opened:
                window.before = self._pasture.readings()
        except Exception as error:  # a node's driver may raise anything; the muster lives on
            log.exception("the window could not be measured")
            self._drop_window(f"{type(error).__name__}: {error}", "node-error")
            return
        self._next_step = progress.next_step
        for stream, rows in progress.rows:
            self._keep(window, stream, rows)
        result = window.result
        if result is None:
            return
        self._window = None
        for stream, lost in self._unkept.items():
            result.rows_lost[stream] = result.rows_lost.get(stream, 0) + lost
        self._unkept = {}
        self._report(
            m.Measured(
                measure=window.order.measure,
                in_force=self._lease.in_force,
                t0_s=result.t0_s,
                t1_s=result.t1_s,
                energies=result.energies,
                before=window.before,
                after=self._pasture.readings(),
                load=result.load,
                rows=result.rows,
                rows_lost=result.rows_lost,
                last_block=self._flow.last,
                meter_error=result.meter_error[:2000],
            )
        )

    def _keep(self, window: Window, stream: str, rows: Rows) -> None:
        block = m.Block(
            boot=self._boot,
            reign=self._lease.reign,
            seq=self._flow.last + 1,
            measure=window.order.measure,
            stream=stream,
            first=rows.first,
            columns=rows.columns,
        )
        if self._flow.add(block) is None:
            self._unkept[stream] = self._unkept.get(stream, 0) + len(rows)

    def _ship(self, now: float) -> None:
        for seq, block in self._flow.due(now):
            if not self._end.send_block(block):
                self._flow.not_sent(seq)
                break

    def _drop_window(self, detail: str, reason: str = "interrupted") -> None:
        window, self._window, self._next_step = self._window, None, None
        self._unkept = {}
        if window is None:
            return
        window.close()
        self._report(m.NotMeasured(measure=window.order.measure, reason=reason, detail=detail[:2000]))

    def _give_back(self, ended: GiveBack) -> None:
        self._drop_window(ended.reason)
        self._restore(ended.reason)

    def _restore(self, reason: str) -> None:
        log.warning("putting the node back as it was found: %s", reason)
        readings: tuple[Reading, ...] = self._pasture.restore()
        self._report(m.Restored(reason=reason, readings=readings))
        if self._pasture.changed:
            self._next_restore = self._now() + RESTORE_RETRY_S

    def _report(self, report: m.Report) -> None:
        if not self._lease.reign:
            return
        try:
            numbered = self._link.send(report, self._now())
        except LinkFullError:
            log.exception("the shepherd takes no reports; starting over with it")
            self._lease = Lease(self._config.lease_s)
            self._link = Link()
            return
        self._transmit(numbered.seq, numbered.body)

    def _transmit(self, seq: int, report: m.Report) -> None:
        self._end.send_pulse(
            m.Frame(
                boot=self._boot,
                reign=self._lease.reign,
                seq=seq,
                ack=self._link.ack,
                body=codec.raw(report),
            )
        )

    def _leave(self) -> None:
        self._drop_window("the muster stops")
        if self._pasture.changed:
            self._pasture.restore()
        if self._pasture.changed:
            log.error("%d knobs could NOT be put back; they stay in the journal", self._pasture.unrestored)
        if self._lease.reign:
            self._report(m.Bye(boot=self._boot))
        self._end.close(linger_s=0.5)
