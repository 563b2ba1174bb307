"""Calibration: whole experiments on surfaces whose truth is known, and how often their verdicts were right.

What a verdict promises is checked here by whoever wants to: on a table that was recorded, with the noise of one's own
machine, or on surfaces that are made up (mustherd.learn.surfaces). Everything but the herd is what an experiment runs.
"""

import itertools
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence

import msgspec

from mustherd.definition import Experiment, goal
from mustherd.definition.limits import limit_text
from mustherd.experiment.simulation import Simulation
from mustherd.experiment.verdict import Verdict
from mustherd.goal import GUARD, Constraint, Goal, keeps
from mustherd.learn import growing_noise
from mustherd.learn.base import Settings
from mustherd.learn.cluster import Each, here
from mustherd.learn.inference import reach
from mustherd.learn.replay import Table
from mustherd.trial import TrialKind

QPS = 1000.0
"""A definition needs a load; here nothing depends on it."""
NEAR_PERCENT = 5.0
"""How much dearer than the best that can be promised a setting may be and count as near."""
NODES = ("node-0",)


class Scatter(msgspec.Struct, frozen=True, kw_only=True):
    """How a window differs from the truth."""

    noise: Mapping[str, float] = {}
    """Metric to the standard deviation of its relative noise; a metric that isn't named has none."""
    at_limit: Mapping[str, float] = {}
    """Limited metric to what it has of it at its limit, beyond that: a third is left 15 % below."""

    def window(self, truth: Mapping[str, float], goal: Goal, draw: random.Random) -> dict[str, float]:
        """What one window measures where `truth` is the case."""
        found = dict(truth)
        for metric, value in truth.items():
            if deviation := self.deviation(metric, value, goal):
                found[metric] = value * max(0.05, 1 + deviation * draw.gauss(0, 1))
        return found

    def promised(self, truth: Mapping[str, float], goal: Goal) -> dict[str, float]:
        """What eight windows let one promise of the next one, by upper limits, where `truth` is the case."""
        upper = {c.metric for c in goal.constraints if not c.at_least}
        room = {m: math.exp(reach(8) * self.deviation(m, truth[m], goal)) for m in upper & truth.keys()}
        return {metric: value * room.get(metric, 1.0) for metric, value in truth.items()}

    def deviation(self, metric: str, value: float, goal: Goal) -> float:
        """The standard deviation of a metric's relative noise where its true value is `value`."""
        usual, more = self.noise.get(metric, 0.0), self.at_limit.get(metric, 0.0)
        limits = [c.limit for c in goal.constraints if c.metric == metric and c.limit > 0 and not c.at_least]
        if not (more and limits and value > 0):
            return usual
        return float((usual**2 + (more * growing_noise.share_of(value, min(limits))) ** 2) ** 0.5)


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment, and what was true."""

    verdict: Verdict
    trials: int
    best_percent: float
    """What the best setting saves that can be promised: whose next window keeps the limits, less the margin."""
    true_percent: float | None
    """What the announced one truly saves; None unless the verdict is 'met'. So is the rest, but for the search's."""
    keeps_limits: bool | None
    """Whether its true values keep every limit."""
    covered: bool | None
    """Whether the announced interval of the saving holds the true one."""
    near: bool | None
    """Whether it costs at most NEAR_PERCENT more than the best that can be promised, and keeps the limits."""
    searched: int
    """Trials of the search."""
    near_after: int | None
    """The first of them that was that near; None: none was."""
    chance: float
    """How likely as many different settings, drawn by chance, hold one that is that near."""
    next_over: bool | None
    """Whether one more window of it broke a limit."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Many experiments. Shares are of those that announced something; None where none did."""

    experiments: int
    met: int
    not_met: int
    not_certain: int
    worth: int
    """Experiments in which there was something worth announcing."""
    found: float | None
    """The share of those that announced something: the power."""
    false: int
    """Announced, and truly without a saving or beyond a limit."""
    covered: float | None
    """The announced interval of the saving holds the true one."""
    over: float | None
    """One more window of what was announced breaks a limit."""
    near: float | None
    """What was announced is within NEAR_PERCENT of the best that can be promised."""
    search_near: float
    """The share of experiments of which a trial of the search was that near."""
    chance_near: float
    """The same had as many settings been drawn by chance."""
    announced_percent: float | None
    """The mean of announced savings."""
    true_percent: float | None
    """The mean of what the same settings truly save."""
    trials: float
    """The mean of an experiment's trials."""


def definition(
    table: Table,
    *,
    objective: str,
    limits: Sequence[Constraint],
    default: Settings,
    trials: int,
    confirmation: Mapping[str, object] | None = None,
    **keys: object,
) -> Experiment:
    """The experiment whose herd a table stands for; `confirmation` and `keys` as in a definition.

    The guard is one of the limits where the table holds what it is about. DefinitionError for what isn't allowed.
    """
    guard = [c.limit for c in limits if c.metric == GUARD]
    known = all(GUARD in o.metrics for o in table.observations())
    gates = {} if known and not guard else {GUARD: guard[0] if guard else 0.0}
    return Experiment(
        name="calibration",
        herd={"inventory": "recorded"},
        workload={"qps": QPS},
        knobs={knob: list(table.values(knob)) for knob in table.knobs},
        objective=objective,
        constraints=[limit_text(c) for c in limits if c.metric != GUARD],
        baseline={"settings": dict(default)},
        trials=trials,
        gates=gates,
        confirmation=dict(confirmation or {}),
        **keys,
    )


