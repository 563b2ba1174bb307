"""The muster's loop: one thread that listens, acts, beats and otherwise sleeps."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from mustherd.herd.lease import Act, GiveBack, Ignore, Lease
from mustherd.herd.link import Link, LinkFullError
from mustherd.herd.timing import (
    BEAT_PERIOD_S,
    CONNECT_PERIOD_S,
    HELLO_PERIOD_S,
    REFUSED_PERIOD_S,
    RESTORE_RETRY_MAX_S,
    RESTORE_RETRY_S,
    UNHEARD_HELLOS,
)
from mustherd.muster.config import Config, ConfigError
from mustherd.muster.logs import Logs
from mustherd.muster.pasture import Pasture
from mustherd.muster.reports import fitting
from mustherd.muster.window import Window
from mustherd.node.node import Node
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint, new_session

log = logging.getLogger(__name__)


class Muster:
    """Acts for one shepherd at a time on one node.

    `run` returns after `stop` was called (a signal handler may call it), with the node put back as it was found as far
    as it can be: `unrestored` says how many knobs could not. It closes its end and its pasture.
    """

    def __init__(
        self,
        config: Config,
        node: Node,
        pasture: Pasture,
        end: MusterEndpoint,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """ConfigError when the node offers more than a message may hold."""
        self._config = config
        self._node = node
        self._pasture = pasture
        self._end = end
        self._now = now
        self._late_report: m.Restored | None = None
        self._next_restore = float("inf")
        self._restore_pause = RESTORE_RETRY_S
        self._refusal = ""
        self._unheard = 0
        self._stopping = False
        self._window: Window | None = None
        self._logs = Logs(node.text_loggers, config.logs, Path(config.state))
        self._no_room = False  # for log blocks, until the network has taken some
        self._begin_life()
        try:
            codec.up(codec.encode(self._introduction(0.0)))
        except ValueError as error:
            raise ConfigError(f"{config.muster}: what this node offers can't be told to a shepherd: {error}") from None

    @property
    def unrestored(self) -> int:
        """Knobs that are not back at their original."""
        return self._pasture.unrestored

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._stopping = True
        self._end.wake()

    def run(self) -> None:
        """Serve until stopped."""
        try:
            self.begin()
            while not self._stopping:
                for message in self._end.receive(self.pause(), log_room=self._no_room):
                    # Whatever woke us may have waited long: what the time has ended ends before anything else happens.
                    self.tick()
                    self.handle(message)
                self.tick()
        finally:
            self._leave()

    def begin(self) -> None:
        """Put back what a former life left changed; before anything else."""
        if self._pasture.changed:
            log.warning("a former life of this muster left knobs changed; putting them back")
            readings = self._pasture.restore()
            self._late_report = m.Restored(reason="a former life left the node changed", readings=readings)
            self._retry_later()

    def _begin_life(self) -> None:
        """Belong to no shepherd, and be somebody whom none has met."""
        self._muster_epoch = new_session()
        self._lease = Lease(self._config.lease_s)
        self._link: Link[m.Report, msgspec.Raw] = Link()
        self._next_step: float | None = None
        self._unkept: dict[str, int] = {}
        self._next_beat = -float("inf")
        self._next_hello = -float("inf")

    def pause(self) -> float:
        """Real seconds until `tick` has something to do, if no message arrives before."""
        now = self._now()
        deadline = min(
            self._next_beat if self._lease.shepherd_epoch else self._next_hello,
            self._link.next_due(),
            self._logs.next_due() if not self._no_room else float("inf"),
            self._logs.next_work(),
            self._lease.next_tick(),
            self._next_restore,
        )
        pause = max(0.0, deadline - now)
        if self._next_step is not None and not self._logs.busy(now):
            pause = min(pause, self._node.clock.wall_seconds_until(self._next_step))
        return pause

    def tick(self) -> None:
        """Do what the time has made due."""
        now = self._now()
        self._give_back(self._lease.tick(now))
        if now >= self._next_restore:
            self._next_restore = float("inf")
            if self._pasture.changed and not self._lease.in_force:
                self._restore("another attempt", again=True)
        self._logs.work(now)
        self._answer_log_orders(now)
        while (
            self._window is not None
            and self._next_step is not None
            and not self._logs.busy(now)
            and self._node.clock.wall_seconds_until(self._next_step) <= 0
        ):
            self._step(self._window)
        if not self._lease.shepherd_epoch:
            if now >= self._next_hello:
                self._hello(now)
            return
        for numbered in self._link.due(now):
            self._transmit(numbered.seq, numbered.body)
        self._no_room = not self._logs.ship(self._end, self._muster_epoch, self._lease.shepherd_epoch, now)
        if now >= self._next_beat:
            self._beat(now)

    def handle(self, message: m.Down | m.Credit | m.Decision) -> None:
        """A message arrived; `tick` has been called before."""
        now = self._now()
        match message:
            case m.ShepherdBeat(muster_epoch=self._muster_epoch, shepherd_epoch=self._lease.shepherd_epoch):
                self._link.acknowledged(message.ack, now)
                self._give_back(
                    self._lease.beat(
                        shepherd_epoch=message.shepherd_epoch, sent_s=message.sent_s, wanted=message.wanted, now=now
                    )
                )
            case m.Decision():
                self._decision(message, now)
            case m.Frame(muster_epoch=self._muster_epoch, shepherd_epoch=self._lease.shepherd_epoch):
                self._link.acknowledged(message.ack, now)
                for body in self._link.received(message.seq, message.body):
                    try:
                        self._order(codec.order(memoryview(body)))
                    except ValueError as error:
                        self._end.report_malformed("pulse", str(error))
                # Acknowledged at once, or the shepherd would send it again before the next beat.
                self._next_beat = now
            case m.Credit(muster_epoch=self._muster_epoch, shepherd_epoch=self._lease.shepherd_epoch):
                self._logs.credit(message, now)
            case m.Welcome(muster_epoch=self._muster_epoch):
                self._welcome(message, now)
            case m.Refusal() if message.ended in (0, self._muster_epoch):
                if message.reason != self._refusal:
                    self._refusal = message.reason
                    log.error("the shepherd refuses this muster: %s", message.reason)
                if message.ended:
                    self._start_over("refused")
                self._next_hello = now + REFUSED_PERIOD_S
            case m.WhoAreYou() if now >= self._next_hello:
                self._hello(now)
            case _:
                log.debug("ignored %s of another life", type(message).__name__)

    def _introduction(self, now: float) -> m.Hello:
        node = self._node
        return m.Hello(
            version=m.PROTOCOL_VERSION,
            muster=self._config.muster,
            muster_epoch=self._muster_epoch,
            facts=dict(node.facts),
            knobs=self._pasture.infos,
            zones=tuple(node.meter.zones) if node.meter is not None else (),
            streams=(*(logger.stream for logger in node.loggers), *self._logs.streams()),
            groups=self._config.groups,
            lease_s=self._config.lease_s,
            sent_s=now,
        )

    def _hello(self, now: float) -> None:
        sent = self._end.send_pulse(self._introduction(now))
        self._next_hello = now + (HELLO_PERIOD_S if sent else CONNECT_PERIOD_S)
        self._unheard += not sent
        if self._unheard == UNHEARD_HELLOS and not sent:
            log.warning("no shepherd at %s yet, or it doesn't accept this key; trying on", self._config.shepherd)

    def _welcome(self, message: m.Welcome, now: float) -> None:
        taken = self._lease.welcome(
            shepherd_epoch=message.shepherd_epoch, sent_s=message.sent_s, hello_s=message.hello_s, now=now
        )
        if isinstance(taken, Ignore):
            log.info("a welcome came too late to be of use: %s", taken.reason)
            return
        if not taken.another:
            self._give_back(taken.given_back)
            return
        log.info("welcomed by the shepherd")
        self._refusal, self._unheard = "", 0
        # What was under way with the shepherd of before dies with it.
        self._link = Link()
        self._drop_window("the shepherd changed")
        self._logs.stop()
        self._logs.welcome(message.log, now)
        self._give_back(taken.given_back)
        if self._late_report is not None:
            self._report(self._late_report)
            self._late_report = None
        self._beat(now)

    def _beat(self, now: float) -> None:
        self._next_beat = now + BEAT_PERIOD_S
        self._end.send_pulse(
            m.MusterBeat(
                muster_epoch=self._muster_epoch,
                shepherd_epoch=self._lease.shepherd_epoch,
                in_force=self._lease.in_force,
                ack=self._link.ack,
                reports=self._link.sent,
                malformed=self._end.malformed,
                unrestored=0 if self._lease.in_force else self._pasture.unrestored,
            )
        )

    def _decision(self, message: m.Decision, now: float) -> None:
        verdict = self._lease.offer(
            shepherd_epoch=message.shepherd_epoch,
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
        word, detail = "restored", ""
        if verdict.settings:
            outcome = self._pasture.apply(verdict.settings)
            word, detail, readings = outcome.word, outcome.detail, outcome.readings
            if word != "applied":
                log.error("decision %d %s: %s", verdict.seq, word, detail)
        self._lease.carried_out(verdict.seq, changed=word == "applied")
        if word != "applied" and self._pasture.changed:
            # Given back, or what was wanted can't be: what was in force before is over as well.
            readings = self._pasture.restore()
        elif word == "restored":
            readings = self._pasture.readings()
        if not self._lease.in_force:
            self._retry_later()
        self._report(m.Applied(seq=verdict.seq, outcome=word, readings=readings, detail=detail[:2000]))

    def _order(self, order: m.Order) -> None:
        if isinstance(order, m.Cancel):
            if self._window is not None and self._window.order.measure == order.measure:
                self._drop_window("cancelled")
            return
        if isinstance(order, m.Open):
            if self._window is not None and self._window.order.measure == order.measure:
                self._window.open()
                self._next_step = self._node.clock.now()
            return
        if isinstance(order, m.LogOrder):
            self._logs.order(order, self._now(), in_use=self._window is not None)
            self._answer_log_orders(self._now())
            return
        self._drop_window("superseded by another window")
        self._window = Window(self._node, order)
        self._step(self._window)

    def _step(self, window: Window) -> None:
        try:
            progress = window.step()
        except Exception as error:  # a node's driver may raise anything; the muster lives on
            log.exception("the window could not be measured")
            self._drop_window(f"{type(error).__name__}: {error}", "node-error")
            return
        if progress.opened:
            if window.order.outside:
                self._report(m.Opened(measure=window.order.measure, t0_s=window.t0_s))
            window.before = self._pasture.readings()
        self._next_step = progress.next_step
        for stream, rows in progress.rows:
            self._unkept[stream] = self._unkept.get(stream, 0) + self._logs.keep(window.order.label, stream, rows)
        if progress.wanted is not None:
            self._logs.direct(progress.wanted, window.order.label, self._now())
        result = window.result
        if result is None:
            return
        self._window = None
        unkept, self._unkept = self._unkept, {}
        produced, losses = self._logs.counts()
        result.rows.update(produced)
        for stream, number in (*unkept.items(), *losses.items()):
            result.rows_lost[stream] = result.rows_lost.get(stream, 0) + number
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
                last_block=self._logs.last,
                spool=self._logs.spool,
                meter_error=result.meter_error[:2000],
            )
        )

    def _answer_log_orders(self, now: float) -> None:
        answer = self._logs.answer(now)
        if answer is not None:
            self._report(answer)

    def _drop_window(self, detail: str, reason: str = "interrupted") -> None:
        window, self._window, self._next_step = self._window, None, None
        self._unkept = {}
        if window is None:
            return
        self._logs.stop()
        try:
            window.close()
        except Exception:
            log.exception("the window did not end cleanly")
        self._report(m.NotMeasured(measure=window.order.measure, reason=reason, detail=detail[:2000]))

    def _give_back(self, ended: GiveBack | None) -> None:
        if ended is not None:
            self._drop_window(ended.reason)
            self._restore(ended.reason)

    def _restore(self, reason: str, *, again: bool = False) -> None:
        before = self._pasture.unrestored
        log.warning("putting the node back as it was found: %s", reason)
        readings = self._pasture.restore()
        if not again or self._pasture.unrestored != before:
            self._report(m.Restored(reason=reason, readings=readings))
        self._retry_later()

    def _retry_later(self) -> None:
        if not self._pasture.changed:
            self._restore_pause = RESTORE_RETRY_S
            return
        self._next_restore = self._now() + self._restore_pause
        self._restore_pause = min(2 * self._restore_pause, RESTORE_RETRY_MAX_S)

    def _report(self, report: m.Report) -> None:
        if not self._lease.shepherd_epoch:
            return
        try:
            numbered = self._link.send(fitting(report), self._now())
        except LinkFullError:
            log.exception("the shepherd takes no reports; starting over with it")
            self._start_over("no reports taken")
            return
        self._transmit(numbered.seq, numbered.body)

    def _start_over(self, reason: str) -> None:
        """Leave the shepherd without a word and be somebody else, on a node as it was found."""
        self._begin_life()
        self._drop_window(reason)
        self._pasture.restore()
        self._retry_later()

    def _transmit(self, seq: int, report: m.Report) -> None:
        self._end.send_pulse(
            m.Frame(
                muster_epoch=self._muster_epoch,
                shepherd_epoch=self._lease.shepherd_epoch,
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
        self._report(m.Bye(muster_epoch=self._muster_epoch))
        self._logs.leave()
        self._end.close(linger_s=0.5)
        self._pasture.close()
