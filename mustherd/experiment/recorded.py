"""Searches, and whole experiments, on measurements that were made once, in a CSV file or by an experiment; experiments
also on surfaces that are made up."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from mustherd.definition import DefinitionError, Experiment, loads
from mustherd.definition.knobs import kind_of_knob
from mustherd.definition.limits import limit
from mustherd.definition.units import QuantityError
from mustherd.errors import UserError
from mustherd.experiment.calibration import Calibration, Scatter, definition
from mustherd.experiment.calibration import calibrate as calibrated
from mustherd.goal import Constraint
from mustherd.learn.base import Observation, Settings
from mustherd.learn.cluster import workers
from mustherd.learn.registry import SearchError, check, make
from mustherd.learn.replay import Run, Summary, Table, read_csv, summarize
from mustherd.learn.replay import replay as replayed
from mustherd.learn.surfaces import LIMIT, SHAPES, surface
from mustherd.store.store import Store
from mustherd.terms import MAX_VALUE
from mustherd.trial import TrialKind, TrialState

File: TypeAlias = Path | str
WORD = "msr"
"""After a column: its values are words for MSR 0x199."""
MOST_NOISE = 10.0
"""Relative: beyond it nothing would be left of a value."""
SURFACES = "surfaces"
"""A source: surfaces that are made up."""


class ReplayError(UserError):
    """The measurements, or what is asked of them, can't be used."""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What searches did on recorded measurements."""

    settings: int
    """Settings that were measured."""
    objective: str
    optimum: Observation
    """The true one, over all that was measured."""
    searches: dict[str, Summary]
    """By the search's name: over its seeds."""
    runs: dict[str, list[Run]]
    """Each seed's."""


def replay(
    source: File,
    searches: Sequence[str] | str = ("gp", "random"),
    *,
    limits: Sequence[str] = (),
    objective: str = "energy_joules",
    knobs: Mapping[str, str] | None = None,
    metrics: Mapping[str, str] | None = None,
    where: Mapping[str, float] | None = None,
    default: Mapping[str, int] | None = None,
    noise: Mapping[str, float] | None = None,
    load: tuple[int, float] | None = None,
    trials: int = 30,
    seeds: int = 10,
    tell: Callable[[str], object] = lambda _search: None,
    cluster: str | None = None,
) -> Replay:
    """Replay searches on measurements that were made once, over many seeds: how soon each comes near to the optimum.

    `source` is the folder of an experiment, or a CSV file, whose columns `knobs` and
    `metrics` name: a knob's as `COLUMN`, or `COLUMN:msr` for words of MSR 0x199; a metric's as `COLUMN` or
    `COLUMN/COLUMN`; `where` says which rows. Settings that were not measured are holes, which no search asks for.
    `default` are the baseline's settings, `noise` is relative, by metric. `load` is how many requests were in flight at
    most and how many offered per second, so that a search knows which delays leave load unsent; a folder tells it.
    `tell` gets each search's name before its turn. `cluster` is the address of a Dask scheduler, on whose workers seeds
    run side by side. Raises ReplayError, StoreError.
    """
    source = Path(source)
    if isinstance(searches, str):
        searches = [searches]
    with _said_of(source):
        source.stat()  # what isn't there is said first, whatever else is missing
        _require_counts(trials, seeds)
        _require("noise", noise, MOST_NOISE)
        kept = tuple(map(_limit, limits))
        table = _table(source, knobs or {}, metrics or {}, where or {})
        kinds = {name: kind_of_knob(name) for name in table.knobs}
        problem = table.problem(objective, kept, dict(default or {}) or None, kinds)
        load = load or (_load(source) if source.is_dir() else None)
        if load is not None:
            problem = problem.over(in_flight_us=load[0] / load[1] * 1e6)
        measured = table.observations()[0].metrics
        for metric in (noise or {}).keys() - measured.keys():
            raise ValueError(f"noise of {metric}: it was not measured; there is {', '.join(sorted(measured))}")
        optimum = table.optimum(problem)
        if (best := optimum.metrics[objective]) <= 0:
            raise ValueError(f"the best {objective} is {best:g}: how near a search comes is a share of it, above 0")
        runs: dict[str, list[Run]] = {}
        with workers(cluster) as each:
            for method in searches:
                check(method, problem, {}, peers=True)
                tell(method)
                runs[method] = replayed(
                    lambda seed, method=method: make(method, problem, seed=seed, peers=True),  # type: ignore[misc]
                    table, problem, seeds=range(seeds), trials=trials, noise=noise or {}, each=each,
                )  # fmt: skip
    found = {method: summarize(of, optimum.metrics[objective]) for method, of in runs.items()}
    return Replay(settings=len(table), objective=objective, optimum=optimum, searches=found, runs=runs)


