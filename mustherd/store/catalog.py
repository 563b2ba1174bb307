"""All experiments below a folder, whole or broken."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

from mustherd import files
from mustherd.store.beginning import beginning_in
from mustherd.store.errors import StoreError
from mustherd.store.experiment_row import CREATED, Status
from mustherd.store.store import DATABASE, DEFINITION, Store

INTERRUPTED = "interrupted"
"""It was running, and its process is gone."""
STATUSES = (CREATED, *get_args(Status), INTERRUPTED)
"""How an experiment that can be read may stand, see status_of."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment in a line."""

    name: str
    folder: str
    status: str
    """`created`, `running`, `stopped`, `done`, `failed`; `interrupted`: it was running and its process is gone;
    `broken`: it can't be read."""
    detail: str = ""
    phase: str = ""
    verdict: str | None = None
    saving_percent: float | None = None
    sense: str = "least"
    """What was wanted of the objective; with `most` the saving is a gain."""
    trials: dict[str, int] = {}
    """Attempts by state."""
    planned: int = 0
    """Numbers of trials that are meant to finish."""
    created_at: float = 0.0
    wall_seconds: float = 0.0
    left: tuple[str, ...] = ()
    """Nodes of this machine that it left changed, a sentence each."""


def status_of(store: Store) -> tuple[str, str]:
    """Status and detail as they are now: `running` holds only while somebody runs it."""
    row = store.experiment()
    if row.status == "running" and store.owner() is None:
        return INTERRUPTED, "the process that ran it is gone; resume it"
    return row.status, row.status_detail


def summary_of(store: Store) -> Summary:
    """The line for one experiment."""
    row = store.experiment()
    status, detail = status_of(store)
    verdict: dict[str, Any] = row.verdict or {}
    return Summary(
        name=row.name,
        folder=str(store.folder),
        status=status,
        detail=detail,
        phase=row.phase if status == "running" else "",
        verdict=verdict.get("verdict"),
        saving_percent=verdict.get("saving_percent"),
        sense=verdict.get("sense", "least"),
        trials=store.counts(),
        planned=sum(row.plan.values()),
        created_at=row.created_at,
        wall_seconds=store.wall_seconds(),
    )


def new_folder(parent: Path, name: str) -> Path:
    """Make an empty folder below `parent` for a new experiment: its name and the time. StoreError when it can't."""
    for folder in _folders(parent, name):
        try:
            files.folder(parent)
            folder.mkdir(mode=0o755)
        except FileExistsError:
            continue  # another experiment began in the same second
        except OSError as error:
            raise StoreError(f"{folder} can't be made: {error.strerror or error}") from error
        return folder
    raise AssertionError


def folder_for(parent: Path, name: str) -> Path:
    """Where a new experiment may go that another process is going to make; nothing is made."""
    return next(folder for folder in _folders(parent, name) if not folder.exists())


def _folders(parent: Path, name: str) -> Iterator[Path]:
    """What a new experiment's folder may be called, the plainest first."""
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    yield parent / stem
    for n in itertools.count(2):
        yield parent / f"{stem}-{n}"


def newest(parent: Path) -> Path:
    """The newest experiment's folder below `parent`. StoreError when there is none."""
    found = list_experiments(parent)
    if not found:
        if soon := beginning_in(parent):
            raise StoreError(f"there is no experiment in ./{parent} yet: {'; '.join(soon)}")
        raise StoreError(
            f"there is no experiment in ./{parent}: name a folder, or start one; the folder of one that runs on a herd"
            " is told by mustherd herd status"
        )
    return Path(found[0].folder)


def list_experiments(parent: Path | str) -> list[Summary]:
    """Experiments in the folders right below `parent`, newest first; one that can't be read is listed as broken.

    Folders that never were an experiment are left out; a missing `parent` holds none.
    """
    found: list[Summary] = []
    try:
        folders = sorted(path for path in Path(parent).absolute().iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{parent} can't be listed: {error.strerror or error}") from error
    for folder in folders:
        try:
            if not (folder / DATABASE).exists() and not (folder / DEFINITION).exists():
                continue
            with Store.open(folder, read_only=True) as store:
                found.append(summary_of(store))
        # A damaged file may hold anything, so any error of reading it is told rather than raised.
        except (StoreError, msgspec.MsgspecError, ValueError, TypeError) as error:
            found.append(Summary(name=folder.name, folder=str(folder), status="broken", detail=str(error)))
        except OSError as error:
            detail = f"it can't be looked into: {error.strerror or error}"
            found.append(Summary(name=folder.name, folder=str(folder), status="broken", detail=detail))
    # One that can't say when it began comes last.
    return sorted(found, key=lambda summary: (summary.created_at, summary.name), reverse=True)
