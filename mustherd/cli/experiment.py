"""`mustherd experiment`: from a definition to a verdict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from mustherd.definition import Experiment
    from mustherd.learn.base import Constraint
    from mustherd.report.view import View
    from mustherd.store.store import Store

app = typer.Typer(help="From a definition to a verdict.", no_args_is_help=True, rich_markup_mode=None)

EXPERIMENTS = Path("experiments")
REPORT = "report.html"
STOPPED = 4
"""Exit code of an experiment that was stopped before its end."""

Spec = Annotated[
    Path | None,
    typer.Argument(metavar="[SPEC.yml]", help="The definition; without it the quickstart, a simulated herd."),
]
Folder = Annotated[Path, typer.Argument(help="The experiment's folder.")]
NewestFolder = Annotated[
    Path | None, typer.Argument(help="The experiment's folder; without it the newest in ./experiments.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Listen = Annotated[str, typer.Option(help="Address the shepherd listens on; beyond loopback only with --keys.")]
Keys = Annotated[Path | None, typer.Option(help="Key folder.")]
Musters = Annotated[int | None, typer.Option(min=1, max=1024, help="How many musters of an inventory to wait for.")]


@app.command()
def start(
    spec: Spec = None,
    into: Annotated[Path | None, typer.Option(help="The new experiment's folder.")] = None,
    listen: Listen = "127.0.0.1",
    keys: Keys = None,
    musters: Musters = None,
    json: Json = False,
) -> None:
    """Run an experiment: set the knobs, measure, learn, confirm; ends with a verdict, a folder and an HTML report."""
    from mustherd.definition import content, digest
    from mustherd.experiment.plug_ins import check_plugins
    from mustherd.store.store import Store

    text, experiment = _read(spec)
    check_plugins(experiment)
    _check_sources(experiment)
    folder = into if into is not None else _new_folder(experiment.name)
    store = Store.create(
        folder, name=experiment.name, definition=text, resolved=content(experiment), digest=digest(experiment)
    )
    with store:
        raise typer.Exit(_conduct(store, experiment, listen, keys, musters, json))


@app.command()
def resume(
    folder: Folder,
    spec: Annotated[Path | None, typer.Option(help="Check against this definition too.")] = None,
    listen: Listen = "127.0.0.1",
    keys: Keys = None,
    musters: Musters = None,
    json: Json = False,
) -> None:
    """Go on with an experiment that was stopped, killed or failed: finished trials are kept, the rest runs again."""
    from mustherd.definition import changes, digest, load, loads
    from mustherd.store.store import DEFINITION, Store, StoreError

    with Store.open(folder) as store:
        row = store.experiment()
        if row.status == "done":
            raise StoreError(f"{folder} is done; there is nothing to resume: see mustherd experiment show {folder}")
        experiment = loads(row.definition, str(folder / DEFINITION))
        for file in filter(None, (folder / DEFINITION, spec)):
            now = load(file)
            if digest(now) != row.digest:
                what = "; ".join(changes(experiment, now))
                raise StoreError(
                    f"{file} isn't what {folder} was started with ({what}): start a new experiment with it"
                )
        raise typer.Exit(_conduct(store, experiment, listen, keys, musters, json))


@app.command()
def plan(
    spec: Spec = None,
    musters: Musters = None,
    json: Json = False,
) -> None:
    """Say what an experiment would take, without starting anything: trials, time, energy, budget."""
    from mustherd.definition import plan as make_plan
    from mustherd.experiment.plug_ins import check_plugins
    from mustherd.report.table import emit, new_table

    _, experiment = _read(spec)
    check_plugins(experiment)
    planned = make_plan(experiment, musters)
    if json:
        _print_json(planned.to_dict())
        return
    console = _console()
    table = new_table(console)
    table.add_column("plan")
    table.add_column("")
    for row in planned.rows():
        table.add_row(*row)
    emit(console, table)


@app.command()
def schema() -> None:
    """Print the JSON schema of the definition, for editors."""
    from mustherd.definition import json_schema

    _print_json(json_schema())


@app.command("list")
def list_(
    parent: Annotated[Path, typer.Argument(help="Folder of experiments.")] = EXPERIMENTS,
    json: Json = False,
) -> None:
    """List experiments, newest first."""
    from mustherd.report.json import list_form
    from mustherd.report.table import emit, experiments_table
    from mustherd.store.catalog import list_experiments

    if json:
        _print_json(list_form(parent))
        return
    console = _console()
    emit(console, experiments_table(list_experiments(parent), console))


@app.command()
def show(folder: NewestFolder = None, json: Json = False) -> None:
    """Show an experiment: its verdict and its trials."""
    from mustherd.report.json import show_form
    from mustherd.report.table import emit, trials_table, verdict_panel
    from mustherd.report.view import View
    from mustherd.store.store import Store

    with Store.open(_existing(folder), read_only=True) as store:
        if json:
            _print_json(show_form(store))
            return
        view, console = View.of(store), _console()
        emit(console, trials_table(view, console), *_front(view, console), verdict_panel(view, console))


@app.command()
def pick(
    folder: NewestFolder = None,
    limit: Annotated[list[str] | None, typer.Option(help="Limits, as in 'read_p99_us <= 300'.")] = None,
    json: Json = False,
) -> None:
    """Pick the setting with the best objective within other limits, from what was measured: no new trials."""
    from mustherd.report.json import pick_form
    from mustherd.report.table import emit, picks_table
    from mustherd.store.store import Store

    limits = [_limit(text) for text in limit or []]
    with Store.open(_existing(folder), read_only=True) as store:
        form, view = pick_form(store, limits)
    if json:
        _print_json(form)
    else:
        console = _console()
        emit(console, picks_table(form, view, console))
    raise typer.Exit(0 if all(row["settings"] is not None for row in form["picks"]) else 1)


@app.command()
def table(
    folder: NewestFolder = None,
    to: Annotated[Path | None, typer.Option(help="Write the table there too, as YAML.")] = None,
    json: Json = False,
) -> None:
    """Show what to set at each load of an experiment over several loads; another one tries it with search.table."""
    import msgspec

    from mustherd.experiment.results import table_rows, write_table
    from mustherd.report.table import emit, loads_table
    from mustherd.report.view import View
    from mustherd.store.store import Store, StoreError

    with Store.open(_existing(folder), read_only=True) as store:
        view = View.of(store)
    found = view.verdict()
    if not found.loads:
        raise StoreError(f"{view.folder} has one load: a table needs several, `workload: {{qps: [200k, 400k]}}`")
    if to is not None:
        try:
            write_table(to, found, view.experiment.name)
        except OSError as error:
            raise StoreError(f"the table can't be written to {to}: {error}") from error
    if json:
        _print_json({"folder": view.folder, "table": [msgspec.to_builtins(row) for row in table_rows(found)]})
        return
    console = _console()
    emit(console, loads_table(view, console))


@app.command()
def report(
    folder: NewestFolder = None,
    to: Annotated[Path | None, typer.Option(help="The HTML file; without it report.html in the folder.")] = None,
    json: Json = False,
) -> None:
    """Write an experiment's HTML report: one file, no network."""
    from mustherd.store.store import Store

    with Store.open(_existing(folder), read_only=True) as store:
        written = _write_report(store, to)
    if json:
        _print_json({"folder": str(store.folder), "report": str(written)})
    else:
        typer.echo(written)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Two experiments or more.")],
    json: Json = False,
) -> None:
    """Put experiments side by side: what they found, and what differs in their definitions."""
    import contextlib

    from mustherd.report.compare import compare as compare_views
    from mustherd.report.compare import row_of
    from mustherd.report.table import compare_table, emit
    from mustherd.report.view import View
    from mustherd.store.store import Store

    if len(folders) < 2:
        raise typer.BadParameter("name at least two experiments", param_hint="FOLDERS")
    with contextlib.ExitStack() as stack:
        views = [View.of(stack.enter_context(Store.open(folder, read_only=True))) for folder in folders]
        if json:
            _print_json(compare_views(views))
            return
        console = _console()
        emit(console, compare_table([row_of(view) for view in views], console))


