"""/metrics of a daemon: gauges that are made when a Prometheus asks for them, and cost nothing in between.

Whoever reaches the address may read; it tells nothing secret and takes no orders.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from mustherd.errors import UserError
from mustherd.http_server import BoundedHandler, BoundedServer

LOOPBACK = "127.0.0.1"
SCRAPED = "text/plain; version=0.0.4; charset=utf-8"
"""What a Prometheus reads."""

Gauge = tuple[str, str, list[tuple[dict[str, str], float]]]
"""Name, meaning, and each value with its labels, of which all rows have the same."""
Told = Callable[[], Iterable[Gauge]]
"""Called at each scrape, in a thread of its own."""


class ScrapeError(UserError):
    """The address can't be served at; the message says why."""

    exit_code = 2


class _Told:
    """A collector of prometheus_client."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._lock = threading.Lock()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._lock:
            found = list(self._told())
        for name, meaning, rows in found:
            family = GaugeMetricFamily(name, meaning, labels=list(rows[0][0]))
            for labels, value in rows:
                family.add_metric(list(labels.values()), value)
            yield family


def exposition(told: Told) -> bytes:
    """The text of one scrape."""
    text: bytes = generate_latest(_registry(told))
    return text


def place(text: str) -> tuple[str, int]:
    """Address and port of `PORT` (on loopback), `ADDRESS:PORT` or `[ADDRESS]:PORT`. Raises ScrapeError."""
    address, _, port = text.rpartition(":")
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        host = str(ip_address(bare or LOOPBACK))
    except ValueError:
        host = ""
    if not host or not (port.isascii() and port.isdecimal()) or not 0 <= int(port) < 65_536:
        allowed = "PORT (on loopback), ADDRESS:PORT or [ADDRESS]:PORT, a port in 0..65535, 0 for any free one"
        raise ScrapeError(f"/metrics can't be served at {text!r}; allowed: {allowed}")
    return host, int(port)


@contextmanager
def served(where: str, told: Told) -> Iterator[str]:
    """Serve /metrics while the block lasts; gives the address that it is at. Raises ScrapeError."""
    host, port = place(where)
    registry = _registry(told)

    class Handler(BoundedHandler):
        def do_GET(self) -> None:  # noqa: N802 (http.server calls it so)
            if self.path.partition("?")[0] != "/metrics":
                self.answer(404, b"/metrics is here\n", {"Content-Type": "text/plain; charset=utf-8"})
                return
            self.answer(200, generate_latest(registry), {"Content-Type": SCRAPED})

    try:
        server = BoundedServer(host, port, Handler)
    except OSError as error:
        raise ScrapeError(f"/metrics can't be served at {where}: {error.strerror or error}") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _registry(told: Told) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(told))
    return registry
