"""The herd as the shepherd's thread keeps it: messages, requests and the time in; messages and news out."""

from collections.abc import Callable

from mustherd.herd.decisions import Decisions
from mustherd.herd.story import Step, Story
from mustherd.herd.timing import BEAT_PERIOD_S
from mustherd.reasons import Reason
from mustherd.shepherd.events import HerdError, HerdEvent
from mustherd.shepherd.intake import Intake
from mustherd.shepherd.operators import Operators
from mustherd.shepherd.orders import Orders
from mustherd.shepherd.roster import Roster
from mustherd.shepherd.session import MusterSession
from mustherd.shepherd.sink import LogSink
from mustherd.terms import Setting
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.endpoints import new_session
from mustherd.wire.shepherd_endpoint import Received, ShepherdEndpoint

LOOK_PAUSE_S = 20e-6
"""Between two looks at who is due, for each muster there is: a large herd's beats go out many at a time."""
LOOK_PAUSE_MOST_S = 0.02
"""A beat or a repeated message that comes as much later is nothing to anybody."""
REST_LEAST_S = 0.002
"""With a pause that is shorter than this nothing would gather meanwhile."""


class ShepherdServer:
    """Hands what arrives, and the time, to its parts: `orders` for musters and `intake` of their rows are open to use.

    For one thread, except `views`.
    """

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
        self._now = now
        self._shepherd_epoch = epoch = new_session()
        self._story = Story()
        self._decisions = Decisions(self._story)
        self._roster = Roster(end, self._decisions, epoch, story=self._story, sink=sink, tell=tell, now=now)
        self.orders = Orders(end, self._roster, self._decisions, epoch, tell=tell, now=now)
        self.intake = Intake(end, self._roster, sink, epoch, now=now)
        self._next_look = -float("inf")
        self._operators = Operators(end, self._roster, self.orders, experiment=experiment, folder=folder, tell=tell)

    def views(self) -> dict[str, m.MusterView]:
        """Every muster that ever said hello, as of now; callable from any thread."""
        return self._roster.views()

    def wanted(self, name: str) -> tuple[Setting, ...]:
        """The settings that should be in force on a muster or are under way to it."""
        return self._decisions.settings(name)

    def next_tick(self) -> float:
        """When `tick` will next have something to do, if nothing happens before."""
        look = max(self._next_look, min(self._roster.alarms.next(), self._decisions.next_tick()))
        return min(look, self.intake.next_due())

    def rest_s(self) -> float:
        """How long messages may be left to gather: of many musters' beats each would wake this thread otherwise.

        Not while a decision is unanswered or rows come in.
        """
        pause_s = self._look_pause_s()
        waited_for = self._decisions.unanswered or self._now() < self.intake.busy_until
        return 0.0 if waited_for or pause_s < REST_LEAST_S else pause_s

    def handle(self, received: Received) -> None:
        """A message arrived."""
        name, message = received.sender, received.message
        if isinstance(message, m.Call):
            self._operators.call(received, message)
            return
        if isinstance(message, m.Hello | m.Stranger):
            self._roster.hello(received, message)
            return
        if received.key_name not in (None, name):
            self._end.report_malformed("pulse or log", name, f"its key was accepted for {received.key_name!r}")
            return
        muster = self._roster.known(name, message.muster_epoch)
        if muster is None or message.shepherd_epoch != self._shepherd_epoch:
            # A repeated goodbye needs no answer; anything else comes from a muster whom this shepherd hasn't met.
            if isinstance(message, m.MusterBeat):
                self._roster.contested(name, message.muster_epoch)
                self._end.reply(received, m.WhoAreYou())
            return
        # Rows are a sign of life as well: beats may come late behind them.
        self._roster.heard(name, message.muster_epoch)
        if isinstance(message, m.Block):
            self.intake.block(name, muster, message, received.payload)
            return
        if isinstance(message, m.Offer):
            self.intake.offer(name, muster, message)
            return
        now = self._now()
        muster.link.acknowledged(message.ack, now)
        self._roster.to_send(name, muster)
        if isinstance(message, m.MusterBeat):
            self._decisions.carrying(name, message.carrying, now)
            # One that is older than a report already heard says nothing about now.
            if message.reports >= muster.link.ack:
                if (muster.in_force, muster.unrestored) != (message.in_force, message.unrestored):
                    muster.in_force, muster.unrestored = message.in_force, message.unrestored
                    self._roster.show(name)
                self.orders.act(self._decisions.in_force(name, message.in_force))
            return
        self._frame(name, muster, message)

    def _frame(self, name: str, muster: MusterSession, frame: m.Frame) -> None:
        """A frame of a muster's link, with a report in it; it may have come before."""
        # Acknowledged at once, or the muster would send it again before the next beat.
        self._roster.to_send(name, muster, beat_at=self._now())
        for body in muster.link.received(frame.seq, frame.body):
            try:
                report = codec.report(memoryview(body))
            except ValueError as error:
                self._end.report_malformed("pulse", name, str(error))
                # It may have been what somebody waits for.
                muster.fail(Reason.BAD_REPORT, f"muster {name} sent a report that can't be read: {error}")
                continue
            self.orders.reported(name, muster, report)

    def tick(self, now: float, *, judge: bool) -> None:
        """Send what is due; `judge`: see who has fallen silent, too.

        Credits go out when they are due. Who else is due is looked for after a pause that grows with the herd, however
        many messages come meanwhile.
        """
        self.intake.pay(now)
        if now < self._next_look:
            return
        sessions = self._roster.sessions
        if judge:
            self._roster.judge(now)
        self.orders.act(self._decisions.tick(now))
        for name in self._roster.alarms.due(now):
            muster = sessions[name]
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
            self.orders.resend(name, muster, now)
            self._roster.to_send(name, muster)
        self._next_look = now + self._look_pause_s()

    def _look_pause_s(self) -> float:
        return min(LOOK_PAUSE_S * len(self._roster.sessions), LOOK_PAUSE_MOST_S)

    def story(self, name: str) -> list[Step]:
        """What happened to a muster of late: whether it was there, and what became of decisions for it."""
        return self._story.of(name)

    def validate(self) -> None:
        """Raise AssertionError where the state of the herd's rules breaks one of their promises; for tests."""
        self._decisions.validate()
        self._roster.validate()

    def fail(self, error: HerdError) -> None:
        """Fail everything that is still asked of any muster: the shepherd stops."""
        for muster in self._roster.sessions.values():
            muster.fail(error.reason, str(error))
