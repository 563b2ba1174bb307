"""What one muster has taken over of another: the journal of the other counts no more, and all the rest of it does."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mustherd import locks
from mustherd.muster import claims
from mustherd.muster.claims import FOLDER, ClaimError
from mustherd.muster.journal import Journal, JournalError, left_changed
from mustherd.node.knob import Site
from mustherd.terms import NODE
from tests.fakes import ClaimedKnob, FakeNode

DVFS = (NODE, "dvfs")
ITR = (NODE, "itr-delay")
NOBODY = 65534


class Machine:
    """Two knobs of one machine, and musters of it that begin and are killed, as far as their journals show it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        node = FakeNode()
        self.dvfs, self.itr = (
            ClaimedKnob(knob.info, 1, site=Site(root, f"{NODE}.{knob.info.name}")) for knob in (node.dvfs, node.itr)
        )
        self.open: list[Journal] = []

    def begins(self, name: str, *knobs: ClaimedKnob) -> Journal:
        journal = Journal(self.root / name)
        self.open.append(journal)
        journal.claim(knobs or (self.dvfs, self.itr))
        return journal

    def dies(self, name: str, *changed: tuple[str, str], found: int = 2600) -> None:
        """In the middle, with what it had found."""
        journal = self.begins(name)
        journal.record(dict.fromkeys(changed, found))
        journal.close()

    def puts_back(self, name: str) -> None:
        journal = self.begins(name)
        journal.forget(journal.originals())
        journal.close()

    def ends_while_it_takes_over(
        self, name: str, monkeypatch: pytest.MonkeyPatch, owner: type, step: str, how: Callable[..., None]
    ) -> None:
        """The muster of `name` does so in a step that it takes when it begins, since there is no room, or killed."""
        with monkeypatch.context() as broken:
            broken.setattr(owner, step, how)
            with pytest.raises(KeyboardInterrupt if how is killed else JournalError):
                self.begins(name)

    def left(self, name: str) -> dict[tuple[str, str], claims.Kept]:
        return left_changed(self.root / name)

    def note(self, knob: str) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.root / FOLDER / f"{NODE}.{knob}.json").read_bytes())
        return found


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "note")


def killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for journal in made.open:
        journal.close()


def test_what_was_taken_over_counts_no_more_and_the_rest_does(machine: Machine) -> None:
    machine.dies("a", DVFS, ITR)
    other = machine.begins("b", machine.dvfs)
    other.forget([DVFS])
    other.close()
    assert machine.left("a") == {ITR: 2600}
    again = machine.begins("a")
    assert again.originals() == {ITR: 2600}
    again.close()
    assert machine.left("a") == {ITR: 2600}
    # On disk, too: what was dropped comes back by nothing that happens to the notes.
    for file in (machine.root / FOLDER).glob("*.json"):
        file.unlink()
    assert machine.left("a") == {ITR: 2600}


@pytest.mark.parametrize("stopped_at", ["begin", "keep"])
def test_one_that_was_killed_while_it_took_over_has_no_way_back_of_its_own(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, stopped_at: str
) -> None:
    """Or where there was no room for the note: its journal counted for ever, whatever had come of the knob since."""
    machine.dies("a", DVFS)
    machine.ends_while_it_takes_over("b", monkeypatch, claims.Claims, stopped_at, no_room)
    # Somebody is told all the while, and it is the one who will do it.
    assert (machine.left("a"), machine.left("b")) == ({DVFS: 2600}, {})
    machine.puts_back("a")
    assert machine.left("b") == {}
    journal = machine.begins("b")
    assert journal.originals() == {}
    journal.close()
    # Where the first one never comes back, it is still put back by whoever comes next.
    machine.dies("a", DVFS, found=2400)
    machine.ends_while_it_takes_over("b", monkeypatch, claims.Claims, stopped_at, no_room)
    journal = machine.begins("b")
    assert journal.originals() == {DVFS: 2400}
    assert machine.left("a") == {}


def test_of_what_is_left_changed_twice_the_later_original_counts(machine: Machine) -> None:
    """The second was killed too, after it had put back what the first one left and somebody had set another value."""
    machine.dies("a", DVFS)
    machine.puts_back("b")
    machine.dies("b", DVFS, found=2000)
    again = machine.begins("a")
    assert again.originals() == {DVFS: 2000}
    assert machine.note("dvfs")["taken"] == [str(machine.root / "b")]