@app.command()
def status(folder: NewestFolder = None, keys: Keys = None, json: Json = False) -> None:
    """Say how an experiment stands and, while it runs, who is in its herd."""
    import msgspec

    from mustherd.experiment.verdict import summary
    from mustherd.report.table import emit, new_table
    from mustherd.store.store import Store
    from mustherd.wire.messages import Status, StatusAsk

    where = _existing(folder)
    with Store.open(where, read_only=True) as store:
        found: dict[str, Any] = {k: v for k, v in summary(store).items() if k in ("experiment", "folder", "trials")}
        row = store.experiment()
        running = store.owner() is not None
        found |= {"status": row.status if running or row.status != "running" else "killed", "phase": row.phase}
        herd = _ask(where, StatusAsk(), keys) if running else None
    musters = [msgspec.to_builtins(x) for x in herd.musters] if isinstance(herd, Status) else []
    if json:
        _print_json({**found, "musters": musters})
        return
    console = _console()
    table = new_table(console)
    for column in ("muster", "state", "decision in force", "answer (ms)"):
        table.add_column(column)
    for x in musters:
        answer = x["answer_ms"]
        table.add_row(x["muster"], x["state"], str(x["in_force"] or ""), f"{answer:.1f}" if answer else "")
    counts = ", ".join(f"{n} {state}" for state, n in found["trials"].items() if n)
    console.print(f"{found['experiment']}: {found['status']}, {counts or 'no trials yet'}", markup=False)
    if musters:
        emit(console, table)


