"""Load generators that no Debian package has here: their documented output, from a program that prints it."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from mustherd.load import registry
from mustherd.load.address import Address
from mustherd.load.base import Site
from mustherd.load.host import LocalHost
from mustherd.plugins import LOADS, plugin
from mustherd.terms import Load, LoadReport

pytestmark = [pytest.mark.process, pytest.mark.long]

MEMTIER = {
    "run information": {"Threads count": 2, "Connections per thread": 8, "Test time": 1, "Format version": 2},
    "ALL STATS": {
        "Runtime": {"Total duration": 1001, "Time unit": "MILLISECONDS"},
        "Sets": {
            "Count": 5012, "Ops/sec": 5007.0, "Hits/sec": 0.0, "Misses/sec": 0.0, "Latency": 0.398,
            "Average Latency": 0.398, "Min Latency": 0.1, "Max Latency": 4.1, "KB/sec": 386.04,
            "Percentile Latencies": {
                "p50.00": 0.367, "p90.00": 0.5, "p95.00": 0.6, "p99.00": 0.831, "p99.90": 1.711,
                "Histogram log format": {"Compressed Histogram": "HISTFAAA"},
            },
        },
        "Gets": {
            "Count": 50112, "Ops/sec": 50062.0, "Hits/sec": 50000.0, "Misses/sec": 62.0, "Latency": 0.395,
            "Average Latency": 0.395, "Min Latency": 0.1, "Max Latency": 4.0, "KB/sec": 1951.93,
            "Percentile Latencies": {
                "p50.00": 0.367, "p90.00": 0.49, "p95.00": 0.59, "p99.00": 0.823, "p99.90": 1.695,
            },
        },
        "Totals": {"Count": 55124, "Ops/sec": 55069.0, "Hits/sec": 50000.0, "Misses/sec": 62.0},
    },
}  # fmt: skip
"""memtier_benchmark 2.1's file of --json-out-file."""

WRK2 = """\
Running 1s test @ http://127.0.0.1:80/
  1 threads and 8 connections
  Thread calibration: mean lat.: 9747 usec, rate sampling interval: 21 msec
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.46ms    1.93ms  12.34ms   67.66%
    Req/Sec     1.05k     1.12k    2.50k    64.84%
  Latency Distribution (HdrHistogram - Recorded Latency)
 50.000%    6.67ms
 75.000%    7.78ms
 90.000%    9.14ms
 99.000%   11.18ms
 99.900%   12.30ms
 99.990%   12.45ms
 99.999%   12.50ms
100.000%   12.50ms

  Detailed Percentile spectrum:
       Value   Percentile   TotalCount 1/(1-Percentile)

       0.921     0.000000            1         1.00
       6.671     0.500000         1000         2.00
#[Mean    =        6.460, StdDeviation   =        1.930]
----------------------------------------------------------
  2000 requests in 1.00s, 1.60MB read
Requests/sec:   2000.12
Transfer/sec:      1.60MB
"""
"""wrk2's, as its README has it: latencies from when each request fell due."""

PROGRAM = """\
import json, pathlib, sys, time
here = pathlib.Path({here!r})
with (here / "calls").open("a") as calls: calls.write(json.dumps(sys.argv[1:]) + "\\n")
if "allkeys" in sys.argv: sys.exit()
seconds = next(w for f, w in zip(sys.argv, sys.argv[1:]) if f in ("--test-time", "--duration")).rstrip("s")
time.sleep(float(seconds))
said = (here / "says").read_text()
if "--json-out-file" in sys.argv:
    print("[RUN #1 100%,   1 secs]  0 threads: 55124 ops")
    pathlib.Path(sys.argv[sys.argv.index("--json-out-file") + 1]).write_text(said)
else:
    print(said)
"""


def run(folder: Path, name: str, says: str, load: Load, **options: Any) -> tuple[LoadReport, list[list[str]]]:
    """One window of a second of the load, whose program says this; and how it was called."""
    (folder / "says").write_text(says)
    program = folder / "program"
    program.write_text(f"#!{sys.executable} -I\n{PROGRAM.format(here=str(folder))}")
    program.chmod(0o700)
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = Address("127.0.0.1", server.getsockname()[1])
        site = Site(leader=LocalHost(), servers=(where,), ramp_s=0.0, window_s=1.0)
        source = registry.make(name, site, registry_options(name, program=str(program), **options))
        source.prepare()
        running = source.start(load, 1)
        running.open_window()
        report = running.close_window()
        source.stop()
    return report, [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def registry_options(name: str, **options: Any) -> dict[str, Any]:
    registry.check(plugin(LOADS, name), options)
    return options


def test_memtier_s_file_is_read_and_every_record_is_stored_first(tmp_path: Path) -> None:
    load = Load(qps=0.0, outstanding=8)
    report, calls = run(tmp_path, "memtier", json.dumps(MEMTIER), load, sets=1, gets=10, threads=2)
    assert report.requests == 55124
    assert report.read_us == {"avg": 395.0, "p50": 367.0, "p90": 490.0, "p95": 590.0, "p99": 823.0, "p999": 1695.0}
    assert report.update_us["p999"] == 1711.0
    assert report.metrics["missed_qps"] == 62.0
    prepared, ran = calls
    assert prepared[-2:] == ["--requests", "allkeys"]
    assert ran[ran.index("--ratio") + 1] == "1:10"
    assert ran[ran.index("--clients") + 1] == "8"
    assert ran[ran.index("--test-time") + 1] == "1"


def test_wrk2_s_latencies_are_those_from_when_each_request_fell_due(tmp_path: Path) -> None:
    report, [ran] = run(tmp_path, "wrk", WRK2, Load(qps=2000.0, outstanding=8), paced=True)
    assert ran[ran.index("--rate") + 1] == "2000"
    assert report.requests == 2000
    assert report.read_us == {"avg": 6460.0, "p50": 6670.0, "p75": 7780.0, "p90": 9140.0, "p99": 11180.0}
    assert report.offered_qps == pytest.approx(2000, rel=0.1)
