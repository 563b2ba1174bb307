"""Two shepherds and one set of ports: one that waits without an experiment lets one that has one have them."""

import socket
import threading
import time
from pathlib import Path

from mustherd.errors import UserError
from mustherd.shepherd import operate
from mustherd.wire.messages import StopAsk
from mustherd.wire.ports import Ports

WAY_S = 5.0
"""How long a shepherd that gives way may take to let go of its ports."""

AWAY_S = 10.0
"""How long the ports of a shepherd that gave way must be free before it listens again."""

LOOK_S = 1.0
"""Between two looks at them."""


def at(listen: str, ports: Ports) -> str:
    """Where a shepherd on these ports listens for operators."""
    return f"{f'[{listen}]' if ':' in listen else listen}:{ports.coordinate}"


def make_way(listen: str, ports: Ports, keys: Path | None) -> bool:
    """Have a shepherd that waits without an experiment, as a unit does, let go of the ports; whether there was one.

    `keys`: a folder with an operator's key.
    """
    if not listens(listen, ports.coordinate):
        return False  # an answer that nobody gives would be waited for
    try:
        status = operate.status(at(listen, ports), keys)
        if status.experiment:
            return False
        operate.ask(StopAsk(), at(listen, ports), keys)
    except UserError:
        return False
    deadline = time.monotonic() + WAY_S
    while time.monotonic() < deadline and listens(listen, ports.coordinate):
        time.sleep(0.05)
    return True


def stay_away(host: str, port: int, stop: threading.Event) -> None:
    """Wait until a port was free for AWAY_S without a break: an experiment lets go of it once before it begins.

    One that takes longer to begin asks again.
    """
    free = 0.0
    while free < AWAY_S and not stop.wait(LOOK_S):
        free = 0.0 if listens(host, port) else free + LOOK_S


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True
