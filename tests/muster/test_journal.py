"""Originals are on disk before anything is touched, whatever ends the process."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mustherd import files, guard
from mustherd.muster import journal as module
from mustherd.muster.guardian import Shared
from mustherd.muster.journal import Journal, JournalError
from mustherd.terms import NODE

DVFS = ("node-0", "dvfs")
ITR = ("node-0", "itr-delay")


Opened = Callable[..., Journal]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made: list[Journal] = []

    def make(folder: Path = tmp_path) -> Journal:
        made.append(Journal(folder))
        return made[-1]

    yield make
    for journal in made:
        journal.close()


def again(opened: Opened, journal: Journal) -> Journal:
    journal.close()
    return opened()


def test_originals_outlive_the_process_and_the_first_one_counts(opened: Opened) -> None:
    journal = opened()
    journal.record({DVFS: 2600})
    journal.record({DVFS: 1200, ITR: 1})
    journal = again(opened, journal)
    assert journal.originals() == {DVFS: 2600, ITR: 1}
    journal.forget([DVFS, ("node-9", "dvfs")])
    assert again(opened, journal).originals() == {ITR: 1}


def test_a_value_below_zero_outlives_the_process_too(opened: Opened) -> None:
    """'No limit' may be -1: nobody, the guardian neither, could read it any more."""
    journal = opened()
    shared = Shared()
    journal.tell = shared.keep
    journal.record({(NODE, "limit"): -1})
    journal.close()
    assert opened().originals() == shared.originals() == {(NODE, "limit"): -1}


def test_more_than_can_be_read_again_is_not_stored(opened: Opened) -> None:
    places = {f"sys/devices/system/cpu/cpu{n}/cpuidle/state{k}/disable": "0\n" for n in range(256) for k in range(5)}
    journal = opened()
    journal.record({(NODE, "states"): places})
    with pytest.raises(JournalError, match=r"bytes of originals; allowed: "):
        journal.record({(NODE, "more"): {str(n): "x" * 100 for n in range(10_000)}})
    journal.close()
    assert opened().originals() == {(NODE, "states"): places}


def test_record_is_durable_before_it_returns(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, then name, then folder, in this order and all of them, for each of the two copies."""
    done: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"  # noqa: PTH112
        done.append(f"fsync {kind}")
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    opened().record({DVFS: 2600})
    assert done == ["fsync file", "rename", "fsync folder"] * 2


