"""`mustherd replay`: any search, on measurements that were made once, over many seeds."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mustherd.cli import complete
from mustherd.cli.printing import console, print_json

if TYPE_CHECKING:
    from mustherd.experiment.calibration import Calibration
    from mustherd.experiment.recorded import Replay

T = TypeVar("T")

TOLD_EVERY = 10
"""Experiments of a calibration after which is said how many are done."""


def replay(
    source: Annotated[Path, typer.Argument(help="A CSV file with a header, or an experiment's folder.")],
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="Searches to compare: gp, random, grid, a package's own, and of others ax, optuna-gp,"
            " optuna-gp-started (with our first points), optuna-tpe, penalty.",
            autocompletion=complete.names_of("mustherd.searches", "mustherd.peers"),
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
    outstanding: Annotated[
        int | None,
        typer.Option(min=1, max=10**6, help="CSV: requests that the load kept in flight at most; with --qps."),
    ] = None,
    qps: Annotated[float | None, typer.Option(min=1, help="CSV: the load, in requests per second.")] = None,
    trials: Annotated[int, typer.Option(min=1, max=10_000)] = 30,
    seeds: Annotated[int, typer.Option(min=1, max=1000)] = 10,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Run whole experiments, one a seed, and count how often their verdicts are right. SOURCE may then be"
            " 'surfaces', or one kind of them, as in surfaces:needle.",
        ),
    ] = False,
    noise_at_limit: Annotated[
        list[str] | None,
        typer.Option(help="--calibrate: noise that a metric has at its limit beyond that, as in read_p99_us=0.2."),
    ] = None,
    confirmation: Annotated[
        list[str] | None,
        typer.Option(help="--calibrate: repeats, rounds, candidates, margin or least_saving, as in rounds=20."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Run seeds on the workers of a Dask scheduler, as in tcp://HOST:8786 (mustherd[dask])."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw how many seeds got there by which trial, as SVG.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
    ] = False,
) -> None:
    """Replay searches on recorded trials: how soon each comes near to the true optimum, and whether its pick holds.

    With --calibrate whole experiments, to a verdict: how often it is right, and how often there is one.
    """
    import msgspec

    from mustherd.experiment import recorded
    from mustherd.experiment.recorded import ReplayError

    if (outstanding is None) != (qps is None):
        raise typer.BadParameter("give both or none", param_hint="--outstanding, --qps")
    asked: dict[str, Any] = {
        "limits": limit or (),
        "objective": objective,
        "knobs": _pairs("knob", knob, str),
        "metrics": _pairs("metric", metric, str),
        "where": _pairs("where", where, float),
        "default": _pairs("default", default, int),
        "noise": _pairs("noise", noise, float),
        "trials": trials,
        "seeds": seeds,
        "cluster": cluster,
    }
    if calibrate:
        if len(search or ()) > 1:
            raise ReplayError(f"--calibrate takes one --search, not {len(search or ())}")
        calibration = recorded.calibrate(
            source,
            (search or ["gp"])[0],
            **asked,
            noise_at_limit=_pairs("noise-at-limit", noise_at_limit, float),
            confirmation=_pairs("confirmation", confirmation, float),
            tell=lambda done: (
                typer.echo(f"{done} of {seeds} experiments", err=True) if done % TOLD_EVERY == 0 else None
            ),
        )
        if json:
            print_json({"source": str(source), **msgspec.structs.asdict(calibration)})
        else:
            _print_calibration(calibration)
        return
    found = recorded.replay(
        source,
        search or ("gp", "random"),
        **asked,
        load=(outstanding, qps) if outstanding is not None and qps is not None else None,
        tell=lambda name: typer.echo(f"replaying {name}: {seeds} seeds of at most {trials} trials", err=True),
    )
    if plot is not None:
        from mustherd.report.replays import draw

        draw(found.runs, trials, plot)
    if json:
        searches = {name: msgspec.to_builtins(summary) for name, summary in found.searches.items()}
        optimum = msgspec.to_builtins(found.optimum)
        print_json({"source": str(source), "settings": found.settings, "optimum": optimum, "searches": searches})
        return
    _print(found)


def _pairs(option: str, texts: Iterable[str] | None, kind: Callable[[str], T]) -> dict[str, T]:
    """The values of an option that is given as NAME=VALUE, by name."""
    from mustherd.experiment.recorded import ReplayError

    found = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ReplayError(f"--{option} {text!r}: write NAME=VALUE")
        try:
            found[name] = kind(value)
        except ValueError:
            raise ReplayError(f"--{option} {text!r}: {value!r} is not a number") from None
    return found


def _print(found: "Replay") -> None:
    from mustherd.report.frame import emit, new_table

    terminal = console()
    settings = ", ".join(f"{name} {setting}" for name, setting in sorted(found.optimum.point.items()))
    value = found.optimum.metrics[found.objective]
    terminal.print(f"true optimum: {settings}, {found.objective} {value:.6g}", markup=False)
    table = new_table(terminal)
    columns = ("search", "to 1 %", "to 5 %", "to 10 %", "seeds within 5 %", "worst", "pick holds", "ms a suggestion")
    for column in columns:
        table.add_column(column)
    for method, summary in found.searches.items():
        by = summary.trials_to
        medians = ["never" if by[n]["median"] is None else f"{by[n]['median']:g}" for n in ("1 %", "5 %", "10 %")]
        worst = by["5 %"]["worst"]
        table.add_row(
            method, *medians, f"{by['5 %']['share']:.0%}", "never" if worst is None else str(worst),
            f"{summary.picks_within_5:.0%}", f"{summary.suggestion_ms_median:.1f}",
        )  # fmt: skip
    emit(terminal, table)


def _print_calibration(found: "Calibration") -> None:
    from mustherd.report.frame import emit, new_table

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f} %"

    words = f"{found.met} met, {found.not_met} not met, {found.not_certain} not certain"
    rows = [
        ("experiments", f"{found.experiments}: {words}", ""),
        ("something was worth announcing", f"in {found.worth}", ""),
        ("of these announced something", share(found.found), ""),
        ("announced what isn't so", f"{found.false} of {found.experiments}", "at most 2.5 %"),
        ("the announced interval holds the true saving", share(found.covered), "at least 95 %"),
        ("one more window of what was announced breaks a limit", share(found.over), "at most 5 %"),
        ("what was announced is within 5 % of the best", share(found.near), ""),
        ("the search tried one that near", share(found.search_near), f"chance: {share(found.chance_near)}"),
        ("saving announced, and true", f"{percent(found.announced_percent)}, {percent(found.true_percent)}", ""),
        ("trials of an experiment", f"{found.trials:.1f}", ""),
    ]
    terminal = console()
    table = new_table(terminal)
    for column in ("", "found", "promised"):
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    emit(terminal, table)
