"""Reading log rows back: `Log.table` and `frame` beside plain pyarrow, and one question asked in every way there is.

The question, of sixteen cores' logs: each core's median of received bytes, and the cycles that it counted. Each way
runs in a process of its own, which has imported what it needs; seconds are from the question to the answer, and memory
is what the process grew by meanwhile, workers included. MUSTHERD_BENCH_ROWS are the sizes of it, as in 1e6,1e7; without
them it isn't asked.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import mustherd.data
from mustherd.node.intlog import COLUMNS
from mustherd.rowlog.reader import Log
from mustherd.rowlog.writer import LogWriter
from mustherd.terms import Facts, Zone
from mustherd.wire import messages as m
from tests.log_herd import TSC_KHZ, render, rows
from tests.wire.test_codec import HELLO

CORES = 16
ROUNDS = 5
PLAIN_ROWS = 1_000_000
FILE_ROWS = 10_000
"""Of one file, as a busy muster's have."""
LIMIT_BY_PYARROW = 1.3
LABEL, MUSTER, SPOOL = "0001-1", "muster-1", 7

WAYS = {
    "pandas": """
rows = data.merged(logs, ["rx_bytes", "cycles"])
data.medians(rows, ["rx_bytes"]), data.differences(rows).groupby("core").cycles.sum()
""",
    "batches": """
counted = {}
for part in data.differences_of(data.merged_frames(logs, ["rx_bytes", "cycles"])):
    for core, own in part.groupby("core"):
        values, sums = counted.setdefault(core, ([], [0]))
        values.append(own.rx_bytes.value_counts())
        sums[0] += own.cycles.sum()
for values, _ in counted.values():
    (count := pandas.concat(values).groupby(level=0).sum().cumsum()).searchsorted(count.iloc[-1] / 2)
""",
    "duckdb": """
experiment.duckdb().execute('''
    SELECT core, median(rx_bytes), sum(counted) FROM (
        SELECT core, rx_bytes, cycles - lag(cycles) OVER (PARTITION BY core ORDER BY "row") counted FROM "rows"
    ) GROUP BY core''').fetchall()
""",
    "dask": """
with dask.config.set(scheduler="threads"):
    rows = experiment.dask(["rx_bytes", "cycles"])
    data.medians(rows, ["rx_bytes"]).compute()
    data.differences(rows).groupby("core").cycles.sum().compute()
""",
    "two workers": """
with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="1GiB", dashboard_address=None) as cluster:
    with Client(cluster):
        began = time.monotonic()
        rows = experiment.dask(["rx_bytes", "cycles"])
        data.medians(rows, ["rx_bytes"]).compute()
        data.differences(rows).groupby("core").cycles.sum().compute()
        seconds = time.monotonic() - began
""",
}

ASK = """
import json, sys, threading, time
import dask, duckdb, pandas, psutil
from distributed import Client, LocalCluster
import mustherd.data as data
if __name__ == "__main__":
    experiment = data.open(sys.argv[1])
    logs = experiment.logs()
    process, most, over = psutil.Process(), [0], threading.Event()
    def size():
        total = 0
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_info().rss
            except psutil.Error:
                pass
        return total
    def watch():
        while not over.wait(0.01):
            most[0] = max(most[0], size())
    before = size()
    watching = threading.Thread(target=watch)
    watching.start()
    began, seconds = time.monotonic(), None
    exec(sys.argv[2])
    seconds = seconds or time.monotonic() - began
    over.set()
    watching.join()
    print(json.dumps({"seconds": round(seconds, 2), "grown_mb": max(0, most[0] - before) >> 20}))
"""


def run() -> dict[str, Any]:
    sizes = [int(float(size)) for size in os.environ.get("MUSTHERD_BENCH_ROWS", "").split(",") if size]
    found: dict[str, Any] = {"sizes": {}}
    with tempfile.TemporaryDirectory() as made:
        program = Path(made, "ask.py")
        program.write_text(ASK)
        fill(Path(made, "plain"), PLAIN_ROWS)
        found |= by_pyarrow(Path(made, "plain"))
        for size in sizes:
            fill(Path(made, str(size)), size)
            found["sizes"][str(size)] = {way: asked(program, Path(made, str(size)), way) for way in WAYS}
    found["limit_by_pyarrow"] = LIMIT_BY_PYARROW
    found["within_limit"] = max(found["table_by_pyarrow"], found["frame_by_pyarrow"]) <= LIMIT_BY_PYARROW
    return found


def asked(program: Path, folder: Path, way: str) -> dict[str, float]:
    command = [sys.executable, str(program), str(folder), WAYS[way]]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)  # type: ignore[no-any-return]


def by_pyarrow(folder: Path) -> dict[str, float]:
    """One log as a table and as a frame, beside pyarrow's own reading of the same files, in turns: processor time."""
    log = mustherd.data.open(folder).logs()[0]
    calls: dict[str, Callable[[Log], object]] = {
        "plain_table": _plain,
        "table": lambda of: of.table(),
        "plain_frame": lambda of: _plain(of).to_pandas(),
        "frame": lambda of: of.frame(),
    }
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call(log)
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.process_time()
            call(log)
            best[name] = min(best[name], time.process_time() - began)
    return {f"{name}_s": round(seconds, 4) for name, seconds in best.items()} | {
        f"{name}_by_pyarrow": round(best[name] / best[f"plain_{name}"], 2) for name in ("table", "frame")
    }


def _plain(log: Log) -> pa.Table:
    return pa.concat_tables([pq.ParquetFile(file, page_checksum_verification=True).read() for file in log.files])


def fill(folder: Path, count: int) -> None:
    """A folder with so many rows of sixteen cores."""
    each = count // CORES
    zone = Zone(name="package-0", kind="package", package=0, joules_per_count=2**-16, counts_per_wrap=2**32)
    hello = {f: getattr(HELLO, f) for f in HELLO.__struct_fields__}
    hello |= {"muster": MUSTER, "facts": Facts(kind="twin", tsc_khz=TSC_KHZ), "zones": (zone,)}
    number = 0
    with LogWriter(folder) as writer:
        writer.met(m.Hello(**hello))
        for start in range(0, each, FILE_ROWS):
            for core in range(CORES):
                number += 1
                text = render(rows(min(FILE_ROWS, each - start), core, start=start))
                block = m.Block(
                    muster_epoch=1, shepherd_epoch=1, spool=SPOOL, seq=number, label=LABEL,
                    stream=f"ixgbe-log-core-{core}", form="text", columns=COLUMNS,
                )  # fmt: skip
                writer.put(MUSTER, block, memoryview(text))
            if not writer.flush(MUSTER, SPOOL, number, 60.0):
                raise RuntimeError("rows were not written")


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
