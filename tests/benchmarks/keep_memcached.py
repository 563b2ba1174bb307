"""A real memcached kept under traffic of others: CPU seconds saved against interleaved controls, its limit kept.

As root, where memcached is installed: the built-in generator plays the others and changes its load every 20 s, the
keeper sees the load by the server's counters and the latency by requests of its own, and sets the server's CPU quota. A
quarter of the time is left without a quota, block by block at random, as controls. KEEP_SECONDS=3600 for an hour; the
default is 300.
"""

import os
import tempfile
import threading
import time
from pathlib import Path

from mustherd.daemon import Stop
from mustherd.keep.ledger import Ledger
from mustherd.keep.serve import keep
from mustherd.keep.store import KeepStore
from mustherd.load.address import Address
from mustherd.load.generator.generator import Generator
from mustherd.load.generator.options import GeneratorOptions
from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import Load
from tests.waiting import until

SECONDS = float(os.environ.get("KEEP_SECONDS", "300"))
LEVELS, LEVEL_S = (16_000.0, 12_000.0, 10_000.0, 14_000.0), 20.0
LIMIT_MS = 150.0

DEFINITION = """\
name: keep-memcached
herd: {local: {server_threads: 4, connections: 8}}
workload: {preset: etc, qps: [8000, 16000]}
knobs: {cpu-quota: [20, 25, 40, 200]}
objective: server_cpu_seconds
constraints: [read_p95_us <= 150 ms]
"""
TABLE = """\
table:
- {qps: 10000, settings: {cpu-quota: 20}}
- {qps: 15000, settings: {cpu-quota: 20}}
- {qps: 20000, settings: {cpu-quota: 25}}
- {qps: 40000, settings: {cpu-quota: 40}}
"""
KEEP = f"""\
keeper: {{limit: {LIMIT_MS * 1000}, margin: 0, controls: 0.25, block_s: 2.5, per_request: true, frame_s: 0.5,
  settle_s: 0.5, first_settle_s: 0.5, age_s: 8, retune: false}}
sources:
- {{kind: memcached}}
- {{kind: memcached-probe, percentile: 95, requests: 30, pause_us: 5000}}
"""


def run() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as parent:
        return _run(Path(parent))


def _run(folder: Path) -> dict[str, object]:
    for name, text in (("table.yml", TABLE), ("definition.yml", DEFINITION), ("keep.yml", KEEP)):
        (folder / name).write_text(text, encoding="utf-8")
    stop, shepherds, failed = Stop(), list[Shepherd](), list[BaseException]()

    def kept() -> None:
        try:
            keep(
                folder / "table.yml",
                folder=folder / "k",
                config=folder / "keep.yml",
                definition=folder / "definition.yml",
                stop=stop,
                ready=shepherds.append,
            )
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=kept)
    thread.start()
    try:
        until(lambda: bool(failed) or (bool(shepherds) and bool(shepherds[0].musters())), 60)
        if failed:
            raise failed[0]
        [view] = shepherds[0].musters().values()
        host, port = view.facts.address or ("", 0)
        report = _traffic(Address(host, port))
    finally:
        stop.ask("enough")
        thread.join()
        if failed:
            raise failed[0]
    with KeepStore(folder / "k", read_only=True) as store:
        ledger = Ledger(86_400.0)
        ledger.days[:] = store.days()
        saved = ledger.saved()
        story = [f"{line.kind}: {line.text}" for line in store.story(2000)]
        decisions = len(store.decisions(100_000))
    within = report["read_p95_us"] <= LIMIT_MS * 1000
    return {
        "seconds": SECONDS,
        "pairs": saved.pairs,
        "saved_percent": [round(x, 2) for x in (saved.percent.low, saved.percent.mean, saved.percent.high)],
        "saved_cpu_s": [round(x, 2) for x in (saved.joules.low, saved.joules.mean, saved.joules.high)],
        "kept_s": round(saved.kept_s, 1),
        "keeper_cpu_s": round(saved.used_cpu_s, 2),
        "limit_broken": sum("broke the limit" in line for line in story),
        "signals_lost": sum("is lost" in line for line in story),
        "decisions": decisions,
        **report,
        "limit_us": LIMIT_MS * 1000,
        "passed": saved.percent.low > 0 and within,
    }


def _traffic(server: Address) -> dict[str, float]:
    pieces: list[tuple[float, float, float]] = []
    while sum(seconds for seconds, _, _ in pieces) < SECONDS:
        level = LEVELS[len(pieces) % len(LEVELS)]
        pieces.append((LEVEL_S, level, level))
    whole = sum(seconds for seconds, _, _ in pieces)
    mean = sum(seconds * qps for seconds, qps, _ in pieces) / whole
    load = Load(qps=mean, curve=tuple(pieces))
    generator = Generator(GeneratorOptions(connections=8, blocking=True), [server], load, 1)
    try:
        time.sleep(1.0)
        generator.open_window()
        time.sleep(whole)
        report = generator.close_window()
    finally:
        generator.stop()
    return {
        "offered_qps": round(report.offered_qps),
        "achieved_qps": round(report.achieved_qps),
        "read_p50_us": round(report.read_us["p50"]),
        "read_p95_us": round(report.read_us["p95"]),
        "read_p99_us": round(report.read_us["p99"]),
    }
