"""From a wheel and nothing else to a verdict: a fresh environment, the install, the quickstart; by uv and by pip."""

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.newcomer import installing

LIMIT_S = {"uv": 30.0, "pip": 75.0}


def _timed(python: Path, wheel: Path, folder: Path, uv: Path | None) -> dict[str, Any]:
    folder.mkdir()
    begun = time.perf_counter()
    environment = installing.install(python, wheel, folder / "venv", uv=uv)
    installed = time.perf_counter()
    done = subprocess.run(
        ["mustherd", "experiment", "start", "--json"],
        cwd=folder, env={**environment, "HOME": str(folder)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    ended = time.perf_counter()
    verdict = json.loads(done.stdout)["verdict"]
    return {"install_s": round(installed - begun, 2), "experiment_s": round(ended - installed, 2), "verdict": verdict}


def run() -> dict[str, Any]:
    """Wall seconds by uv and by pip, on the newest Python that is here.

    Both may use what earlier installs left in their caches; the first run on a machine downloads all of it too.
    """
    pythons = installing.interpreters()
    version = max(pythons)
    with tempfile.TemporaryDirectory(prefix="from-nothing-") as made:
        folder = Path(made)
        wheel = installing.build(folder / "wheel")
        uv = installing.uv(folder / "uv-program")
        found = {
            name: _timed(pythons[version], wheel, folder / name, program)
            for name, program in (("uv", uv), ("pip", None))
        }
    for name, one in found.items():
        one["total_s"] = round(one["install_s"] + one["experiment_s"], 2)
        one["limit_s"] = LIMIT_S[name]
    passed = all(one["total_s"] <= one["limit_s"] and one["verdict"] == "met" for one in found.values())
    return {
        "benchmark": "from_nothing",
        "python": version,
        "uv_of_this_machine": shutil.which("uv") is not None,
        **found,
        "passed": passed,
    }
