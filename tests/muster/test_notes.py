"""The file beside a knob's lock knows better than a journal that could not be written, or is an old copy."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mustherd import files
from mustherd.muster.claims import FOLDER
from mustherd.muster.journal import JournalError
from mustherd.terms import NODE
from tests.muster.test_claims import DVFS, ITR, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for journal in made.open:
        journal.close()


def fill(monkeypatch: pytest.MonkeyPatch, where: str, *, but: int = 0) -> None:
    """No file of that name can be written any more, or none at all; the first `but` ones still can."""
    replace, written = files.replace, []

    def full(path: Path, *rest: Any, **more: Any) -> None:
        if where in ("", path.name):
            written.append(path)
            if len(written) > but:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(path, *rest, **more)

    monkeypatch.setattr(files, "replace", full)


@pytest.mark.parametrize("since", ["put back", "put back, and by another muster", "changed again"])
def test_an_old_copy_of_a_state_folder_in_its_own_place_puts_nothing_old_back(machine: Machine, since: str) -> None:
    """A backup that was played back: the note beside the lock is the machine's, and knows better."""
    machine.dies("a", DVFS)
    shutil.copytree(machine.root / "a", machine.root / "backup")
    machine.puts_back("a")
    if since == "changed again":
        machine.dies("a", DVFS, found=2000)
    elif since != "put back":
        machine.dies("b", DVFS, found=2000)
        machine.puts_back("b")
    shutil.rmtree(machine.root / "a")
    (machine.root / "backup").rename(machine.root / "a")
    left = {DVFS: 2000} if since == "changed again" else {}
    assert machine.left("a") == left
    again = machine.begins("a")
    assert again.originals() == left
    again.close()
    assert [one["value"] for one in json.loads((machine.root / "a/originals.json").read_bytes())["originals"]] == [
        *left.values()
    ]


@pytest.mark.parametrize("full_at", ["originals.copy.json", "originals.json", f"{NODE}.dvfs.json"])
def test_what_was_journalled_in_part_and_never_touched_is_not_put_back(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, full_at: str
) -> None:
    """The muster was killed before it could take it out again."""
    journal = machine.begins("a")
    # The first note, which says that nothing was changed, has room: it is written before the files of the journal.
    fill(monkeypatch, full_at, but=full_at.startswith(NODE))
    with pytest.raises(JournalError, match=f"{full_at}: cannot write: No space left on device"):
        journal.record({DVFS: 2600})
    journal.close()
    monkeypatch.undo()
    assert machine.left("a") == {}
    again = machine.begins("a")
    assert again.originals() == {}
    again.close()
    assert machine.begins("b").originals() == {}


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_write_what_is_changed_is_put_back_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """Only what was written down to the last file, and not yet set, can't be told from what is set."""
    replace = files.replace
    for moment in range(1, 13):
        machine, to_go = Machine(tmp_path / str(moment)), [moment]
        steps: list[dict[tuple[str, str], int]] = [{}]

        def dying(path: Path, *rest: Any, to_go: list[int] = to_go, **more: Any) -> None:
            to_go[0] -= 1
            if to_go[0] > 0 or (after and not to_go[0]):
                replace(path, *rest, **more)
            if to_go[0] <= 0:
                raise KeyboardInterrupt

        machine.root.mkdir()
        journal = machine.begins("a")
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(files, "replace", dying)
            journal.record({DVFS: 2600})
            steps.append({DVFS: 2600})
            journal.record({DVFS: 1300, ITR: 1})
            steps.append({DVFS: 2600, ITR: 1})
            journal.forget([DVFS, ITR])
        journal.close()
        left = machine.left("a")
        if len(steps) == 3:  # all is back; once both notes say so nothing counts
            assert left.items() <= steps[-1].items()
            assert not left or moment < 11
        else:
            about = {DVFS: 2600} if len(steps) == 1 else {DVFS: 2600, ITR: 1}
            assert left == steps[-1] or (after and left == about and moment in (4, 8))
        other = machine.begins("b")
        assert other.originals() == left
        other.close()
        assert machine.left("a") == {}


def test_what_is_back_is_noted_where_no_file_of_the_journal_can_be_written(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor another one beside the locks: what stands there has the room."""
    journal = machine.begins("a")
    journal.record({DVFS: 2600})
    fill(monkeypatch, "")
    with pytest.raises(JournalError, match=r"originals.copy.json: cannot write: No space"):
        journal.forget([DVFS])
    assert journal.unrestored == 1
    journal.close()
    monkeypatch.undo()
    assert machine.left("a") == {}
    assert machine.begins("b").originals() == {}


def test_a_note_that_cannot_be_written_at_all_costs_nothing_else(machine: Machine) -> None:
    journal = machine.begins("a")
    journal.record({DVFS: 2600})
    note = machine.root / FOLDER / f"{NODE}.dvfs.json"
    note.unlink()
    note.mkdir()
    (note / "x").touch()
    with pytest.raises(JournalError, match=r"node-0.dvfs.json: cannot write: Is a directory"):
        journal.forget([DVFS])
    assert journal.unrestored == 1
    journal.close()
    assert machine.left("a") == {}
