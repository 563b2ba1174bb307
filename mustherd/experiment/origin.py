"""Where a definition comes from: its file, and what git says of it and of the inventory that it names."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from mustherd.definition import Experiment
from mustherd.experiment.provenance import DEFINITION, INVENTORY, PROGRAM, ROW_PARSER, keep
from mustherd.programs import ProgramError, printed
from mustherd.rowlog import native
from mustherd.store.database import versions
from mustherd.store.store import Store

if TYPE_CHECKING:
    from mustherd.provision.placement import InventoryHerd

GIT_S = 5.0
"""What git may take; it usually needs some milliseconds."""


def keep_origin(store: Store, experiment: Experiment, herd: "InventoryHerd | None", text: str = "") -> None:
    """Keep, at the start of a run, what is no node's: the program, the definition's `text` if given, the inventory.

    StoreError.
    """
    parts = {PROGRAM: {**versions(), ROW_PARSER: native.which()}}
    if text:
        parts[DEFINITION] = of_definition(experiment, text)
    if herd is not None and experiment.herd.inventory is not None:
        # Ansible takes a while, and most experiments have no inventory.
        from mustherd.provision.made import variables  # noqa: PLC0415

        inventory = Path(experiment.herd.inventory)
        parts[INVENTORY] = {"path": str(inventory.absolute()), **git_state(inventory), **variables(inventory)}
    keep(store, parts)


def of_definition(experiment: Experiment, text: str) -> dict[str, str]:
    """The definition's file, a digest of what it says, and the state of the repository that it lies in."""
    found = {"sha256": hashlib.sha256(text.encode()).hexdigest()[:16]}
    file = Path(experiment.source.file) if experiment.source.file else None
    if file is not None and file.is_file():
        found |= {"file": str(file.absolute()), **git_state(file)}
    return found


def git_state(path: Path) -> dict[str, str]:
    """Commit and state of the repository of a file or folder; nothing where it lies in none, or git isn't there.

    `commit_state` is of the whole repository: `clean`, or how many of its files differ from the commit. `file_state`
    is of the path alone: `committed`, `changed` or `not in git`.
    """
    folder = path if path.is_dir() else path.parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    differing = _git(folder, "status", "--porcelain", "--untracked-files=no")
    own = _git(folder, "status", "--porcelain", "--ignored", "--", str(path.absolute()))
    files = len((differing or "").splitlines())
    state = "unknown" if differing is None else f"{files} files changed" if files else "clean"
    return {"commit": commit, "commit_state": state, "file_state": _state_of(own)}


def _state_of(status: str | None) -> str:
    if status is None:
        return "unknown"
    if not status:
        return "committed"
    return "not in git" if all(line[:2] in ("??", "!!") for line in status.splitlines()) else "changed"


def _git(folder: Path, *words: str) -> str | None:
    """What git says; None where it refuses or isn't there. It refuses folders of other users, and so it should."""
    try:
        return printed(
            ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *words],
            GIT_S,
            environment={"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
    except ProgramError:
        return None
