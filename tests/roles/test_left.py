"""Whether a node is as a role left it: the tool that is run on nodes."""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.roles.scripts import ROLES, load

digest = load("common/filter_plugins/mustherd_digest.py").digest
left = load("common/files/mustherd_left.py")
Wanted = dict[str, Any]


class Node:
    """A folder that stands for a node's files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unit = folder / "x.service"
        self.unit.write_text("ExecStart=/bin/true\n")
        self.unit.chmod(0o644)
        self.link = folder / "current"
        self.link.symlink_to("envs/a")
        self.setting = folder / "governor"
        self.setting.write_text("")
        self.wanted: Wanted = {
            "asked": {"lease_s": "1", "memory": "2"},
            "files": [f"{folder}/*.service", str(self.link), f"{folder}/etc"],
            "shell": [f"cat {folder}/state"],
            "holds": [f"cat {self.setting}"],
        }
        (folder / "state").write_text("enabled\n")

    def words(self, verb: str, *more: str) -> list[str]:
        return [verb, *more, "mustherd", json.dumps(self.wanted), "--folder", str(self.folder / "left")]

    def differs(self, *more: str) -> list[str]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = left.main(self.words("compare", *more))
        lines = said.getvalue().splitlines()
        assert code == (1 if lines else 0)
        return lines

    def keep(self) -> None:
        """Of what is asked for now: what a comparison has put aside."""
        self.differs()
        assert left.main(["keep", "mustherd", "--folder", str(self.folder / "left")]) == 0


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.mark.process
def test_a_node_is_as_left_until_something_differs_and_then_until_it_is_left_again(node: Node) -> None:
    assert node.differs() == ["nothing is known of an earlier run"]
    node.keep()
    assert node.differs() == node.differs() == []
    node.unit.write_text("ExecStart=/bin/false\n")
    assert node.differs() == [f"files: {node.unit}"]
    # Put back by hand, but handlers and all that would have followed have not run.
    node.unit.write_text("ExecStart=/bin/true\n")
    assert node.differs() == ["nothing is known of an earlier run"]
    node.keep()
    assert node.differs() == []


def edit(node: Node) -> None:
    node.unit.write_text("ExecStart=/bin/true \n")


def open_up(node: Node) -> None:
    node.unit.chmod(0o666)


def add(node: Node) -> None:
    (node.folder / "y.service").touch()


def remove(node: Node) -> None:
    node.unit.unlink()


def lead_elsewhere(node: Node) -> None:
    node.link.unlink()
    node.link.symlink_to("envs/b")


def make(node: Node) -> None:
    (node.folder / "etc").mkdir()


def disable(node: Node) -> None:
    (node.folder / "state").write_text("disabled\n")


def lose(node: Node) -> None:
    (node.folder / "state").unlink()


def turn(node: Node) -> None:
    node.setting.write_text("governor: userspace -> schedutil")


def ask_otherwise(node: Node) -> None:
    node.wanted["asked"]["lease_s"] = "3"


def ask_more(node: Node) -> None:
    node.wanted["asked"]["new"] = "3"


def ask_less(node: Node) -> None:
    del node.wanted["asked"]["memory"]


def damage(node: Node) -> None:
    (node.folder / "left/mustherd.json").write_text("{")


@pytest.mark.process
@pytest.mark.parametrize(
    "change",
    [edit, open_up, add, remove, lead_elsewhere, make, disable, lose, turn, ask_otherwise, ask_more, ask_less, damage],
)
def test_each_kind_of_drift_is_told(node: Node, change: Callable[[Node], None]) -> None:
    node.keep()
    change(node)
    assert len(node.differs("--look")) == 1
    # A look forgets nothing.
    assert len(node.differs("--look")) == 1


@pytest.mark.process
def test_what_has_to_hold_is_told_though_it_was_so_when_the_role_ended(node: Node) -> None:
    turn(node)
    node.keep()
    assert node.differs() == [f"holds: cat {node.setting}: 0: governor: userspace -> schedutil"]


@pytest.mark.process
def test_it_comes_to_a_node_by_standard_input(node: Node) -> None:
    node.keep()
    tool = (ROLES / "common/files/mustherd_left.py").read_text()
    words = node.words("compare")
    done = subprocess.run([sys.executable, "-", *words], input=tool, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.process
def test_what_is_remembered_is_root_s_alone(node: Node) -> None:
    node.keep()
    assert (node.folder / "left/mustherd.json").stat().st_mode & 0o777 == 0o600


def test_a_role_s_own_files_count(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    file = tmp_path / "tasks/main.yml"
    file.write_text("- name: one\n")
    first = digest([str(tmp_path), str(tmp_path / "absent")])
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/x.pyc").touch()
    assert digest([str(tmp_path), str(tmp_path / "absent")]) == first
    file.write_text("- name: two\n")
    second = digest([str(tmp_path), str(tmp_path / "absent")])
    (tmp_path / "absent").touch()
    third = digest([str(tmp_path), str(tmp_path / "absent")])
    file.chmod(0o600)
    assert len({first, second, third, digest([str(tmp_path), str(tmp_path / "absent")])}) == 4