def experiment(table: Table, defined: Experiment, scatter: Scatter, seed: int, nodes: Sequence[str] = NODES) -> Whole:
    """One experiment on a table, every window with its own noise; `seed` decides that and the search's chances."""
    draw = random.Random(f"windows/{seed}")
    aim = goal(defined)
    search = defined.search.model_copy(update={"seed": seed})
    run = Simulation(
        defined.model_copy(update={"search": search}),
        lambda settings, _node: scatter.window(table.at(settings), aim, draw),
        nodes,
    )
    verdict = run.run()
    better = aim.objectives[0].direction.better_percent
    default = table.at(defined.baseline.settings)[aim.objective]
    promised = [o.metrics for o in table.observations() if keeps(scatter.promised(o.metrics, aim), aim.aimed)]
    best = min(promised, key=aim.cost, default=None)
    best_percent = 0.0 if best is None else better(best[aim.objective], default)

    def near(truth: Mapping[str, float]) -> bool:
        dearest = 0.0 if best is None else aim.cost(best) * (1 + NEAR_PERCENT / 100)
        return keeps(truth, aim.constraints) and aim.cost(truth) <= dearest

    searched = [table.at(t.settings) for _, t in sorted(run.trials.items()) if t.kind is TrialKind.SEARCH]
    found = Whole(
        verdict=verdict,
        trials=len(run.trials),
        best_percent=best_percent,
        true_percent=None,
        keeps_limits=None,
        covered=None,
        near=None,
        searched=len(searched),
        near_after=next((place for place, truth in enumerate(searched, 1) if near(truth)), None),
        chance=_chance(len(table), sum(near(o.metrics) for o in table.observations()), len(searched)),
        next_over=None,
    )
    if verdict.verdict != "met" or verdict.best is None:
        return found
    truth = table.at(verdict.best.knobs)
    percent, interval = better(truth[aim.objective], default), verdict.saving_ci_percent
    return msgspec.structs.replace(
        found,
        true_percent=percent,
        keeps_limits=keeps(truth, aim.constraints),
        covered=interval is not None and interval[0] <= percent <= interval[1],
        near=near(truth),
        next_over=not keeps(scatter.window(truth, aim, draw), aim.constraints),
    )


def _chance(settings: int, near: int, drawn: int) -> float:
    """The chance that so many of the settings, each drawn once, hold one of those that are near."""
    drawn = min(drawn, settings)
    missed = math.prod((settings - near - k) / (settings - k) for k in range(min(drawn, settings - near)))
    return 1.0 - missed if drawn <= settings - near else 1.0


def calibrate(
    tables: Sequence[tuple[Table, Experiment]],
    scatter: Scatter,
    *,
    seeds: int,
    tell: Callable[[int], object] = lambda _done: None,
    each: Each = here,
) -> Calibration:
    """`seeds` experiments, which take the tables in turns. `tell` gets how many are done.

    `each` says where they run, see mustherd.learn.cluster.workers.
    """

    def one(asked: tuple[int, tuple[Table, Experiment]]) -> Whole:
        seed, (table, defined) = asked
        return experiment(table, defined, scatter, seed)

    runs = []
    for run in each(one, zip(range(seeds), itertools.cycle(tables), strict=False)):
        runs.append(run)
        tell(len(runs))
    return summary(runs, least_saving=tables[0][1].confirmation.least_saving)


def summary(runs: Sequence[Whole], least_saving: float) -> Calibration:
    """Experiments counted together; a saving of `least_saving` per cent is worth announcing."""
    said = [run for run in runs if run.true_percent is not None]
    worth = [run for run in runs if run.best_percent >= least_saving]
    words = [run.verdict.verdict for run in runs]
    return Calibration(
        experiments=len(runs),
        met=words.count("met"),
        not_met=words.count("not met"),
        not_certain=words.count("not certain"),
        worth=len(worth),
        found=_share([run.true_percent is not None for run in worth]),
        false=sum(not run.keeps_limits or (run.true_percent or 0.0) <= 0 for run in said),
        covered=_share([bool(run.covered) for run in said]),
        over=_share([bool(run.next_over) for run in said]),
        near=_share([bool(run.near) for run in said]),
        search_near=statistics.fmean(run.near_after is not None for run in runs),
        chance_near=statistics.fmean(run.chance for run in runs),
        announced_percent=_mean([run.verdict.saving_percent or 0.0 for run in said]),
        true_percent=_mean([run.true_percent or 0.0 for run in said]),
        trials=statistics.fmean(run.trials for run in runs),
    )


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
