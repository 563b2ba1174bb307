"""`mustherd replay`: any search, on measurements that were made once, over many seeds."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mustherd.errors import UserError

if TYPE_CHECKING:
    from mustherd.learn.base import Problem
    from mustherd.learn.replay import Run, Table


class ReplayError(UserError):
    """The measurements, or what is asked of them, can't be used."""


def replay(
    source: Annotated[Path, typer.Argument(help="A CSV file with a header, or an experiment's folder.")],
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="Searches to compare: gp, random, grid, a package's own, and of others optuna-gp, optuna-tpe, penalty."
        ),
    ] = None,
    limit: Annotated[list[str] | None, typer.Option(help="Limits, as in 'read_p99_us <= 500'.")] = None,
    objective: Annotated[
        str, typer.Option(help="The metric to make small; achieved_qps and achieved_ratio are made large.")
    ] = "energy_joules",
    knob: Annotated[
        list[str] | None, typer.Option(help="CSV: knob and its column, as in dvfs=dvfs:msr (a word for MSR 0x199).")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="CSV: metric and its column or quotient, as in achieved_ratio=achieved/target."),
    ] = None,
    where: Annotated[list[str] | None, typer.Option(help="CSV: rows to use, as in target_qps=600000.")] = None,
    default: Annotated[list[str] | None, typer.Option(help="The baseline's settings, as in dvfs=2800.")] = None,
    noise: Annotated[list[str] | None, typer.Option(help="Relative noise to add, as in read_p99_us=0.05.")] = None,
    trials: Annotated[int, typer.Option(min=1, max=10_000)] = 30,
    seeds: Annotated[int, typer.Option(min=1, max=1000)] = 10,
    plot: Annotated[Path | None, typer.Option(help="Draw how many seeds got there by which trial, as SVG.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
    ] = False,
) -> None:
    """Replay searches on recorded trials: how soon each comes near to the true optimum, and whether its pick holds."""
    from json import dumps

    import msgspec

    from mustherd.learn.registry import SearchError, check, make
    from mustherd.learn.replay import Table, summarize
    from mustherd.learn.replay import replay as run

    try:
        limits = tuple(_limit(text) for text in limit or [])
        given = _observations(source) if source.is_dir() else _rows(source, knob or [], metric or [], where or [])
        table = Table(given)
        start = {name: _number(value, int) for name, value in _pairs(default or [])}
        problem = _problem(table, objective, limits, start)
        optimum = table.optimum(problem)
        noises = {name: _number(value, float) for name, value in _pairs(noise or [])}
        runs: dict[str, list[Run]] = {}
        for method in search or ["gp", "random"]:
            check(method, problem, {}, peers=True)
            typer.echo(f"replaying {method}: {seeds} seeds of at most {trials} trials", err=True)
            runs[method] = run(
                lambda seed, method=method: make(method, problem, seed=seed, peers=True),  # type: ignore[misc]
                table, problem, seeds=range(seeds), trials=trials, noise=noises,
            )  # fmt: skip
    except (ValueError, KeyError, OSError, SearchError) as error:
        raise ReplayError(f"{source}: {error}") from None
    found = {method: summarize(of, optimum.metrics[objective]) for method, of in runs.items()}
    if plot is not None:
        from mustherd.report.replays import draw

        draw(runs, trials, plot)
    if json:
        head = {"source": str(source), "settings": len(table), "optimum": msgspec.to_builtins(optimum)}
        typer.echo(dumps({**head, "searches": {m: msgspec.to_builtins(s) for m, s in found.items()}}, indent=2))
        return
    _print(found, optimum.point, optimum.metrics[objective], objective)


def _limit(text: str) -> Any:
    from mustherd.definition.limits import limit
    from mustherd.definition.units import QuantityError

    try:
        return limit(text)
    except QuantityError as error:
        raise ValueError(f"--limit {text!r}: {error}; allowed: {error.allowed}") from None


def _pairs(texts: Iterable[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"{text!r}: write NAME=VALUE")
        pairs.append((name, value))
    return pairs


def _number(text: str, kind: type[Any]) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _observations(folder: Path) -> list[Any]:
    from mustherd.learn.base import Observation
    from mustherd.store.store import Store
    from mustherd.trial import TrialKind, TrialState

    with Store.open(folder, read_only=True) as store:
        trials = store.trials(TrialKind.SEARCH, TrialState.FINISHED)
    return [Observation(point=trial.settings, metrics=trial.metrics) for trial in trials]


def _rows(file: Path, knobs: list[str], metrics: list[str], where: list[str]) -> list[Any]:
    from mustherd.learn.replay import read_csv

    columns: dict[str, Any] = {}
    for name, value in _pairs(knobs):
        column, colon, form = value.partition(":")
        if colon and form != "msr":
            raise ValueError(f"{value!r}: a column's values are whole numbers, or with ':msr' words for MSR 0x199")
        columns[name] = (column, _of_word(name)) if colon else column
    if not columns or not metrics:
        raise ValueError("name the columns of a CSV file: --knob NAME=COLUMN ... --metric NAME=COLUMN ...")
    conditions = {name: _number(value, float) for name, value in _pairs(where)}
    return read_csv(file, knobs=columns, metrics=dict(_pairs(metrics)), where=conditions)


def _of_word(knob: str) -> Callable[[str], int]:
    from mustherd.definition.knobs import kind_of_knob

    kind = kind_of_knob(knob)
    return lambda text: kind.value_of_word(int(text, 16))


def _problem(table: "Table", objective: str, limits: tuple[Any, ...], default: dict[str, int]) -> "Problem":
    from mustherd.definition.knobs import kind_of_knob

    return table.problem(objective, limits, default or None, {name: kind_of_knob(name) for name in table.knobs})


def _print(found: dict[str, Any], point: dict[str, int], value: float, objective: str) -> None:
    from rich.console import Console

    from mustherd.report.table import emit, new_table

    console = Console(highlight=False)
    settings = ", ".join(f"{name} {setting}" for name, setting in sorted(point.items()))
    console.print(f"true optimum: {settings}, {objective} {value:.6g}", markup=False)
    table = new_table(console)
    columns = ("search", "to 1 %", "to 5 %", "to 10 %", "seeds within 5 %", "worst", "pick holds", "ms a suggestion")
    for column in columns:
        table.add_column(column)
    for method, summary in found.items():
        by = summary.trials_to
        medians = ["never" if by[n]["median"] is None else f"{by[n]['median']:g}" for n in ("1 %", "5 %", "10 %")]
        worst = by["5 %"]["worst"]
        table.add_row(
            method, *medians, f"{by['5 %']['share']:.0%}", "never" if worst is None else str(worst),
            f"{summary.picks_within_5:.0%}", f"{summary.suggestion_ms_median:.1f}",
        )  # fmt: skip
    emit(console, table)
