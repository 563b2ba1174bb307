"""Redis, and Valkey, which takes the same arguments, under redis-benchmark or memtier_benchmark."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from mustherd.load.base import LoadTraits, Site
from mustherd.load.command.results import Result
from mustherd.load.command.server import ProgramServer, Ready, ServerCommand, Within
from mustherd.load.command.source import Better, LoadCommand, ProgramSource, own_metrics, told_latencies

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
    ready: Within = Within()
    log: str = ""


class Redis(ProgramServer):
    """One Redis that this process started and ends."""

    Options = RedisOptions
    load: ClassVar[str] = "redis-benchmark"

    def __init__(self, options: RedisOptions) -> None:
        super().__init__(self.run_by(options))

    @staticmethod
    def run_by(options: RedisOptions) -> ServerCommand:
        """How it is run."""
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
        return ServerCommand(
            command=command,
            ready=Ready(text="Ready to accept connections", seconds=options.ready.seconds),
            user="nobody",
            port=options.port,
            cores=options.cores,
            log=options.log,
        )


class MemtierOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How memtier_benchmark is run; how many connections each of its threads has is the definition's `outstanding`."""

    program: str = "memtier_benchmark"
    protocol: Literal["redis", "resp2", "resp3", "memcache_text", "memcache_binary"] = "redis"
    sets: Annotated[int, msgspec.Meta(ge=0)] = 0
    gets: Whole = 1
    """Of so many requests together."""
    records: Whole = 10_000
    value_bytes: Whole = 200
    pipeline: Whole = 1
    threads: Whole = 1
    arguments: tuple[str, ...] = ()
    """More of its command line."""


class Memtier(ProgramSource):
    """A closed loop, on Redis and what speaks as it, and on memcached."""

    Options = MemtierOptions
    traits: ClassVar[LoadTraits] = LoadTraits(
        servers=("redis", "memcached", "command"), open_loop=False, whole_seconds=True
    )

    @staticmethod
    def declares(options: Mapping[str, object]) -> dict[str, Better]:  # noqa: ARG004
        """Its own metrics."""
        return own_metrics(memtier_of(MemtierOptions()).metrics)

    @staticmethod
    def latencies(options: MemtierOptions) -> list[str]:
        """Those that its reports hold."""
        return told_latencies(memtier_of(options))

    def __init__(self, site: Site, options: MemtierOptions) -> None:
        super().__init__(site, memtier_of(options))


def memtier_of(options: MemtierOptions) -> LoadCommand:
    """The commands for these options: results come as JSON, in a file."""
    where = (
        options.program, "--server", "{host}", "--port", "{port}", "--protocol", options.protocol,
        "--key-maximum", str(options.records), "--data-size", str(options.value_bytes), "--hide-histogram",
    )  # fmt: skip
    parts = {"avg": ("Average Latency",), "p50": ("50.00",), "p90": ("90.00",), "p95": ("95.00",), "p99": ("99.00",)}
    parts["p999"] = ("99.90",)

    def latencies(row: str, kind: str) -> dict[str, Result]:
        found = {}
        for part, (name,) in parts.items():
            way = (name,) if part == "avg" else ("Percentile Latencies", f"p{name}")
            found[f"{kind}_{part}_us"] = Result(at=("ALL STATS", row, *way), unit="ms")
        return found

    return LoadCommand(
        command=(
            *where, "--ratio", f"{options.sets}:{options.gets}", "--clients", "{outstanding}",
            "--threads", str(options.threads), "--pipeline", str(options.pipeline), "--test-time", "{seconds}",
            "--print-percentiles", "50,90,95,99,99.9", "--json-out-file", "{results}", *options.arguments,
        ),
        # Every record once, one after another.
        prepare=((*where, "--ratio", "1:0", "--key-pattern", "P:P", "--clients", "1", "--threads", "1",
                  "--requests", "allkeys"),),
        results="json",
        metrics={
            "requests": Result(at=("ALL STATS", "Totals", "Count")),
            "missed_qps": Result(at=("ALL STATS", "Totals", "Misses/sec"), otherwise=0),
            **latencies("Gets", "read"),
            **(latencies("Sets", "update") if options.sets else {}),
        },
        loop="closed",
    )  # fmt: skip


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

    @staticmethod
    def latencies(options: RedisBenchmarkOptions) -> list[str]:
        """Those that its reports hold."""
        return told_latencies(command_of(options))

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
