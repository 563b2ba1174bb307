"""Print one benchmark's result as one JSON object: python -m tests.benchmarks NAME, or `all` of those with goals."""

import importlib
import json
import os
import pkgutil
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests import benchmarks, one_thread
from tests.benchmarks._goals import ALONE, GOALS, rows

ALL = "all"


def main() -> int:
    names = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_"))
    if len(sys.argv) != 2 or sys.argv[1] not in (*names, ALL):
        print(f"usage: make bench NAME=one of {', '.join((ALL, *names))}", file=sys.stderr)
        return 2
    one_thread.ask()
    found = every() if sys.argv[1] == ALL else importlib.import_module(f"tests.benchmarks.{sys.argv[1]}").run()
    print(json.dumps(found, indent=2))
    # A benchmark that holds its figures against promises says so.
    return 0 if found.get("passed", True) else 1


def every() -> dict[str, Any]:
    """Each benchmark that has goals, one after another, each in a process of its own: every figure against its goal."""
    found: dict[str, dict[str, Any]] = {}
    loads: dict[str, float] = {}
    began = datetime.now(UTC)
    for name in dict.fromkeys(goal.benchmark for goal in GOALS):
        if name in ALONE:
            print(f"{name}: left out, as root by itself: make bench NAME={name}", file=sys.stderr, flush=True)
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        loads[name] = os.getloadavg()[0]
        done = subprocess.run([sys.executable, "-m", "tests.benchmarks", name], stdout=subprocess.PIPE, check=False)
        # One that misses its own promises ends with 1, and prints all the same.
        found[name] = json.loads(done.stdout)
    figures = list(rows(found))
    return {
        "began": began.isoformat(timespec="seconds"),
        "machine": machine(),
        "load_average_before": loads,
        "figures": figures,
        "passed": all(row["met"] for row in figures),
        "benchmarks": found,
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
