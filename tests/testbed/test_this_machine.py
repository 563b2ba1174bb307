"""This very machine provisioned from CI's command, and put back: `make test-machine`, on one that is there for it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.machine, pytest.mark.timeout(1800)]

PROJECT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LOCAL = "inventory/local"
PROVISION = ("ansible-runner", "run", ".", "--project-dir", ".", "--inventory", LOCAL, "-p", "provision.yml")
RECAP = re.compile(r"^localhost\s+:.*?changed=(\d+)\s+unreachable=0\s+failed=0", re.MULTILINE)
WRITTEN = [Path(name) for name in ("/etc/mustherd", "/opt/mustherd", "/usr/local/bin/mustherd")]
KEPT = [Path(name) for name in ("/usr/local/sbin/mustherd-node", "/var/lib/mustherd-node", "/var/lib/mustherd")]
"""What restoring leaves unless it is asked to purge."""


def ran(*command: str) -> str:
    """A command from the repository's root that must not fail; gives what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment = kept | {"PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    answer = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert answer.returncode == 0, f"{' '.join(command)}\n{answer.stdout[-4000:]}\n{answer.stderr[-2000:]}"
    return answer.stdout


def changed(text: str) -> int:
    recap = RECAP.search(text)
    assert recap, text[-2000:]
    return int(recap[1])


@pytest.fixture
def _put_back() -> Iterator[None]:
    yield
    if any(path.exists() for path in WRITTEN):
        ran("mustherd", "herd", "restore", "-i", LOCAL, "-e", "restore_purge=true")


@pytest.mark.usefixtures("_put_back")
def test_ci_provisions_its_own_machine(tmp_path: Path) -> None:
    told = os.environ.get("MUSTHERD_MACHINE")
    assert told == "expendable", "this changes the machine: make test-machine says what, and how to let it"
    assert os.geteuid() == 0, "this needs root: it installs packages and writes to /etc and /opt"
    assert not [path for path in WRITTEN if path.exists()], "this machine is provisioned already: restore it first"
    assert changed(ran(*PROVISION)) > 0
    assert changed(ran(*PROVISION)) == 0
    # What came is whole: an experiment runs from it, in an environment that has nothing of this one.
    installed = "/opt/mustherd/current/bin/mustherd"
    spec = str(PROJECT / "examples/one-shot.yml")
    verdict = json.loads(ran(installed, "experiment", "start", spec, "--into", str(tmp_path / "run"), "--json"))
    assert verdict["status"] == "done"
    assert json.loads(ran("mustherd", "herd", "restore", "-i", LOCAL, "--json"))["changed"]["localhost"] > 0
    assert not [path for path in WRITTEN if path.exists()]
    ran("mustherd", "herd", "restore", "-i", LOCAL, "-e", "restore_purge=true")
    assert not [path for path in (*WRITTEN, *KEPT) if path.exists()]
    accounts = subprocess.run(["getent", "passwd", "mustherd", "mustherd-load"], capture_output=True, check=False)
    assert accounts.stdout == b""