def calibrate(
    source: File,
    search: str = "gp",
    *,
    limits: Sequence[str] = (),
    objective: str = "energy_joules",
    knobs: Mapping[str, str] | None = None,
    metrics: Mapping[str, str] | None = None,
    where: Mapping[str, float] | None = None,
    default: Mapping[str, int] | None = None,
    noise: Mapping[str, float] | None = None,
    noise_at_limit: Mapping[str, float] | None = None,
    confirmation: Mapping[str, float] | None = None,
    trials: int = 30,
    seeds: int = 200,
    tell: Callable[[int], object] = lambda _done: None,
    cluster: str | None = None,
) -> Calibration:
    """Run whole experiments on measurements that were made once, and count how often their verdicts are right.

    `source` and most of the others are as for `replay`; or `source` is `surfaces`, or `surfaces:FAMILY` for one kind of
    them, which are made up. `noise_at_limit` is what limited metrics have beyond `noise` at their limits,
    `confirmation` has a definition's keys and `repeats`. `tell` gets how many are done. `cluster` is as for `replay`.
    Raises ReplayError, StoreError.
    """
    source = Path(source)
    with _said_of(source):
        _require_counts(trials, seeds)
        _require("noise", noise, MOST_NOISE)
        _require("noise at a limit", noise_at_limit, MOST_NOISE)
        _require("confirmation", confirmation, MAX_VALUE)
    kept = tuple(map(_limit, limits))
    how = {name: int(value) if value == int(value) else value for name, value in (confirmation or {}).items()}
    keys = {"repeats": how.pop("repeats")} if "repeats" in how else {}

    def defined(table: Table, start: Settings, of: Sequence[Constraint]) -> tuple[Table, Experiment]:
        return table, definition(
            table, objective=objective, limits=of, default=start, trials=trials, confirmation=how,
            search={"method": search}, **keys,
        )  # fmt: skip

    with _said_of(source):
        name, _, family = str(source).partition(":")
        if name == SURFACES:
            families = [family] if family else list(SHAPES)
            made = [surface(families[seed % len(families)], seed) for seed in range(seeds)]
            tables = [defined(table, start, kept or (LIMIT,)) for table, start in made]
        else:
            table, first = _table(source, knobs or {}, metrics or {}, where or {}), dict(default or {})
            if missing := [knob for knob in table.knobs if knob not in first]:
                raise ValueError(f"an experiment needs a default to compare with: say what {missing[0]} is there")
            table.at(first)
            tables = [defined(table, first, kept)]
        scatter = Scatter(noise=noise or {}, at_limit=noise_at_limit or {})
        with workers(cluster) as each:
            return calibrated(tables, scatter, seeds=seeds, tell=tell, each=each)


@contextlib.contextmanager
def _said_of(source: Path) -> Iterator[None]:
    """Say of which measurements something is wrong."""
    try:
        yield
    except KeyError as error:
        raise ReplayError(f"{source}: {error} was not measured") from None
    except (ValueError, OSError, SearchError, DefinitionError) as error:
        raise ReplayError(f"{source}: {error}") from None


def _require_counts(trials: int, seeds: int) -> None:
    for name, number in (("trials", trials), ("seeds", seeds)):
        if number < 1:
            raise ValueError(f"{name}: {number}; allowed: 1 or more")


def _require(what: str, given: Mapping[str, float] | None, most: float) -> None:
    """ValueError for a number by name that isn't within 0..`most`."""
    for name, number in (given or {}).items():
        if not 0 <= number <= most:
            raise ValueError(f"{what} {name}: {number:g}; allowed: 0..{most:g}")


def _table(source: Path, knobs: Mapping[str, str], metrics: Mapping[str, str], where: Mapping[str, float]) -> Table:
    return Table(_observations(source) if source.is_dir() else _rows(source, knobs, metrics, where))


def _limit(text: str) -> Constraint:
    try:
        return limit(text)
    except QuantityError as error:
        raise ValueError(f"limit {text!r}: {error}; allowed: {error.allowed}") from None


def _observations(folder: Path) -> list[Observation]:
    with Store.open(folder, read_only=True) as store:
        trials = store.trials(TrialKind.SEARCH, TrialState.FINISHED)
    return [Observation(point=trial.settings, metrics=trial.metrics) for trial in trials]


def _load(folder: Path) -> tuple[int, float] | None:
    """Requests in flight at most and offered per second, where all trials of an experiment had the same."""
    with Store.open(folder, read_only=True) as store:
        workload = loads(store.experiment().definition, str(folder)).workload
    return (workload.outstanding, workload.loads[0]) if len(workload.loads) == 1 else None


def _rows(
    file: Path, knobs: Mapping[str, str], metrics: Mapping[str, str], where: Mapping[str, float]
) -> list[Observation]:
    columns: dict[str, Any] = {}
    for name, value in knobs.items():
        column, colon, form = value.partition(":")
        if colon and form != WORD:
            raise ValueError(f"{value!r}: a column's values are whole numbers, or with ':{WORD}' words for MSR 0x199")
        columns[name] = (column, _of_word(name)) if colon else column
    if not columns or not metrics:
        raise ValueError("name the columns of a CSV file: its knobs, NAME=COLUMN, and its metrics, NAME=COLUMN")
    return read_csv(file, knobs=columns, metrics=dict(metrics), where=dict(where))


def _of_word(knob: str) -> Callable[[str], int]:
    kind = kind_of_knob(knob)
    return lambda text: kind.value_of_word(int(text, 16))
