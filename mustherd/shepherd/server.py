"""The keeper: the herd as the shepherd's thread keeps it. Messages, requests and the time in; messages and news out."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mustherd.herd.decisions import Action as DecisionAction
from mustherd.herd.decisions import Decisions, GaveUp, Lost, Publish
from mustherd.herd.flow import Receiver
from mustherd.herd.link import Link, LinkFullError, Numbered
from mustherd.herd.membership import Change, Membership, Presence
from mustherd.herd.timing import BEAT_PERIOD_S, DECISION_TTL_S
from mustherd.shepherd.events import (
    DecisionLost,
    HerdError,
    HerdEvent,
    MusterView,
    PresenceChanged,
    PutBack,
    StopAsked,
)
from mustherd.shepherd.session import (
    MAX_MUSTERS,
    MusterSession,
    answer_of,
    credit_of,
    log_order_of,
    logged_of,
    objection,
    reject,
    status_of,
)
from mustherd.shepherd.sink import LogSink
from mustherd.terms import Setting
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.endpoints import Received, ShepherdEndpoint, new_session

log = logging.getLogger(__name__)


class ShepherdServer:
    """Acts on the wire and the state machines. For one thread, except `views`."""

    def __init__(
        self,
        end: ShepherdEndpoint,
        *,
        experiment: str,
        folder: str,
        sink: LogSink | None,
        tell: Callable[[HerdEvent], None],
        now: Callable[[], float],
    ) -> None:
        self._end = end
        self._experiment = experiment
        self._folder = folder
        self._sink = sink
        self._tell = tell
        self._now = now
        self._shepherd_epoch = new_session()
        self._membership = Membership()
        self._decisions = Decisions()
        self._musters: dict[str, MusterSession] = {}
        self._refused: dict[str, str] = {}
        self._lock = threading.Lock()
        self._views: dict[str, MusterView] = {}

    def views(self) -> dict[str, MusterView]:
        """Every muster that ever said hello, as of now; callable from any thread."""
        with self._lock:
            views = dict(self._views)
        now = self._now()
        return {name: replace(view, silent_s=self._membership.silent_s(name, now)) for name, view in views.items()}

    def next_tick(self) -> float:
        """When `tick` will next have something to send, if nothing happens before."""
        times = (min(x.next_beat, x.link.next_due()) for x in self._musters.values())
        return min(self._decisions.next_tick(), min(times, default=float("inf")))

    def handle(self, received: Received) -> None:
        """A message arrived."""
        name, message = received.sender, received.message
        if isinstance(message, m.Call):
            self._call(received, message)
            return
        if isinstance(message, m.Hello | m.Stranger):
            self._hello(received, message)
            return
        if received.key_name not in (None, name):
            self._end.report_malformed("pulse or log", name, f"its key was accepted for {received.key_name!r}")
            return
        muster = self._musters.get(name)
        if (
            muster is None
            or not self._membership.knows(name, message.muster_epoch)
            or message.shepherd_epoch != self._shepherd_epoch
        ):
            # A repeated goodbye needs no answer; anything else comes from somebody whom this reign hasn't met.
            if isinstance(message, m.MusterBeat):
                self._end.send_pulse(name, m.WhoAreYou())
            return
        if isinstance(message, m.Block):
            self._block(name, muster, message, received.payload)
            return
        if isinstance(message, m.Offer):
            self._offer(name, muster, message)
            return
        now = self._now()
        for change in self._membership.heard(name, message.muster_epoch, now):
            self._changed(change)
        muster.link.acknowledged(message.ack, now)
        if isinstance(message, m.MusterBeat):
            # One that is older than a report already heard says nothing about now.
            if message.reports >= muster.link.ack:
                muster.in_force, muster.unrestored = message.in_force, message.unrestored
                self._show(name)
                for action in self._decisions.in_force(name, message.in_force):
                    self._act(action)
            return
        # Acknowledged at once, or the muster would send it again before the next beat.
        muster.next_beat = now
        for body in muster.link.received(message.seq, message.body):
            try:
                report = codec.report(memoryview(body))
            except ValueError as error:
                self._end.report_malformed("pulse", name, str(error))
                # It may have been what somebody waits for.
                muster.fail("bad-report", f"muster {name} sent a report that can't be read: {error}")
                continue
            self._report(name, muster, report)

    def judge(self, now: float) -> None:
        """See who has fallen silent."""
        for change in self._membership.tick(now):
            self._changed(change)

    def tick(self, now: float) -> None:
        """Send what is due."""
        for action in self._decisions.tick(now):
            self._act(action)
        for name, muster in self._musters.items():
            if muster.owes_credit:
                muster.owes_credit = False
                self._end.send_credit(name, credit_of(muster, self._shepherd_epoch, self._musters.values()))
            if now >= muster.next_beat:
                muster.next_beat = now + BEAT_PERIOD_S
                self._end.send_pulse(
                    name,
                    m.ShepherdBeat(
                        muster_epoch=muster.hello.muster_epoch,
                        shepherd_epoch=self._shepherd_epoch,
                        sent_s=now,
                        wanted=self._decisions.wanted(name),
                        ack=muster.link.ack,
                    ),
                )
            for numbered in muster.link.due(now):
                self._transmit(name, muster, numbered.seq, numbered.body)

    def decide(self, name: str, settings: tuple[Setting, ...], future: Future[m.Applied]) -> None:
        """Want `settings` of a muster; `future` gets its answer or a HerdError."""
        try:
            muster = self._present(name)
        except HerdError as error:
            reject(future, error)
            return
        now = self._now()
        for waiting, _ in muster.deciding.values():
            reject(waiting, HerdError("superseded", f"a newer decision for muster {name} took its place"))
        muster.deciding.clear()
        action = self._decisions.decide(name, settings, now)
        muster.deciding[action.seq] = (future, now)
        self._act(action)

    def measure(self, name: str, order: m.Measure, future: Future[m.Measured]) -> None:
        """Have a window measured; `future` gets what it saw or a HerdError."""
        if sent := self._numbered(name, order, future):
            muster, numbered = sent
            muster.measuring[order.measure] = future
            self._transmit(name, muster, numbered.seq, numbered.body)

    def open(self, name: str, measure: int, future: Future[m.Opened]) -> None:
        """Have a window opened that waits for it; `future` gets when it began or a HerdError."""
        if sent := self._numbered(name, m.Open(measure=measure), future):
            muster, numbered = sent
            muster.opening[measure] = future
            self._transmit(name, muster, numbered.seq, numbered.body)

    def cancel(self, name: str, measure: int) -> None:
        """Have a window given up, where its muster is still there."""
        muster = self._musters.get(name)
        if muster is None or measure not in muster.measuring:
            return
        with suppress(LinkFullError):
            numbered = muster.link.send(m.Cancel(measure=measure), self._now())
            self._transmit(name, muster, numbered.seq, numbered.body)

    def log_order(self, name: str, order: m.LogOrder, future: Future[m.Logged]) -> None:
        """Have streams started, stopped or flushed; `future` gets what became of it or a HerdError."""
        if sent := self._numbered(name, order, future):
            muster, numbered = sent
            muster.logging[order.order] = future
            self._transmit(name, muster, numbered.seq, numbered.body)

    def durable(self, name: str, spool: int, number: int) -> None:
        """Blocks of that spool up to `number` are safe."""
        muster = self._musters.get(name)
        if muster is not None and muster.spool == spool:
            muster.flow.made_durable(number)
            muster.owes_credit = True

    def wanted(self, name: str) -> tuple[Setting, ...]:
        """The settings that should be in force on a muster or are under way to it."""
        return self._decisions.settings(name)

    def fail(self, error: HerdError) -> None:
        """Nobody gets an answer any more."""
        for muster in self._musters.values():
            muster.fail(error.reason, str(error))

    def _hello(self, received: Received, hello: m.Hello | m.Stranger) -> None:
        name = received.sender
        reason, ended = "", 0
        if hello.version != m.PROTOCOL_VERSION or isinstance(hello, m.Stranger):
            reason = (
                f"it speaks protocol version {hello.version}, this shepherd {m.PROTOCOL_VERSION}; "
                "install the same version of mustherd on both"
            )
        elif hello.muster != name:
            reason = f"it calls itself {hello.muster} but connected as {name}"
        elif received.key_name is not None and received.key_name != name:
            reason = f"its key was accepted for {received.key_name!r}, not for {name}"
        elif self._membership.ended(name, hello.muster_epoch):
            reason, ended = (
                f"another process has joined as {name} since; do two nodes use one name?",
                hello.muster_epoch,
            )
        elif name not in self._musters and len(self._musters) >= MAX_MUSTERS:
            reason = f"the herd is full: {MAX_MUSTERS} musters"
        else:
            reason = objection(hello)
        if reason or isinstance(hello, m.Stranger):
            if self._refused.get(name) != reason and len(self._refused) < MAX_MUSTERS:
                self._refused[name] = reason
                log.warning("muster %r refused: %s", name, reason)
            self._end.send_pulse(name, m.Refusal(version=m.PROTOCOL_VERSION, reason=reason[:2000], ended=ended))
            return
        now = self._now()
        self._refused.pop(name, None)
        known = self._musters.get(name)
        if known is None or not self._membership.knows(name, hello.muster_epoch):
            if known is not None:
                known.fail("muster-restarted", f"muster {name} started again")
            self._decisions.forget(name)
            late = known.times_late + 1 if known is not None else 0
            self._musters[name] = MusterSession(hello, times_late=late)
        for change in self._membership.hello(name, hello.muster_epoch, now):
            self._changed(change)
        self._musters[name].next_beat = now + BEAT_PERIOD_S
        welcome = m.Welcome(
            version=m.PROTOCOL_VERSION,
            muster_epoch=hello.muster_epoch,
            shepherd_epoch=self._shepherd_epoch,
            sent_s=now,
            hello_s=hello.sent_s,
            log=self._sink.log if self._sink is not None else 0,
        )
        if self._sink is not None:
            self._sink.met(hello)
        self._end.send_pulse(name, welcome)

    def _report(self, name: str, muster: MusterSession, report: m.Report) -> None:
        match report:
            case m.Applied():
                muster.readings = report.readings
                holds = report.outcome == "applied"
                muster.in_force = report.seq if holds else 0
                self._decisions.answered(name, report.seq, holds=holds)
                waiting = muster.deciding.pop(report.seq, None)
                if waiting is not None:
                    muster.answer_ms = (self._now() - waiting[1]) * 1000
                self._show(name)
                if waiting is not None:
                    waiting[0].set_result(report)
            case m.Measured():
                measured = muster.measuring.pop(report.measure, None)
                if measured is not None:
                    measured.set_result(report)
            case m.Opened():
                opened = muster.opening.pop(report.measure, None)
                if opened is not None:
                    opened.set_result(report)
            case m.NotMeasured():
                error = HerdError(report.reason, f"muster {name}: {report.detail}")
                for books in (muster.measuring, muster.opening):
                    future = books.pop(report.measure, None)
                    if future is not None:
                        reject(future, error)
            case m.Logged():
                logged = muster.logging.pop(report.order, None)
                if logged is not None:
                    logged.set_result(report)
            case m.Restored():
                muster.readings = report.readings
                muster.in_force = 0
                self._show(name)
                self._tell(PutBack(name, report.reason, report.readings))
            case m.Bye():
                for change in self._membership.left(name, report.muster_epoch, self._now()):
                    self._changed(change)

    def _offer(self, name: str, muster: MusterSession, offer: m.Offer) -> None:
        """A muster says which spool it has; answered with where to go on."""
        if self._sink is None:
            return
        if muster.spool != offer.spool:
            muster.spool, muster.flow = offer.spool, Receiver(self._sink.watermark(name, offer.spool))
        if offer.first > muster.flow.got + 1:
            log.error("muster %s: blocks %d to %d are gone", name, muster.flow.got + 1, offer.first - 1)
            muster.flow.begin_at(offer.first)
        muster.owes_credit = True

    def _block(self, name: str, muster: MusterSession, block: m.Block, rows: memoryview) -> None:
        if self._sink is None or block.spool != muster.spool:
            return
        # Answered at the next tick: one credit for all that has arrived by then.
        muster.owes_credit = True
        if muster.flow.offer(block.seq):
            # First, so that a block which can't be taken doesn't come again and again.
            muster.flow.took(block.seq)
            self._sink.put(name, block, rows)

    def _changed(self, change: Change) -> None:
        muster = self._musters[change.muster]
        if change.after is not Presence.ALIVE:
            muster.times_late += 1
        if change.after in (Presence.MISSING, Presence.DEAD, Presence.LEFT):
            self._decisions.forget(change.muster)
            # Should it come back, it must not go on with what nobody waits for.
            for measure in muster.measuring:
                with suppress(LinkFullError):
                    muster.link.send(m.Cancel(measure=measure), self._now())
            muster.fail(
                f"muster-{change.after}", f"muster {change.muster} is {change.after} ({change.silent_s:.1f} s silent)"
            )
        if change.after is Presence.LEFT:
            muster.link = Link()
            muster.next_beat = float("inf")
        self._show(change.muster)
        self._tell(PresenceChanged(change))

    def _act(self, action: DecisionAction) -> None:
        match action:
            case Publish():
                self._end.publish(
                    action.muster,
                    m.Decision(
                        shepherd_epoch=self._shepherd_epoch,
                        seq=action.seq,
                        issued_s=self._now(),
                        ttl_s=DECISION_TTL_S,
                        settings=action.settings,
                    ),
                )
            case Lost():
                self._tell(DecisionLost(action.muster, action.seq))
            case GaveUp():
                waiting = self._musters[action.muster].deciding.pop(action.seq, None)
                if waiting is not None:
                    text = f"muster {action.muster} did not answer decision {action.seq} in {action.tries} tries"
                    reject(waiting[0], HerdError("no-answer", text))

    def _present(self, name: str) -> MusterSession:
        presence = self._membership.presence(name)
        if presence not in (Presence.ALIVE, Presence.LATE):
            raise HerdError(f"muster-{presence or 'unknown'}", f"muster {name} is {presence or 'not in the herd'}")
        return self._musters[name]

    def _numbered(
        self, name: str, order: m.Order, future: Future[Any]
    ) -> tuple[MusterSession, Numbered[m.Order]] | None:
        """An order on a muster's link, to be transmitted; None, and the future rejected, where it has no way there."""
        try:
            muster = self._present(name)
            return muster, muster.link.send(order, self._now())
        except HerdError as error:
            reject(future, error)
        except LinkFullError as error:
            reject(future, HerdError("link-full", f"muster {name}: {error}"))
        return None

    def _transmit(self, name: str, muster: MusterSession, seq: int, order: m.Order) -> None:
        self._end.send_pulse(
            name,
            m.Frame(
                muster_epoch=muster.hello.muster_epoch,
                shepherd_epoch=self._shepherd_epoch,
                seq=seq,
                ack=muster.link.ack,
                body=codec.raw(order),
            ),
        )

    def _call(self, received: Received, call: m.Call) -> None:
        def answer(body: m.Status | m.Done | m.Refused) -> None:
            self._end.answer(received.sender, m.Answer(number=call.number, body=body))

        if received.key_name in self._musters:
            answer(m.Refused(reason=f"the key of muster {received.key_name} is not an operator's"))
            return
        match call.body:
            case m.StatusAsk():
                musters = tuple(status_of(view) for view in self.views().values())
                answer(
                    m.Status(
                        experiment=self._experiment,
                        folder=self._folder,
                        malformed=self._end.malformed,
                        musters=musters,
                    )
                )
            case m.StopAsk():
                self._tell(StopAsked())
                answer(m.Done())
            case m.KnobsAsk():
                if self._experiment:
                    answer(m.Refused(reason=f"experiment {self._experiment} is running; stop it first"))
                    return
                future: Future[m.Applied] = Future()
                self.decide(call.body.muster, call.body.settings, future)
                # Resolved in this same thread, by the muster's report.
                future.add_done_callback(lambda done: answer(answer_of(done)))
            case m.LogAsk():
                logged: Future[m.Logged] = Future()
                self.log_order(call.body.muster, log_order_of(call.number, call.body), logged)
                logged.add_done_callback(lambda done: answer(logged_of(done)))

    def _show(self, name: str) -> None:
        view = self._musters[name].view(self._membership.presence(name), 0.0)
        with self._lock:
            self._views[name] = view
