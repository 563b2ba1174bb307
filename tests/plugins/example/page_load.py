"""An example of a load in a package of its own; docs/extend/load.md shows it."""

import http.client
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mustherd.load.base import LoadTraits, Site
from mustherd.load.error import LoadError
from mustherd.reasons import Reason
from mustherd.terms import Load, LoadReport


class Pages:
    """Asks a web server for a page at equal intervals; who waits for an answer is late with the next question."""

    @dataclass(frozen=True)
    class Options:
        path: str = "/"

    traits: ClassVar = LoadTraits(servers=("page",), open_loop=True)

    def __init__(self, site: Site, options: Options) -> None:
        self._site = site
        self._options = options
        self._running: _Asking | None = None

    def prepare(self) -> None:
        if problems := self.check():
            raise LoadError(Reason.SERVER_UNREACHABLE, problems[0])

    def start(self, load: Load, seed: int) -> "_Asking":
        self.stop()
        self._running = _Asking(self._site, self._options.path, load)
        return self._running

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()

    def check(self) -> Sequence[str]:
        problems = []
        for server in self._site.servers:
            try:
                _ask(http.client.HTTPConnection(server.host, server.port, timeout=2), self._options.path)
            except OSError as error:
                problems.append(f"{server}: {error}")
        return problems


class _Asking:
    """A load under way."""

    def __init__(self, site: Site, path: str, load: Load) -> None:
        self._site, self._path, self._load = site, path, load
        self._ramp_end = time.monotonic() + site.ramp_s
        self._answers: list[tuple[float, float]] = []  # when each fell due, and when it was answered
        self._failed = ""
        self._t0: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def open_window(self) -> None:
        time.sleep(max(0.0, self._ramp_end - time.monotonic()))
        self._t0 = time.monotonic()

    def close_window(self) -> LoadReport:
        if self._t0 is None:
            raise RuntimeError("close_window without open_window")
        t0, t1 = self._t0, time.monotonic()
        self.stop()
        if self._failed:
            raise LoadError(Reason.SERVER_UNREACHABLE, self._failed)
        waits = sorted(1e6 * (end - due) for due, end in self._answers if t0 <= end < t1)
        if not waits:
            raise LoadError(Reason.NO_SAMPLES, "not one page came")
        cuts = statistics.quantiles(waits, n=1000, method="inclusive") if len(waits) > 1 else waits * 999
        return LoadReport(
            generator="pages",
            t0_s=t0,
            t1_s=t1,
            offered_qps=self._load.qps,
            achieved_qps=len(waits) / (t1 - t0),
            requests=len(waits),
            misses=0,
            samples=len(waits),
            read_us={"avg": statistics.fmean(waits), "p50": cuts[499], "p90": cuts[899], "p99": cuts[989]},
            update_us={},
        )

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        server = self._site.servers[0]
        due = time.monotonic()
        try:
            while not self._over.wait(max(0.0, due - time.monotonic())):
                _ask(http.client.HTTPConnection(server.host, server.port, timeout=2), self._path)
                # From when it should have been asked: a slow answer delays the ones behind it, and that counts.
                self._answers.append((due, time.monotonic()))
                due += 1 / self._load.qps
        except OSError as error:
            self._failed = f"{server}: {error}"


def _ask(connection: http.client.HTTPConnection, path: str) -> None:
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    finally:
        connection.close()
