"""A named build runs once, whoever asks for it and whoever is interrupted, and ends at its limit."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.roles.scripts import ROLES, load
from tests.waiting import until

PROGRAM = ROLES / "common/files/mustherd_build.py"

build = load("common/files/mustherd_build.py")

pytestmark = pytest.mark.process


class Place:
    """A folder to build in. A build notes that it ran, and ends when the gate is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = folder / "gate"
        self.ran = folder / "ran"
        self.asked: list[subprocess.Popen[str]] = []
        os.mkfifo(self.gate)

    def ask(self, script: str, *, limit: float = 60, verb: str = "run") -> "subprocess.Popen[str]":
        words = [verb, "kernel", "--state", self.folder, "--log", self.folder / "log", "--limit", str(limit)]
        # As Ansible runs it: the program comes by stdin.
        with PROGRAM.open() as program:
            asked = subprocess.Popen(
                [sys.executable, "-", *map(str, words), "--", "sh", "-c", script],
                stdin=program,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        self.asked.append(asked)
        return asked

    @property
    def gated(self) -> str:
        return f"echo ran >> {self.ran}; read line < {self.gate}; test $line = good"

    def open(self, word: str = "good") -> None:
        self.gate.write_text(f"{word}\n")

    def runs(self) -> int:
        return self.ran.read_text().count("ran") if self.ran.exists() else 0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    yield found
    for asked in found.asked:
        for pipe in (asked.stdout, asked.stderr):
            if pipe is not None:
                pipe.close()
    # Whatever a failed test left waiting at the gate ends.
    pid = build.record(tmp_path / "kernel.build.json").get("pid")
    if isinstance(pid, int):
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def test_whoever_asks_again_waits_for_the_one_that_runs(place: Place) -> None:
    first = place.ask(place.gated)
    until(lambda: place.runs() == 1, 20)
    second = place.ask(place.gated)
    assert second.stdout is not None
    assert second.stdout.readline() == "it runs already: waiting for it\n"
    place.open()
    assert (first.wait(20), second.wait(20)) == (0, 0)
    assert place.runs() == 1


def test_whoever_only_begins_it_waits_for_nothing_and_how_it_ends_is_asked_later(place: Place) -> None:
    first = place.ask(place.gated, verb="begin")
    assert first.wait(20) == 0
    until(lambda: place.runs() == 1, 20)
    again = place.ask(place.gated, verb="begin")
    other = place.ask("echo other", verb="begin")
    assert (again.wait(20), other.wait(20)) == (0, 0)
    later = place.ask(place.gated)
    assert later.stdout is not None
    assert later.stdout.readline() == "it runs already: waiting for it\n"
    place.open("bad")
    assert later.wait(20) == 1
    assert place.runs() == 1


def test_it_goes_on_when_whoever_asked_is_killed(place: Place) -> None:
    first = place.ask(place.gated)
    until(lambda: place.runs() == 1, 20)
    # As a connection that is cut, or a run that is interrupted.
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(20)
    second = place.ask(place.gated)
    assert second.stdout is not None
    assert second.stdout.readline() == "it runs already: waiting for it\n"
    place.open("bad")
    assert second.wait(20) == 1
    assert place.runs() == 1
    # What failed is built again by the next one.
    third = place.ask(place.gated)
    until(lambda: place.runs() == 2, 20)
    place.open()
    assert third.wait(20) == 0


def test_another_build_in_the_same_place_waits_its_turn(place: Place) -> None:
    first = place.ask(place.gated)
    until(lambda: place.runs() == 1, 20)
    other = place.ask(f"echo other >> {place.ran}")
    assert other.stdout is not None
    assert other.stdout.readline() == "another build runs there: waiting\n"
    assert "other" not in place.ran.read_text()
    place.open()
    assert (first.wait(20), other.wait(20)) == (0, 0)
    assert place.ran.read_text().split() == ["ran", "other"]


def test_it_ends_at_its_limit_with_all_that_it_started(place: Place) -> None:
    asked = place.ask(f"sh -c 'echo $$ > {place.folder}/inner; exec cat {place.gate}' & wait", limit=0.5)
    assert asked.wait(30) == 1
    assert asked.stderr is not None
    assert asked.stderr.read() == "kernel took longer than its limit of 0.5 s, and was ended\n"
    inner = int((place.folder / "inner").read_text())
    until(lambda: not Path(f"/proc/{inner}").exists() or "\nState:\tZ" in _status(inner), 20)


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "\nState:\tZ"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'a.c:3:9: error: x'; echo 'make: *** [a.o] Error 1'; exit 2", "a.c:3:9: error: x"),
        ("echo 'a.c:3:9: error: x'; echo 'as: No space left on device'; exit 2", "as: No space left on device"),
        ("echo '/bin/sh: 1: zstd: not found'; exit 2", "/bin/sh: 1: zstd: not found"),
        ("echo odd; echo 'make: *** [a.o] Error 1'; exit 2", "odd; make: *** [a.o] Error 1"),
        ("echo one; echo two; exit 3", "one; two"),
        ("exit 3", "it was killed without a word"),
    ],
)
def test_what_failed_is_said_from_its_log(script: str, said: str, place: Place) -> None:
    asked = place.ask(script)
    assert asked.wait(20) == 1
    assert asked.stderr is not None
    assert asked.stderr.read().strip() == said


