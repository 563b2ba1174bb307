"""`mustherd load`: loads by hand, to see what a server carries before an experiment is planned."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mustherd.errors import UserError

if TYPE_CHECKING:
    from mustherd.load.base import LoadSource
    from mustherd.load.memcached.counters import Address
    from mustherd.load.peak import Step
    from mustherd.terms import Load, LoadReport

app = typer.Typer(
    help="Loads by hand: what does a server carry? Experiments make their own.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Servers = Annotated[list[str], typer.Argument(metavar="HOST:PORT ...", help="The memcached servers to load.")]
Preset = Annotated[str, typer.Option(help="Mix of requests: etc or usr.")]
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
    preset: Preset = "etc",
    seconds: Seconds = 10.0,
    ramp: Ramp = 1.0,
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

    offered = _load(preset, _rate(qps))
    with _source(servers, mutilate, agent, workers, connections, ascii_, ramp, seconds) as source:
        report = _measured(source, offered, ramp, seconds)
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
    preset: Preset = "etc",
    seconds: Seconds = 3.0,
    ramp: Ramp = 1.0,
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

    with _source(servers, mutilate, agent, workers, connections, ascii_, ramp, seconds) as source:
        found = find(
            lambda qps: _measured(source, _load(preset, qps), ramp, seconds),
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
    preset: Preset = "etc",
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
    with (
        _own_server(servers or []) as addresses,
        _source(addresses, None, None, workers, connections, ascii_, ramp, seconds) as source,
    ):
        found = generator_limit(
            lambda qps: _measured(source, _load(preset, qps), ramp, seconds),
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


@contextmanager
def _source(
    servers: list[str],
    mutilate: str | None,
    agents: list[str] | None,
    workers: int,
    connections: int,
    ascii_: bool,
    ramp: float,
    seconds: float,
) -> "Iterator[LoadSource]":
    from mustherd.load.base import GeneratorSource
    from mustherd.load.errors import LoadError
    from mustherd.load.generator.options import GeneratorOptions
    from mustherd.load.host import LocalHost
    from mustherd.load.mutilate.command import MutilateOptions
    from mustherd.load.mutilate.source import MutilateSource

    if agents and mutilate is None:
        raise ByHandError("--agent: agents are mutilate's; give --mutilate PROGRAM too")
    addresses = [_address(text) for text in servers]
    source: LoadSource
    if mutilate is not None:
        source = MutilateSource(
            MutilateOptions(program=mutilate, binary=not ascii_, connections=connections),
            addresses,
            LocalHost(),
            [LocalHost(name) for name in agents or ()],
            ramp_s=ramp,
            window_s=seconds,
            start_agents=False,
            save=not agents,
        )
    else:
        options = GeneratorOptions(
            workers=workers, connections=connections, protocol="ascii" if ascii_ else "binary", blocking=True
        )
        source = GeneratorSource(options, addresses)
    try:
        source.prepare()
        yield source
    except LoadError as error:
        raise LoadFailedError(str(error)) from None
    finally:
        source.stop()


def _measured(source: "LoadSource", load: "Load", ramp: float, seconds: float) -> "LoadReport":
    import time

    from mustherd.load.base import GeneratorSource

    running = source.start(load, 1)
    itself = isinstance(source, GeneratorSource)  # mutilate keeps to times of its own
    if itself:
        time.sleep(ramp)
    running.open_window()
    if itself:
        time.sleep(seconds)
    return running.close_window()


def _load(preset: str, qps: float) -> "Load":
    from mustherd.load.presets import PRESETS, load

    if preset not in PRESETS:
        raise ByHandError(f"--preset {preset}: allowed: {', '.join(PRESETS)}")
    return load(preset, qps)


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
    from mustherd.load.memcached.counters import Address

    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ByHandError(f"{text!r} is no server: write HOST:PORT, as in 127.0.0.1:11211")
    return Address(host, int(port))
