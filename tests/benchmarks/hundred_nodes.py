"""What provisioning many nodes costs the control machine: `provision.yml` over hosts of a test bed, twice, as root.

Each node is a container with systemd and sshd, reached by OpenSSH. Kernels are not built, packages are there already,
and the servers' source is a stand-in that builds at once: what is left is the controller's own work. The nodes share
this machine's cores with it, so the run's own seconds say little; the controller's processes have a control group, and
it is their processor time that counts. Two cores need at least `minutes`: half of it, or all of what Ansible's own
process takes, which is one thread. NODES=10,30,100 takes other numbers of nodes: a hundred need 8 GB and, since their
own work is done here too, an hour and a half. Without them their minutes are told from the growth up to there.
"""

import contextlib
import os
import re
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mustherd.testbed.bed import Bed
from tests.testbed.rehearsal import RECAP, Rehearsal

NODES = (10, 30)
HUNDRED = 100
CORES = 2
MOST_MINUTES = {"first": 5.0, "second": 5.0}
"""Of a hundred nodes, on two cores; kernels are built and packages fetched beside it."""
GIVEN = ("-e", "memcached_mutilate_memcached=tarball", "-e", "common_ssh_mesh=false")
TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.*)\] \*+$")
TICKS = os.sysconf("SC_CLK_TCK")


def run() -> dict[str, Any]:
    """Both runs of each number of nodes, and what they come to for a hundred."""
    sizes = [int(word) for word in os.environ.get("NODES", "").split(",") if word] or list(NODES)
    found = {nodes: measured(nodes) for nodes in sorted(sizes)}
    minutes = {
        which: hundred({nodes: runs[which]["minutes"] for nodes, runs in found.items()}) for which in MOST_MINUTES
    }
    return {
        "cores": CORES,
        "nodes": {str(nodes): runs for nodes, runs in found.items()},
        "minutes_of_100": minutes,
        "measured": HUNDRED in found,
        "most_minutes": MOST_MINUTES,
        "passed": all(minutes[which] <= most for which, most in MOST_MINUTES.items()),
    }


def hundred(minutes: Mapping[int, float]) -> float:
    """Minutes of a hundred nodes: measured, or on the line through the two largest numbers of them."""
    if HUNDRED in minutes:
        return minutes[HUNDRED]
    fewer, more = ([0, 0, *sorted(minutes)])[-2:]
    slope = (minutes[more] - minutes.get(fewer, 0.0)) / (more - fewer)
    return round(minutes[more] + slope * (HUNDRED - more), 2)


def measured(nodes: int) -> dict[str, Any]:
    """The first run and the second one on so many nodes that were bare."""
    with tempfile.TemporaryDirectory(prefix="mustherd-nodes-") as made:
        folder = Path(made)
        with control_groups(folder / "groups") as groups, Bed(folder / "bed", nodes) as bed:
            herd = Rehearsal(bed)
            return {which: one_run(herd, groups) for which in ("first", "second")}


@contextlib.contextmanager
def control_groups(folder: Path) -> Iterator[Path]:
    """The tree of control groups, wherever this machine has it."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def one_run(herd: Rehearsal, groups: Path) -> dict[str, Any]:
    """What a run took, of whom, and in which tasks."""
    bed = herd.bed
    group = groups / f"{bed.namespace}-controller"
    group.mkdir()
    command = herd.command("provision.yml", *GIVEN)
    command["args"] = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"), *command["args"]]
    hosts = [groups / f"{bed.namespace}-{name}" for name in bed.hosts]
    before, began = sum(map(used_s, hosts)), time.monotonic()
    try:
        with subprocess.Popen(**command) as process:
            own = OwnTime(process.pid)
            text, tasks = followed(process, group)
        took = time.monotonic() - began
        controller = used_s(group)
    finally:
        closed(group)
    results = RECAP.findall(text)
    lost = [host for host, _, _, unreachable, failed in results if int(unreachable) or int(failed)]
    if process.returncode or lost:
        raise RuntimeError(f"exit code {process.returncode}, failed: {', '.join(lost)}\n{text[-5000:]}")
    executed = {host: int(ok) for host, ok, *_ in results if host != "localhost"}
    return {
        "wall_s": round(took, 1),
        "controller_cpu_s": round(controller, 1),
        "ansible_cpu_s": round(own.last_s, 1),
        "nodes_cpu_s": round(sum(map(used_s, hosts)) - before, 1),
        "tasks_a_node": max(executed.values()),
        "controller_ms_a_task": round(1000 * controller / sum(executed.values()), 1),
        "minutes": round(max(controller / CORES, own.last_s) / 60, 2),
        "costliest_cpu_s": {task: round(tasks[task], 1) for task in sorted(tasks, key=tasks.__getitem__)[:-13:-1]},
    }


def followed(process: "subprocess.Popen[str]", group: Path) -> tuple[str, dict[str, float]]:
    """What a run prints, and the controller's processor time within each task, by its name."""
    lines: list[str] = []
    tasks: defaultdict[str, float] = defaultdict(float)
    task, since = "before the first", 0.0
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if begins := TASK.match(line):
            now = used_s(group)
            tasks[task] += now - since
            task, since = begins[1], now
    tasks[task] += used_s(group) - since
    return "".join(lines), tasks


def used_s(group: Path) -> float:
    """Seconds of processor time of all that has ever run in a control group."""
    stat = dict(line.split() for line in (group / "cpu.stat").read_text(encoding="ascii").splitlines())
    return int(stat["usage_usec"]) / 1e6


def closed(group: Path) -> None:
    """End what is left in a group, such as connections that are kept, and the group."""
    (group / "cgroup.kill").write_text("1")
    while (group / "cgroup.procs").read_text():
        time.sleep(0.05)
    group.rmdir()


class OwnTime:
    """Processor time of one process without its children, read for as long as it is there."""

    def __init__(self, pid: int) -> None:
        self.last_s = 0.0
        self._stat = Path(f"/proc/{pid}/stat")
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                after = self._stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                if after[0] == "Z":
                    return
                self.last_s = (int(after[11]) + int(after[12])) / TICKS
                time.sleep(0.2)
