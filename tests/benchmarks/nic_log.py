"""What the log for any Linux NIC costs the node that it shares with the workload, at its ten samples a second.

Each case runs for SECONDS in a process of its own: `this_machine` over the kernel's own files, counters and driver;
`large_machine` over files of one with 64 CPUs, 16 queues and 300 counters of its driver, which can't be asked for its
CPUs'. The baselines in the same run: a process that wakes up ten times a second and does nothing, and one that starts
what a shell script would (`cat` on the same files) once a second.
"""

import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mustherd.node.linux import meters
from mustherd.node.linux.ethtool import KernelEthtool
from mustherd.node.linux.interfaces import is_queue, queues
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.netlink import EthtoolError
from mustherd.node.linux.niclog import PERIOD_S, NicLog
from mustherd.node.linux.tree import Tree

SECONDS = 10.0
LIMIT_CPU_PERCENT = 0.5
"""Of one core."""

CPUS, LINES, QUEUES, STATISTICS = 64, 300, 16, 300


def run() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        _large(Path(folder))
        cases = {name: _measured(name, folder) for name in CASES}
    limited = ("this_machine", "large_machine")
    return {
        "cases": cases,
        "samples_per_s": 1 / PERIOD_S,
        "seconds": SECONDS,
        "limit_cpu_percent": LIMIT_CPU_PERCENT,
        "within_limit": all(
            cases[name]["cpu_percent"] <= LIMIT_CPU_PERCENT and cases[name]["rows"] >= 0.9 * SECONDS / PERIOD_S
            for name in limited
        ),
    }


def _measured(case: str, folder: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.nic_log", case, folder]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def _large(root: Path) -> None:
    """Files of a large machine."""
    lines = ["".join(f"{f'CPU{c}':>11}" for c in range(CPUS))]
    for k in range(LINES):
        counts = "".join(f"{(k * 7919 + c * 104729) % 10**7:>11}" for c in range(CPUS))
        lines.append(f"{k:>4}:{counts}  PCI-MSI {k}-edge      {f'eth0-TxRx-{k}' if k < QUEUES else f'nvme0q{k}'}")
    for path, text in {
        "proc/interrupts": "\n".join(lines),
        **{f"sys/kernel/irq/{k}/per_cpu_count": ",".join(["123456"] * CPUS) for k in range(QUEUES)},
        **{f"sys/class/net/eth0/statistics/{w}_{n}": "123456789" for w in ("rx", "tx") for n in ("packets", "bytes")},
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text + "\n")


_WAYS = [(way, k, what) for k in range(QUEUES) for way in ("rx", "tx") for what in ("packets", "bytes")]
_NAMES = [f"{way}_queue_{k}_{what}" for way, k, what in _WAYS]
_NAMES += [f"other_{k}" for k in range(STATISTICS - len(_NAMES))]


def _driver_statistics() -> dict[str, int]:
    """As KernelEthtool puts them together."""
    return dict(zip(_NAMES, struct.unpack_from(f"={STATISTICS}Q", bytes(8 * STATISTICS)), strict=True))


def _own() -> NicLog:
    tree, ethtool = Tree(), KernelEthtool()
    links = sorted(p.name for p in Path("/sys/class/net").iterdir() if (p / "device").exists())
    interface = links[0] if links else "lo"

    def statistics() -> dict[str, int]:
        return ethtool.statistics(interface)

    try:
        statistics()
    except EthtoolError:
        interface = "lo"
    own = [q.irq for q in queues(tree, interface) if is_queue(q)]
    meter, _ = meters.find(tree, Msr(tree), "auto")
    return NicLog(tree, interface, own, meter, tree.cpus("sys/devices/system/cpu/online"), statistics=statistics)


def _sampled(log: NicLog) -> dict[str, float]:
    log.flush()
    rows = 0
    began = time.process_time()
    for _ in range(round(SECONDS)):
        time.sleep(1.0)
        rows += len(log.read())
    seconds = time.process_time() - began
    log.close()
    return {"cpu_percent": round(100 * seconds / SECONDS, 3), "rows": rows, "columns": len(log.columns)}


def _waking(_folder: str) -> dict[str, float]:
    began = time.process_time()
    for _ in range(round(SECONDS / PERIOD_S)):
        time.sleep(PERIOD_S)
    return {"cpu_percent": round(100 * (time.process_time() - began) / SECONDS, 3)}


def _shell(folder: str) -> dict[str, float]:
    files = [str(path) for path in Path(folder).rglob("*") if path.is_file()]
    before = sum(_children())
    for _ in range(round(SECONDS)):
        subprocess.run(["sh", "-c", 'cat "$@" >/dev/null', "sh", *files], check=True)
        time.sleep(1.0)
    return {"cpu_percent": round(100 * (sum(_children()) - before) / SECONDS, 3), "samples_per_s": 1.0}


def _children() -> tuple[float, float]:
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime, found.ru_stime


CASES = {
    "this_machine": lambda _folder: _sampled(_own()),
    "large_machine": lambda folder: _sampled(
        NicLog(Tree(Path(folder)), "eth0", range(QUEUES), None, range(CPUS), statistics=_driver_statistics)
    ),
    "baseline_waking": _waking,
    "baseline_shell": _shell,
}

if __name__ == "__main__":
    print(json.dumps(CASES[sys.argv[1]](sys.argv[2])))
