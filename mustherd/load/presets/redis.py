"""Redis, and Valkey, which takes the same arguments, under redis-benchmark."""

from typing import Annotated, ClassVar, Literal

import msgspec

from mustherd.load.base import LoadTraits, Site
from mustherd.load.command.results import Result
from mustherd.load.command.server import ProgramServer, Ready, ServerCommand
from mustherd.load.command.source import LoadCommand, ProgramSource

Whole = Annotated[int, msgspec.Meta(ge=1)]


class RedisOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one server is run; it keeps nothing on disk."""

    program: str = "redis-server"
    """Or valkey-server."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    cores: tuple[Annotated[int, msgspec.Meta(ge=0, le=4095)], ...] = ()
    io_threads: Annotated[int, msgspec.Meta(ge=1, le=128)] = 1
    arguments: tuple[str, ...] = ()
    """More of its command line."""
    log: str = ""


class Redis(ProgramServer):
    """One Redis that this process started and ends."""

    Options = RedisOptions
    load: ClassVar[str] = "redis-benchmark"

    def __init__(self, options: RedisOptions) -> None:
        command: tuple[str, ...] = (
            options.program,
            "--bind",
            "{host}",
            "--port",
            "{port}",
            "--dir",
            "{folder}",
            "--save",
            "",
        )
        command += ("--appendonly", "no", "--io-threads", str(options.io_threads), *options.arguments)
        super().__init__(
            ServerCommand(
                command=command,
                ready=Ready(text="Ready to accept connections"),
                user="nobody",
                port=options.port,
                cores=options.cores,
                log=options.log,
            )
        )


class RedisBenchmarkOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How redis-benchmark is run; how many connections it has is the definition's `outstanding`."""

    program: str = "redis-benchmark"
    test: Literal["get", "set"] = "get"
    records: Whole = 10_000
    value_bytes: Whole = 200
    pipeline: Whole = 1
    threads: Whole = 1


class RedisBenchmark(ProgramSource):
    """A closed loop: it sends as fast as it is answered. Its latencies are of the one kind of request that it sends."""

    Options = RedisBenchmarkOptions
    traits: ClassVar[LoadTraits] = LoadTraits(servers=("redis", "command"), open_loop=False)

    def __init__(self, site: Site, options: RedisBenchmarkOptions) -> None:
        super().__init__(site, command_of(options))


def command_of(options: RedisBenchmarkOptions) -> LoadCommand:
    """The commands for these options."""
    where = (
        options.program,
        "-h",
        "{host}",
        "-p",
        "{port}",
        "-r",
        str(options.records),
        "-d",
        str(options.value_bytes),
    )
    kind = "read" if options.test == "get" else "update"
    row = {"test": options.test.upper()}
    latencies = {"avg": "avg", "p50": "p50", "p95": "p95", "p99": "p99"}
    return LoadCommand(
        command=(
            *where, "-t", options.test, "-n", "{requests}", "-c", "{outstanding}", "-P", str(options.pipeline),
            "--threads", str(options.threads), "--csv",
        ),
        # So many that hardly a key is left out: each is missed with a chance of e^-10.
        prepare=((*where, "-t", "set", "-n", str(10 * options.records), "-q"),),
        results="csv",
        metrics={
            "achieved_qps": Result(at="rps", row=row),
            **{
                f"{kind}_{part}_us": Result(at=f"{column}_latency_ms", row=row, unit="ms")
                for part, column in latencies.items()
            },
        },
        loop="closed",
    )  # fmt: skip
