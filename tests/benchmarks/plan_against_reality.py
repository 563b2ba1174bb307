"""What `experiment plan` promises against what happens: 1, 2 and 3 musters, each loaded by a team of its own.

Real processes on loopback: musters on recorded machines, a shepherd, and programs that print what mutilate would and
sleep for as long as its leader does before it measures. `off_percent` is how much longer than planned the trials took,
from the first one's start to the last one's end; `times_as_fast` is against one muster.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mustherd import api
from mustherd.load.mutilate.source import SYNC_S
from mustherd.store.store import Store
from mustherd.trial import TrialState
from tests.load.mutilate import pretend
from tests.real_herd import RealHerd, herd

RAMP_S, WINDOW_S = 1, 4
CLOCKS = list(range(1200, 2300, 100))


def run() -> dict[str, Any]:
    """One result for each number of musters."""
    results: dict[str, Any] = {}
    for musters in (1, 2, 3):
        with tempfile.TemporaryDirectory(prefix="mustherd-plan-") as folder, herd(Path(folder), musters) as made:
            results[str(musters)] = _measured(made)
    alone = results["1"]["took_s"]
    for result in results.values():
        result["times_as_fast"] = round(alone / result["took_s"], 2)
    return {"window_s": WINDOW_S, "musters": results}


def _measured(made: RealHerd) -> dict[str, Any]:
    pretend.install(made.mutilate, f'case "$*" in *--time*) sleep {SYNC_S + RAMP_S} ;; esac\n')
    file = made.folder / "plan.yml"
    workload = {
        "qps": 1000, "settle_seconds": 0.5, "ramp_seconds": RAMP_S, "window_seconds": WINDOW_S,
        "mutilate": {"program": str(made.mutilate), "binary": False, "connections": 4},
    }  # fmt: skip
    trials = len(CLOCKS)
    file.write_text(
        made.definition(workload=workload, knobs={"dvfs": CLOCKS}, trials=trials, baseline={"every": trials})
    )
    planned = api.plan(file)
    command = [sys.executable, "-m", "mustherd", "experiment", "start", str(file), "--into", str(made.folder / "out")]
    answer = subprocess.run(
        [*command, "--no-report", "--json"], capture_output=True, text=True, check=False, env=os.environ
    )
    if answer.returncode not in (0, 1):
        raise RuntimeError(answer.stderr)
    with Store.open(Path(json.loads(answer.stdout)["folder"]), read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
    took_s = max(t.ended_at for t in finished) - min(t.started_at for t in finished)
    return {
        "trials": len(finished),
        "planned_s": round(planned.wall_seconds, 1),
        "took_s": round(took_s, 1),
        "off_percent": round(100 * (took_s / planned.wall_seconds - 1), 1),
    }
