"""The muster's loop: one thread that listens, acts, beats and otherwise sleeps."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from mustherd.herd.lease import Act, Ignore, Lease
from mustherd.herd.link import Link, LinkFullError
from mustherd.herd.timing import (
    BEAT_PERIOD_S,
    BEAT_WAIT_S,
    CONNECT_PERIOD_S,
    HELLO_PERIOD_S,
    REFUSED_PERIOD_S,
    UNHEARD_HELLOS,
)
from mustherd.muster.config import Config, ConfigError
from mustherd.muster.enforcement import Enforcement
from mustherd.muster.gauges import Gauges
from mustherd.muster.logs import Logs
from mustherd.muster.pasture import Pasture
from mustherd.muster.reports import fitting, frame, introduction
from mustherd.muster.rounds import Rounds
from mustherd.muster.windows import Windows
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
        *,
        now: Callable[[], float] = time.monotonic,
        each_round: Callable[[], bool] = lambda: True,
        own_cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        """ConfigError when the node offers more than a message may hold.

        `each_round` is called whenever the loop comes round, every ROUND_MOST_S at least; when it gives False, `run`
        returns as after `stop`. `own_cpu_s` gives the CPU time that MustHerd has taken on this node.
        """
        self._config, self._node, self._pasture, self._end, self._now = config, node, pasture, end, now
        self._refusal, self._unheard = "", 0
        self._rounds = Rounds(end, each_round)
        self._logs = Logs(node.text_loggers, config.logs, Path(config.state))
        self._windows = Windows(
            node, pasture, self._logs, self._report, lambda: self._lease.in_force, now=now, own_cpu_s=own_cpu_s
        )
        self._enforcement = Enforcement(pasture, self._windows, report=self._report, now=now)
        self.gauges = Gauges(config.muster, now)
        self._no_room = False  # for log blocks, until the network has taken some
        self._begin_life()
        try:
            codec.up(codec.encode(self._hello_at(0.0)))
        except ValueError as error:
            raise ConfigError(f"{config.muster}: what this node offers can't be told to a shepherd: {error}") from None

    @property
    def unrestored(self) -> int:
        """Knobs that are not back at their original."""
        return self._pasture.unrestored

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._rounds.stop()

    def begin(self) -> None:
        """Put back what a former life left changed; before anything else."""
        self._enforcement.begin()

    def run(self) -> None:
        """Serve until stopped."""
        try:
            self.begin()
            while self._rounds.go_on():
                for message in self._rounds.arrived(self.pause(), log_room=self._no_room):
                    # Whatever woke us may have waited long: what the time has ended ends before anything else happens.
                    self.tick()
                    self.handle(message)
                self.tick()
                self.gauges.stands(self._lease, self._pasture.unrestored, self._logs.outbox.last)
        finally:
            self._leave()

    def meanwhile(self) -> None:
        """A sign of life in the middle of a knob's program: nothing is acted on, and heartbeats renew the lease."""
        now = self._now()
        self._beat_if_due(now)
        for message in self._rounds.meanwhile():
            if isinstance(message, m.ShepherdBeat) and message.muster_epoch == self._muster_epoch:
                self._lease.lives_on(shepherd_epoch=message.shepherd_epoch, sent_s=message.sent_s, now=now)

    def _begin_life(self) -> None:
        """Belong to no shepherd, and be somebody whom none has met."""
        self._muster_epoch = new_session()
        self._lease = Lease(self._config.lease_s)
        self._link: Link[m.Report, msgspec.Raw] = Link()
        self._beat_at = self._next_beat = self._next_hello = -float("inf")

    def pause(self) -> float:
        """Real seconds until `tick` has something to do, if no message arrives before."""
        now = self._now()
        deadline = min(
            self._next_beat if self._lease.shepherd_epoch else self._next_hello,
            self._link.next_due(),
            self._logs.outbox.next_due() if not self._no_room else float("inf"),
            self._logs.next_work(),
            self._lease.next_tick(),
            self._enforcement.next_attempt,
        )
        return min(max(0.0, deadline - now), self._windows.pause(now))

    def tick(self) -> None:
        """Do what the time has made due."""
        now = self._now()
        self._enforcement.give_back(self._lease.tick(now))
        self._enforcement.tick(now, self._lease)
        # Before what takes its time, and after it: a beat that waits for a reading is one that the shepherd misses.
        self._beat_if_due(now)
        self._logs.work(now)
        self._answer_log_orders(now)
        self._windows.work(now)
        now = self._now()
        if not self._lease.shepherd_epoch:
            if now >= self._next_hello:
                self._hello(now)
            return
        for numbered in self._link.due(now):
            self._transmit(numbered.seq, numbered.body)
        self._no_room = not self._logs.outbox.ship(self._end, self._muster_epoch, self._lease.shepherd_epoch, now)
        self._beat_if_due(now)

    def handle(self, message: m.Down | m.Credit | m.Decision) -> None:
        """A message arrived; `tick` has been called before."""
        now = self._now()
        match message:
            case m.ShepherdBeat(muster_epoch=self._muster_epoch, shepherd_epoch=self._lease.shepherd_epoch):
                self._link.acknowledged(message.ack, now)
                # Not for each of many that come at once.
                if now - self._beat_at >= BEAT_PERIOD_S / 2:
                    self._next_beat = now
                self._enforcement.give_back(self._lease.beat(
                    shepherd_epoch=message.shepherd_epoch, sent_s=message.sent_s, wanted=message.wanted, now=now
                ))  # fmt: skip
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

    def _hello_at(self, now: float) -> m.Hello:
        streams = (*(logger.stream for logger in self._node.loggers), *self._logs.taps.streams())
        return introduction(self._config, self._node, self._pasture.infos, streams, self._muster_epoch, now)

    def _hello(self, now: float) -> None:
        sent = self._end.send_pulse(self._hello_at(now))
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
            self._enforcement.give_back(taken.given_back)
            return
        log.info("welcomed by the shepherd")
        self._refusal, self._unheard = "", 0
        # What was under way with the shepherd of before dies with it.
        self._link = Link()
        self._windows.drop("the shepherd changed")
        self._logs.taps.stop()
        self._logs.outbox.welcome(message.log, now)
        self._enforcement.give_back(taken.given_back)
        self._enforcement.welcomed()
        self._beat(now)

    def _beat_if_due(self, now: float) -> None:
        if self._lease.shepherd_epoch and now >= self._next_beat:
            self._beat(now)

    def _beat(self, now: float) -> None:
        self._beat_at, self._next_beat = now, now + BEAT_WAIT_S
        in_force, link, enforcement = self._lease.in_force, self._link, self._enforcement
        self._end.send_pulse(m.MusterBeat(
            muster_epoch=self._muster_epoch, shepherd_epoch=self._lease.shepherd_epoch, in_force=in_force,
            ack=link.ack, reports=link.sent, malformed=self._end.malformed, unrestored=enforcement.unrestored(in_force),
            carrying=self._rounds.decision() or enforcement.carrying,
        ))  # fmt: skip

    def _decision(self, message: m.Decision, now: float) -> None:
        verdict = self._lease.offer(
            shepherd_epoch=message.shepherd_epoch, seq=message.seq, settings=message.settings,
            issued_s=message.issued_s, ttl_s=message.ttl_s, now=now,
        )  # fmt: skip
        if not isinstance(verdict, Act):
            log.debug("decision %d not acted on: %s", message.seq, verdict.reason)
            return
        self._enforcement.carry_out(verdict, self._lease)

    def _order(self, order: m.Order) -> None:
        match order:
            case m.Measure():
                self._windows.begin(order)
            case m.Open():
                self._windows.open(order.measure)
            case m.Cancel():
                self._windows.cancel(order.measure)
            case m.LogOrder():
                self._logs.taps.order(order, self._now(), in_use=self._windows.under_way)
                self._answer_log_orders(self._now())

    def _answer_log_orders(self, now: float) -> None:
        if (answer := self._logs.answer(now)) is not None:
            self._report(answer)

    def _report(self, report: m.Report) -> None:
        self.gauges.note(report)
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
        self._enforcement.start_over(reason)

    def _transmit(self, seq: int, report: m.Report) -> None:
        self._end.send_pulse(frame(self._muster_epoch, self._lease.shepherd_epoch, seq, self._link.ack, report))

    def _leave(self) -> None:
        self._enforcement.leave()
        self._report(m.Bye(muster_epoch=self._muster_epoch))
        self._logs.leave()
        self._end.close(linger_s=0.5)
        self._pasture.close()
