"""Talking to a running shepherd as its operator: where it is, and what it answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mustherd.wire.messages import Done, KnobsAsk, LogAsk, Refused, Status, StatusAsk, StopAsk

COORDINATE = 50081

Shepherd = Annotated[str, typer.Option(help="Where the shepherd listens for operators: HOST or HOST:PORT.")]
Keys = Annotated[Path | None, typer.Option(help="Key folder; needed beyond loopback. The operator's key is used.")]
LOCAL = "127.0.0.1"


def ask(body: "StatusAsk | StopAsk | KnobsAsk | LogAsk", shepherd: str, keys: Path | None) -> "Status | Done | Refused":
    """Ask the shepherd; raises WireError when it doesn't answer, KeysError, or a usage error for its address."""
    from mustherd.wire.endpoints import OperatorEndpoint
    from mustherd.wire.keys import for_member
    from mustherd.wire.messages import KnobsAsk, LogAsk

    host, port = _address(shepherd)
    end = OperatorEndpoint(host, port, for_member(keys, "operator") if keys is not None else None)
    try:
        # Longer than a shepherd tries to reach a muster, so that its own answer is what the user reads.
        return end.call(body, timeout_s=15.0 if isinstance(body, KnobsAsk | LogAsk) else 3.0)
    finally:
        end.close()


def status(shepherd: str, keys: Path | None) -> "Status":
    """Who is in the herd."""
    from mustherd.wire.messages import Status, StatusAsk

    answer = ask(StatusAsk(), shepherd, keys)
    if not isinstance(answer, Status):
        raise typer.BadParameter(f"the shepherd at {shepherd} doesn't say who is in its herd")
    return answer


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if text.count(":") == 1 or text.startswith("[") else (text, "", "")
    if not colon:
        return text.strip("[]"), COORDINATE
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise typer.BadParameter(f"{text!r}: the port is a number from 1 to 65535", param_hint="--shepherd")
    return host.strip("[]"), int(port)
