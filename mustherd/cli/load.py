"""`mustherd load`: loads by hand, to see what a server carries before an experiment is planned."""

from typing import TYPE_CHECKING, Annotated

import typer

from mustherd.cli import complete
from mustherd.cli.printing import print_json

if TYPE_CHECKING:
    from mustherd.experiment.load_by_hand import LoadByHand
    from mustherd.load.peak import Step

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
    str | None,
    typer.Option(
        help="The load: builtin, mutilate, or one that a package adds.",
        metavar="NAME",
        autocompletion=complete.names_of("mustherd.loads"),
    ),
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
    import msgspec

    from mustherd.experiment.load_by_hand import rate
    from mustherd.load.saturation import why

    offered = rate(qps)
    with _by_hand(
        servers, preset, seconds, ramp, generator, option, mutilate, agent, workers, connections, ascii_
    ) as load:
        report = load.measure(offered)
    if json:
        print_json(msgspec.to_builtins(report))
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
    import msgspec

    from mustherd.experiment.load_by_hand import bounds, latency_limit

    kind, percentile, _ = latency_limit(limit)
    low_qps, _ = bounds(low, high)
    with _by_hand(
        servers, preset, seconds, ramp, generator, option, mutilate, agent, workers, connections, ascii_
    ) as load:
        found = load.peak(limit, low=low, high=high, tell=lambda step: _tell(step, f"{kind} {percentile}", err=json))
    if json:
        print_json({**msgspec.to_builtins(found), "limit": limit})
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
    import contextlib

    import msgspec

    from mustherd.experiment.load_by_hand import bounds, own_server

    low_qps, _ = bounds(low, high)
    with contextlib.ExitStack() as stack:
        loaded = servers or [stack.enter_context(own_server())]
        load = stack.enter_context(
            _by_hand(loaded, preset, seconds, ramp, None, None, None, None, workers, connections, ascii_)
        )
        found = load.own_limit(low=low, high=high, tell=lambda step: _tell(step, "read p99", err=json))
    if json:
        print_json({**msgspec.to_builtins(found), "workers": workers})
        return
    who = f"the generator ({workers} {'process' if workers == 1 else 'processes'})"
    if not found.qps:
        typer.echo(f"even {low_qps:,.0f} qps is too much here: {found.limited_by}")
    elif found.by_server:
        typer.echo(f"{who} offers {found.qps:,.0f} qps and more: there the server gave out first ({found.limited_by})")
    else:
        typer.echo(f"{who} offers up to {found.qps:,.0f} qps; beyond: {found.limited_by}")


def _tell(step: "Step", what: str, *, err: bool) -> None:
    value = "none" if step.value_us is None else f"{step.value_us:,.0f} us"
    busy = "" if step.generator_busy is None else f", generator busy {step.generator_busy:.0%}"
    typer.echo(
        f"{step.qps:>12,.0f} qps: {what} {value}, answered {step.achieved_qps:,.0f}{busy}, {step.broken or 'ok'}",
        err=err,
    )


def _by_hand(
    servers: list[str],
    preset: str | None,
    seconds: float,
    ramp: float,
    generator: str | None,
    option: list[str] | None,
    mutilate: str | None,
    agents: list[str] | None,
    workers: int,
    connections: int,
    ascii_: bool,
) -> "LoadByHand":
    """The load that the options describe; those of the generators that we know are words of their own."""
    from mustherd.experiment.load_by_hand import ByHandError, LoadByHand

    name = generator or ("builtin" if mutilate is None else "mutilate")
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
    return LoadByHand(
        servers, generator=name, options=options, agents=agents or (), preset=preset, ramp_s=ramp, window_s=seconds
    )


def _value(text: str) -> object:
    """An option's value: a number, true, false or a list as JSON writes it, else text."""
    import msgspec

    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value
