"""`mustherd testbed`: hosts on this machine to rehearse a herd on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mustherd.cli.printing import print_json

if TYPE_CHECKING:
    from mustherd.testbed.daemon import BedState

app = typer.Typer(
    help="Hosts on this machine to rehearse a herd on: containers with systemd and sshd (Debian, Ubuntu; as root).",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Inventory = Annotated[Path, typer.Option("--inventory", "-i", help="Where the bed's inventory is written.")]
Release = Annotated[
    list[str] | None,
    typer.Option(
        help="bookworm (Debian 12, unless given), trixie (13), jammy (Ubuntu 22.04) or noble (24.04);"
        " given more than once, hosts take them in turn."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]


@app.command()
def up(
    hosts: Annotated[int, typer.Option(min=1, max=32, help="How many hosts; the first one is the shepherd's.")] = 3,
    release: Release = None,
    inventory: Inventory = Path("inventory/testbed"),
) -> None:
    """Boot bare hosts and write their inventory. The first time takes a minute or two, later ones seconds.

    An inventory that is there is kept, with what you changed in it.
    """
    from mustherd.provision.inventory import variables_of
    from mustherd.provision.project import find
    from mustherd.testbed.daemon import refuse_another
    from mustherd.testbed.daemon import up as bring_up
    from mustherd.testbed.inventory import unlike, write

    project = find().folder
    variables_of(project)
    releases = release or ["bookworm"]
    refuse_another(releases)
    typer.echo(f"booting {hosts} hosts", err=True)
    state = bring_up(hosts, releases)
    kept = inventory.exists()
    if not kept:
        write(state, inventory, project=project)
    for name, address in state.hosts.items():
        typer.echo(f"{name}: {address}")
    typer.echo(f"inventory: {inventory} {'kept as it was' if kept else 'written'}")
    if kept and (why := unlike(state, inventory)):
        typer.echo(
            f"but {why}; fix: change it, or remove it and bring the bed up anew, or --inventory ANOTHER", err=True
        )
    typer.echo(f"next: mustherd herd provision -i {inventory}")


@app.command()
def status(json: Json = False) -> None:
    """Say whether a bed is up, its hosts, and which of them are powered off."""
    from dataclasses import asdict

    from mustherd.testbed.daemon import coming_or_going, left_behind, powered_off
    from mustherd.testbed.daemon import state as read

    state = read()
    off = powered_off(state) if state else []
    if json:
        print_json({**asdict(state), "off": off} if state else None)
    elif state is None:
        if coming_or_going():
            typer.echo("a test bed is coming up or going down")
        elif left_behind():
            typer.echo("no test bed is up; one that was killed left something: mustherd testbed down takes it away")
        else:
            typer.echo("no test bed is up")
    else:
        typer.echo(f"this machine: {state.control}")
        for name, address in state.hosts.items():
            typer.echo(f"{name}: {address}{f', powered off; fix: mustherd testbed boot {name}' if name in off else ''}")


@app.command()
def boot(
    hosts: Annotated[list[str], typer.Argument(metavar="HOST ...", help="Which, by the names that status shows.")],
) -> None:
    """Boot hosts that are powered off, with what was on them, and wait until they answer."""
    from mustherd.testbed.daemon import boot as boot_one

    state = _bed()
    for name in hosts:
        boot_one(state, name)
        typer.echo(f"{name}: up")


@app.command()
def down() -> None:
    """Power the hosts off; what was on them is gone, the inventory stays."""
    from mustherd.testbed.daemon import down as take_down

    typer.echo("down" if take_down() else "no test bed was up")


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND ...", help="What to run, with its arguments.")],
) -> None:
    """Run a command of this machine inside the bed's network, where the hosts can reach it."""
    import os
    from shutil import which

    from mustherd.errors import UserError, shown

    state = _bed()
    if which(command[0]) is None:
        raise UserError(
            f"{shown(command[0])}: there is no such command on this machine; fix: give the path of one, or for one on"
            f" a host ssh to {', '.join(state.hosts.values())}"
        )
    os.execvp("ip", ["ip", "netns", "exec", state.namespace, *command])  # noqa: S606 - a list, and no shell


def _bed() -> "BedState":
    """The bed that is up. Raises BedError where none is, or where this machine can hold none."""
    from mustherd.testbed.bed import refuse_without_means
    from mustherd.testbed.daemon import state
    from mustherd.testbed.images import BedError

    refuse_without_means()
    found = state()
    if found is None:
        raise BedError("no test bed is up; fix: mustherd testbed up")
    return found
