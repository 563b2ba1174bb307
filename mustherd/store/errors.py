"""What can be wrong with an experiment's folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mustherd.errors import UserError

FAILED = 3
"""Exit code where something was done before it went wrong."""


class StoreError(UserError):
    """The folder, or what was asked of it, is not in order; the message says what and how to fix it."""


class PassingError(StoreError):
    """What passes when somebody else does something: whoever runs the experiment waits for that."""

    waits_for = ""
    passed = ""


class NoRoomError(PassingError):
    """The disk under the folder is full."""

    waits_for = "room"
    passed = "there is room again"


class LockedError(PassingError):
    """Another program has the database locked, as one that copies or looks at it may for minutes."""

    waits_for = "whoever has it locked"
    passed = "it can be written again"


class OwnedError(StoreError):
    """Another living run has the experiment; `pid` says which process (0: it hasn't said yet).

    `conducted`: by a shepherd, which the command that stops experiments reaches, or soon will.
    """

    def __init__(self, folder: Path, pid: int, *, conducted: bool = False) -> None:
        who = f"process {pid}" if pid else "another process"
        how = (
            f"stop that one first, mustherd experiment stop {folder}"
            if conducted
            else "wait for it, or end that process"
        )
        super().__init__(f"{folder} is being run by {who}: {how}")
        self.pid = pid


@contextlib.contextmanager
def once_begun() -> Iterator[None]:
    """Within, trials may have run: a StoreError ends with FAILED, since 2 would say that nothing was changed."""
    try:
        yield
    except StoreError as error:
        if error.exit_code == StoreError.exit_code:
            error.exit_code = FAILED
        raise
