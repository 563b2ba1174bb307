"""What `experiment plan` promises against what happens on a test bed: 1, 2 and 3 measured nodes, as root.

Hosts with systemd, provisioned from a manifest; real memcached; agents as units, leaders by ssh; mutilate a stand-in
unless SOURCES names a folder that has it. Keys as in plan_against_reality. Some fifteen minutes.
"""

import tempfile
from pathlib import Path
from typing import Any

from mustherd.testbed.bed import Bed
from tests.testbed import parallel
from tests.testbed.reservation import Reservation

TRIALS = 21
WINDOW_S = 6


def run() -> dict[str, Any]:
    """One result for each number of musters."""
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="mustherd-plan-") as folder, Bed(Path(folder) / "bed", 4) as bed:
        reserved = Reservation(bed)
        try:
            home = reserved.folder("parallel")
            parallel.provision(reserved, home, (2, 1))
            for musters in (1, 2, 3):
                name = parallel.write(reserved, home, musters, TRIALS, WINDOW_S)
                planned_s = parallel.planned_s(reserved, home, name)
                results[str(musters)] = parallel.compared(parallel.run(reserved, home, name), planned_s)
        finally:
            reserved.close()
    alone = results["1"]["took_s"]
    for result in results.values():
        result["times_as_fast"] = round(alone / result["took_s"], 2)
    return {"window_s": WINDOW_S, "musters": results}
