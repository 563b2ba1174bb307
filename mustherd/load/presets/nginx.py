"""nginx, and any other server of HTTP, under wrk or wrk2."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec

from mustherd.load.base import ANY, LoadTraits, Site
from mustherd.load.command.results import Result
from mustherd.load.command.server import ProgramServer, Ready, ServerCommand, Within
from mustherd.load.command.source import Better, LoadCommand, ProgramSource, own_metrics, told_latencies

Whole = Annotated[int, msgspec.Meta(ge=1)]

CONFIGURATION = """\
daemon off;
worker_processes {{threads}};
pid {{folder}}/nginx.pid;
error_log stderr;
events {{{{ worker_connections 4096; }}}}
http {{{{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {{folder}}/body;
    proxy_temp_path {{folder}}/proxy;
    fastcgi_temp_path {{folder}}/fastcgi;
    uwsgi_temp_path {{folder}}/uwsgi;
    scgi_temp_path {{folder}}/scgi;
    default_type text/plain;
    server {{{{
        listen {{host}}:{{port}};
        root {{folder}}/pages;
        location / {{{{ return 200 "{page}"; }}}}
    }}}}
}}}}
"""
FILLER = "The herd lies down where the grass is and the wolves are not; the muster counts. "


class NginxOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one server is run: every page is the same text, from memory."""

    program: str = "nginx"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    """Worker processes."""
    cores: tuple[Annotated[int, msgspec.Meta(ge=0, le=4095)], ...] = ()
    page_bytes: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 1024
    ready: Within = Within()
    log: str = ""


class Nginx(ProgramServer):
    """One nginx that this process started and ends."""

    Options = NginxOptions
    load: ClassVar[str] = "wrk"

    def __init__(self, options: NginxOptions) -> None:
        super().__init__(self.run_by(options))

    @staticmethod
    def run_by(options: NginxOptions) -> ServerCommand:
        """How it is run."""
        page = (FILLER * (options.page_bytes // len(FILLER) + 1))[: options.page_bytes]
        return ServerCommand(
            ready=Ready(seconds=options.ready.seconds),
            command=(options.program, "-e", "stderr", "-p", "{folder}", "-c", "{folder}/nginx.conf"),
            files={"nginx.conf": CONFIGURATION.format(page=page)},
            user="nobody",
            port=options.port,
            threads=options.threads,
            cores=options.cores,
            log=options.log,
        )

    @property
    def version(self) -> str:
        return super().version.removeprefix("nginx version: ")


class WrkOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How wrk is run; how many connections it has is the definition's `outstanding`."""

    program: str = "wrk"
    path: str = "/"
    threads: Whole = 1
    paced: bool = False
    """For wrk2: send {qps} requests a second, and count latencies from when each fell due."""
    arguments: tuple[str, ...] = ()


class Wrk(ProgramSource):
    """A closed loop, but for wrk2 that is paced, which is an open one."""

    Options = WrkOptions
    traits: ClassVar[LoadTraits] = LoadTraits(servers=(ANY,), open_loop=False, whole_seconds=True)

    @staticmethod
    def traits_of(options: WrkOptions) -> LoadTraits:
        """What is the same of all loads of these options."""
        return LoadTraits(servers=(ANY,), open_loop=options.paced, whole_seconds=True)

    @staticmethod
    def declares(options: Mapping[str, object]) -> dict[str, Better]:
        """Its own metrics."""
        return own_metrics(command_of(WrkOptions(paced=options.get("paced") is True)).metrics)

    @staticmethod
    def latencies(options: WrkOptions) -> list[str]:
        """Those that its reports hold."""
        return told_latencies(command_of(options))

    def __init__(self, site: Site, options: WrkOptions) -> None:
        super().__init__(site, command_of(options, site))


def command_of(options: WrkOptions, site: Site | None = None) -> LoadCommand:
    """The command for these options; an IPv6 server has brackets in a URL."""
    host = "[{host}]" if site is not None and site.servers and ":" in site.servers[0].host else "{host}"
    url = f"http://{host}:{{port}}{options.path.replace('{', '{{').replace('}', '}}')}"
    quantity = r"([\d.]+)(us|ms|s|m)"
    percentiles = {"p50": "50", "p75": "75", "p90": "90", "p99": "99"}
    return LoadCommand(
        command=(
            options.program, "--threads", str(options.threads), "--connections", "{outstanding}",
            "--duration", "{seconds}s", "--latency", *(("--rate", "{qps}") if options.paced else ()),
            *options.arguments, url,
        ),
        metrics={
            "requests": Result(at=r"^\s*(\d+) requests in "),
            "window_seconds": Result(at=rf"^\s*\d+ requests in {quantity},"),
            "read_avg_us": Result(at=rf"^\s*Latency\s+{quantity}"),
            **{
                f"read_{part}_us": Result(at=rf"^\s*{share}(?:\.0+)?%\s+{quantity}")
                for part, share in percentiles.items()
            },
            "failed_requests": Result(at=r"^\s*Non-2xx or 3xx responses: (\d+)", otherwise=0),
            "failed_reads": Result(at=r"^\s*Socket errors: connect \d+, read (\d+)", otherwise=0),
            "timed_out_requests": Result(at=r"^\s*Socket errors: .*timeout (\d+)", otherwise=0),
        },
        loop="open" if options.paced else "closed",
    )  # fmt: skip
