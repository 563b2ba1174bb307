"""What a definition means for the parts that carry it out: the search's problem, the baseline, the nodes' knobs."""

from collections.abc import Sequence

from mustherd import metrics
from mustherd.definition import check, settings_table
from mustherd.definition.errors import Finding
from mustherd.definition.knobs import kind_of_knob
from mustherd.definition.model import Experiment
from mustherd.goal import Goal, Objective
from mustherd.learn.base import Dimension, Problem, SearchSpace, Settings
from mustherd.terms import Facts, KnobInfo

CONTEXT = "qps"
"""The key by which a point of a problem with several loads says at which one it is."""


def goal(experiment: Experiment) -> Goal:
    """What the experiment is after; a guard is part of it unless the definition sets it to 0."""
    how = experiment.confirmation
    with metrics.declaring(experiment.declared):
        objectives = tuple(map(Objective.of, experiment.objectives or (experiment.objective,)))
    return Goal(
        objectives=objectives,
        limits=experiment.constraints,
        guard=experiment.gates.achieved_ratio,
        margin=how.margin,
        loads=tuple(sorted(experiment.workload.loads)),
        repeats=experiment.repeats,
        rounds=how.rounds,
        parallel=how.candidates,
        least_saving=how.least_saving,
        seed=experiment.search.seed,
    )


def problem(experiment: Experiment, default: Settings | None = None) -> Problem:
    """What is to be searched: the space of the knobs' values, and the goal.

    `default` is what the nodes were found at; without it the baseline's own settings. The problem knows it
    only where it lies in the space. Dimensions are in the order of their names: equal digests give equal problems.
    Several loads are one more dimension, CONTEXT, which comes first.
    """
    dimensions = []
    loads = experiment.workload.loads
    if len(loads) > 1:
        dimensions.append(Dimension(name=CONTEXT, values=tuple(sorted(int(qps) for qps in loads)), scale="log"))
    for key, values in sorted(experiment.knobs.items()):
        given = {"values": values.values, "low": values.low, "high": values.high, "step": values.step}
        dimensions.append(Dimension.of(key, kind_of_knob(key), values, **given))
    known = {**(default or {}), **default_settings(experiment)}
    start = {key: known[key] for key in sorted(experiment.knobs) if known.get(key) in experiment.knobs[key]}
    space = SearchSpace(
        dimensions=tuple(dimensions),
        default=start if len(start) == len(experiment.knobs) else None,
        in_flight_us=experiment.workload.outstanding / loads[0] * 1e6 if len(loads) == 1 else None,
        context=CONTEXT if len(loads) > 1 else "",
    )
    return Problem(space=space, goal=goal(experiment))


def default_settings(experiment: Experiment) -> dict[str, int]:
    """The baseline's settings; empty for the node as it was found."""
    return dict(experiment.baseline.settings)


def check_knobs(experiment: Experiment, knobs: Sequence[KnobInfo], facts: Facts | None = None) -> None:
    """Raise DefinitionError, with its line, for what the definition asks of knobs that nodes with `knobs` don't allow.

    `knobs` are those of every node that takes part: what one refuses is refused. `facts` of the node say why it lacks
    one.
    """
    if findings := check.offered(experiment, knobs, facts.missing if facts is not None else {}):
        raise experiment.source.error(findings)


def search_options(experiment: Experiment) -> dict[str, object]:
    """What the definition's search is told: its `options`, and in their place what ours have keys of their own for.

    DefinitionError as of `given_points`.
    """
    search = experiment.search
    if search.method == "one-shot":
        return {"settings": given_points(experiment)}
    options = dict(search.options or {})
    if search.method == "grid":
        options |= {"order": search.order, "repetitions": search.repetitions}
    if search.method == "gp":
        options |= {"initial": search.initial, "stop": search.stop}
    return options


def given_points(experiment: Experiment) -> list[Settings]:
    """The points that a one-shot experiment tries: its settings, or its table's, at each of its loads.

    DefinitionError, with its line, for a table that can't be read or holds what the experiment's knobs don't.
    """
    search, loads = experiment.search, experiment.workload.loads
    rows = settings_table.read(search.table) if search.table is not None else []
    found: list[Settings] = []
    for qps in loads or (experiment.workload.load().qps,):
        settings = settings_table.nearest(rows, qps).settings if rows else search.settings or {}
        for key, space in experiment.knobs.items():
            if settings.get(key) not in space:
                problem = (
                    f"{search.table} has {key} {settings.get(key, 'nowhere')}, which is not among the knob's values"
                )
                raise experiment.source.error([Finding(("search", "table"), problem)])
        point = {key: settings[key] for key in experiment.knobs}
        found.append({CONTEXT: int(qps), **point} if len(loads) > 1 else point)
    return found
