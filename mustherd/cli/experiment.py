"""`mustherd experiment`: from a definition to a verdict."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mustherd.cli import complete
from mustherd.cli.changed import Herd, Name, Seed, Set, asked, words
from mustherd.cli.check import Keys, Listen, Musters, check
from mustherd.cli.compare import Json, compare
from mustherd.cli.conduct import Notify, conduct, days, front
from mustherd.cli.new import new
from mustherd.cli.printing import aside, console, ends_with, print_json, print_left, told
from mustherd.cli.verbose import says_steps
from mustherd.cli.web import LOOPBACK, Address, Port, Web, watch_experiment
from mustherd.store import EXPERIMENTS

if TYPE_CHECKING:
    from mustherd.definition import Experiment

app = typer.Typer(help="From a definition to a verdict.", no_args_is_help=True, rich_markup_mode=None)

Definition = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE.yml]", help="The definition; without it the quickstart, a simulated herd."),
]
Folder = Annotated[Path, typer.Argument(help="The experiment's folder.", autocompletion=complete.folders)]
NewestFolder = Annotated[
    Path | None,
    typer.Argument(
        help="The experiment's folder; without it the newest in ./experiments.", autocompletion=complete.folders
    ),
]
WithReport = Annotated[bool, typer.Option("--report/--no-report", help="Write an HTML report at the end.")]


@app.command()
def start(
    definition: Definition = None,
    herd: Herd = None,
    into: Annotated[Path | None, typer.Option(help="The new experiment's folder.")] = None,
    listen: Listen = None,
    keys: Keys = None,
    musters: Musters = None,
    report: WithReport = True,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave it running without this terminal; watch and stop find it.")
    ] = False,
    notify: Notify = None,
    sets: Set = None,
    seed: Seed = None,
    name: Name = None,
    json: Json = False,
) -> None:
    """Run an experiment: set the knobs, measure, learn, confirm; ends with a verdict, a folder and an HTML report."""
    from mustherd import api
    from mustherd.experiment.preflight import planned

    changes = words(sets, seed, name)
    if detach:
        options = {"listen": listen, "keys": keys, "musters": musters, "notify": notify, "herd": herd}
        _leave(definition, into, changes, json=json, report=report, **options)
        return
    wanted = asked(definition, changes, herd)
    _say_what_comes_first(api.check(wanted))
    conduct(
        lambda watch: api.run(wanted, into=into, listen=listen, keys=keys, musters=musters, watch=watch, report=report),
        json,
        notify=notify,
        # How many rounds savings need is not told here: what that is worked out with takes a quarter of a second.
        plan=lambda: planned(api.check(wanted), musters),
    )


def _say_what_comes_first(experiment: "Experiment") -> None:
    """That the links of an inventory's herd are tried: it takes seconds, in which nothing else is to be seen."""
    if experiment.herd.inventory is not None:
        aside("first the herd's links are tried, without load: some seconds")


@app.command()
def resume(
    folder: Folder,
    definition: Annotated[Path | None, typer.Option(help="Check against this definition too.")] = None,
    listen: Listen = None,
    keys: Keys = None,
    musters: Musters = None,
    report: WithReport = True,
    notify: Notify = None,
    json: Json = False,
) -> None:
    """Go on with an experiment that was stopped, killed or failed: finished trials are kept, the rest runs again."""
    from mustherd import api

    _say_what_comes_first(api.open(folder).definition)
    conduct(
        lambda watch: api.resume(
            folder, definition=definition, listen=listen, keys=keys, musters=musters, watch=watch, report=report
        ),
        json,
        notify=notify,
    )


@app.command()
def again(
    folder: Folder,
    listen: Listen = None,
    keys: Keys = None,
    musters: Musters = None,
    report: WithReport = True,
    json: Json = False,
) -> None:
    """Measure on another day what an experiment announced, against the default, and keep the record in its folder."""
    from mustherd import api

    _say_what_comes_first(api.open(folder).definition)
    conduct(
        lambda watch: api.again(folder, listen=listen, keys=keys, musters=musters, watch=watch, report=report),
        json,
        first=folder,
    )


app.command()(new)
app.command()(check)


