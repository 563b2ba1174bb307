"""How long from `decide` to the answer with the values read back, for herds of 1, 32 and 128.

A round decides for every muster at once and waits for all; a latency is one muster's, from the call to its answer in
the shepherd's thread. All musters live in one second process (see _musters). The baseline in the same run: plain
ZeroMQ, the same sockets and pattern, 100 bytes echoed with nothing decoded and nothing done.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import NODE, Setting
from mustherd.wire import keys
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint

ROUNDS = {1: 300, 32: 60, 128: 25}
LIMIT_P99_MS = {1: 20.0, 32: 150.0, 128: 250.0}
"""On two busy cores that the shepherd and all musters share; a lost copy costs 100 ms until the next."""
PATIENCE_S = 30.0


def run() -> dict[str, Any]:
    herds = []
    for count in ROUNDS:
        with tempfile.TemporaryDirectory() as folder:
            herds.append(_herd(count, None))
            keys.create(Path(folder), ["shepherd", *(f"muster-{k}" for k in range(count))])
            herds.append(_herd(count, Path(folder)))
        herds.append(_plain(count))
    return {
        "unit": "ms",
        "musters_in": "one process",
        "herds": herds,
        "limit_p99_ms": LIMIT_P99_MS,
        "within_limit": all(h["p99"] <= LIMIT_P99_MS[h["musters"]] for h in herds),
    }


def _figures(count: int, kind: str, latencies: list[float], rounds: list[float]) -> dict[str, Any]:
    cut = statistics.quantiles(latencies, n=100)
    return {
        "musters": count,
        "kind": kind,
        "answers": len(latencies),
        "p50": round(cut[49] * 1000, 3),
        "p99": round(cut[98] * 1000, 3),
        "round_p50": round(statistics.median(rounds) * 1000, 3),
    }


@contextmanager
def _peers(what: str, count: int, ports: Ports, *more: str) -> Iterator[None]:
    numbers = [str(n) for n in (ports.pulse, ports.log, ports.control)]
    command = [sys.executable, "-m", "tests.benchmarks._musters", what, str(count), *numbers, *more]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _herd(count: int, folder: Path | None) -> dict[str, Any]:
    end = ShepherdEndpoint(ports=Ports(0, 0, 0, 0), keys=keys.for_shepherd(folder) if folder else None)
    shepherd = Shepherd(end)
    shepherd.start()
    latencies: list[float] = []
    rounds: list[float] = []
    try:
        with _peers("musters", count, end.ports, *([str(folder)] if folder else [])):
            deadline = time.monotonic() + PATIENCE_S
            while len(shepherd.musters()) < count:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"only {len(shepherd.musters())} of {count} musters joined")
                time.sleep(0.05)
            time.sleep(1.0)
            for number in range(-3, ROUNDS[count]):
                settings = (Setting(NODE, "dvfs", 1200 + 100 * (number % 10)), Setting(NODE, "itr-delay", 100))
                began = time.perf_counter()
                took = _round(shepherd, count, settings)
                if number >= 0:
                    rounds.append(time.perf_counter() - began)
                    latencies += took
    finally:
        shepherd.stop()
    return _figures(count, "curve" if folder else "plain text", latencies, rounds)


def _round(shepherd: Shepherd, count: int, settings: tuple[Setting, ...]) -> list[float]:
    """Decide for all at once; seconds until each one's answer."""
    took: list[float] = []
    futures = []
    for k in range(count):
        asked = time.perf_counter()
        future = shepherd.decide(f"muster-{k}", settings)
        future.add_done_callback(partial(_noted, took, asked))
        futures.append(future)
    wait(futures, PATIENCE_S)
    if any(f.result(0).outcome != "applied" for f in futures):
        raise RuntimeError("a decision was not applied")
    return took


def _noted(took: list[float], asked: float, _done: object) -> None:
    took.append(time.perf_counter() - asked)


def _plain(count: int) -> dict[str, Any]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router, publisher = context.socket(zmq.ROUTER), context.socket(zmq.PUB)
    ports = Ports(
        pulse=router.bind_to_random_port("tcp://127.0.0.1"),
        log=1,
        control=publisher.bind_to_random_port("tcp://127.0.0.1"),
        coordinate=1,
    )
    latencies: list[float] = []
    rounds: list[float] = []
    payload = b"x" * 100
    try:
        with _peers("echo", count, ports):
            for _ in range(count):
                router.recv_multipart()
            time.sleep(1.0)
            for number in range(-3, ROUNDS[count]):
                began = time.perf_counter()
                asked = {}
                for k in range(count):
                    name = f"muster-{k}".encode()
                    asked[name] = time.perf_counter()
                    publisher.send_multipart([name + b";", payload])
                took: list[float] = []
                while len(took) < count:
                    name, _ = router.recv_multipart()
                    took.append(time.perf_counter() - asked[name])
                if number >= 0:
                    rounds.append(time.perf_counter() - began)
                    latencies += took
    finally:
        context.destroy(linger=0)
    return _figures(count, "bare ZeroMQ", latencies, rounds)
