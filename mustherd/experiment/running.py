"""An experiment that runs, in whichever process: where its shepherd listens, and asking it."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from mustherd import files
from mustherd.shepherd.operate import ask_at
from mustherd.store.errors import StoreError
from mustherd.store.store import Store
from mustherd.wire.messages import MusterView, Status, StatusAsk, StopAsk
from mustherd.wire.ports import Ports

ADDRESS = "shepherd.json"
"""In an experiment's folder, while its shepherd runs: where it listens and its pid."""
MOST_BYTES = 65_536
"""Of that file."""


def announce(folder: Path, host: str, ports: Ports, keys: Path | None) -> Path:
    """Say in the experiment's folder where its shepherd listens, and where the keys are that it takes.

    Gives the file, which goes when it ends.
    """
    told = {"pid": os.getpid(), "host": host, "keys": str(keys or ""), **msgspec.structs.asdict(ports)}
    files.replace(folder / ADDRESS, json.dumps(told))
    return folder / ADDRESS


def stop(folder: Path, keys: Path | None = None) -> None:
    """Ask for an end in good order: nodes put back, everything kept. Gives back at once.

    StoreError when it isn't running; WireError when its shepherd doesn't answer; KeysError.
    """
    if not is_running(folder):
        raise StoreError(f"{folder} isn't running: there is nothing to stop")
    _ask(folder, StopAsk(), keys)


def herd(folder: Path, keys: Path | None = None) -> tuple[MusterView, ...]:
    """Who is in the herd of the experiment in `folder`, as its shepherd sees it; nobody where it isn't running.

    StoreError, WireError, KeysError as in `stop`.
    """
    answer = _ask(folder, StatusAsk(), keys) if is_running(folder) else None
    return answer.musters if isinstance(answer, Status) else ()


def is_running(folder: Path) -> bool:
    """Whether somebody runs the experiment in `folder`. StoreError where there is none."""
    with Store.open(folder, read_only=True) as store:
        return store.owner() is not None


def _ask(folder: Path, body: StatusAsk | StopAsk, keys: Path | None) -> object:
    try:
        where: dict[str, Any] = json.loads(files.content(folder / ADDRESS, MOST_BYTES))
    except (OSError, ValueError):
        raise StoreError(f"{folder} doesn't say where its shepherd listens: it isn't running") from None
    if keys is None and where.get("keys"):
        keys = Path(where["keys"])
    return ask_at(where["host"], where["coordinate"], body, keys)