@app.command()
def plan(
    definition: Definition = None,
    herd: Herd = None,
    musters: Musters = None,
    like: Annotated[
        Path | None, typer.Option(help="An experiment's folder, for its noise.", autocompletion=complete.folders)
    ] = None,
    sets: Set = None,
    seed: Seed = None,
    name: Name = None,
    json: Json = False,
) -> None:
    """Say what an experiment would take, without starting anything: trials, time, energy, budget.

    Ends with 2 where it doesn't fit before the reservation's end (`budget: {until: TIME}`), as `start` would.
    """
    from mustherd import api

    wanted = asked(definition, words(sets, seed, name), herd)
    planned = api.plan(wanted, musters=musters, like=like)
    from mustherd.experiment.preflight import too_late

    # Read once more, for the line to name, only where there is an end to come too late for.
    late = None if planned.seconds_left is None else too_late(api.check(wanted), planned)
    with ends_with(0 if late is None else late.exit_code):
        if json:
            print_json(planned.to_dict())
        else:
            from mustherd.report.frame import emit, new_table

            terminal = console()
            table = new_table(terminal)
            table.add_column("plan")
            table.add_column("")
            for row in planned.rows():
                table.add_row(*row)
            emit(terminal, table)
        if late is not None:
            aside(f"mustherd: {late}")


@app.command()
def schema() -> None:
    """Print the JSON schema of the definition, for editors."""
    from mustherd.definition import json_schema

    print_json(json_schema())


@app.command("list")
def list_(
    parent: Annotated[Path, typer.Argument(help="Folder of experiments.")] = EXPERIMENTS,
    json: Json = False,
) -> None:
    """List experiments, newest first."""
    from mustherd import api
    from mustherd.report.frame import emit
    from mustherd.report.json import list_form
    from mustherd.report.table import experiments_table
    from mustherd.store.errors import StoreError

    if parent != EXPERIMENTS and not parent.exists():
        raise StoreError(f"{parent} does not exist: no experiment has been started there")
    found = api.list_experiments(parent)
    if not found:
        aside(f"no experiment in {parent}: start one, mustherd experiment start")
    if json:
        print_json(list_form(found))
        return
    terminal = console()
    emit(terminal, experiments_table(found, terminal))
    for name, left in ((one.name, left) for one in found for left in one.left):
        terminal.print(f"{name}: {left}", markup=False, soft_wrap=True, style="red")


@app.command()
def show(folder: NewestFolder = None, json: Json = False) -> None:
    """Show an experiment: its verdict and its trials."""
    from mustherd import api
    from mustherd.report.frame import emit
    from mustherd.report.json import show_form
    from mustherd.report.table import trials_table, verdict_panel

    view = told(api.open(folder).view())
    if json:
        print_json(show_form(view))
        return
    terminal = console()
    failed = view.status == "failed" and view.detail
    if failed:
        # What its trials say comes after that: most of them were never made.
        terminal.print(f"failed: {view.detail}", markup=False, soft_wrap=True, style="red")
    emit(
        terminal,
        trials_table(view, terminal),
        *front(view, terminal),
        verdict_panel(view, terminal),
        *days(view, terminal),
    )
    if view.detail and not failed:
        terminal.print(f"{view.status}: {view.detail}", markup=False, soft_wrap=True)
    for line in view.provenance_changes:
        terminal.print(f"provenance: {line}", markup=False, soft_wrap=True)


@app.command()
def pick(
    folder: NewestFolder = None,
    limit: Annotated[list[str] | None, typer.Option(help="Limits, as in 'read_p99_us <= 300'.")] = None,
    json: Json = False,
) -> None:
    """Pick the setting with the best objective within other limits, from what was measured: no new trials."""
    from mustherd import api
    from mustherd.definition.limits import limits_of
    from mustherd.report.frame import emit
    from mustherd.report.json import pick_form
    from mustherd.report.table import picks_table
    from mustherd.store.errors import StoreError

    view = told(api.open(folder).view())
    if not view.compares:
        raise StoreError(f"{view.folder} compares no settings, so there is none to pick: see mustherd experiment show")
    form = pick_form(view, limits_of(limit or []))
    with ends_with(0 if all(row["settings"] is not None for row in form["picks"]) else 1):
        if json:
            print_json(form)
        else:
            terminal = console()
            emit(terminal, picks_table(form, view, terminal))


@app.command()
def table(
    folder: NewestFolder = None,
    to: Annotated[Path | None, typer.Option(help="Write the table there too, as YAML.")] = None,
    json: Json = False,
) -> None:
    """Show what to set at each load of an experiment over several loads; another one tries it with search.table."""
    import msgspec

    from mustherd import api
    from mustherd.report.frame import emit
    from mustherd.report.table import loads_table

    result = api.open(folder)
    rows = result.table(to)
    if json:
        print_json({"folder": str(result.folder), "table": [msgspec.to_builtins(row) for row in rows]})
        return
    terminal = console()
    emit(terminal, loads_table(result.view(), terminal))


