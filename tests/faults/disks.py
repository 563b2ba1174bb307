"""Small disks of a campaign's own that can be filled, stopped and slowed: as root, in a mount namespace of its own."""

import contextlib
import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

MIB = 2**20

SHUTDOWN = 0x8004587D
"""ioctl of ext4 and XFS: from now on whatever is written gives EIO, as on a disk that broke."""
MEND_S = 30.0
"""How long whoever used a disk may take to let go of it."""
NO_LOG_FLUSH = 2
"""What was not on the disk by then is lost."""


class Disk:
    """An ext4 file system in a file, mounted; or one in memory, which can't be stopped."""

    def __init__(self, home: Path, name: str, mib: int, *, in_memory: bool = False) -> None:
        self.folder = home / name
        self.folder.mkdir()
        self.in_memory = in_memory
        self._ballast = self.folder / "ballast"
        if in_memory:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "faults", str(self.folder)], check=True)
            return
        image = home / f"{name}.img"
        with image.open("wb") as file:
            file.truncate(mib * MIB)
        # A small one would have blocks of 1 KiB. On blocks below a page SQLite's index in shared memory has holes, and
        # where the disk is full, touching one ends the process with SIGBUS.
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-b", "4096", str(image)], check=True)
        self._image = image
        self._mount()

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.folder)], check=True)

    def fill(self) -> None:
        """Leave no room."""
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(MIB))
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    def hang(self, seconds: float) -> None:
        """Nothing is written for so long; who writes waits. It ends by itself, whatever becomes of this process."""
        script = 'fsfreeze -f "$0" && sleep "$1"; fsfreeze -u "$0"'
        subprocess.run(["sh", "-c", script, str(self.folder), str(seconds)], check=True)

    def crawl(self, seconds: float) -> None:
        """It stands still four fifths of the time, for so long."""
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            self.hang(0.4)
            time.sleep(0.1)  # fixed: how slow the disk is

    def break_(self) -> None:
        """Whatever is written gives EIO, and what nobody had made durable is lost; until `mend`."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def mend(self) -> None:
        """As after another start of the machine. Whoever has a file open there keeps it from being mended, as does a
        mount namespace that somebody made meanwhile, which has a mount of it too."""
        over = time.monotonic() + MEND_S
        while not self._mended():
            if time.monotonic() > over:
                raise AssertionError(f"{self.folder} is still in use")
            time.sleep(0.1)

    def _mended(self) -> bool:
        if subprocess.run(["umount", str(self.folder)], stderr=subprocess.PIPE, check=False).returncode:
            return False
        self._mount()
        try:
            # A loop device that is still in use elsewhere is used again, with all that is broken.
            (self.folder / "mended").touch()
        except OSError:
            return False
        return True

    def close(self) -> None:
        subprocess.run(["fsfreeze", "-u", str(self.folder)], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["umount", "-l", str(self.folder)], check=False)