def test_what_could_not_be_stored_is_not_taken_for_journalled(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened()
    monkeypatch.setattr(os, "fsync", lambda _fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(JournalError, match="No space left"):
        journal.record({DVFS: 2600})
    assert len(journal) == 0
    monkeypatch.undo()
    journal.record({DVFS: 1300})
    assert again(opened, journal).originals() == {DVFS: 1300}


def test_entries_of_another_boot_are_dropped(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened()
    journal.record({DVFS: 2600})
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("another\n")
    monkeypatch.setattr(module, "BOOT_ID", boot_id)
    journal = again(opened, journal)
    assert len(journal) == 0
    journal.record({ITR: 1})
    assert again(opened, journal).originals() == {ITR: 1}


def closed(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), "originals.copy.json")


def test_what_was_before_a_boot_needs_no_folder_that_can_be_written(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A muster on a read-only file system was refused after each boot, though it had nothing to put back."""
    journal = opened()
    journal.record({DVFS: 2600})
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("another\n")
    monkeypatch.setattr(module, "BOOT_ID", boot_id)
    monkeypatch.setattr(files, "replace", closed)
    journal = again(opened, journal)
    journal.claim([])
    assert journal.originals() == {}
    with pytest.raises(JournalError, match="cannot write: Read-only"):
        journal.record({ITR: 1})


@pytest.mark.parametrize("folder_there", [True, False])
def test_a_folder_that_no_lock_can_be_made_in_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder_there: bool
) -> None:
    """That there is no lock was told."""
    real = os.open

    def opening(path: Path, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT:
            closed()
        return real(path, flags, *rest)

    state = tmp_path / "state"
    if folder_there:
        state.mkdir(mode=0o700)
        monkeypatch.setattr(os, "open", opening)
    else:
        monkeypatch.setattr(os, "mkdir", closed)
    with pytest.raises(JournalError, match="Read-only file system; give it a `state` that it can write to"):
        Journal(state)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"boot_id": ""}', '{"boot_id": "", "originals": [{"sheep": 1}]}', "\0"]
)
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "originals.json").write_text(text)
    with pytest.raises(JournalError, match=r"originals.json: damaged; put the node's knobs right by hand"):
        Journal(tmp_path)
    assert (tmp_path / "originals.json").read_text() == text


FULL = {DVFS: 2600, ITR: 1}


def spoil(path: Path, how: str) -> None:
    """Damage one file as a disk, an editor or somebody else could."""
    text = path.read_text()
    edits = {
        "truncated": text[:40],
        "empty": "",
        "zeros": "\0" * 200,
        "infinity": text.replace("2600", "Infinity"),
        "nan": text.replace("2600", "NaN"),
        "bignum": text.replace("2600", "9" * 5000),
        "another value": text.replace("2600", "1200"),
        "another boot": text.replace('"boot_id":"', '"boot_id":"x'),
        "deep": "[" * 100_000,
        "huge": text + " " * 2_000_000,
    }
    if how in edits:
        path.write_text(edits[how])
        return
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "link":
        path.symlink_to(path)


WAYS = [
    *("truncated", "empty", "zeros", "infinity", "nan", "bignum", "another value", "another boot", "deep", "huge"),
    *("folder", "pipe", "link", "gone"),
]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", ["originals.json", "originals.copy.json"])
def test_where_one_copy_is_damaged_the_other_counts_and_a_line_says_so(
    opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, how: str
) -> None:
    journal = opened()
    journal.record(FULL)
    journal.close()
    spoil(tmp_path / name, how)
    journal = opened()
    assert journal.originals() == FULL
    assert (f"{tmp_path / name} is" in caplog.text) == (name == "originals.json" or how != "gone")
    assert all(record.message.count(str(tmp_path)) == 1 for record in caplog.records)
    # What looks through the folder next time finds nothing that it has to refuse.
    guard.require_plain(tmp_path)
    # And it is whole again at the next change.
    journal.forget([ITR])
    assert again(opened, journal).originals() == {DVFS: 2600}
    assert json.loads((tmp_path / name).read_text())["originals"] == [
        {"sheep": "node-0", "knob": "dvfs", "value": 2600}
    ]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("how", sorted(set(WAYS) - {"gone"}))
def test_where_both_are_damaged_no_knob_may_be_touched(opened: Opened, tmp_path: Path, how: str) -> None:
    journal = opened()
    journal.record(FULL)
    journal.close()
    for name in ("originals.json", "originals.copy.json"):
        spoil(tmp_path / name, how)
    with pytest.raises(JournalError, match=r"originals.json: damaged; put the node's knobs right by hand") as refused:
        opened()
    assert str(refused.value).count(str(tmp_path)) == 1


@pytest.mark.parametrize("dies", ["copy", "main"])
def test_of_two_copies_the_newer_counts(opened: Opened, tmp_path: Path, dies: str) -> None:
    """A crash between the two writes leaves one of them behind."""
    journal = opened()
    journal.record({DVFS: 2600})
    older = tmp_path / ("originals.json" if dies == "main" else "originals.copy.json")
    before = older.read_bytes()
    journal.record({ITR: 1})
    older.write_bytes(before)
    assert again(opened, journal).originals() == FULL


def test_a_journal_of_the_version_before_is_read(opened: Opened, tmp_path: Path) -> None:
    boot = module.BOOT_ID.read_text().strip() if module.BOOT_ID.exists() else ""
    (tmp_path / "originals.json").write_text(
        json.dumps({"boot_id": boot, "originals": [{"sheep": "node-0", "knob": "dvfs", "value": 2600}]})
    )
    assert opened().originals() == {DVFS: 2600}


def test_what_others_could_have_written_is_not_believed(opened: Opened, tmp_path: Path) -> None:
    journal = opened()
    journal.record(FULL)
    journal.close()
    tmp_path.chmod(0o777)
    with pytest.raises(JournalError, match="mode 777: only"):
        opened()
    tmp_path.chmod(0o700)
    for name in ("originals.json", "originals.copy.json"):
        (tmp_path / name).chmod(0o666)
    with pytest.raises(JournalError, match="mode 666"):
        opened()


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="file"):
        Journal(tmp_path / "file" / "state")


def test_one_muster_at_a_time(opened: Opened, tmp_path: Path) -> None:
    journal = opened()
    with pytest.raises(JournalError, match="another muster uses this state folder"):
        Journal(tmp_path)
    journal.close()
    journal.close()
    opened()


CRASH = """
import json, os, sys
from pathlib import Path
from mustherd.node.ranges import Range
from mustherd.muster.journal import Journal
from mustherd.muster.pasture import Pasture
from mustherd.node.twin.node import TwinNode
from mustherd.terms import Setting

RANGES = {"dvfs": Range(low=1200, high=2800), "itr-delay": Range(low=2, high=400)}
REAL = {"fsync": os.fsync, "rename": Path.replace}

def dying(name, when, left):
    def call(*args, **kwargs):
        left[0] -= 1
        if not left[0] and when == "before":
            os._exit(9)
        result = REAL[name](*args, **kwargs)
        if not left[0]:
            os._exit(9)
        return result
    return call

def life(state, when, name, number):
    call = dying(name, when, [number])
    if name == "fsync":
        os.fsync = call
    else:
        Path.replace = call
    node = TwinNode(state_file=state / "registers.json")
    pasture = Pasture(node.knobs, RANGES, Journal(state))
    pasture.apply([Setting("node-0", "dvfs", 1300), Setting("node-0", "itr-delay", 100)])
    pasture.apply([Setting("node-0", "dvfs", 1500)])
    pasture.restore()
    os._exit(0)

ends = []
for when in ("before", "after"):
    for name in ("fsync", "rename"):
        for number in range(1, 50):
            state = Path(sys.argv[1], f"{when}-{name}-{number}")
            state.mkdir()
            child = os.fork()
            if not child:
                life(state, when, name, number)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            ends.append((state.name, code))
            if not code:
                break
print(json.dumps(ends))
"""
ORIGINALS = {"dvfs": 2800, "itr-delay": 1}


@pytest.mark.process
def test_a_crash_at_any_write_leaves_a_node_that_the_next_start_puts_back(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path)], stdout=subprocess.PIPE, check=True)
    ends = json.loads(done.stdout)
    assert [code for _, code in ends].count(0) == 4
    assert [code for _, code in ends].count(9) >= 20
    assert len(ends) == 4 + [code for _, code in ends].count(9)
    for name, code in ends:
        journal = Journal(tmp_path / name)
        registers = tmp_path / name / "registers.json"
        found = json.loads(registers.read_text()) if registers.exists() else ORIGINALS
        kept = {knob: value for (_, knob), value in journal.originals().items()}
        journal.close()
        # Whatever differs has its original on disk.
        assert found | kept == ORIGINALS, f"{name}: {found}, journal {kept}"
        if code == 0:
            assert found == ORIGINALS
            assert kept == {}


def test_another_folder_in_its_place_is_not_written_and_told(opened: Opened, tmp_path: Path) -> None:
    """It was moved, or another one was mounted over it: nobody would look for its originals there."""
    state = tmp_path / "state"
    journal = opened(state)
    journal.record({DVFS: 2600})
    state.rename(tmp_path / "aside")
    with pytest.raises(JournalError, match="No such file"):
        journal.record({ITR: 1})
    state.mkdir(mode=0o700)
    changes: tuple[Callable[[], object], ...] = (
        lambda: journal.record({ITR: 1}), lambda: journal.forget([DVFS]), lambda: journal.take_up({})
    )  # fmt: skip
    for change in changes:
        with pytest.raises(JournalError, match="another folder than when this began"):
            change()
    assert list(state.iterdir()) == []
    # What is back is, and is still to be said.
    assert (journal.originals(), journal.unrestored) == ({}, 1)
    state.rmdir()
    (tmp_path / "aside").rename(state)
    journal.record({ITR: 1})
    assert journal.unrestored == 1
    journal.close()
    assert opened(state).originals() == {ITR: 1}


def test_what_its_guardian_was_never_told_of_was_never_touched(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision that failed since one of the two files took it stayed there, where its muster was killed then."""
    journal = opened()
    replace = files.replace

    def full(path: Path, *rest: Any, **more: Any) -> None:
        if path.name == "originals.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(path, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", full)
        with pytest.raises(JournalError, match=r"originals.json: cannot write: No space"):
            journal.record(FULL)
    # The guardian has as much of it as at the fork.
    journal.take_up({ITR: 1})
    assert again(opened, journal).originals() == {ITR: 1}


WITHOUT_FILES = """\
import os, resource, sys
from pathlib import Path
from mustherd.muster.journal import Journal, JournalError

journal = Journal(Path(sys.argv[1]))
assert "hashlib" not in sys.modules
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
free = os.dup(1)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
try:
    journal.record({("node-0", "dvfs"): 2600})
except JournalError as error:
    print(error)
print(journal.originals())
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
journal.record({("node-0", "dvfs"): 2600})
"""


@pytest.mark.process
def test_where_no_file_can_be_opened_nothing_is_taken_for_journalled(opened: Opened, tmp_path: Path) -> None:
    """Nor is anything broken by it, as what the first check loads would be."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FILES, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    said, held = done.stdout.splitlines()
    assert said.endswith("originals.copy.json: cannot write: Too many open files")
    assert held == "{}"
    assert opened().originals() == {DVFS: 2600}
