"""What the disk of the spool may do to a muster: hang, or lose a file's end. Its node is put back all the same."""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.herd.timing import LEASE_S
from mustherd.rowlog.writer import LogWriter
from mustherd.terms import Setting
from mustherd.wire.messages import LogAction
from tests.herding import PATIENCE_S, MusterProcess, shepherd
from tests.waiting import until

pytestmark = pytest.mark.process

SLOW = (Setting("node-0", "dvfs", 1300),)
SLOW_VALUES = {"dvfs": 1300, "itr-delay": 1}
ORIGINALS = {"dvfs": 2800, "itr-delay": 1}


@contextlib.contextmanager
def logging(home: Path, spool: Path) -> Iterator[MusterProcess]:
    """A muster whose decision is in force and whose rows go through `spool`, some of them already."""
    with LogWriter(home / "experiment") as writer, shepherd(sink=writer) as (running, ports):
        one = MusterProcess(home, ports)
        file = one.write()
        text = file.read_text().replace("[ranges]", f'[logs]\nspool = "{spool}"\n[ranges]')
        file.write_text(f"{text}intlog_cores = 2\n")
        with (home / "log").open("ab") as log:
            command = [sys.executable, "-m", "mustherd.muster", "--config", str(file)]
            one.process = subprocess.Popen(command, stderr=log)
        try:
            until(lambda: running.musters().get("muster-1"))
            assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"
            assert running.log("muster-1", LogAction(action="start", label="0001-1")).result(PATIENCE_S).error == ""
            until(lambda: list(spool.rglob("*.blocks")))
            assert one.registers == SLOW_VALUES
            yield one
        finally:
            one.end()


def test_a_file_of_the_spool_that_shrinks(tmp_path: Path) -> None:
    with logging(tmp_path, tmp_path / "spool") as one:
        process = one.process
        assert process is not None

        def ended() -> bool:
            # What is durable goes, and a new file comes: each is cut until one was in use.
            for file in (tmp_path / "spool").rglob("*.blocks"):
                with contextlib.suppress(FileNotFoundError), file.open("r+b") as opened:
                    opened.truncate(0)
            return process.poll() is not None

        until(ended, PATIENCE_S)
        assert process.returncode == -signal.SIGBUS
        until(lambda: one.registers == ORIGINALS)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of its own that can be stopped."""
    home = Path(tempfile.mkdtemp(dir="/var/tmp"))
    image, mounted = home / "image", home / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(300 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    yield mounted
    subprocess.run(["fsfreeze", "-u", str(mounted)], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["umount", "-l", str(mounted)], check=True)
    shutil.rmtree(home)


@pytest.mark.root
def test_a_disk_that_hangs(tmp_path: Path, disk: Path) -> None:
    with logging(tmp_path, disk / "spool") as one:
        subprocess.run(["sync", "-f", str(disk)], check=True)
        subprocess.run(["fsfreeze", "-f", str(disk)], check=True)
        assert one.process is not None
        state = Path(f"/proc/{one.process.pid}/stat")
        until(lambda: state.read_text().rpartition(")")[2].split()[0] == "D")
        until(lambda: one.registers == ORIGINALS, LEASE_S + PATIENCE_S)
        # It was ended for good: the disk coming back changes nothing.
        subprocess.run(["fsfreeze", "-u", str(disk)], check=True)
        assert one.process.wait(PATIENCE_S) == -signal.SIGKILL
        assert one.registers == ORIGINALS
