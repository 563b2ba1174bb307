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
from dataclasses import dataclass, field

from mustherd.herd.decisions import Action as DecisionAction
from mustherd.herd.decisions import Answered, Decisions, GaveUp, Lost, Publish
from mustherd.herd.flow import Receiver
from mustherd.herd.link import Link, LinkFullError
from mustherd.herd.membership import Change, Membership, Presence
from mustherd.herd.timing import BEAT_PERIOD_S, DECISION_TTL_S, LATE_AFTER_S
from mustherd.shepherd.events import DecisionLost, HerdError, HerdEvent, MusterView, PresenceChanged, PutBack, StopAsked
from mustherd.terms import Load, Reading, Setting
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.ends import Received, ShepherdEnd, new_session

log = logging.getLogger(__name__)

IDLE_S = 0.1
"""Longest sleep: membership is judged at least this often."""


@dataclass
class _Muster:
    hello: m.Hello
    link: Link[m.Order, m.Report] = field(default_factory=Link)
    flow: Receiver = field(default_factory=Receiver)
    in_force: int = 0
    times_late: int = 0
    unrestored: int = 0
    answer_ms: float | None = None
    readings: tuple[Reading, ...] = ()
    next_beat: float = 0.0
    deciding: dict[int, tuple[Future[m.Applied], float]] = field(default_factory=dict)
    measuring: dict[int, Future[m.Measured]] = field(default_factory=dict)