@app.command()
def report(
    folder: NewestFolder = None,
    to: Annotated[Path | None, typer.Option(help="The HTML file; without it report.html in the folder.")] = None,
    json: Json = False,
) -> None:
    """Write an experiment's HTML report: one file, no network."""
    from mustherd import api

    result = api.open(folder)
    written = result.report(to)
    if json:
        print_json({"folder": str(result.folder), "report": str(written)})
    else:
        typer.echo(written)


app.command()(compare)


@app.command()
def status(folder: NewestFolder = None, keys: Keys = None, json: Json = False) -> None:
    """Say how an experiment stands and, while it runs, who is in its herd."""
    from mustherd import api
    from mustherd.report.frame import emit, new_table
    from mustherd.report.json import status_form
    from mustherd.report.live import standing
    from mustherd.store.beginning import begins

    if folder is not None and (soon := begins(folder)) and not folder.exists():
        if json:
            print_json({"folder": str(folder.absolute()), "status": "beginning", "status_detail": soon})
        else:
            typer.echo(f"{folder.name}: {soon}")
        return
    result = api.open(folder)
    view, musters = told(result.view()), result.herd(keys)
    stands = "killed" if view.status == "interrupted" else view.status
    if json:
        print_json(status_form(view, stands, musters))
        return
    terminal = console()
    table = new_table(terminal)
    for column in ("muster", "state", "decision in force", "answer (ms)"):
        table.add_column(column)
    for x in musters:
        answer = f"{x.answer_ms:.1f}" if x.answer_ms else ""
        table.add_row(x.name, x.presence, str(x.in_force or ""), answer)
    for line in standing(view, stands):
        terminal.print(line, markup=False, soft_wrap=True)
    if view.detail:
        terminal.print(view.detail, markup=False, soft_wrap=True)
    if soon := begins(result.folder):
        terminal.print(f"going on again: {soon}", markup=False, soft_wrap=True)
    if musters:
        emit(terminal, table)
        print_left(musters, terminal)


@app.command()
def watch(
    folder: NewestFolder = None,
    web: Web = False,
    address: Address = LOOPBACK,
    port: Port = 0,
    keys: Keys = None,
) -> None:
    """Watch an experiment that runs elsewhere, until nobody runs it any longer; Ctrl-C ends the watching alone."""
    from mustherd import api
    from mustherd.report.frame import emit
    from mustherd.report.live import follow
    from mustherd.report.table import verdict_panel

    result = api.open(folder)
    if web:
        watch_experiment(result.folder, keys, address, port)
        return
    terminal = console()
    try:
        follow(result.folder, terminal)
    except KeyboardInterrupt:
        terminal.print(
            f"it goes on; watch it again: mustherd experiment watch {result.folder}", markup=False, soft_wrap=True
        )
        return
    view = api.open(result.folder).view()
    if view.status == "done":
        emit(terminal, *front(view, terminal), verdict_panel(view, terminal))
    else:
        go_on = f"{view.status}; go on: mustherd experiment resume {result.folder}"
        terminal.print(go_on, markup=False, soft_wrap=True)


@app.command()
def stop(folder: NewestFolder = None, keys: Keys = None, json: Json = False) -> None:
    """Stop a running experiment in good order: nodes put back, everything kept; resume goes on with it."""
    from mustherd import api

    where = folder if folder is not None else api.open().folder
    api.stop(where, keys=keys)
    if json:
        print_json({"folder": str(where), "status": "stopping"})
    else:
        typer.echo(f"{where}: stopping")


def _leave(
    definition: Path | None, into: Path | None, changes: Sequence[str], *, json: bool, report: bool, **options: Any
) -> None:
    """Start an experiment that outlives this terminal, once it is known to run."""
    from mustherd import api
    from mustherd.experiment.detached import start as start_detached
    from mustherd.store.catalog import folder_for

    # What is wrong with the definition is said here and now.
    experiment = api.check(asked(definition, changes, options["herd"]))
    folder = into if into is not None else folder_for(EXPERIMENTS, experiment.name)
    more = [] if report else ["--no-report"]
    more += [f"--{name}={value}" for name, value in options.items() if value is not None]
    more += [f"--set={change}" for change in changes]
    more += ["--verbose"] if says_steps() else []
    log = start_detached(folder, [*([str(definition)] if definition is not None else []), *more])
    if json:
        print_json({"folder": str(folder), "status": "running", "log": str(log)})
        return
    for line in (
        f"folder: {folder}",
        f"watch: mustherd experiment watch {folder}",
        f"stop: mustherd experiment stop {folder}",
    ):
        typer.echo(line)
