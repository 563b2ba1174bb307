"""What another user of the machine can put in the way of root's muster, key folder and experiment: nothing.

As root, with user nobody for the other.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.muster import journal as module
from mustherd.muster.journal import Journal, JournalError
from mustherd.store import lock
from mustherd.store.errors import OwnedError, StoreError
from mustherd.wire import keys
from mustherd.wire.keys import KeysError

pytestmark = [pytest.mark.root, pytest.mark.process]

NOBODY = 65534
DVFS = ("node-0", "dvfs")

HOLD = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print('held', flush=True)
time.sleep(60)
"""


@pytest.fixture
def nobody() -> Iterator["Nobody"]:
    who = Nobody()
    yield who
    who.end()


class Nobody:
    """Programs as another user."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[str]] = []

    def run(self, code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/usr/bin/env", "python3", "-c", code, *map(str, arguments)],
            user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def hold(self, path: Path) -> bool:
        """Lock a file or folder and keep it; gives whether that could be done."""
        process = subprocess.Popen(
            ["/usr/bin/env", "python3", "-c", HOLD, str(path)],
            user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._running.append(process)
        assert process.stdout is not None
        return process.stdout.readline() == "held\n"

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()


def test_a_forged_journal_is_refused_whole(place: Path, nobody: Nobody) -> None:
    state = place / "state"
    state.mkdir()
    state.chmod(0o777)
    boot = module.BOOT_ID.read_text().strip()
    forged = json.dumps({"boot_id": boot, "originals": [{"sheep": "node-0", "knob": "dvfs", "value": 1200}]})
    done = nobody.run("import sys; open(sys.argv[1], 'w').write(sys.argv[2])", state / "originals.json", Path(forged))
    assert done.returncode == 0, done.stderr
    with pytest.raises(JournalError, match=f"{state} belongs to user 0 with mode 777: only root"):
        Journal(state)
    # Nor is what was written then believed once the folder is closed.
    state.chmod(0o700)
    with pytest.raises(JournalError, match=f"originals.json belongs to user {NOBODY}"):
        Journal(state)


def test_a_state_folder_that_another_user_made_is_refused(place: Path, nobody: Nobody) -> None:
    place.chmod(0o1777)
    assert nobody.run("import os, sys; os.mkdir(sys.argv[1], 0o700)", place / "state").returncode == 0
    with pytest.raises(JournalError, match=f"belongs to user {NOBODY}"):
        Journal(place / "state")


def test_a_state_folder_that_root_made_for_a_service_is_the_service_s(place: Path) -> None:
    state = place / "state"
    state.mkdir(mode=0o700)
    os.chown(state, NOBODY, NOBODY)
    journal = Journal(state)
    journal.record({DVFS: 2600})
    journal.close()
    # Root has written for it what it can read and replace itself.
    assert {path.stat().st_uid for path in state.iterdir()} == {NOBODY}
    assert {path.stat().st_mode & 0o777 for path in state.iterdir()} == {0o600}


def test_nobody_keeps_root_from_its_journal_or_its_experiment(place: Path, nobody: Nobody) -> None:
    state, experiment = place / "state", place / "experiment"
    state.mkdir(mode=0o755)
    experiment.mkdir(mode=0o755)
    journal = Journal(state)
    journal.record({DVFS: 2600})
    journal.close()
    with lock.own(experiment):
        pass
    # The folder itself may be locked by whoever may read it, and that means nothing.
    assert nobody.hold(state)
    assert nobody.hold(experiment)
    for path in (*state.iterdir(), *experiment.iterdir()):
        assert not nobody.hold(path), path
    journal = Journal(state)
    assert journal.originals() == {DVFS: 2600}
    journal.close()
    with lock.own(experiment):
        look = "import pathlib, sys; from mustherd.store import lock; print(lock.owner_of(pathlib.Path(sys.argv[1])))"
        seen = subprocess.run(
            [sys.executable, "-c", look, str(experiment)], capture_output=True, text=True, check=True
        ).stdout
        assert int(seen) == os.getpid()


def test_a_lock_of_the_version_before_that_nobody_holds_is_told_with_its_holder(place: Path, nobody: Nobody) -> None:
    (place / "owner.lock").write_text("")
    (place / "owner.lock").chmod(0o644)
    assert nobody.hold(place / "owner.lock")
    with pytest.raises(OwnedError) as caught, lock.own(place):
        pytest.fail("owned twice")
    assert caught.value.pid == nobody._running[-1].pid


def test_an_experiment_in_a_folder_of_another_user_is_not_run_by_root(place: Path) -> None:
    folder = place / "experiment"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(StoreError, match=f"belongs to user {NOBODY}.*only root"), lock.own(folder):
        pytest.fail("owned")


def test_keys_are_neither_read_from_nor_written_for_another_user(place: Path, nobody: Nobody) -> None:
    folder, target = place / "keys", place / "target"
    keys.create(folder, ["shepherd", "muster-1"])
    target.write_text("content")
    os.chown(folder / "muster-1.key_secret", NOBODY, NOBODY)
    with pytest.raises(KeysError, match=f"muster-1.key_secret belongs to user {NOBODY}"):
        keys.for_member(folder, "muster-1")
    os.chown(folder / "muster-1.key_secret", 0, 0)
    (folder / "accepted").chmod(0o777)
    with pytest.raises(KeysError, match=r"accepted belongs to user 0 with mode 777"):
        keys.for_shepherd(folder)
    (folder / "accepted").chmod(0o700)
    assert [member.name for member in (keys.for_shepherd(folder).accepted or {}).values()] == ["muster-1"]
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(KeysError, match=f"keys belongs to user {NOBODY}"):
        keys.create(folder, ["muster-2"])
    assert target.read_text() == "content"
