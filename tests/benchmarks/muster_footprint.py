"""What a muster costs the node that it shares with the workload, at idle.

One real muster process with a twin node and its guardian, in the herd of a shepherd here, heartbeats both ways; over
20 s. The guardian shares the muster's memory: what counts is what it has of its own. The baseline in the same run: a
Python process that has imported zmq and sleeps.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from mustherd.shepherd.shepherd import Shepherd
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint

SECONDS = 20.0
PATIENCE_S = 30.0
LIMIT_RSS_MB = 40.0
LIMIT_CPU_PERCENT = 0.3
"""Of one core."""

CONFIG = """\
muster = "muster-1"
state = "{state}"
[ports]
pulse = {ports.pulse}
log = {ports.log}
control = {ports.control}
[ranges]
itr-delay = {{values = [1], low = 2, high = 400}}
dvfs = {{low = 1200, high = 2800}}
[twin]
"""


def run() -> dict[str, object]:
    end = ShepherdEndpoint(ports=Ports(0, 0, 0, 0))
    shepherd = Shepherd(end)
    shepherd.start()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "muster.toml")
            file.write_text(CONFIG.format(state=folder, ports=end.ports))
            muster = subprocess.Popen([sys.executable, "-m", "mustherd.muster", "--config", str(file)])
            processes.append(muster)
            bare = subprocess.Popen([sys.executable, "-c", "import time, zmq; time.sleep(600)"])
            processes.append(bare)
            deadline = time.monotonic() + PATIENCE_S
            while not shepherd.musters():
                if time.monotonic() > deadline:
                    raise RuntimeError("the muster did not join")
                time.sleep(0.05)
            time.sleep(2.0)
            [guardian] = psutil.Process(muster.pid).children()
            pids = [muster.pid, bare.pid, guardian.pid]
            before = [_cpu_seconds(pid) for pid in pids]
            time.sleep(SECONDS)
            seconds = [_cpu_seconds(pid) - b for pid, b in zip(pids, before, strict=True)]
            sizes = [psutil.Process(p.pid).memory_info().rss / 2**20 for p in processes]
            own = guardian.memory_full_info().uss / 2**20
            alive = shepherd.musters()["muster-1"].presence
    finally:
        for process in processes:
            process.kill()
            process.wait()
        shepherd.stop()
    rss, cpu = round(sizes[0] + own, 1), round(100 * (seconds[0] + seconds[2]) / SECONDS, 3)
    return {
        "muster_rss_mb": round(sizes[0], 1),
        "muster_cpu_percent": round(100 * seconds[0] / SECONDS, 3),
        "guardian_own_mb": round(own, 1),
        "guardian_cpu_percent": round(100 * seconds[2] / SECONDS, 3),
        "both_mb": rss,
        "both_cpu_percent": cpu,
        "muster_presence": alive,
        "bare_rss_mb": round(sizes[1], 1),
        "bare_cpu_percent": round(100 * seconds[1] / SECONDS, 3),
        "seconds": SECONDS,
        "limit_rss_mb": LIMIT_RSS_MB,
        "limit_cpu_percent": LIMIT_CPU_PERCENT,
        "within_limit": rss <= LIMIT_RSS_MB and cpu <= LIMIT_CPU_PERCENT and alive == "alive",
    }


def _cpu_seconds(pid: int) -> float:
    """Of all its threads, from the scheduler's own nanoseconds: the clock tick is far too coarse here."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9
