"""A wrong inventory ends every way of provisioning with its one message, and no connection comes to its hosts."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mustherd.cli.app import app
from tests.ansible_yaml import load
from tests.roles.test_bad_inventories import BAD, HOSTS

ROOT = Path(__file__).resolve().parents[2]
ADDRESSES = {"a.example.org": "127.0.0.2", "b.example.org": "127.0.0.3", "c.example.org": "127.0.0.4"}
USUAL = ("herd_reserved_cores: [6, 15]", "kernel_ixgbe_turob: off", "memcached_mutilate_port: 70000")
"""Tried by the long tests; the others by night."""


class Door:
    """One port of three addresses of loopback, which counts who comes and sends everybody away."""

    def __init__(self) -> None:
        self.came = 0
        self._listening: list[socket.socket] = []
        self.port = 0
        for address in ADDRESSES.values():
            door = socket.create_server((address, self.port))
            self.port = door.getsockname()[1]
            self._listening.append(door)
            threading.Thread(target=self._open, args=(door,), daemon=True).start()

    def _open(self, door: socket.socket) -> None:
        while True:
            try:
                guest, _ = door.accept()
            except OSError:
                return
            self.came += 1
            guest.close()

    def close(self) -> None:
        """Wake those that wait, and let the port go."""
        for door in self._listening:
            door.shutdown(socket.SHUT_RDWR)
            door.close()


@pytest.fixture
def door() -> Iterator[Door]:
    found = Door()
    yield found
    found.close()


def inventory(folder: Path, port: int, everywhere: str) -> Path:
    """The inventory of test_bad_inventories.py as files, whose hosts are all behind the door."""
    text = HOSTS
    for name, address in ADDRESSES.items():
        text = text.replace(name, address)
    written = load(text)
    written["all"]["vars"].update(
        ansible_port=port,
        ansible_ssh_common_args="-F none -o BatchMode=yes -o ConnectTimeout=2",
        ansible_ssh_retries=0,
    )
    (folder / "group_vars").mkdir()
    file = folder / "hosts.yml"
    file.write_text(yaml.safe_dump(written))
    (folder / "group_vars/all.yml").write_text(f"---\n{everywhere}\n")
    kind = (ROOT / "inventory/cloudlab/group_vars/c6220.yml").read_text()
    given = set(load(everywhere) or {})
    kept = [line for line in kind.splitlines() if line.partition(":")[0] not in given]
    (folder / "group_vars/c6220.yml").write_text("\n".join(kept) + "\n")
    return file


def provision(file: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "provision.yml", "-i", file, *more],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_good_inventory_has_its_hosts_contacted(door: Door, tmp_path: Path) -> None:
    """Else the others would show nothing."""
    done = provision(inventory(tmp_path, door.port, ""))
    assert door.came >= len(ADDRESSES), done.stdout
    assert done.returncode != 0


@pytest.mark.parametrize(
    "lines", [pytest.param(lines, marks=pytest.mark.long if lines in USUAL else pytest.mark.night) for lines in BAD]
)
def test_a_bad_value_contacts_nothing(lines: str, door: Door, tmp_path: Path) -> None:
    done = provision(inventory(tmp_path, door.port, lines))
    assert door.came == 0
    assert done.returncode != 0
    assert done.stdout.count("fatal: ") == 1, done.stdout
    assert re.search(BAD[lines], " ".join(done.stdout.split())), done.stdout


@pytest.mark.process
def test_nor_does_the_command(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    file = inventory(tmp_path, door.port, "kernel_ixgbe_smt: maybe")
    answer = CliRunner().invoke(app, ["herd", "provision", "-i", str(file)])
    assert door.came == 0
    assert answer.exit_code == 3, answer.output
    assert "kernel_ixgbe_smt is 'maybe'" in answer.stderr