@pytest.mark.parametrize("next_life", ["a", "b"])
def test_one_that_is_killed_before_it_has_a_journal_leaves_it_to_whoever_comes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, next_life: str
) -> None:
    """Its journal had the original, and the note beside the lock was still the first one's."""
    machine.dies("a", DVFS)
    machine.ends_while_it_takes_over("b", monkeypatch, Journal, "_store", killed)
    if next_life == "a":
        machine.puts_back("a")
        assert machine.left("b") == {}
        assert machine.begins("b").originals() == {}
        return
    again = machine.begins("b")
    assert again.originals() == {DVFS: 2600}
    again.close()
    assert machine.begins("a").originals() == {DVFS: 2600}


def test_only_what_is_to_be_put_back_is_waited_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, eleven minutes were waited for another muster's guardian, for a knob that needed nothing."""
    machine.dies("a", DVFS)
    asked: dict[str, tuple[float, float]] = {}
    inherit = locks.inherit

    def asking(path: Path, *rest: object, patience_s: float, heirs_s: float) -> locks.FileLock:
        asked[path.name] = (patience_s, heirs_s)
        return inherit(path, *rest, patience_s=patience_s, heirs_s=heirs_s)  # type: ignore[arg-type]

    journal = Journal(machine.root / "a")
    machine.open.append(journal)
    monkeypatch.setattr(locks, "inherit", asking)
    journal.claim([machine.dvfs, machine.itr], patience_s=3.0, only_free=True)
    assert asked == {f"{NODE}.dvfs.lock": (3.0, claims.GUARDIAN_S), f"{NODE}.itr-delay.lock": (0.0, 0.0)}


def test_one_that_came_and_went_while_the_folder_was_waited_for(machine: Machine) -> None:
    machine.dies("a", DVFS)
    late = Journal(machine.root / "a")
    machine.open.append(late)
    machine.puts_back("b")
    assert late.originals() == {DVFS: 2600}
    late.claim([machine.dvfs])
    assert late.originals() == {}


def test_a_knob_that_is_missing_for_one_life_keeps_its_note(machine: Machine) -> None:
    machine.dies("a", DVFS)
    without = machine.begins("a", machine.itr)
    without.record({ITR: 1})
    without.close()
    machine.puts_back("b")
    assert machine.left("a") == {}


def test_a_state_folder_by_another_name_is_the_same(machine: Machine) -> None:
    machine.dies("a", DVFS)
    (machine.root / "link").symlink_to(machine.root / "a")
    machine.puts_back("b")
    assert machine.left("link") == {}


def test_a_state_folder_that_was_moved_still_has_its_way_back(machine: Machine) -> None:
    machine.dies("a", DVFS)
    (machine.root / "a").rename(machine.root / "moved")
    assert machine.left("moved") == {DVFS: 2600}
    again = machine.begins("moved")
    assert again.originals() == {DVFS: 2600}
    again.close()
    assert machine.left("moved") == {DVFS: 2600}


def test_what_another_has_put_back_before_a_state_folder_was_moved_is_not_put_back_again(machine: Machine) -> None:
    machine.dies("a", DVFS)
    machine.puts_back("b")
    (machine.root / "a").rename(machine.root / "moved")
    assert machine.left("moved") == {}
    assert machine.begins("moved").originals() == {}


@pytest.mark.parametrize("ends", ["a", "copy"])
def test_of_a_state_folder_and_its_copy_one_puts_back(machine: Machine, ends: str) -> None:
    machine.dies("a", DVFS)
    shutil.copytree(machine.root / "a", machine.root / "copy")
    machine.puts_back(ends)
    assert machine.left("a") == machine.left("copy") == {}


def test_an_old_copy_of_a_state_folder_puts_nothing_old_back(machine: Machine) -> None:
    """It was made while the knob was changed before; since then it was put back, and somebody set another value."""
    machine.dies("a", DVFS)
    shutil.copytree(machine.root / "a", machine.root / "copy")
    machine.puts_back("a")
    machine.dies("a", DVFS, found=2000)
    assert (machine.left("a"), machine.left("copy")) == ({DVFS: 2000}, {})
    assert machine.begins("copy").originals() == {DVFS: 2000}
    assert machine.left("a") == {}


