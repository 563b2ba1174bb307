"""What log rows cost from a node's files to durable Parquet: rates, CPU time, memory, bytes on disk.

Rows as intlog prints them, about 148 bytes each, come through FIFOs as fast as they are taken, one a core, from a
process of its own; a muster reads and a shepherd writes them, both real processes, all on the same machine. The time
runs from the first byte to the last row's commit. The baseline in the same run does the same work as the obvious
program does, one row at a time (split, int, JSON, lists, pandas); `reference` are figures of the system that this one
reproduces.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from mustherd.node.intlog import COLUMNS
from mustherd.rowlog import native
from tests.log_herd import LogHerd, render, rows
from tests.typed import some

FEW, MANY = 10**5, 10**7
CORES = (1, 16)
PATIENCE_S = 300.0
BASELINE_ROWS = 100_000
BATCH_ROWS = 1024

LIMIT_ROWS_PER_S = {1: 2_200_000, 16: 2_000_000}
LIMIT_MUSTER_CPU_S = 0.15
"""A million rows, as the next one."""
LIMIT_SHEPHERD_CPU_S = 0.35
LIMIT_MUSTER_RSS_MB = 64.0
LIMIT_BYTES_PER_ROW = 19.0
REFERENCE = {"muster_cpu_s_per_million": [2.2, 2.9], "shepherd_cpu_s_per_million": [2.7, 4.9]}


def run() -> dict[str, object]:
    runs = [_run(cores, count) for cores in CORES for count in (FEW, MANY)]
    many = [r for r in runs if r["rows"] == MANY]
    return {
        "row_parser": native.which(),
        "runs": runs,
        "per_row_baseline": _baseline(),
        "reference": REFERENCE,
        "limit_rows_per_s": LIMIT_ROWS_PER_S,
        "limit_muster_cpu_s_per_million": LIMIT_MUSTER_CPU_S,
        "limit_shepherd_cpu_s_per_million": LIMIT_SHEPHERD_CPU_S,
        "limit_muster_peak_rss_mb": LIMIT_MUSTER_RSS_MB,
        "limit_bytes_per_row": LIMIT_BYTES_PER_ROW,
        "within_limit": all(
            r["rows_per_s"] >= LIMIT_ROWS_PER_S[r["cores"]]
            and r["muster_cpu_s_per_million"] <= LIMIT_MUSTER_CPU_S
            and r["shepherd_cpu_s_per_million"] <= LIMIT_SHEPHERD_CPU_S
            for r in many
        )
        and all(
            r["muster_peak_rss_mb"] <= LIMIT_MUSTER_RSS_MB
            and r["bytes_per_row"] <= LIMIT_BYTES_PER_ROW
            and r["rows_lost"] == 0
            for r in runs
        ),
    }


def _run(cores: int, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        herd = LogHerd(Path(folder), cores, spool_mib=1024, wired=False)
        fifos = [str(herd.fifo(core)) for core in range(cores)]
        command = [sys.executable, "-m", "tests.benchmarks._log_rows", str(count), *fifos]
        feeder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            size = int(some(feeder.stdout).readline())
            herd.start_shepherd()
            herd.start_muster()
            herd.wait_started()
            # Until the streams' first pass has found nothing.
            time.sleep(1.0)
            processes = {"muster": some(herd.muster).pid, "shepherd": some(herd.shepherd).pid, "feeder": feeder.pid}
            before = {name: _cpu_seconds(pid) for name, pid in processes.items()}
            began = time.monotonic()
            trigger = some(feeder.stdin)
            trigger.write(b"\n")
            trigger.flush()
            herd.wait_for(count, PATIENCE_S)
            seconds = time.monotonic() - began
            spent = {name: (_cpu_seconds(pid) - before[name]) * 1e6 / count for name, pid in processes.items()}
            peaks = {name: _peak_mb(pid) for name, pid in processes.items()}
            on_disk = sum(f.stat().st_size for f in herd.experiment.rglob("*.parquet"))
            lost = sum(booked.account.rows_lost for booked in herd.accounts())
        finally:
            feeder.kill()
            feeder.communicate()
            herd.end()
    return {
        "cores": cores,
        "rows": count,
        "text_bytes_per_row": round(size / count, 1),
        "rows_per_s": round(count / seconds),
        "muster_cpu_s_per_million": round(spent["muster"], 3),
        "shepherd_cpu_s_per_million": round(spent["shepherd"], 3),
        "feeder_cpu_s_per_million": round(spent["feeder"], 3),
        "muster_peak_rss_mb": round(peaks["muster"], 1),
        "shepherd_peak_rss_mb": round(peaks["shepherd"], 1),
        "bytes_per_row": round(on_disk / count, 2),
        "rows_lost": lost,
    }


def _baseline() -> dict[str, float]:
    """Both halves of the obvious program, CPU time only: no socket, no commit."""
    text = render(rows(BASELINE_ROWS, 0)).decode()
    began = time.process_time()
    batches, batch = [], []
    for line in text.splitlines():
        batch.append([int(number) for number in line.split(" ")])
        if len(batch) == BATCH_ROWS:
            batches.append(json.dumps(batch))
            batch = []
    batches.append(json.dumps(batch))
    sent = time.process_time()
    columns: dict[str, list[int]] = {name: [] for name in COLUMNS}
    for message in batches:
        for row in json.loads(message):
            for name, number in zip(COLUMNS, row, strict=True):
                columns[name].append(number)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.parquet")
        pd.DataFrame(columns).to_parquet(file)
        stored, size = time.process_time(), file.stat().st_size
    return {
        "rows": BASELINE_ROWS,
        "muster_cpu_s_per_million": round((sent - began) * 1e6 / BASELINE_ROWS, 2),
        "shepherd_cpu_s_per_million": round((stored - sent) * 1e6 / BASELINE_ROWS, 2),
        "bytes_per_row": round(size / BASELINE_ROWS, 2),
    }


def _cpu_seconds(pid: int) -> float:
    """Of all its threads, from the scheduler's own nanoseconds."""
    return sum(int((t / "schedstat").read_text().split()[0]) for t in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def _peak_mb(pid: int) -> float:
    """Resident, its peak."""
    [line] = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
