"""`mustherd knob`: by hand, on any sheep of a running herd, through the same acknowledged path as an experiment."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mustherd.cli.operator import LOCAL, Keys, Shepherd

if TYPE_CHECKING:
    from mustherd.terms import KnobInfo, Reading, Setting
    from mustherd.wire.messages import MusterView

app = typer.Typer(
    help="Knobs by hand, through a running shepherd (mustherd shepherd run).",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Muster = Annotated[str, typer.Argument(help="The muster's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]


@app.command("list")
def list_(shepherd: Shepherd = LOCAL, keys: Keys = None, json: Json = False) -> None:
    """List every muster's knobs: what may be set, and what was read back last."""
    from mustherd.cli.operator import status

    rows = [row for muster in status(shepherd, keys).musters for row in _rows(muster)]
    _print(rows, json)


@app.command()
def get(muster: Muster, shepherd: Shepherd = LOCAL, keys: Keys = None, json: Json = False) -> None:
    """Show one muster's knobs."""
    _print(_rows(_find(muster, shepherd, keys)), json)


@app.command("set")
def set_(
    muster: Muster,
    values: Annotated[list[str], typer.Argument(metavar="KNOB=VALUE ...", help="itr-delay=100, 'dvfs=1.9 GHz', ...")],
    shepherd: Shepherd = LOCAL,
    keys: Keys = None,
    json: Json = False,
) -> None:
    """Set knobs of a muster and print what was read back; knobs set before keep their values.

    They hold while the shepherd runs: when it ends, the muster puts its node back as it was found.
    """
    from mustherd.terms import settings_of

    found = _find(muster, shepherd, keys)
    wanted = {(r.sheep, r.knob): r.asked for r in found.readings if r.asked is not None}
    try:
        wanted |= {(s.sheep, s.knob): s.value for s in settings_of(_values(values, found.knobs), found.knobs)}
    except KeyError as error:
        offered = ", ".join(sorted({knob.name for knob in found.knobs}))
        raise typer.BadParameter(f"{muster} offers no knob {error}; it offers {offered}") from None
    for info in found.knobs:
        value = wanted.get((info.sheep, info.name))
        if value is not None and not info.allows(value):
            raise typer.BadParameter(f"{info.name} on {info.sheep}: {value} is not allowed; {info.allowed_text()}")
    settings = tuple(_setting(sheep, knob, value) for (sheep, knob), value in sorted(wanted.items()))
    _carry_out(muster, settings, shepherd, keys, json)


@app.command()
def restore(
    muster: Annotated[str | None, typer.Argument(help="The muster whose node a shepherd shall have put back.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Without a shepherd, on the node itself: its muster's configuration.")
    ] = None,
    shepherd: Shepherd = LOCAL,
    keys: Keys = None,
    json: Json = False,
) -> None:
    """Put a node back as it was found, and print what was read back.

    With MUSTER through a running shepherd; with --config on the node itself, from the journal that a muster left.
    """
    if (muster is None) == (config is None):
        raise typer.BadParameter("name a muster, or with --config the configuration of this node's own")
    if muster is not None:
        _carry_out(muster, (), shepherd, keys, json)
        return
    from mustherd.muster.restore import restore as put_back

    done = put_back(config or Path())
    rows = [{**_reading("", r), "error": r.error} for r in done.readings]
    _print([{key: value for key, value in row.items() if key != "muster"} for row in rows], json)
    if not rows and not json:
        typer.echo("nothing was changed, so there is nothing to put back")
    raise typer.Exit(done.exit_code)


def _carry_out(muster: str, settings: "tuple[Setting, ...]", shepherd: str, keys: Path | None, json: bool) -> None:
    from mustherd.cli.operator import ask
    from mustherd.wire.messages import KnobsAsk, Refused, Status

    answer = ask(KnobsAsk(muster=muster, settings=settings), shepherd, keys)
    if isinstance(answer, Status | Refused):
        reason = answer.reason if isinstance(answer, Refused) else "an answer that makes no sense"
        typer.echo(f"mustherd: muster {muster}: {reason}", err=True)
        raise typer.Exit(3)
    _print([_reading(muster, r) for r in answer.readings], json)


def _values(texts: list[str], knobs: "tuple[KnobInfo, ...]") -> dict[str, int]:
    from mustherd.definition.knobs import value
    from mustherd.definition.units import QuantityError

    found = {}
    for text in texts:
        key, equals, raw = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r}: write KNOB=VALUE, as in itr-delay=100")
        try:
            # As the node itself describes the knob: it may know more words, or no package here know the knob.
            info = next((knob for knob in knobs if knob.name == key.partition("@")[0]), None)
            found[key] = value(key, int(raw) if raw.isdecimal() else raw, info)
        except QuantityError as error:
            raise typer.BadParameter(f"{text}: {error}; allowed: {error.allowed}") from None
    return found


def _setting(sheep: str, knob: str, value: int) -> "Setting":
    from mustherd.terms import Setting

    return Setting(sheep, knob, value)


def _find(muster: str, shepherd: str, keys: Path | None) -> "MusterView":
    from mustherd.cli.operator import status

    musters = {m.name: m for m in status(shepherd, keys).musters}
    if muster not in musters:
        raise typer.BadParameter(f"no muster {muster!r}; there are {', '.join(sorted(musters)) or 'none'}")
    return musters[muster]


def _rows(muster: "MusterView") -> list[dict[str, Any]]:
    read = {(r.sheep, r.knob): r for r in muster.readings}
    rows = []
    for info in muster.knobs:
        reading = read.get((info.sheep, info.name))
        row = {"muster": muster.name, "sheep": info.sheep, "knob": info.name, "unit": info.unit}
        values = {name: getattr(reading, name, None) for name in ("asked", "applied", "running", "held")}
        rows.append({**row, "allowed": info.allowed_text(), **values})
    return rows


def _reading(muster: str, reading: "Reading") -> dict[str, Any]:
    values = {name: getattr(reading, name) for name in ("sheep", "knob", "asked", "applied", "running", "held")}
    return {"muster": muster, **values}


def _print(rows: list[dict[str, Any]], json: bool) -> None:
    from json import dumps

    from rich.console import Console

    from mustherd.report.table import emit, new_table

    if json:
        typer.echo(dumps(rows, indent=2))
        return
    console = Console(highlight=False)
    table = new_table(console)
    if not rows:
        return
    columns = list(rows[0])
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if row[c] is None else str(row[c]) for c in columns))
    emit(console, table)
