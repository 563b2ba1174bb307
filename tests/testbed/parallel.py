"""The same trials on one, two and three measured nodes of a reservation, each loaded by a machine of its own."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mustherd.store.store import Store
from mustherd.trial import TrialState
from tests.testbed.reservation import Reservation

NODES = ("node1", "node2", "node3")
NODE0 = "ssh carol@c6220-1.example.net"
CLOCKS = (1200, 1900, 2600)
"""What a bed's nodes list."""


def provision(reserved: Reservation, folder: Path, fewer: Sequence[int]) -> None:
    """Three musters, and the machines of the load beside them on the same hosts: the inventory `herd3`.

    For each number in `fewer` an inventory of so many of them.
    """
    parts = " ".join(f"--muster {node} --agent {node}" for node in NODES)
    done = reserved.run(folder, f"mustherd herd inventory manifest.xml --to herd3 {parts}")
    assert done.returncode == 0, done.stderr
    reserved.add(folder, "herd3")
    for count in fewer:
        # What has no part in it is taken out, as the check of an inventory says.
        shutil.copytree(folder / "herd3", folder / f"herd{count}")
        file = folder / f"herd{count}/hosts.yml"
        written = yaml.safe_load(file.read_text())
        for group in written["all"]["children"].values():
            group["hosts"] = {host: about for host, about in group["hosts"].items() if host not in NODES[count:]}
        file.write_text(yaml.safe_dump(written, sort_keys=False))
    done = reserved.run(folder, "mustherd herd provision -i herd3")
    assert done.returncode == 0, done.stdout + done.stderr


def start(reserved: Reservation, musters: int) -> None:
    """Have the first so many musters run, and the others not."""
    for number, node in enumerate(NODES, 1):
        verb = "start" if number <= musters else "stop"
        assert reserved.bed.ssh(node, f"systemctl {verb} mustherd-muster").returncode == 0


def write(reserved: Reservation, folder: Path, musters: int, trials: int, window_s: float) -> str:
    """Have so many musters run, and write their definition: `trials` of clocks and one of the baseline. Its name."""
    start(reserved, musters)
    name = f"herd{musters}"
    definition = {
        "name": name,
        "herd": {"inventory": name},
        # So little load that the schedule is measured, and not this machine.
        "workload": {
            "preset": "etc", "qps": 200, "settle_seconds": 0.5, "ramp_seconds": 1, "window_seconds": window_s,
            "mutilate": {"measure_qps": 100, "connections": 1, "agent_threads": 1},
        },
        "objective": "read_p99_us",
        "knobs": {"dvfs": list(CLOCKS)},
        "search": {"method": "grid", "repetitions": -(-trials // len(CLOCKS))},
        "trials": trials,
        "baseline": {"every": 100},
        "repeats": 0,
        "gates": {"window_tolerance": 1, "achieved_ratio": 0.5, "attempts": 20, "same_failure": 20},
    }  # fmt: skip
    (folder / f"{name}.yml").write_text(yaml.safe_dump(definition))
    assert reserved.run(folder, f"scp -rq {name} {name}.yml carol@c6220-1.example.net:").returncode == 0
    return name


def planned_s(reserved: Reservation, folder: Path, name: str) -> float:
    """How long an experiment is said to take, beforehand."""
    planned = reserved.run(folder, f"{NODE0} sudo mustherd experiment plan --json {name}.yml")
    assert planned.returncode == 0, planned.stderr
    return float(json.loads(planned.stdout)["wall_seconds"])


def run(reserved: Reservation, folder: Path, name: str) -> Path:
    """Run it by hand on the shepherd's node; its folder, fetched."""
    done = reserved.run(folder, f"{NODE0} sudo mustherd experiment start {name}.yml --into out-{name} --no-report")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert reserved.run(folder, f"{NODE0} sudo tar -cz out-{name} | tar -xz").returncode == 0
    return folder / f"out-{name}"


def compared(out: Path, planned: float) -> dict[str, Any]:
    """What was planned, and how long the trials took from the first one's start to the last one's end.

    Both times are the store's own, as its shepherd's clock told them.
    """
    with Store.open(out, read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
    took_s = max(t.ended_at for t in finished) - min(t.started_at for t in finished)
    return {
        "trials": len(finished),
        "planned_s": round(planned, 1),
        "took_s": round(took_s, 1),
        "off_percent": round(100 * (took_s / planned - 1), 1),
    }
