"""What an operator may ask a shepherd for from another terminal."""

from collections.abc import Callable
from concurrent.futures import Future

import msgspec

from mustherd.shepherd.events import HerdEvent, StopAsked
from mustherd.shepherd.orders import Orders
from mustherd.shepherd.roster import Roster
from mustherd.shepherd.session import answer_of, logged_of, without
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.members import Role
from mustherd.wire.shepherd_endpoint import Received, ShepherdEndpoint

ENVELOPE_BYTES = 1024
"""Room for what an answer has around its body."""


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
            self._end.answer(received, m.Answer(number=call.number, body=body))

        if received.role is Role.OBSERVER and not isinstance(call.body, m.StatusAsk):
            answer(m.Refused(reason=f"the key {received.key_name} is an observer's: it may ask for the status alone"))
            return
        match call.body:
            case m.StatusAsk():
                answer(self._status())
            case m.StopAsk():
                self._tell(StopAsked(_who(received.key_name)))
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

    def _status(self) -> m.Status | m.Refused:
        """Every muster, with as much of each as fits into an answer."""
        status = m.Status(
            experiment=self._experiment,
            folder=self._folder,
            malformed=self._end.malformed,
            musters=tuple(self._roster.views().values()),
        )
        for left_out in ("", "facts", "streams", "zones", "readings", "knobs"):
            if left_out:
                musters = tuple(without(view, left_out) for view in status.musters)
                status = msgspec.structs.replace(status, musters=musters, left_out=(*status.left_out, left_out))
            if len(codec.encode(status)) <= m.MAX_COORDINATE_BYTES - ENVELOPE_BYTES:
                return status
        return m.Refused(reason="the herd's status doesn't fit into a message")


def _who(key_name: str | None) -> str:
    """Whoever has an operator's key, as a sentence names them."""
    if key_name == Role.OPERATOR:
        return "the operator"
    return f"operator {key_name}" if key_name else "an operator"
