"""`mustherd knob`: by hand, on any sheep of a running herd, through the same acknowledged path as an experiment."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mustherd.cli import complete
from mustherd.cli.operator import Keys, Shepherd, client
from mustherd.cli.printing import aside, ends_with, print_rows

if TYPE_CHECKING:
    from mustherd.terms import Reading
    from mustherd.wire.messages import MusterView

app = typer.Typer(
    help="Knobs by hand, through a running shepherd (mustherd shepherd run).",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Muster = Annotated[str, typer.Argument(help="The muster's name.", autocompletion=complete.musters)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]


@app.command("list")
def list_(shepherd: Shepherd = None, keys: Keys = None, json: Json = False) -> None:
    """List every muster's knobs: what may be set, and what the node holds now."""
    herd = client(shepherd, keys)
    musters = herd.musters()
    if not musters:
        aside("no muster has joined this shepherd")
    _print([row for muster in musters for row in _rows(muster, herd.read(muster.name))], json)


@app.command()
def get(muster: Muster, shepherd: Shepherd = None, keys: Keys = None, json: Json = False) -> None:
    """Show one muster's knobs: what may be set, and what the node holds now. Nothing is set."""
    herd = client(shepherd, keys)
    _print(_rows(herd.muster(muster), herd.read(muster)), json)


@app.command("set")
def set_(
    muster: Muster,
    values: Annotated[
        list[str],
        typer.Argument(
            metavar="KNOB=VALUE ...", help="itr-delay=100, 'dvfs=1.9 GHz', ...", autocompletion=complete.knob_values
        ),
    ],
    shepherd: Shepherd = None,
    keys: Keys = None,
    json: Json = False,
) -> None:
    """Set knobs of a muster and print what was read back; knobs set before keep their values.

    They hold while the shepherd runs: when it ends, the muster puts its node back as it was found.
    """
    settings = _settings(values)
    readings = client(shepherd, keys).set(muster, settings)
    _print([{"muster": muster, **_reading(r)} for r in readings], json)


@app.command()
def restore(
    muster: Annotated[
        str | None,
        typer.Argument(help="The muster whose node a shepherd shall have put back.", autocompletion=complete.musters),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Without a shepherd, on the node itself: its muster's configuration.")
    ] = None,
    shepherd: Shepherd = None,
    keys: Keys = None,
    json: Json = False,
) -> None:
    """Put a node back as it was found, and print what was read back.

    With MUSTER through a running shepherd; with --config on the node itself, from the journal that a muster left.
    """
    if (muster is None) == (config is None):
        raise typer.BadParameter("name a muster, or with --config the configuration of this node's own")
    if muster is not None:
        _print([{"muster": muster, **_reading(r)} for r in client(shepherd, keys).restore(muster)], json)
        return
    from mustherd.muster.restore import restore as put_back
    from mustherd.terms import UNTOLD

    done = put_back(config or Path())
    with ends_with(done.exit_code):
        if done.untold:
            aside(f"{UNTOLD}{done.untold}; fix that, and give this once more")
        _print([{**_reading(r), "error": r.error} for r in done.readings], json)
        if not done.readings and not json:
            typer.echo("this muster has left nothing changed, so there is nothing to put back")


def _settings(texts: "Sequence[str]") -> dict[str, str]:
    settings: dict[str, str] = {}
    for key, value in map(_pair, texts):
        if key in settings:
            raise typer.BadParameter(f"{key} is there twice, as {settings[key]} and {value}; allowed: one value each")
        settings[key] = value
    return settings


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{text!r}: write KNOB=VALUE, as in itr-delay=100")
    return key, value


def _rows(muster: "MusterView", readings: "Sequence[Reading]") -> list[dict[str, Any]]:
    """A muster's knobs, a row each: what may be set, and what was read."""
    read = {(r.sheep, r.knob): r for r in readings}
    rows = []
    for info in muster.knobs:
        reading = read.get((info.sheep, info.name))
        row = {"muster": muster.name, "sheep": info.sheep, "knob": info.name, "unit": info.unit}
        values = {name: getattr(reading, name, None) for name in ("asked", "applied", "running", "held")}
        rows.append({**row, "allowed": info.allowed_text(), **values})
    return rows


def _reading(reading: "Reading") -> dict[str, Any]:
    return {name: getattr(reading, name) for name in ("sheep", "knob", "asked", "applied", "running", "held")}


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    """As numbers for programs; for people with the words that a definition has for some of them, as `schedutil`."""
    if not as_json:
        from mustherd.definition.knobs import kind_of_knob

        for row in rows:
            names = kind_of_knob(row["knob"]).names
            row |= {key: names.get(row[key], row[key]) for key in ("asked", "applied", "running")}
    print_rows(rows, as_json)
