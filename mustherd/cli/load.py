"""`mustherd load`: loads by hand, to see what a server carries before an experiment is planned."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mustherd.errors import UserError

if TYPE_CHECKING:
    from mustherd.load.address import Address
    from mustherd.load.base import LoadSource
    from mustherd.load.peak import Step
    from mustherd.terms import Load, LoadReport

app = typer.Typer(
    help="Loads by hand: what does a server carry? Experiments make their own.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Servers = Annotated[list[str], typer.Argument(metavar="HOST:PORT ...", help="The servers to load.")]
Preset = Annotated[
    str | None, typer.Option(help="Mix of requests, of those that are known for the server: etc or usr.")
]
Generator = Annotated[
    str | None, typer.Option(help="The load: builtin, mutilate, or one that a package adds.", metavar="NAME")
]
Option = Annotated[
    list[str] | None, typer.Option("--option", help="An option of the load, as in depth=4.", metavar="NAME=VALUE")
]
Seconds = Annotated[float, typer.Option(min=0.5, max=86_400, help="How long each load is measured.")]
Ramp = Annotated[float, typer.Option(min=0, max=3600, help="Seconds of load before that, not counted.")]
Mutilate = Annotated[
    str | None, typer.Option(help="Load by this mutilate program instead of the built-in generator.", metavar="PROGRAM")
]
Agents = Annotated[
    list[str] | None, typer.Option("--agent", help="Mutilate agents that run already, by address.", metavar="HOST")
]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Processes of the built-in generator.")]
Connections = Annotated[int, typer.Option(min=1, max=4096, help="Connections of each process or thread.")]
Ascii = Annotated[bool, typer.Option("--ascii", help="Speak memcached's ASCII protocol instead of the binary one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]

LIMIT = re.compile(r"\s*(read|update)_(avg|p50|p90|p95|p99|p999)_us\s*<=\s*(.+)")


class ByHandError(UserError):
    """What was asked for can't be loaded; the message says what is allowed."""


class LoadFailedError(UserError):
    """A load that could not be offered or measured."""

    exit_code = 3


@app.command()
def run(
    servers: Servers,
    qps: Annotated[str, typer.Option(help="Requests a second, as in 20000 or 20k.")],
    preset: Preset = None,
    seconds: Seconds = 10.0,
    ramp: Ramp = 1.0,
    generator: Generator = None,
    option: Option = None,
    mutilate: Mutilate = None,
    agent: Agents = None,
    workers: Workers = 1,
    connections: Connections = 16,
    ascii_: Ascii = False,
    json: Json = False,
) -> None:
    """Offer one load and report it: latencies, what was answered, what the server counted."""
    from json import dumps

    import msgspec

    from mustherd.load.saturation import why

    by = _by_hand(generator, option, mutilate, agent, workers, connections, ascii_)
    offered = _load(by, preset, _rate(qps))
    with _source(servers, by, ramp, seconds) as source:
        report = _measured(source, offered, seconds)
    if json:
        typer.echo(dumps(msgspec.to_builtins(report), indent=2))
        return
    typer.echo(f"offered {report.offered_qps:,.0f} qps, answered {report.achieved_qps:,.0f}, {report.misses} misses")
    for kind, latencies in (("read", report.read_us), ("update", report.update_us)):
        shown = ", ".join(f"{name} {value:,.0f}" for name, value in latencies.items())
        typer.echo(f"{kind} us: {shown or 'none'}")
    if "server_cpu_seconds" in report.counters:
        spent = report.counters["server_cpu_seconds"]
        typer.echo(f"server CPU: {spent:.3f} s, {1e6 * spent / max(1, report.requests):.1f} us a request")
    if report.saturated:
        typer.echo(
            f"the generator ({report.generator}) was itself the bottleneck ({why(report)}):"
            " these are not the server's numbers"
        )


