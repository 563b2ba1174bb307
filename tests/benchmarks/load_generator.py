"""The built-in generator against memcached's own counters, against mutilate where there is one, and its limit.

$MUTILATE names a mutilate binary; without it that part is left out. Everything runs on loopback and shares this
machine's cores with the server, so latencies are this machine's and only their ratios mean something, p99 only on a
machine that does nothing else. Takes about two minutes, with mutilate five.

For the comparison server and generator have a core each, and where they may (root) all take precedence over whatever
else runs: a tail that others make hits both at random, and says nothing of either. Both then sleep between requests,
since what never sleeps can't go first without keeping everybody else out.

mutilate counts a latency from the time that it sends until it has read; the generator is compared with it in that way,
and `from_due` is what the same load comes to when the time that a request waited to be sent is counted. `holds` says
whether medians over the repeats lie within the limits.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mustherd.load.base import Site
from mustherd.load.generator.generator import Generator
from mustherd.load.generator.options import GeneratorOptions
from mustherd.load.host import LocalHost, LocalJob
from mustherd.load.memcached.presets import load
from mustherd.load.memcached.server import Memcached, MemcachedOptions
from mustherd.load.mutilate.command import MutilateOptions
from mustherd.load.mutilate.source import MutilateSource
from mustherd.load.peak import generator_limit
from mustherd.terms import GUARD_LIMIT, LoadReport

CORES = sorted(os.sched_getaffinity(0))
ROOT = os.geteuid() == 0
"""Whether a generator that sleeps between requests may go before other processes."""
CONNECTIONS = 16
RAMP_S = 1.0
WINDOW_S = 2.0
CARRIED_QPS = 20_000
CARRIED_WINDOW_S = 15.0
"""Arrivals are random: 300,000 of them spread by 0.2 %, those of a short window by more than the comparison allows."""
COMPARED_QPS = (3_000, 10_000)
COMPARED_WINDOW_S = 3.0
REPEATS = 5
MOST_APART = {"qps": 0.01, "read_p50_us": 0.1, "read_p99_us": 0.1}
"""Shares by which the generator may differ from mutilate."""
LEAST_QPS, MOST_QPS = 2_000, 200_000
WORKERS = (1, 2)


def run() -> dict[str, object]:
    server = Memcached(MemcachedOptions(port=0, threads=2))
    try:
        server.start()
        found: dict[str, object] = {
            "cores": os.cpu_count(),
            "window_seconds": WINDOW_S,
            "against_memcached": [_against_memcached(server, protocol) for protocol in ("binary", "ascii")],
            "limits": [_limit(server, workers, protocol) for workers in WORKERS for protocol in ("binary", "ascii")],
        }
        if program := os.environ.get("MUTILATE", ""):
            calm = _calm(server)
            carried = _carried(server, program, calm)
            compared = [_against_mutilate(server, program, qps, calm) for qps in COMPARED_QPS]
            found |= {"carried": carried, "against_mutilate": compared}
            found["holds"] = carried["holds"] and all(one["holds"] for one in compared)
        return found
    finally:
        server.close()


def _measured(
    server: Memcached, options: GeneratorOptions, qps: float, *, window_s: float = WINDOW_S, seed: int = 1
) -> LoadReport:
    with Generator(options, [server.address], load("etc", qps), seed) as generator:
        generator.ready()
        time.sleep(RAMP_S)
        generator.open_window()
        time.sleep(window_s)
        return generator.close_window()


def _against_memcached(server: Memcached, protocol: Any) -> dict[str, object]:
    """Requests that the generator says were answered, and those that memcached says it answered."""
    report = _measured(server, GeneratorOptions(connections=CONNECTIONS, protocol=protocol, blocking=ROOT), 20_000)
    counted = report.counters["cmd_get"] + report.counters["cmd_set"]
    return {
        "protocol": protocol,
        "asked_qps": 20_000,
        "achieved_qps": round(report.achieved_qps, 1),
        "memcached_qps": round(counted / (report.t1_s - report.t0_s), 1),
        "achieved_of_memcached": round(report.requests / counted, 5),
        "saturated": report.saturated,
        "server_cpu_us_per_request": round(1e6 * report.counters["server_cpu_seconds"] / report.requests, 2),
    }


def _limit(server: Memcached, workers: int, protocol: Any) -> dict[str, object]:
    """What `mustherd load limit` finds: the highest load at which the generator isn't the bottleneck, and what is then.

    `by_server`: the server gave out first, so that the generator's own limit lies higher.
    """
    options = GeneratorOptions(workers=workers, connections=CONNECTIONS, protocol=protocol, blocking=ROOT)
    best: LoadReport | None = None

    def measure(qps: float) -> LoadReport:
        nonlocal best
        report = _measured(server, options, qps)
        if not report.saturated and report.achieved_qps >= GUARD_LIMIT * report.offered_qps:
            best = report
        return report

    found = generator_limit(measure, low_qps=LEAST_QPS, high_qps=MOST_QPS)
    return {
        "workers": workers,
        "protocol": protocol,
        "valid_qps": round(found.qps),
        "limited_by": found.limited_by,
        "by_server": found.by_server,
        "most_qps": round(max(step.achieved_qps for step in found.steps)),
        "busy": round(best.counters["generator_busy"], 3) if best else None,
        "lag_p99_us": best.counters["generator_lag_p99_us"] if best else None,
        "read_p50_us": best.read_us["p50"] if best else None,
        "read_p99_us": best.read_us["p99"] if best else None,
    }


def _carried(server: Memcached, program: str, calm: bool) -> dict[str, object]:
    """What both achieve when asked for the same load."""
    options = MutilateOptions(program=program, connections=CONNECTIONS, blocking=calm)
    host = PinnedHost(calm=calm)
    site = Site(servers=(server.address,), leader=host, ramp_s=RAMP_S, window_s=CARRIED_WINDOW_S, qps=CARRIED_QPS)
    source = MutilateSource(site, options)
    try:
        running = source.start(load("etc", CARRIED_QPS), 1)
        running.open_window()
        theirs = running.close_window()
    finally:
        source.stop()
    pinned = GeneratorOptions(connections=CONNECTIONS, cores=(max(CORES),), blocking=calm)
    ours = _measured(server, pinned, CARRIED_QPS, window_s=CARRIED_WINDOW_S)
    ratio = ours.achieved_qps / theirs.achieved_qps
    return {
        "asked_qps": CARRIED_QPS,
        "mutilate": round(theirs.achieved_qps, 1),
        "generator": round(ours.achieved_qps, 1),
        "ratio": round(ratio, 4),
        "saturated": ours.saturated,
        "holds": abs(ratio - 1) <= MOST_APART["qps"],
    }


class PinnedHost(LocalHost):
    """This machine, but for the server's core, with the precedence that the generator's workers take by themselves."""

    def __init__(self, *, calm: bool) -> None:
        super().__init__()
        self._prefix = [*(["chrt", "-f", "1"] if calm else []), "taskset", "-c", str(max(CORES))]

    def start(self, argv: Sequence[str]) -> LocalJob:
        return super().start([*self._prefix, *argv])


def _calm(server: Memcached) -> bool:
    """Give the server a core and precedence over what else runs on it; whether that was allowed."""
    server.pin([min(CORES)])
    try:
        for thread in server.threads():
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    return True


def _against_mutilate(server: Memcached, program: str, qps: float, calm: bool) -> dict[str, object]:
    """Both in turn at the same load, with as many connections and as much outstanding; mutilate's samples are exact.

    Medians over the repeats, and the best of them: what else the machine does only ever adds.
    """
    runs: dict[str, list[LoadReport]] = {"mutilate": [], "generator": [], "from_due": []}
    options = MutilateOptions(program=program, connections=CONNECTIONS, blocking=calm)
    host = PinnedHost(calm=calm)
    site = Site(servers=(server.address,), leader=host, ramp_s=RAMP_S, window_s=COMPARED_WINDOW_S, qps=qps)
    source = MutilateSource(site, options)
    due = GeneratorOptions(connections=CONNECTIONS, records=options.records, cores=(max(CORES),), blocking=calm)
    # mutilate doesn't wake up before it is time.
    sent = msgspec.structs.replace(due, count_from="sent", early_us=0)
    try:
        for seed in range(REPEATS):
            running = source.start(load("etc", qps), 1)
            running.open_window()
            runs["mutilate"].append(running.close_window())
            runs["generator"].append(_measured(server, sent, qps, window_s=COMPARED_WINDOW_S, seed=seed))
            runs["from_due"].append(_measured(server, due, qps, window_s=COMPARED_WINDOW_S, seed=seed))
    finally:
        source.stop()
    result: dict[str, object] = {
        "asked_qps": qps,
        "server_takes_precedence": calm,
        "saturated": sum(r.saturated for r in runs["generator"] + runs["from_due"]),
        "holds": True,
    }
    for name, value in METRICS.items():
        medians = {who: statistics.median(map(value, reports)) for who, reports in runs.items()}
        best = {who: min(map(value, reports)) for who, reports in runs.items()}
        ratio = medians["generator"] / medians["mutilate"]
        result["holds"] = result["holds"] and abs(ratio - 1) <= MOST_APART.get(name, math.inf)
        result[name] = {
            **{who: round(median, 1) for who, median in medians.items()},
            "ratio": round(ratio, 3),
            "ratio_of_best": round(best["generator"] / best["mutilate"], 3),
            "all": {who: [round(value(r), 1) for r in reports] for who, reports in runs.items()},
        }
    return result


METRICS: dict[str, Callable[[LoadReport], float]] = {
    "read_p50_us": lambda r: r.read_us["p50"],
    "read_p90_us": lambda r: r.read_us["p90"],
    "read_p99_us": lambda r: r.read_us["p99"],
    "server_cpu_us_per_request": lambda r: 1e6 * r.counters["server_cpu_seconds"] / r.requests,
}
