"""What can be wrong with an experiment's folder."""

from pathlib import Path

from mustherd.errors import UserError


class StoreError(UserError):
    """The folder, or what was asked of it, is not in order; the message says what and how to fix it."""


class NoRoomError(StoreError):
    """The disk under the folder is full."""


class OwnedError(StoreError):
    """Another living run has the experiment; `pid` says which process (0: it hasn't said yet)."""

    def __init__(self, folder: Path, pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"{folder} is being run by {who}: stop that one first")
        self.pid = pid
