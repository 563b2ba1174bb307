"""`mustherd herd`: the nodes and musters as a whole."""

from pathlib import Path
from typing import Annotated

import typer

from mustherd.cli.operator import LOCAL, Keys, Shepherd

app = typer.Typer(help="The nodes and musters as a whole.", no_args_is_help=True, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]


@app.command()
def status(shepherd: Shepherd = LOCAL, keys: Keys = None, json: Json = False) -> None:
    """Say who is in the herd of a running shepherd, and how it is."""
    from json import dumps

    import msgspec
    from rich.console import Console

    from mustherd.cli.operator import status as ask_status
    from mustherd.report.table import emit, new_table

    herd = ask_status(shepherd, keys)
    if json:
        typer.echo(dumps(msgspec.to_builtins(herd), indent=2))
        return
    console = Console(highlight=False)
    table = new_table(console)
    for column in ("muster", "state", "heard", "decision in force", "knobs"):
        table.add_column(column)
    for muster in herd.musters:
        knobs = ", ".join(sorted({knob.name for knob in muster.knobs}))
        heard = f"{muster.heard_s_ago:.1f} s ago"
        table.add_row(muster.muster, muster.state, heard, str(muster.in_force or "none"), knobs)
    emit(console, table)
    if herd.malformed:
        console.print(f"{herd.malformed} malformed frames were dropped")


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Option(help="The muster's configuration, for its [linux] table.")] = None,
    wanted: Annotated[Path | None, typer.Option(help="TOML file with what to hold this node to.")] = None,
    json: Json = False,
) -> None:
    """Examine this node: each precondition of an experiment, what was found, what is wanted, and the tag that mends it.

    Changes nothing. Exit code 1 when something is wrong; what can't be told doesn't fail.
    """
    from json import dumps

    import msgspec
    from rich.console import Console
    from rich.text import Text

    from mustherd.muster.config import ConfigError, load
    from mustherd.node.linux import LinuxOptions
    from mustherd.node.linux.doctor import Status, Wanted, examine, exit_code
    from mustherd.report.table import emit, new_table

    try:
        table_of = load(config).linux if config is not None else None
        options = msgspec.convert(table_of or {}, LinuxOptions)
        hold = msgspec.toml.decode(wanted.read_bytes(), type=Wanted) if wanted is not None else Wanted()
    except (msgspec.DecodeError, OSError) as error:
        raise ConfigError(f"{wanted or config}: {error}") from None
    checks = examine(options, hold)
    if json:
        typer.echo(dumps(msgspec.to_builtins(checks), indent=2))
        raise typer.Exit(exit_code(checks))
    console = Console(highlight=False)
    styles = {Status.OK: "green", Status.WRONG: "red", Status.UNKNOWN: "yellow"}
    table = new_table(console)
    for column in ("", "check", "found", "wanted", "mends it"):
        table.add_column(column)
    for check in checks:
        mend = "" if check.status is Status.OK else f"--tags {check.tag}"
        table.add_row(Text(check.status, style=styles[check.status]), check.name, check.found, check.wanted, mend)
    emit(console, table)
    raise typer.Exit(exit_code(checks))
