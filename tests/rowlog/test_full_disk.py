"""A disk that is full in the middle of a run, for real: rows wait, one line says why, and none is lost or repeated.

A full disk is a file system of a few MiB in a mount namespace of the test's own; as any user who may have one.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rowlog.full_disk import CORES, FIRST, ROWS

pytestmark = pytest.mark.process


def run(folder: Path, scenario: str) -> tuple[dict[str, int], list[str]]:
    """What the scenario saw, and what was said to stderr meanwhile."""
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-m", "tests.rowlog.full_disk"]
    done = subprocess.run([*command, str(folder), scenario], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr.splitlines()


def test_a_shepherd_without_room_keeps_rows_at_the_muster(tmp_path: Path) -> None:
    found, said = run(tmp_path, "shepherd")
    assert FIRST * CORES <= found["written_when_full"] < ROWS * CORES
    assert found["all_taken_meanwhile"], "the muster goes on reading its sources"
    assert len([line for line in said if "can't be written" in line]) == 1, said
    assert len([line for line in said if "written again" in line]) == 1, said


@pytest.mark.long
def test_a_muster_without_room_leaves_rows_in_their_sources(tmp_path: Path) -> None:
    found, said = run(tmp_path, "muster")
    assert not found["all_taken_meanwhile"]
    assert found["free_when_full"] < 4 * 2**20
    assert len([line for line in said if "has no room" in line]) == 1, said


@pytest.mark.long
def test_lives_that_end_while_the_disk_is_full_lose_nothing(tmp_path: Path) -> None:
    found, _ = run(tmp_path, "both")
    assert FIRST * CORES <= found["written_when_full"] < ROWS * CORES
    assert found["all_taken_meanwhile"]
