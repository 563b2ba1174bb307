"""PostgreSQL under pgbench."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec

from mustherd.load.base import LoadTraits, Site
from mustherd.load.command.results import Result
from mustherd.load.command.server import ProgramServer, Ready, ServerCommand, Within
from mustherd.load.command.source import Better, LoadCommand, ProgramSource, own_metrics, told_latencies

Whole = Annotated[int, msgspec.Meta(ge=1)]

VERSIONS = Path("/usr/lib/postgresql")
"""Where Debian has the programs of each version, which are on nobody's PATH."""


class PostgresqlOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one server is run: a database of its own, in memory's speed (nothing is forced to disk)."""

    programs: str = ""
    """Folder of initdb and postgres; empty: Debian's newest version, or what is on the PATH."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    cores: tuple[Annotated[int, msgspec.Meta(ge=0, le=4095)], ...] = ()
    connections: Whole = 200
    settings: dict[str, str] = {}
    """More of postgresql.conf: shared_buffers and the like."""
    user: str = "postgres"
    """Who it becomes when it is started by root, which it refuses to be."""
    ready: Within = Within()
    log: str = ""


class Postgresql(ProgramServer):
    """One PostgreSQL that this process started and ends."""

    Options = PostgresqlOptions
    load: ClassVar[str] = "pgbench"

    def __init__(self, options: PostgresqlOptions) -> None:
        super().__init__(self.run_by(options))

    @staticmethod
    def run_by(options: PostgresqlOptions) -> ServerCommand:
        """How it is run."""
        folder = options.programs or programs()
        settings = {
            "listen_addresses": "{host}", "port": "{port}", "unix_socket_directories": "{folder}",
            "max_connections": str(options.connections), "fsync": "off", **options.settings,
        }  # fmt: skip
        command = (str(Path(folder, "postgres")), "-D", "{folder}/data")
        initdb = (str(Path(folder, "initdb")), "-D", "{folder}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8")
        return ServerCommand(
            command=(*command, *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))),
            prepare=((*initdb, "--locale=C", "--no-sync"),),
            ready=Ready(text="database system is ready to accept connections", seconds=options.ready.seconds),
            # Fast shutdown: clients are sent away.
            stop="INT",
            user=options.user,
            port=options.port,
            cores=options.cores,
            log=options.log,
        )


def programs() -> str:
    """The folder of the newest version's programs; "." of the PATH where Debian has none."""
    found = [path for path in VERSIONS.glob("*/bin") if re.fullmatch(r"[0-9.]+", path.parent.name)]
    newest = max(found, key=lambda path: tuple(map(int, path.parent.name.split("."))), default=None)
    if newest is not None:
        return str(newest)
    on_path = shutil.which("postgres")
    return str(Path(on_path).parent) if on_path else "/usr/bin"


class PgbenchOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How pgbench is run."""

    program: str = "pgbench"
    scale: Whole = 1
    """100,000 accounts each."""
    clients: Whole = 8
    threads: Whole = 1
    select_only: bool = False
    """Reads alone; else its transaction of five statements."""
    paced: bool = False
    """Begin {qps} transactions a second, and count latencies from when each fell due."""


class Pgbench(ProgramSource):
    """A closed loop, or paced an open one; latencies are those of transactions: reads, or with updates, updates."""

    Options = PgbenchOptions
    traits: ClassVar[LoadTraits] = LoadTraits(servers=("postgresql", "command"), open_loop=False, whole_seconds=True)

    @staticmethod
    def traits_of(options: PgbenchOptions) -> LoadTraits:
        """What is the same of all loads of these options."""
        return LoadTraits(servers=Pgbench.traits.servers, open_loop=options.paced, whole_seconds=True)

    @staticmethod
    def declares(options: Mapping[str, object]) -> dict[str, Better]:
        """Its own metrics."""
        return own_metrics(command_of(PgbenchOptions(paced=options.get("paced") is True)).metrics)

    @staticmethod
    def latencies(options: PgbenchOptions) -> list[str]:
        """Those that its reports hold."""
        return told_latencies(command_of(options))

    def __init__(self, site: Site, options: PgbenchOptions) -> None:
        super().__init__(site, command_of(options))


def command_of(options: PgbenchOptions) -> LoadCommand:
    """The commands for these options."""
    where = (options.program, "-h", "{host}", "-p", "{port}", "-U", "postgres")
    kind = "read" if options.select_only else "update"
    return LoadCommand(
        command=(
            *where, "-n", "-T", "{seconds}", "-c", str(options.clients), "-j", str(options.threads),
            *(("-S",) if options.select_only else ()), *(("-R", "{qps}") if options.paced else ()), "postgres",
        ),
        prepare=((*where, "-i", "-q", "-s", str(options.scale), "postgres"),),
        metrics={
            "window_seconds": Result(at=r"^duration: (\d+) (s)"),
            "requests": Result(at=r"^number of transactions actually processed: (\d+)"),
            "achieved_qps": Result(at=r"^tps = ([\d.]+)"),
            f"{kind}_avg_us": Result(at=r"^latency average = ([\d.]+) (ms)"),
            "failed_requests": Result(at=r"^number of failed transactions: (\d+)", otherwise=0),
            **({"lag_us": Result(at=r"^rate limit schedule lag: avg ([\d.]+)", unit="ms")} if options.paced else {}),
        },
        loop="open" if options.paced else "closed",
    )  # fmt: skip
