import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.node.server.group import UNLIMITED, CpuGroup, GroupError


class Machine:
    """Folders that look like control groups to a process in group /user/session."""

    def __init__(self, root: Path, unified: bool) -> None:
        self.root = root
        self.home = root / "user/session"
        self.unified = unified
        self.home.mkdir(parents=True)
        self.mounts = root.parent / "mounts"
        self.own = root.parent / "own"
        kind, options, own = (
            ("cgroup2", "rw,nosuid", "0::/user/session")
            if unified
            else ("cgroup", "rw,cpu,cpuacct", "4:cpu,cpuacct:/user/session")
        )
        self.mounts.write_text(
            f"tmpfs / tmpfs rw 0 0\ncgroup2 {root}-no cgroup rw,memory 0 0\ncgroup {root} {kind} {options} 0 0\n"
        )
        self.own.write_text(f"9:memory:/elsewhere\n{own}\n")
        for folder in (root, root / "user", self.home):
            (folder / "cgroup.subtree_control").write_text("cpu memory\n")

    def offer(self, *folders: Path) -> None:
        """As the kernel does for a new group: its files are there at once."""
        for folder in folders:
            group = folder / "herd"
            group.mkdir()
            (group / "cgroup.procs").write_text("")
            if self.unified:
                (group / "cpu.max").write_text("max 100000\n")
                (group / "cpu.weight").write_text("100\n")
            else:
                (group / "cpu.cfs_quota_us").write_text("-1\n")
                (group / "cpu.cfs_period_us").write_text("100000\n")
                (group / "cpu.shares").write_text("1024\n")

    def group(self) -> CpuGroup:
        return CpuGroup("herd", self.mounts, self.own)


@pytest.fixture(params=[True, False], ids=["v2", "v1"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "cgroup", request.param)


def test_it_lies_below_the_process_where_that_is_allowed(machine: Machine) -> None:
    machine.offer(machine.home, machine.root)
    assert machine.group().path == machine.home / "herd"


def test_else_it_lies_further_up(machine: Machine) -> None:
    machine.offer(machine.root)
    assert machine.group().path == machine.root / "herd"
    assert not (machine.home / "herd").exists()


def test_where_no_place_allows_it_the_error_names_them_all(machine: Machine) -> None:
    with pytest.raises(GroupError) as caught:
        machine.group()
    assert str(machine.home) in str(caught.value)
    assert f"{machine.root}: " in str(caught.value)


def test_a_limit_is_read_back_and_can_be_taken_away(machine: Machine) -> None:
    machine.offer(machine.home)
    group = machine.group()
    assert group.quota_us() == UNLIMITED
    group.limit(400_000)
    assert group.quota_us() == 400_000
    group.adopt(4711)
    assert (group.path / "cgroup.procs").read_text() == "4711"
    group.limit(UNLIMITED)
    assert group.quota_us() == UNLIMITED


def test_it_can_go_before_others(machine: Machine) -> None:
    machine.offer(machine.home)
    group = machine.group()
    group.prefer()
    name, most = ("cpu.weight", "10000") if machine.unified else ("cpu.shares", "262144")
    assert (group.path / name).read_text() == most


def test_a_group_that_went_away_is_an_error(machine: Machine) -> None:
    machine.offer(machine.home)
    group = machine.group()
    for file in group.path.iterdir():
        file.unlink()
    group.path.rmdir()
    with pytest.raises(GroupError, match="herd"):
        group.quota_us()
    with pytest.raises(GroupError, match="cannot write"):
        group.adopt(1)
    group.close()


def test_without_control_groups(tmp_path: Path) -> None:
    with pytest.raises(GroupError):
        CpuGroup("herd", tmp_path / "none", tmp_path / "none")
    empty = tmp_path / "empty"
    empty.write_text("")
    with pytest.raises(GroupError, match="no cpu controller is mounted"):
        CpuGroup("herd", empty, empty)


@pytest.mark.memcached  # needs root, as the target that runs these does
@pytest.mark.process
def test_a_real_group_bounds_a_real_process() -> None:
    group = CpuGroup(f"mustherd-test-{os.getpid()}")
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        group.adopt(process.pid)
        for percent in (20, 55, 100):
            group.limit(percent * 10_000)
            assert group.quota_us() == percent * 10_000
        group.limit(UNLIMITED)
        assert group.quota_us() == UNLIMITED
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        group.close()
    assert not group.path.exists()
