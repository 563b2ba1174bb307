"""What an operator may ask a shepherd for from another terminal."""

from collections.abc import Callable
from concurrent.futures import Future

from mustherd.shepherd.events import HerdEvent, StopAsked
from mustherd.shepherd.orders import Orders
from mustherd.shepherd.roster import Roster
from mustherd.shepherd.session import answer_of, logged_of
from mustherd.wire import messages as m
from mustherd.wire.endpoints import Received, ShepherdEndpoint


class Operators:
    """Answers calls; while an experiment runs knobs are its own. For one thread."""

    def __init__(
        self,
        end: ShepherdEndpoint,
        roster: Roster,
        orders: Orders,
        *,
        experiment: str,
        folder: str,
        tell: Callable[[HerdEvent], None],
    ) -> None:
        self._end = end
        self._roster = roster
        self._orders = orders
        self._experiment = experiment
        self._folder = folder
        self._tell = tell

    def call(self, received: Received, call: m.Call) -> None:
        """Answer a call, at once or when the muster that it is about has answered."""

        def answer(body: m.Status | m.Done | m.Refused) -> None:
            self._end.answer(received.sender, m.Answer(number=call.number, body=body))

        if received.key_name in self._roster.sessions:
            answer(m.Refused(reason=f"the key of muster {received.key_name} is not an operator's"))
            return
        match call.body:
            case m.StatusAsk():
                answer(
                    m.Status(
                        experiment=self._experiment,
                        folder=self._folder,
                        malformed=self._end.malformed,
                        musters=tuple(self._roster.views().values()),
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
                self._orders.decide(call.body.muster, call.body.settings, future)
                # Resolved in this same thread, by the muster's report.
                future.add_done_callback(lambda done: answer(answer_of(done)))
            case m.LogAsk():
                logged: Future[m.Logged] = Future()
                self._orders.log_order(call.body.muster, m.LogOrder(order=call.number, wanted=call.body.wanted), logged)
                logged.add_done_callback(lambda done: answer(logged_of(done)))
