"""How long commands take to start, as whole processes, against a bare interpreter."""

import statistics
import subprocess
import sys
import time

LIMIT_HELP_S = 0.2
RUNS = 15


def _median_s(*command: str) -> float:
    seconds = []
    for _ in range(RUNS + 1):
        begun = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - begun)
    return round(statistics.median(seconds[1:]), 4)


def run() -> dict[str, object]:
    """Median wall seconds over 15 runs after one that is not counted."""
    main = (sys.executable, "-m", "mustherd")
    found = {
        "python_s": _median_s(sys.executable, "-c", "pass"),
        "help_s": _median_s(*main, "--help"),
        "experiment_help_s": _median_s(*main, "experiment", "--help"),
        "plan_json_s": _median_s(*main, "experiment", "plan", "--json"),
        "limit_help_s": LIMIT_HELP_S,
    }
    return {"benchmark": "command_start", "runs": RUNS, **found, "within_limit": found["help_s"] <= LIMIT_HELP_S}