class Shepherd:
    """A herd to drive: `start`, ask, `stop`. Methods may be called from any thread unless they say otherwise.

    `events` is the queue of everything that happened unasked. `on_block` is called in the shepherd's thread for every
    block of log rows, once each and in order, and must return quickly.
    """

    def __init__(
        self,
        end: ShepherdEnd,
        *,
        experiment: str = "",
        folder: str = "",
        on_block: Callable[[str, m.Block], None] = lambda _muster, _block: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.events: queue.SimpleQueue[HerdEvent] = queue.SimpleQueue()
        self._end = end
        self._experiment = experiment
        self._folder = folder
        self._on_block = on_block
        self._now = now
        self._reign = new_session()
        self._membership = Membership()
        self._decisions = Decisions()
        self._musters: dict[str, _Muster] = {}
        self._measures = 0
        self._asked: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._views: dict[str, MusterView] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shepherd", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop listening; whatever is still asked for fails. Musters put their nodes back when their lease ends."""
        self._stopping.set()
        self._end.wake()
        self._thread.join(timeout_s)

    def musters(self) -> dict[str, MusterView]:
        """Every muster that ever said hello, as of now."""
        with self._lock:
            return dict(self._views)

    def decide(self, muster: str, settings: tuple[Setting, ...]) -> Future[m.Applied]:
        """Want `settings` of a muster; none gives the node back.

        The future holds the muster's answer, with every knob read back, whatever the outcome. HerdError when the muster
        is or goes missing, or never answers.
        """
        future: Future[m.Applied] = Future()
        self._ask(lambda: self._decide(muster, settings, future))
        return future

    def measure(
        self, muster: str, *, settle_s: float, ramp_s: float, window_s: float, load: Load | None, seed: int = 0
    ) -> Future[m.Measured]:
        """Measure one window on a muster, in seconds of its node's clock. HerdError when it can't be had."""
        future: Future[m.Measured] = Future()

        def ask() -> None:
            self._measures += 1
            order = m.Measure(
                measure=self._measures, settle_s=settle_s, ramp_s=ramp_s, window_s=window_s, load=load, seed=seed
            )
            self._measure(muster, order, future)

        self._ask(ask)
        return future

    # --- everything below runs in the shepherd's thread ---

    def _ask(self, what: Callable[[], None]) -> None:
        self._asked.append(what)
        self._end.wake()

    def _run(self) -> None:
        last = self._now()
        try:
            while not self._stopping.is_set():
                self._publish_views()
                for received in self._end.receive(self._pause()):
                    try:
                        self._handle(received)
                    except Exception:  # one muster's odd message must not end everybody's shepherd
                        log.exception("message from %s dropped", received.sender)
                while self._asked:
                    self._asked.popleft()()
                now = self._now()
                # A shepherd that was itself held up must not take its own absence for the herd's silence.
                if now - last < LATE_AFTER_S / 2:
                    for change in self._membership.tick(now):
                        self._changed(change)
                last = now
                self._tick(now)
        except Exception:
            log.exception("the shepherd's loop broke")
        finally:
            self._stopping.set()
            for muster in list(self._musters.values()):
                self._fail(muster, "shepherd-stopped", "the shepherd has stopped")
            self._publish_views()
            self._end.close()

    def _pause(self) -> float:
        if self._asked:
            return 0.0
        now = self._now()
        deadline = min((min(x.next_beat, x.link.next_due()) for x in self._musters.values()), default=now + IDLE_S)
        return min(IDLE_S, max(0.0, min(deadline, self._decisions.next_tick()) - now))

    def _tick(self, now: float) -> None:
        for action in self._decisions.tick(now):
            self._act(action)
        for name, muster in self._musters.items():
            presence = self._membership.presence(name)
            if presence is Presence.LEFT:
                muster.next_beat = float("inf")
                continue
            if now >= muster.next_beat:
                muster.next_beat = now + BEAT_PERIOD_S
                self._end.send_pulse(
                    name,
                    m.ShepherdBeat(
                        boot=muster.hello.boot,
                        reign=self._reign,
                        sent_s=now,
                        wanted=self._decisions.wanted(name),
                        ack=muster.link.ack,
                    ),
                )
            for numbered in muster.link.due(now):
                self._transmit(name, muster, numbered.seq, numbered.body)

    def _handle(self, received: Received) -> None:
        name, message = received.sender, received.message
        if isinstance(message, m.Call):
            self._call(name, message)
            return
        if isinstance(message, m.Hello | m.Stranger):
            self._hello(received, message)
            return
        muster = self._musters.get(name)
        if muster is None or not self._membership.knows(name, message.boot) or message.reign != self._reign:
            # A repeated goodbye needs no answer; anything else comes from somebody whom this reign hasn't met.
            if isinstance(message, m.MusterBeat):
                self._end.send_pulse(name, m.WhoAreYou())
            return
        if isinstance(message, m.Block):
            self._block(name, muster, message)
            return
        now = self._now()
        for change in self._membership.heard(name, message.boot, now):
            self._changed(change)
        muster.link.acknowledged(message.ack, now)
        if isinstance(message, m.MusterBeat):
            muster.in_force, muster.unrestored = message.in_force, message.unrestored
            for action in self._decisions.in_force(name, message.in_force):
                self._act(action)
            return
        for body in muster.link.received(message.seq, codec.report(memoryview(message.body))):
            self._report(name, muster, body)

    def _hello(self, received: Received, hello: m.Hello | m.Stranger) -> None:
        name = received.sender
        reason = ""
        if hello.version != m.PROTOCOL_VERSION or isinstance(hello, m.Stranger):
            reason = (
                f"it speaks protocol version {hello.version}, this shepherd {m.PROTOCOL_VERSION}; "
                "install the same version of mustherd on both"
            )
        elif hello.muster != name:
            reason = f"it calls itself {hello.muster} but connected as {name}"
        elif received.key_name is not None and received.key_name != name:
            reason = f"its key was accepted for {received.key_name}, not for {name}"
        if reason or isinstance(hello, m.Stranger):
            log.warning("muster %s refused: %s", name, reason)
            self._end.send_pulse(name, m.Refusal(version=m.PROTOCOL_VERSION, reason=reason))
            return
        now = self._now()
        known = self._musters.get(name)
        if known is None or not self._membership.knows(name, hello.boot):
            if known is not None:
                self._fail(known, "muster-restarted", f"muster {name} started again")
            self._decisions.forget(name)
            late = known.times_late + 1 if known is not None else 0
            self._musters[name] = _Muster(hello, times_late=late)
        for change in self._membership.hello(name, hello.boot, now):
            self._changed(change)
        self._musters[name].next_beat = now + BEAT_PERIOD_S
        self._end.send_pulse(
            name, m.Welcome(version=m.PROTOCOL_VERSION, boot=hello.boot, reign=self._reign, sent_s=now)
        )

    def _report(self, name: str, muster: _Muster, report: m.Report) -> None:
        match report:
            case m.Applied():
                muster.readings = report.readings
                for action in self._decisions.answered(name, report.seq):
                    self._act(action)
                if report.outcome != "applied":
                    self._decisions.forget(name)
                waiting = muster.deciding.pop(report.seq, None)
                if waiting is not None:
                    muster.answer_ms = (self._now() - waiting[1]) * 1000
                    _resolve(waiting[0], report)
            case m.Measured():
                measured = muster.measuring.pop(report.measure, None)
                if measured is not None:
                    _resolve(measured, report)
            case m.NotMeasured():
                measured = muster.measuring.pop(report.measure, None)
                if measured is not None:
                    _reject(measured, HerdError(report.reason, f"muster {name}: {report.detail}"))
            case m.Restored():
                muster.readings = report.readings
                self.events.put(PutBack(name, report.reason, report.readings))
            case m.Bye():
                for change in self._membership.left(name, report.boot, self._now()):
                    self._changed(change)

    def _block(self, name: str, muster: _Muster, block: m.Block) -> None:
        if muster.flow.offer(block.seq):
            self._on_block(name, block)
            muster.flow.took(block.seq)
        self._end.send_credit(
            name, m.Credit(boot=block.boot, reign=self._reign, ack=muster.flow.taken, until=muster.flow.until)
        )

    def _changed(self, change: Change) -> None:
        muster = self._musters[change.muster]
        if change.after is not Presence.ALIVE:
            muster.times_late += 1
        if change.after in (Presence.MISSING, Presence.DEAD, Presence.LEFT):
            self._fail(
                muster,
                f"muster-{change.after}",
                f"muster {change.muster} is {change.after} ({change.silent_s:.1f} s silent)",
            )
            self._decisions.forget(change.muster)
        self.events.put(PresenceChanged(change))

    def _act(self, action: DecisionAction) -> None:
        match action:
            case Publish():
                self._end.publish(
                    action.muster,
                    m.Decision(
                        reign=self._reign,
                        seq=action.seq,
                        issued_s=self._now(),
                        ttl_s=DECISION_TTL_S,
                        settings=action.settings,
                    ),
                )
            case Lost():
                self.events.put(DecisionLost(action.muster, action.seq))
            case GaveUp():
                waiting = self._musters[action.muster].deciding.pop(action.seq, None)
                if waiting is not None:
                    text = f"muster {action.muster} did not answer decision {action.seq} in {action.tries} tries"
                    _reject(waiting[0], HerdError("no-answer", text))
            case Answered():
                pass

    def _present(self, name: str) -> _Muster:
        presence = self._membership.presence(name)
        if presence not in (Presence.ALIVE, Presence.LATE):
            raise HerdError(f"muster-{presence or 'unknown'}", f"muster {name} is {presence or 'not in the herd'}")
        return self._musters[name]

    def _decide(self, name: str, settings: tuple[Setting, ...], future: Future[m.Applied]) -> None:
        try:
            muster = self._present(name)
        except HerdError as error:
            _reject(future, error)
            return
        now = self._now()
        for waiting, _ in muster.deciding.values():
            _reject(waiting, HerdError("superseded", f"a newer decision for muster {name} took its place"))
        muster.deciding.clear()
        action = self._decisions.decide(name, settings, now)
        muster.deciding[action.seq] = (future, now)
        self._act(action)

    def _measure(self, name: str, order: m.Measure, future: Future[m.Measured]) -> None:
        try:
            muster = self._present(name)
            numbered = muster.link.send(order, self._now())
        except HerdError as error:
            _reject(future, error)
            return
        except LinkFullError as error:
            _reject(future, HerdError("link-full", f"muster {name}: {error}"))
            return
        muster.measuring[order.measure] = future
        self._transmit(name, muster, numbered.seq, numbered.body)

    def _transmit(self, name: str, muster: _Muster, seq: int, order: m.Order) -> None:
        self._end.send_pulse(
            name,
            m.Frame(boot=muster.hello.boot, reign=self._reign, seq=seq, ack=muster.link.ack, body=codec.raw(order)),
        )

    def _fail(self, muster: _Muster, reason: str, text: str) -> None:
        for decided, _ in muster.deciding.values():
            _reject(decided, HerdError(reason, text))
        for measured in muster.measuring.values():
            _reject(measured, HerdError(reason, text))
        muster.deciding.clear()
        muster.measuring.clear()

    def _call(self, operator: str, call: m.Call) -> None:
        def answer(body: m.Status | m.Done | m.Refused) -> None:
            self._end.answer(operator, m.Answer(number=call.number, body=body))

        match call.body:
            case m.StatusAsk():
                answer(self._status())
            case m.StopAsk():
                self.events.put(StopAsked())
                answer(m.Done())
            case m.KnobsAsk():
                if self._experiment:
                    answer(m.Refused(reason=f"experiment {self._experiment} is running; stop it first"))
                    return
                future: Future[m.Applied] = Future()
                self._decide(call.body.muster, call.body.settings, future)
                # Resolved in this same thread, by the muster's report.
                future.add_done_callback(lambda done: answer(_as_answer(done)))

    def _status(self) -> m.Status:
        self._publish_views()
        return m.Status(
            experiment=self._experiment,
            folder=self._folder,
            malformed=self._end.malformed,
            musters=tuple(
                m.MusterStatus(
                    muster=v.name,
                    state=v.presence,
                    heard_s_ago=v.silent_s,
                    in_force=v.in_force,
                    answer_ms=v.answer_ms,
                    knobs=v.knobs,
                    facts=v.facts,
                    readings=v.readings,
                )
                for v in self._views.values()
            ),
        )

    def _publish_views(self) -> None:
        now = self._now()
        views = {
            name: MusterView(
                name=name,
                presence=str(self._membership.presence(name)),
                boot=x.hello.boot,
                knobs=x.hello.knobs,
                zones=x.hello.zones,
                streams=x.hello.streams,
                facts=x.hello.facts,
                in_force=x.in_force,
                times_late=x.times_late,
                unrestored=x.unrestored,
                answer_ms=x.answer_ms,
                readings=x.readings,
                silent_s=self._membership.silent_s(name, now),
            )
            for name, x in self._musters.items()
        }
        with self._lock:
            self._views = views


def _resolve(future: "Future[m.Applied] | Future[m.Measured]", value: m.Applied | m.Measured) -> None:
    if not future.done():
        future.set_result(value)  # type: ignore[arg-type]


def _reject(future: "Future[m.Applied] | Future[m.Measured]", error: HerdError) -> None:
    if not future.done():
        future.set_exception(error)


def _as_answer(done: "Future[m.Applied]") -> m.Done | m.Refused:
    error = done.exception()
    if error is not None:
        return m.Refused(reason=str(error))
    applied = done.result()
    if applied.outcome in ("applied", "restored"):
        return m.Done(readings=applied.readings)
    return m.Refused(reason=f"{applied.outcome}: {applied.detail}")