@app.command()
def peak(
    servers: Servers,
    limit: Annotated[str, typer.Option(help="Latency to keep, as in 'read_p99_us <= 500' or 'read_p95_us <= 1 ms'.")],
    low: Annotated[str, typer.Option(help="The load to begin with.")] = "1k",
    high: Annotated[str, typer.Option(help="No load above this is tried.")] = "10M",
    preset: Preset = None,
    seconds: Seconds = 3.0,
    ramp: Ramp = 1.0,
    generator: Generator = None,
    option: Option = None,
    mutilate: Mutilate = None,
    agent: Agents = None,
    workers: Workers = 1,
    connections: Connections = 16,
    ascii_: Ascii = False,
    json: Json = False,
) -> None:
    """Search the highest load within a latency limit: doubled until something breaks, then narrowed to 5 %.

    Says what broke: the limit, the server's throughput, or the generator, whose own limit is not the server's.
    """
    from json import dumps

    import msgspec

    from mustherd.load.peak import find

    kind, percentile, limit_us = _limit(limit)
    low_qps, high_qps = _bounds(low, high)

    by = _by_hand(generator, option, mutilate, agent, workers, connections, ascii_)
    with _source(servers, by, ramp, seconds) as source:
        found = find(
            lambda qps: _measured(source, _load(by, preset, qps), seconds),
            kind=kind,
            percentile=percentile,
            limit_us=limit_us,
            low_qps=low_qps,
            high_qps=high_qps,
            tell=lambda step: _tell(step, f"{kind} {percentile}", err=json),
        )
    if json:
        typer.echo(dumps({**msgspec.to_builtins(found), "limit": limit}, indent=2))
        return
    what = f"peak: {found.qps:,.0f} qps" if found.qps else f"even {low_qps:,.0f} qps is too much"
    typer.echo(f"{what}; beyond: {found.limited_by}{'' if found.by_server else ' (not the server)'}")


@app.command()
def limit(
    servers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[HOST:PORT ...]", help="The servers to load; none: a memcached started here for it."),
    ] = None,
    low: Annotated[str, typer.Option(help="The load to begin with.")] = "1k",
    high: Annotated[str, typer.Option(help="No load above this is tried.")] = "10M",
    preset: Preset = None,
    seconds: Seconds = 2.0,
    ramp: Ramp = 1.0,
    workers: Workers = 1,
    connections: Connections = 16,
    ascii_: Ascii = False,
    json: Json = False,
) -> None:
    """Measure the built-in generator's own limit here: the load beyond which it would measure itself.

    Keep experiments well below it; a window in which the generator was the bottleneck is invalid.
    """
    from json import dumps

    import msgspec

    from mustherd.load.peak import generator_limit

    low_qps, high_qps = _bounds(low, high)
    by = _by_hand(None, None, None, None, workers, connections, ascii_)
    with _own_server(servers or []) as addresses, _source(addresses, by, ramp, seconds) as source:
        found = generator_limit(
            lambda qps: _measured(source, _load(by, preset, qps), seconds),
            low_qps=low_qps,
            high_qps=high_qps,
            tell=lambda step: _tell(step, "read p99", err=json),
        )
    if json:
        typer.echo(dumps({**msgspec.to_builtins(found), "workers": workers}, indent=2))
        return
    who = f"the generator ({workers} {'process' if workers == 1 else 'processes'})"
    if not found.qps:
        typer.echo(f"even {low_qps:,.0f} qps is too much here: {found.limited_by}")
    elif found.by_server:
        typer.echo(f"{who} offers {found.qps:,.0f} qps and more: there the server gave out first ({found.limited_by})")
    else:
        typer.echo(f"{who} offers up to {found.qps:,.0f} qps; beyond: {found.limited_by}")


def _bounds(low: str, high: str) -> tuple[float, float]:
    """The loads between which one is sought."""
    low_qps, high_qps = _rate(low), _rate(high)
    if low_qps > high_qps:
        raise ByHandError(f"--low {low_qps:g} is above --high {high_qps:g}")
    return low_qps, high_qps


def _tell(step: "Step", what: str, *, err: bool) -> None:
    value = "none" if step.value_us is None else f"{step.value_us:,.0f} us"
    busy = "" if step.generator_busy is None else f", generator busy {step.generator_busy:.0%}"
    typer.echo(
        f"{step.qps:>12,.0f} qps: {what} {value}, answered {step.achieved_qps:,.0f}{busy}, {step.broken or 'ok'}",
        err=err,
    )


@contextmanager
def _own_server(servers: list[str]) -> Iterator[list[str]]:
    """The servers that were named; where none was, one of our own on loopback for the time."""
    from mustherd.load.errors import LoadError
    from mustherd.load.memcached.server import Memcached, MemcachedOptions

    if servers:
        yield servers
        return
    memcached = Memcached(MemcachedOptions(port=0))
    try:
        try:
            memcached.start()
        except LoadError as error:
            raise LoadFailedError(f"{error}; or name a server to load: HOST:PORT") from None
        yield [str(memcached.address)]
    finally:
        memcached.close()


