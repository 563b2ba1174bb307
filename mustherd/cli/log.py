"""`mustherd log`: rows of native logs: where they went, out of a folder, and by hand on a running herd."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mustherd.cli import complete
from mustherd.cli.operator import Keys, Shepherd, client
from mustherd.cli.printing import aside, print_rows

if TYPE_CHECKING:
    from mustherd.client import StreamRows
    from mustherd.data import Log

app = typer.Typer(help="Rows of native logs.", no_args_is_help=True, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(help="The experiment's folder.", autocompletion=complete.folders)]
Trial = Annotated[int | None, typer.Option(min=0, help="Of this trial alone.")]
OfMuster = Annotated[
    str | None, typer.Option("--muster", help="Of this muster alone.", autocompletion=complete.musters)
]
OfStream = Annotated[str | None, typer.Option("--stream", help="Of streams that fit this pattern, as in '*-core-*'.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]
Muster = Annotated[str, typer.Argument(help="The muster's name.", autocompletion=complete.musters)]
Streams = Annotated[list[str] | None, typer.Option("--stream", help="A text stream; again for more. None: all.")]
FORMATS = ("intlog", "csv", "parquet")


@app.command("list")
def list_(
    folder: Folder, trial: Trial = None, muster: OfMuster = None, stream: OfStream = None, json: Json = False
) -> None:
    """List a folder's streams: rows produced, written, set aside, and lost and why."""
    from mustherd.rowlog.folder import account_row

    rows = [account_row(log) for log in _logs(folder, trial, muster, stream)]
    if not json:
        # What a reader of the table needs; the rest is in the JSON.
        rows = [{k: v for k, v in row.items() if k not in ("received", "passes", "clears")} for row in rows]
    if not rows:
        aside(f"{folder} has no stream that fits")
    print_rows(rows, json)


@app.command()
def export(
    folder: Folder,
    into: Annotated[Path, typer.Option(help="Folder for the files; nothing that is there is changed.")],
    form: Annotated[str, typer.Option("--format", help="intlog (the driver's text, byte for byte), csv, parquet.")],
    trial: Trial = None,
    muster: OfMuster = None,
    stream: OfStream = None,
    json: Json = False,
) -> None:
    """Write logs as files, one a stream: INTO/TRIAL-ATTEMPT/MUSTER/STREAM.

    With --format intlog streams that aren't intlog's are left out, unless --stream names them.
    """
    from mustherd.data import DataError
    from mustherd.node.intlog import core_of
    from mustherd.rowlog.export import export as write

    if form not in FORMATS:
        raise typer.BadParameter(f"{form!r}: give one of {', '.join(FORMATS)}", param_hint="--format")
    if into.resolve() == folder.resolve():
        raise typer.BadParameter(f"{into} is the experiment's own folder: name another", param_hint="--into")
    logs = [log for log in _logs(folder, trial, muster, stream) if log.files]
    if form == "intlog" and stream is None:
        logs = [log for log in logs if core_of(log.stream) is not None]
    if not logs:
        raise DataError(f"{folder} holds no rows that fit; see mustherd log list {folder}")
    written: list[dict[str, Any]] = []

    def progress(file: Path, rows: int) -> None:
        written.append({"file": str(file), "rows": rows})
        if not json:
            typer.echo(f"{file}: {rows} rows")

    write(logs, into, form, progress)
    if json:
        print_rows(written, json)


@app.command()
def start(
    muster: Muster,
    streams: Streams = None,
    label: Annotated[str, typer.Option(help="What the rows will belong to: small letters, digits, dots, dashes.")] = (
        "by-hand"
    ),
    every: Annotated[int, typer.Option(min=1, max=1_000_000, help="Keep one row in so many.")] = 1,
    columns: Annotated[str, typer.Option(help="Keep these, as in rx_bytes,timestamp, and the row's number.")] = "",
    shepherd: Shepherd = None,
    keys: Keys = None,
    json: Json = False,
) -> None:
    """Have a muster read its text streams from now on, outside any trial; its shepherd must write a log."""
    chosen = [name.strip() for name in columns.split(",") if name.strip()]
    herd = client(shepherd, keys)
    _counts(herd.start_logs(muster, streams or (), label=label, every=every, columns=chosen), json)


@app.command()
def flush(
    muster: Muster, streams: Streams = None, shepherd: Shepherd = None, keys: Keys = None, json: Json = False
) -> None:
    """Throw away what has piled up in a node's sources; streams that were started stop."""
    _counts(client(shepherd, keys).flush_logs(muster, streams or ()), json)


@app.command()
def stop(
    muster: Muster, streams: Streams = None, shepherd: Shepherd = None, keys: Keys = None, json: Json = False
) -> None:
    """Read streams to their end, close them, and print their rows since they were started, produced and lost."""
    _counts(client(shepherd, keys).stop_logs(muster, streams or ()), json)


def _counts(rows: "list[StreamRows]", json: bool) -> None:
    import msgspec

    print_rows([msgspec.structs.asdict(row) for row in rows], json)


def _logs(folder: Path, trial: int | None, muster: str | None, stream: str | None) -> "list[Log]":
    from fnmatch import fnmatchcase

    from mustherd import data

    found = data.open(folder).logs(muster=muster)
    return [log for log in found if trial in (None, log.trial) and (stream is None or fnmatchcase(log.stream, stream))]