@app.command()
def stop(folder: NewestFolder = None, keys: Keys = None, json: Json = False) -> None:
    """Stop a running experiment in good order: nodes put back, everything kept; resume goes on with it."""
    from mustherd.store.store import Store, StoreError
    from mustherd.wire.messages import StopAsk

    where = _existing(folder)
    with Store.open(where, read_only=True) as store:
        if store.owner() is None:
            raise StoreError(f"{where} isn't running: there is nothing to stop")
    _ask(where, StopAsk(), keys)
    if json:
        _print_json({"folder": str(where), "status": "stopping"})
    else:
        typer.echo(f"{where}: stopping")


def _front(view: "View", console: "Console") -> list[Any]:
    """The front's table, where there is one."""
    from mustherd.report.table import front_table

    return [front_table(view, console)] if view.goal.second else []


def _limit(text: str) -> "Constraint":
    from mustherd.definition.limits import limit
    from mustherd.definition.units import QuantityError

    try:
        return limit(text)
    except QuantityError as error:
        near = f"; did you mean '{error.suggestion}'?" if error.suggestion else ""
        raise typer.BadParameter(f"{text!r}: {error}; allowed: {error.allowed}{near}", param_hint="--limit") from None


def _check_sources(experiment: "Experiment") -> None:
    """What the definition reads from elsewhere must be there before anything is started."""
    from mustherd.definition import given_points
    from mustherd.experiment.prior import read_prior

    if experiment.search.method == "one-shot":
        given_points(experiment)
    if experiment.search.prior is not None:
        read_prior(experiment)


def _read(spec: Path | None) -> "tuple[str, Experiment]":
    """The definition's text and meaning."""
    from mustherd.definition import load, loads, quickstart

    if spec is None:
        text = quickstart()
        return text, loads(text, "quickstart.yml")
    experiment = load(spec)
    return spec.read_text(encoding="utf-8"), experiment


def _new_folder(name: str) -> Path:
    import itertools
    import time

    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidates = (EXPERIMENTS / (stem if n == 1 else f"{stem}-{n}") for n in itertools.count(1))
    return next(folder for folder in candidates if not folder.exists())


def _existing(folder: Path | None) -> Path:
    """The folder that was named, or the newest in ./experiments."""
    from mustherd.store.catalog import list_experiments
    from mustherd.store.store import StoreError

    if folder is not None:
        return folder
    found = list_experiments(EXPERIMENTS)
    if not found:
        raise StoreError(f"there is no experiment in ./{EXPERIMENTS}: name a folder, or start one")
    return Path(found[0].folder)