def test_a_tree_is_not_touched_while_something_is_built_in_it(place: Place) -> None:
    wait = [sys.executable, str(PROGRAM), "wait", "kernel", "--state", str(place.folder)]
    assert subprocess.run(wait, capture_output=True, text=True, check=True).stdout == ""
    asked = place.ask(place.gated)
    until(lambda: place.runs() == 1, 20)
    with subprocess.Popen(wait, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "a build is under way: waiting for it\n"
        place.open()
        assert waiting.wait(20) == 0
    assert asked.wait(20) == 0


MAKEFILE = """.PHONY: all modules_install image_name
all:
	@echo ran >> $(CURDIR)/../ran; if [ -e $(CURDIR)/../broken ]; then echo 'a.c:1:2: error: no'; exit 1; fi
	@touch vmlinuz System.map .config
modules_install:
	@mkdir -p $(INSTALL_MOD_PATH)/lib
image_name:
	@echo vmlinuz
"""


@pytest.mark.long
def test_the_kernels_role_builds_by_it(tmp_path: Path) -> None:
    """Its own tasks, over a stand-in for the tree."""
    tree = tmp_path / "linux-1.2.3"
    tree.mkdir()
    (tree / "Makefile").write_text(MAKEFILE)
    role = ROLES / "kernel_ixgbe"
    variables = {
        "role_path": str(role),
        "kernel_ixgbe_version": "1.2.3",
        "kernel_ixgbe_source_dir": str(tmp_path),
        "kernel_ixgbe_build_host": "localhost",
        "kernel_ixgbe_tree": str(tree),
        "kernel_ixgbe_archives": str(tmp_path / "archives"),
        "ansible_python_interpreter": sys.executable,
        "herd_address": "10.10.1.2",
        "herd_network": "10.10.1.0/24",
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": variables,
        "vars_files": [str(role / "defaults/main.yml"), str(role / "vars/main.yml")],
        "tasks": [{"ansible.builtin.include_tasks": str(role / "tasks/build.yml")}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    ansible = Path(sys.executable).with_name("ansible-playbook")

    def playbook() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [ansible, tmp_path / "play.yml", "-e", json.dumps(variables)],
            cwd=tmp_path,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FILTER_PLUGINS": str(role / "filter_plugins")},
            capture_output=True,
            text=True,
            check=False,
        )

    (tmp_path / "broken").touch()
    done = playbook()
    assert done.returncode != 0
    assert "the build failed: a.c:1:2: error: no." in " ".join(done.stdout.split()), done.stdout
    (tmp_path / "broken").unlink()
    done = playbook()
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "linux-1.2.3.made/vmlinuz").exists()
    assert (tmp_path / "ran").read_text().count("ran") == 2
