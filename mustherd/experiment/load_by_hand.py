"""Loads by hand: what a server carries, before an experiment is planned."""

import contextlib
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from mustherd.definition.units import QuantityError, quantity
from mustherd.errors import UserError, kind_of
from mustherd.load import address
from mustherd.load.address import Address
from mustherd.load.base import ANY, Site
from mustherd.load.curve import MAX_QPS
from mustherd.load.error import LoadError
from mustherd.load.host import LocalHost
from mustherd.load.memcached.server import Memcached, MemcachedOptions
from mustherd.load.peak import Peak, Step, find, generator_limit
from mustherd.load.registry import load_kind, make, server_kind
from mustherd.plugins import LOADS, SERVERS, plugin, plugins
from mustherd.terms import Load, LoadReport

LIMIT = re.compile(r"\s*(read|update)_(avg|p50|p90|p95|p99|p999)_us\s*<=\s*(.+)")
MOST_US = 1e9

Rate = float | str
"""Requests a second: a number, or text as in `20k`."""


class ByHandError(UserError):
    """What was asked for can't be loaded; the message says what is allowed."""


class LoadFailedError(UserError):
    """A load that could not be offered or measured."""

    exit_code = 3


class LoadByHand:
    """A load on servers that run already; a context manager, which ends what it started."""

    def __init__(
        self,
        servers: Sequence[str],
        *,
        generator: str = "builtin",
        options: Mapping[str, object] | None = None,
        agents: Sequence[str] = (),
        preset: str | None = None,
        ramp_s: float = 1.0,
        window_s: float = 10.0,
    ) -> None:
        """`servers`: HOST:PORT each. `generator`: an installed load, with its own `options`.

        `agents`: those of mutilate's that run already, by address. `preset`: a mix of requests that is known for the
        server; its first one unless given. Each load lasts `ramp_s`, not counted, and `window_s`. ByHandError.
        """
        if generator not in plugins(LOADS):
            raise ByHandError(f"generator {generator}: allowed: {', '.join(plugins(LOADS))}")
        if isinstance(servers, str) or not servers:
            found = kind_of(servers) if servers else "none"
            raise ByHandError(f"servers: {found}; allowed: a list of one or more, each {address.FORM}")
        for name, seconds, least in (("ramp_s", ramp_s, "0 or more"), ("window_s", window_s, "above 0")):
            if not (0 <= seconds < math.inf) or (name == "window_s" and not seconds):
                raise ByHandError(f"{name}: {seconds}; allowed: {least}")
        self._window_s = window_s
        self._preset, self._update_ratio = _mix(generator, preset)
        site = Site(
            servers=tuple(_address(text) for text in servers),
            leader=LocalHost(),
            agents=tuple(LocalHost(name) for name in agents),
            start_agents=False,
            ramp_s=ramp_s,
            window_s=window_s,
        )
        try:
            self._source = make(generator, site, dict(options or {}))
        except ValueError as error:
            raise ByHandError(f"generator {generator}: {error}") from None

    def __enter__(self) -> Self:
        """Reach the servers, and start what the load needs. LoadFailedError."""
        try:
            with _failing():
                self._source.prepare()
        except BaseException:
            self._source.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._source.stop()

    def measure(self, qps: Rate) -> LoadReport:
        """Offer one load and report it. ByHandError for a rate that makes no sense; LoadFailedError."""
        load = Load(qps=rate(qps), preset=self._preset, update_ratio=self._update_ratio)
        with _failing():
            running = self._source.start(load, 1)
            running.open_window()
            time.sleep(self._window_s)
            return running.close_window()

    def peak(
        self, limit: str, *, low: Rate = "1k", high: Rate = "10M", tell: Callable[[Step], None] = lambda _step: None
    ) -> Peak:
        """The highest load within a latency limit such as `read_p99_us <= 500`: doubled until something breaks, then
        narrowed to 5 %. `tell` gets every step as it ends. ByHandError; LoadFailedError."""
        kind, percentile, limit_us = latency_limit(limit)
        low_qps, high_qps = bounds(low, high)
        return find(
            self.measure, kind=kind, percentile=percentile, limit_us=limit_us, low_qps=low_qps, high_qps=high_qps,
            tell=tell,
        )  # fmt: skip

    def own_limit(
        self, *, low: Rate = "1k", high: Rate = "10M", tell: Callable[[Step], None] = lambda _step: None
    ) -> Peak:
        """The load beyond which the generator would measure itself here; arguments and errors as of `peak`."""
        low_qps, high_qps = bounds(low, high)
        return generator_limit(self.measure, low_qps=low_qps, high_qps=high_qps, tell=tell)


@contextlib.contextmanager
def own_server() -> Iterator[str]:
    """A memcached on loopback for the time; gives where it listens. LoadFailedError."""
    memcached = Memcached(MemcachedOptions(port=0))
    try:
        try:
            memcached.start()
        except LoadError as error:
            raise LoadFailedError(f"{error}; or name a server to load: HOST:PORT") from None
        yield str(memcached.address)
    finally:
        memcached.close()


def rate(given: Rate) -> float:
    """Requests a second. ByHandError."""
    return _amount(given, "qps", MAX_QPS)


def bounds(low: Rate, high: Rate) -> tuple[float, float]:
    """The loads between which one is sought. ByHandError."""
    low_qps, high_qps = rate(low), rate(high)
    if low_qps > high_qps:
        raise ByHandError(f"low {low_qps:g} is above high {high_qps:g}")
    return low_qps, high_qps


def latency_limit(text: str) -> tuple[str, str, float]:
    """Kind of request, percentile and microseconds of a limit. ByHandError."""
    match = LIMIT.fullmatch(text)
    if match is None:
        raise ByHandError(f"limit {text!r}: allowed: (read|update)_(avg|p50|p90|p95|p99|p999)_us <= AMOUNT")
    return match[1], match[2], _amount(match[3], "us", MOST_US)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except LoadError as error:
        raise LoadFailedError(str(error)) from None


def _mix(generator: str, preset: str | None) -> tuple[str, float]:
    """The mix of requests and its share of updates: of those known for the server that the generator loads."""
    server = load_kind(plugin(LOADS, generator)).traits.servers[0]
    presets = server_kind(plugin(SERVERS, server)).presets if server != ANY else {}
    name = preset if preset is not None else next(iter(presets), "")
    if name not in presets and (preset is not None or presets):
        raise ByHandError(f"preset {name}: allowed: {', '.join(presets) or 'none'}")
    return name, presets[name].update_ratio if name in presets else 0.0


def _amount(given: Rate, unit: str, most: float) -> float:
    text = given.strip() if isinstance(given, str) else f"{given:g}"
    try:
        value = float(quantity(text, unit)) if isinstance(given, str) else float(given)
    except QuantityError as error:
        raise ByHandError(f"{error}; allowed: {error.allowed or f'a number of {unit}'}") from None
    if not 0 < value <= most:
        raise ByHandError(f"{text!r}: allowed: above 0, up to {most:g} {unit}")
    return value


def _address(text: str) -> Address:
    try:
        return address.parse(text)
    except ValueError as error:
        raise ByHandError(str(error)) from None