@dataclass(frozen=True)
class ByHand:
    """What offers a load by hand, and how."""

    name: str
    options: dict[str, object]
    agents: tuple[str, ...]

    @property
    def server(self) -> str:
        """The server that it loads."""
        from mustherd.load.registry import load_kind
        from mustherd.plugins import LOADS, plugin

        return load_kind(plugin(LOADS, self.name)).traits.servers[0]


def _by_hand(
    generator: str | None,
    option: list[str] | None,
    mutilate: str | None,
    agents: list[str] | None,
    workers: int,
    connections: int,
    ascii_: bool,
) -> ByHand:
    from mustherd.plugins import LOADS, plugins

    name = generator or ("builtin" if mutilate is None else "mutilate")
    if name not in plugins(LOADS):
        raise ByHandError(f"--generator {name}: allowed: {', '.join(plugins(LOADS))}")
    if mutilate is not None and name != "mutilate":
        raise ByHandError("--mutilate: it is no program of another generator; leave --generator out")
    if agents and name != "mutilate":
        raise ByHandError("--agent: agents are mutilate's; give --mutilate PROGRAM too")
    options: dict[str, object] = {}
    if name == "builtin":
        options = {"workers": workers, "connections": connections, "protocol": "ascii" if ascii_ else "binary"}
    elif name == "mutilate":
        options = {"program": mutilate or name, "binary": not ascii_, "connections": connections}
    for text in option or ():
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise ByHandError(f"--option {text!r}: write NAME=VALUE")
        options[key] = _value(value)
    return ByHand(name, options, tuple(agents or ()))


def _value(text: str) -> object:
    """An option's value: a number, true, false or a list as JSON writes it, else text."""
    import msgspec

    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value


@contextmanager
def _source(servers: list[str], by: ByHand, ramp: float, seconds: float) -> "Iterator[LoadSource]":
    from mustherd.load.base import Site
    from mustherd.load.errors import LoadError
    from mustherd.load.host import LocalHost
    from mustherd.load.registry import make

    site = Site(
        servers=tuple(_address(text) for text in servers),
        leader=LocalHost(),
        agents=tuple(LocalHost(name) for name in by.agents),
        start_agents=False,
        ramp_s=ramp,
        window_s=seconds,
    )
    try:
        source = make(by.name, site, by.options)
    except ValueError as error:
        raise ByHandError(f"--generator {by.name}: {error}") from None
    try:
        source.prepare()
        yield source
    except LoadError as error:
        raise LoadFailedError(str(error)) from None
    finally:
        source.stop()


def _measured(source: "LoadSource", load: "Load", seconds: float) -> "LoadReport":
    import time

    running = source.start(load, 1)
    running.open_window()
    time.sleep(seconds)
    return running.close_window()


def _load(by: ByHand, preset: str | None, qps: float) -> "Load":
    from mustherd.load.registry import server_kind
    from mustherd.plugins import SERVERS, plugin
    from mustherd.terms import Load

    presets = server_kind(plugin(SERVERS, by.server)).presets
    name = preset if preset is not None else next(iter(presets), "")
    if name not in presets and (preset is not None or presets):
        raise ByHandError(f"--preset {name}: allowed: {', '.join(presets) or 'none'}")
    return Load(qps=qps, preset=name, update_ratio=presets[name].update_ratio if name in presets else 0.0)


def _rate(text: str) -> float:
    return _amount(text, "qps", 1e8)


def _limit(text: str) -> tuple[str, str, float]:
    match = LIMIT.fullmatch(text)
    if match is None:
        raise ByHandError(f"--limit {text!r}: allowed: (read|update)_(avg|p50|p90|p95|p99|p999)_us <= AMOUNT")
    return match[1], match[2], _amount(match[3], "us", 1e9)


def _amount(text: str, unit: str, most: float) -> float:
    from mustherd.definition.units import QuantityError, quantity

    try:
        value = float(quantity(text.strip(), unit))
    except QuantityError as error:
        raise ByHandError(f"{error}; allowed: {error.allowed or f'a number of {unit}'}") from None
    if not 0 < value <= most:
        raise ByHandError(f"{text.strip()!r}: allowed: above 0, up to {most:g} {unit}")
    return value


def _address(text: str) -> "Address":
    from mustherd.load.address import Address

    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ByHandError(f"{text!r} is no server: write HOST:PORT, as in 127.0.0.1:11211")
    return Address(host, int(port))
