"""A driver's repository that has no tree for the kernel is told with the trees that it has, before an hour is spent."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible_yaml import load
from tests.roles.scripts import ROLES

pytestmark = pytest.mark.process


def all_of(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        for part in ("block", "rescue"):
            yield from all_of(task.get(part, []))


def looked(checkout: Path, path: str) -> tuple[int, str]:
    """Exit code and message of the role's own command."""
    tasks = load((ROLES / "kernel_ixgbe/tasks/source.yml").read_text())
    [task] = [task for task in all_of(tasks) if task["name"] == "Look for the driver's tree for this kernel"]
    given = {
        "{{ kernel_ixgbe_driver_checkout }}": str(checkout),
        "{{ kernel_ixgbe_driver_path }}": path,
        "{{ kernel_ixgbe_driver_destination }}": "drivers/net",
    }
    words = [given.get(word, word) for word in task["ansible.builtin.command"]["argv"]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_the_trees_that_are_there_are_named(tmp_path: Path) -> None:
    for folder in (
        ".git/x/drivers/net",
        "tools/a",
        "linux/linux-5.15.89/drivers/net/ethernet",
        "linux/6.15/drivers/net",
    ):
        (tmp_path / folder).mkdir(parents=True)
    assert looked(tmp_path, "linux/linux-5.15.89/drivers/net") == (0, "")
    code, said = looked(tmp_path, "linux/linux-6.1/drivers/net")
    assert code == 1
    assert said.split(", which has ")[1].split() == ["linux/6.15/drivers/net", "linux/linux-5.15.89/drivers/net"]


def test_a_repository_that_has_no_such_tree_at_all_shows_its_folders(tmp_path: Path) -> None:
    (tmp_path / "driver/src").mkdir(parents=True)
    code, said = looked(tmp_path, "linux/linux-6.1/drivers/net")
    assert code == 1
    assert said.split(", which has ")[1].split() == ["driver/src/"]
