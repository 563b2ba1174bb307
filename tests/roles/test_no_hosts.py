"""An inventory that gives no herd is an error of its own, whichever playbook is asked for: never a green run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mustherd.cli.app import app
from tests.ansible_yaml import load

ROOT = Path(__file__).resolve().parents[2]
INVENTORIES = {
    "empty": ("", "there is no host at all"),
    "no group": ("all: {hosts: {one: {ansible_connection: local}}}", "other hosts: one"),
    "no yaml": ("all: [", "parse"),
    "not there": (None, "parse"),
}


@pytest.mark.parametrize("kind", INVENTORIES)
@pytest.mark.parametrize("playbook", ["provision.yml", pytest.param("playbooks/restore.yml", marks=pytest.mark.long)])
def test_a_run_without_hosts_fails_and_says_why(kind: str, playbook: str, tmp_path: Path) -> None:
    text, said = INVENTORIES[kind]
    inventory = tmp_path / "hosts.yml"
    if text is not None:
        inventory.write_text(text)
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), playbook, "-i", inventory],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode not in (0, 250), done.stdout
    assert said in " ".join((done.stdout + done.stderr).split())
    assert "ok=1" not in done.stdout


@pytest.mark.process
def test_the_command_fails_as_its_playbook_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "hosts.yml").write_text("all: [")
    answer = CliRunner().invoke(app, ["herd", "restore", "-i", str(tmp_path / "hosts.yml")])
    assert answer.exit_code == 3, answer.output
    assert "reading playbook and inventory" in answer.stderr
    assert "fix: correct the inventory" in answer.stderr


def test_every_playbook_looks_for_a_herd_first() -> None:
    for playbook in (ROOT / "playbooks").glob("*.yml"):
        if playbook.name not in ("check_inventory.yml", "check.yml", "start_units.yml"):
            imports = [line for line in playbook.read_text().splitlines() if "import_playbook" in line]
            assert imports[:1] in (
                ["  ansible.builtin.import_playbook: check_inventory.yml"],
                ["  ansible.builtin.import_playbook: check.yml"],
            ), playbook


def test_playbooks_work_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {hosts: {}}")
    for playbook in (ROOT / "provision.yml", ROOT / "playbooks/restore.yml"):
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), playbook, "-i", "hosts.yml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "there is no host at all" in done.stdout, done.stdout + done.stderr


def tasks_of(content: Any) -> Iterator[dict[str, Any]]:
    for item in content if isinstance(content, list) else []:
        yield item
        for inner in ("tasks", "block", "rescue", "always"):
            yield from tasks_of(item.get(inner))


def test_what_is_done_on_the_control_machine_asks_for_no_root_there() -> None:
    """The inventory's `ansible_become`, as every written one has it, beats a task's own word `become`."""
    files = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]
    here = [
        task for file in files for task in tasks_of(load(file.read_text())) if task.get("delegate_to") == "localhost"
    ]
    assert here
    assert [task["name"] for task in here if task["vars"].get("ansible_become") is not False] == []