def _conduct(
    store: "Store", experiment: "Experiment", listen: str, keys: Path | None, musters: int | None, json: bool
) -> int:
    """Run the processes, show what happens, write the report; gives the exit code."""
    from mustherd.experiment.local_herd import LocalHerd
    from mustherd.experiment.verdict import summary
    from mustherd.report.live import follow
    from mustherd.report.table import emit, verdict_panel
    from mustherd.report.view import View
    from mustherd.store.errors import OwnedError

    if (owner := store.owner()) is not None:
        raise OwnedError(store.folder, owner)
    simulated = experiment.herd.simulated
    expected = simulated.musters if simulated else 1 if experiment.herd.local else musters or 1
    # A herd on this machine takes any free ports, so that two experiments can run beside each other.
    ports = "50051,50061,50071,50081" if experiment.herd.inventory else "0,0,0,0"
    console = _console(stderr=json)
    _lay_out_load(store.folder, experiment)
    with LocalHerd(store.folder, experiment, listen=listen, ports=ports, keys=keys) as herd:
        herd.start(expected)
        try:
            follow(store.folder, console, until=lambda: not herd.tend())
        except KeyboardInterrupt:
            console.print("stopping: nodes are put back, what was found is kept")
            herd.interrupt()
        code = herd.result()
        words = herd.last_words()
    status = store.experiment()
    if code < 0:
        console.print(f"the shepherd was killed by signal {-code}; go on: mustherd experiment resume {store.folder}")
        code = 3
    elif code == STOPPED:
        console.print(f"stopped; go on: mustherd experiment resume {store.folder}")
    elif code not in (0, 1):
        reason = status.status_detail if status.status == "failed" and status.status_detail else words
        console.print(f"failed: {reason}", markup=False, style="red")
        console.print(f"logs: {store.folder}/*.log; go on: mustherd experiment resume {store.folder}", markup=False)
    view = View.of(store)
    if code in (0, 1):
        emit(console, *_front(view, console), verdict_panel(view, console))
    written = _write_report(store, None)
    console.print(f"folder: {store.folder}", markup=False, soft_wrap=True)
    console.print(f"report: {written}", markup=False, soft_wrap=True)
    if json:
        _print_json(summary(store))
    return code


def _lay_out_load(folder: Path, experiment: "Experiment") -> None:
    """Say in the experiment's folder which machines make the load, where it doesn't come from the nodes themselves."""
    from mustherd.load.placement import LAYOUT, Layout, write

    generator, inventory = experiment.workload.generator, experiment.herd.inventory
    layout = None
    if inventory is not None:
        from mustherd.provision.inventory import InventoryError
        from mustherd.provision.placement import read

        layout = read(Path(inventory))
        if layout is None and generator is not None:
            raise InventoryError(f"{inventory}: nobody leads the load; fix: put one host into loadgen_leader")
    elif generator is not None:
        layout = Layout()
    if layout is None:
        (folder / LAYOUT).unlink(missing_ok=True)
    else:
        write(layout, folder)


def _write_report(store: "Store", to: Path | None) -> Path:
    from mustherd.report.html import write

    file = to if to is not None else store.folder / REPORT
    write(store, file)
    return file


def _ask(folder: Path, body: Any, keys: Path | None) -> Any:
    """Ask the shepherd that runs the experiment in `folder`."""
    import json

    from mustherd.experiment.serve import ADDRESS
    from mustherd.store.errors import StoreError
    from mustherd.wire.endpoints import OperatorEndpoint
    from mustherd.wire.keys import for_member

    try:
        where = json.loads((folder / ADDRESS).read_text())
    except (OSError, ValueError):
        raise StoreError(f"{folder} doesn't say where its shepherd listens: it isn't running") from None
    end = OperatorEndpoint(
        where["host"], where["coordinate"], for_member(keys, "operator") if keys is not None else None
    )
    try:
        return end.call(body)
    finally:
        end.close()


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2))