def test_former_owners_are_noted_up_to_a_number(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MOST_TAKEN", 3)
    for number in range(6):
        machine.dies(f"m{number}", DVFS)
    machine.puts_back("last")
    assert [name for name in ("m0", "m3", "m4", "m5") if machine.left(name)] == ["m0"]
    assert machine.note("dvfs")["taken"] == [str(machine.root / f"m{number}") for number in (3, 4, 5)]


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("spoil", [
    pytest.param(lambda file: file.unlink(), id="gone"),
    pytest.param(lambda file: file.write_bytes(b"{}"), id="damaged"),
    pytest.param(lambda file: file.write_bytes(b'{"x":' + b"[" * 100_000), id="deep"),
    pytest.param(lambda file: file.chmod(0o666), id="anybody's"),
    pytest.param(lambda file: (file.unlink(), file.symlink_to("/dev/null")), id="a link"),
    pytest.param(pipe, id="a pipe"),
    pytest.param(lambda file: file.parent.chmod(0o777), id="anybody's folder"),
])  # fmt: skip
def test_a_note_that_cannot_be_believed_says_nothing(
    machine: Machine, spoil: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    machine.dies("a", DVFS)
    machine.puts_back("b")
    assert machine.left("a") == {}
    caplog.clear()
    spoil(machine.root / FOLDER / f"{NODE}.dvfs.json")
    assert machine.left("a") == {DVFS: 2600}
    # Who only looks throws nothing away, and says nothing of the kind.
    assert caplog.text == ""


@pytest.mark.parametrize(
    "note", ["run/mustherd/watchdog", "x.json", "mustherd/x.json", "run/mustherd/a\0.json", "x" * 5000]
)
def test_a_journal_names_no_other_file_to_be_opened(note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FOLDER).mkdir(parents=True, mode=0o700)
    (tmp_path / "mustherd").mkdir(mode=0o700)
    real = os.open

    def opening(path: Path, *rest: int) -> int:
        assert Path(path).parts[-3:-1] == FOLDER.parts
        assert Path(path).suffix == ".json"
        return real(path, *rest)

    monkeypatch.setattr(os, "open", opening)
    assert claims.way_back(tmp_path / note, tmp_path, "boot", 7) == 7


def test_what_was_left_of_one_card_is_put_onto_no_other(machine: Machine) -> None:
    """One knob of a muster is a knob of the card that its configuration names: it was another, for one life."""
    other = ClaimedKnob(machine.dvfs.info, 1, site=Site(machine.root, f"{NODE}.dvfs.eth0"))
    machine.dies("a", DVFS)
    with pytest.raises(ClaimError, match=r"dvfs on node-0 is node-0.dvfs.eth0 here, and .* left node-0.dvfs changed"):
        machine.begins("a", other)
    assert machine.left("a") == {DVFS: 2600}
    # Whoever puts it back, the other card is free again.
    machine.puts_back("b")
    life = machine.begins("a", other)
    life.record({DVFS: 7})
    life.close()
    with pytest.raises(ClaimError, match=r"left node-0.dvfs.eth0 changed"):
        machine.begins("a", machine.dvfs)
    again = machine.begins("a", other)
    assert again.originals() == {DVFS: 7}
    again.forget([DVFS])
    again.close()
    assert machine.begins("a", machine.dvfs).originals() == {}


def test_what_another_left_of_this_card_and_this_one_of_another_are_two(machine: Machine) -> None:
    other = ClaimedKnob(machine.dvfs.info, 1, site=Site(machine.root, f"{NODE}.dvfs.eth0"))
    machine.dies("a", DVFS)
    life = machine.begins("b", other)
    life.record({DVFS: 7})
    life.close()
    with pytest.raises(ClaimError, match=r"left node-0.dvfs changed"):
        machine.begins("a", other)
    assert machine.begins("c", other).originals() == {DVFS: 7}
    assert machine.left("a") == {DVFS: 2600}


def test_one_without_a_file_beside_a_lock_is_not_taken_for_one_with(machine: Machine) -> None:
    machine.dies("a", DVFS)
    machine.puts_back("b")
    life = Journal(machine.root / "a")
    life.record({DVFS: 7})
    life.close()
    assert machine.left("a") == {DVFS: 7}


@pytest.mark.root
def test_between_root_and_a_service_it_is_the_same(machine: Machine) -> None:
    """The folder of claims is the service's, and so is what either of them writes there."""
    folder = machine.root / FOLDER
    folder.mkdir(parents=True)
    service = machine.root / "service"
    service.mkdir(mode=0o700)
    for parent in (machine.root, *machine.root.parents):
        if parent.name.startswith("pytest-") or parent == machine.root:
            parent.chmod(0o755)
    for path in (folder, service):
        os.chown(path, NOBODY, NOBODY)

    def as_service(do: Callable[[], None]) -> None:
        pid = os.fork()
        if not pid:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                do()
            except BaseException as error:
                os.write(2, f"{error}\n".encode())
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    machine.dies("a", DVFS)
    as_service(lambda: machine.puts_back("service"))
    assert machine.left("a") == {}
    again = machine.begins("a")
    assert again.originals() == {}
    again.close()
    # The other way round, and that one can begin again.
    as_service(lambda: machine.dies("service", DVFS))
    machine.puts_back("a")
    as_service(lambda: machine.begins("service").close())
    assert {path.stat().st_uid for path in folder.iterdir()} == {NOBODY}
