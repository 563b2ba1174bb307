"""Talking to a running shepherd as its operator: where it is, what it is asked, what it answers."""

from pathlib import Path

from mustherd.errors import UserError
from mustherd.wire.endpoints import OperatorEndpoint
from mustherd.wire.keys import for_member
from mustherd.wire.messages import Done, KnobsAsk, LogAsk, MusterView, Refused, Status, StatusAsk, StopAsk
from mustherd.wire.ports import Ports

LOCAL = "127.0.0.1"

Ask = StatusAsk | StopAsk | KnobsAsk | LogAsk

ANSWER_S = 3.0
MUSTER_ANSWER_S = 15.0
"""Longer than a shepherd tries to reach a muster, so that its own answer is what the user reads."""


class OperateError(UserError):
    """What is asked of a shepherd makes no sense; the message says what would."""


class RefusedError(UserError):
    """The shepherd, or the muster that it asked, refused; the message says who and why."""

    exit_code = 3


def ask(body: Ask, shepherd: str = LOCAL, keys: Path | None = None) -> Status | Done | Refused:
    """Ask the shepherd at `shepherd`, HOST or HOST:PORT; `keys`: a folder with the operator's key.

    OperateError for an address that makes no sense, WireError when nobody answers, KeysError.
    """
    host, port = address(shepherd)
    return ask_at(host, port, body, keys)


def ask_at(host: str, port: int, body: Ask, keys: Path | None = None) -> Status | Done | Refused:
    """Ask the shepherd whose coordinate port is `port` of `host`. WireError, KeysError."""
    end = OperatorEndpoint(host, port, for_member(keys, "operator") if keys is not None else None)
    try:
        return end.call(body, timeout_s=MUSTER_ANSWER_S if isinstance(body, KnobsAsk | LogAsk) else ANSWER_S)
    finally:
        end.close()


def status(shepherd: str = LOCAL, keys: Path | None = None) -> Status:
    """Who is in the herd. Errors as in `ask`."""
    answer = ask(StatusAsk(), shepherd, keys)
    if not isinstance(answer, Status):
        raise OperateError(f"the shepherd at {shepherd} doesn't say who is in its herd")
    return answer


def muster(name: str, shepherd: str = LOCAL, keys: Path | None = None) -> MusterView:
    """One muster of the herd. OperateError when it isn't there; errors as in `ask`."""
    return among(status(shepherd, keys), name)


def among(herd: Status, name: str) -> MusterView:
    """A status's muster of that name. OperateError when it isn't there."""
    musters = {one.name: one for one in herd.musters}
    if name not in musters:
        raise OperateError(f"no muster {name!r}; there are {', '.join(sorted(musters)) or 'none'}")
    return musters[name]


def carry_out(body: KnobsAsk | LogAsk, shepherd: str = LOCAL, keys: Path | None = None) -> Done:
    """Have something done by a muster, and wait for it. RefusedError; errors as in `ask`."""
    answer = ask(body, shepherd, keys)
    if isinstance(answer, Done):
        return answer
    reason = answer.reason if isinstance(answer, Refused) else "an answer that makes no sense"
    raise RefusedError(f"muster {body.muster}: {reason}")


def address(text: str) -> tuple[str, int]:
    """The host and the coordinate port that `text` names: HOST, HOST:PORT or [HOST]:PORT. OperateError."""
    host, colon, port = text.rpartition(":") if text.count(":") == 1 or text.startswith("[") else (text, "", "")
    if not colon:
        return text.strip("[]"), Ports().coordinate
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise OperateError(f"{text!r}: the port is a number from 1 to 65535")
    return host.strip("[]"), int(port)
