"""Live pages: `--web` of `experiment watch` and `herd watch`."""

import contextlib
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mustherd.report.view import View
    from mustherd.report.web import Order, Page, State
    from mustherd.wire.messages import MusterView

Web = Annotated[bool, typer.Option("--web", help="As a page for a browser, on this machine only without --address.")]
Address = Annotated[str, typer.Option(help="With --web: the address to listen on; beyond loopback a token is needed.")]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="With --web: the port; without it any free one.")]

LOOPBACK = "127.0.0.1"


def watch_experiment(folder: Path, keys: Path | None, address: str, port: int) -> None:
    """Serve an experiment's page until Ctrl-C; it reads the folder, and asks the shepherd only who is there."""
    from mustherd import api
    from mustherd.errors import UserError
    from mustherd.experiment.running import herd
    from mustherd.report.html import render
    from mustherd.report.prometheus import exposition
    from mustherd.report.state import experiment_state

    def found() -> "tuple[View, tuple[MusterView, ...]]":
        view = api.open(folder).view()
        musters: tuple[MusterView, ...] = ()
        if view.status == "running":
            # Without its keys the shepherd can't be asked: the store tells what it last heard.
            with contextlib.suppress(UserError):
                musters = herd(folder, keys)
        return view, musters

    def stop(_asked: dict[str, Any]) -> str:
        api.stop(folder, keys=keys)
        return "stopping: nodes are put back, what was found is kept"

    _serve(
        lambda: experiment_state(*found()),
        {"stop": stop},
        lambda: render(api.open(folder).view()),
        lambda: exposition(found()),
        address=address,
        port=port,
    )


def watch_herd(shepherd: str | None, keys: Path | None, address: str, port: int) -> None:
    """Serve a herd's page until Ctrl-C."""
    from mustherd.cli.operator import found as found_by
    from mustherd.client import HerdClient
    from mustherd.report.prometheus import exposition
    from mustherd.report.state import herd_state
    from mustherd.shepherd.operate import OperateError

    shepherd, keys = found_by(shepherd, keys)
    client = HerdClient(shepherd, keys)

    def state() -> dict[str, Any]:
        found = client.status()
        return {
            "name": found.experiment or f"the herd of {shepherd}",
            "folder": "",
            "musters": herd_state(found.musters),
        }

    def word(asked: dict[str, Any], name: str) -> str:
        value = asked.get(name)
        if not isinstance(value, str) or not value:
            raise OperateError(f"{name} is missing")
        return value

    def change(asked: dict[str, Any]) -> str:
        name, knob, value = (word(asked, part) for part in ("muster", "knob", "value"))
        client.set(name, {knob: value})
        return f"{knob} of {name} is set"

    def restore(asked: dict[str, Any]) -> str:
        name = word(asked, "muster")
        client.restore(name)
        return f"{name} is as it was found"

    _serve(
        state,
        {"set": change, "restore": restore},
        None,
        lambda: exposition((None, client.musters())),
        address=address,
        port=port,
    )


def _serve(
    state: "State",
    orders: "dict[str, Order]",
    report: "Page | None",
    scrape: "Callable[[], bytes]",
    *,
    address: str,
    port: int,
) -> None:
    from mustherd.report.web import Server, Site

    local = False
    with contextlib.suppress(ValueError):
        local = ip_address(address).is_loopback
    site = Site(state, orders=orders, report=report, scrape=scrape, open_=local)
    with Server(site, address, port) as server:
        typer.echo(f"page: {server.url}")
        if not local:
            typer.echo(
                "anybody who has this address may look and stop it; it is not encrypted: an ssh tunnel is", err=True
            )
        typer.echo("Ctrl-C ends the page alone")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)
