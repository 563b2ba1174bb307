"""mutilate's command lines, as lists of arguments; pure."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from mustherd.load.address import Address
from mustherd.load.memcached.presets import PRESETS
from mustherd.terms import Load

Whole = Annotated[int, msgspec.Meta(ge=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]

AGENT_PORT = 5556


class MutilateOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How mutilate is run; what it offers is the load's own. The defaults are the reference experiment's.

    Numbers that are None are left to mutilate.
    """

    program: str = "mutilate"
    binary: bool = True
    records: Whole = 10_000
    connections: Whole = 16
    """Of each thread of each agent."""
    agent_threads: Whole = 16
    agent_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = AGENT_PORT
    threads: Whole = 1
    """Of the leader."""
    measure_connections: Whole = 32
    """Of the leader, with agents."""
    measure_depth: Whole = 1
    measure_qps: Natural = 2000
    """The leader's own load, with agents."""
    depth: Whole | None = None
    """Requests outstanding on a connection; None: what the load's `outstanding` comes to."""
    key_size: str = ""
    """Empty, as for the next two: the preset's."""
    value_size: str = ""
    arrivals: str = ""
    lambda_mul: Whole | None = None
    wait_s: Natural | None = None
    affinity: bool = False
    round_robin: bool = False
    skip: bool = False
    moderate: bool = False
    blocking: bool = False
    no_nodelay: bool = False


def agent(options: MutilateOptions) -> list[str]:
    """Run an agent, until it is ended."""
    argv = [options.program, "--agentmode", f"--threads={options.agent_threads}"]
    argv += _given({"agent_port": options.agent_port if options.agent_port != AGENT_PORT else None})
    argv += _given({"lambda_mul": options.lambda_mul})
    return argv + _switched({"affinity": options.affinity, "blocking": options.blocking})


def preload(options: MutilateOptions, servers: Sequence[Address], load: Load) -> list[str]:
    """Store every record. KeyError for an unknown preset."""
    return [options.program, *_server(options, servers), "--loadonly", *_sizes(options, load)]


def leader(
    options: MutilateOptions,
    servers: Sequence[Address],
    load: Load,
    *,
    seconds: int,
    warmup_s: int = 0,
    agents: Sequence[str] = (),
    save: str = "",
) -> list[str]:
    """Offer a load, by itself or through agents, and measure it. KeyError for an unknown preset.

    `seconds` and `warmup_s` are whole, as mutilate has them.
    """
    preset = PRESETS[load.preset]
    argv = [options.program, *_server(options, servers), "--noload", *_sizes(options, load)]
    argv += [f"--iadist={options.arrivals or preset.arrivals}", f"--update={load.update_ratio:g}"]
    argv += [f"--threads={options.threads}", f"--connections={options.connections}"]
    argv += [f"--depth={depth(options, load, len(agents))}", f"--time={seconds}"]
    if agents:
        argv += [f"--agent={host}" for host in agents]
        argv += _given(
            {
                "agent_port": options.agent_port if options.agent_port != AGENT_PORT else None,
                "measure_connections": options.measure_connections,
                "measure_depth": options.measure_depth,
                "measure_qps": options.measure_qps,
            }
        )
    argv += [f"--qps={round(load.qps)}"]
    argv += _given(
        {
            "warmup": warmup_s or None,
            "wait": options.wait_s,
            "lambda_mul": options.lambda_mul,
            "save": save or None,
        }
    )
    argv += _switched(
        {
            "affinity": options.affinity,
            "roundrobin": options.round_robin,
            "skip": options.skip,
            "moderate": options.moderate,
            "blocking": options.blocking,
            "no_nodelay": options.no_nodelay,
            # Says when it started, and what the leader itself sent.
            "verbose": True,
        }
    )
    return argv


def depth(options: MutilateOptions, load: Load, agents: int) -> int:
    """Requests outstanding on each connection: the load's, shared out over all connections, at least 1."""
    if options.depth is not None:
        return options.depth
    threads = agents * options.agent_threads if agents else options.threads
    return max(1, load.outstanding // (threads * options.connections))


def _server(options: MutilateOptions, servers: Sequence[Address]) -> list[str]:
    return [*_switched({"binary": options.binary}), *(f"--server={s}" for s in servers)]


def _sizes(options: MutilateOptions, load: Load) -> list[str]:
    preset = PRESETS[load.preset]
    return [
        f"--keysize={options.key_size or preset.key_size}",
        f"--valuesize={options.value_size or preset.value_size}",
        f"--records={options.records}",
    ]


def _given(options: dict[str, int | str | None]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items() if value is not None]


def _switched(switches: dict[str, bool]) -> list[str]:
    return [f"--{name}" for name, on in switches.items() if on]
