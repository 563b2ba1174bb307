"""The plan: what an experiment will take, before it is started."""

import math
from typing import Any

import msgspec

from mustherd.definition.model import Experiment
from mustherd.definition.units import duration
from mustherd.node.twin.profiles import profile

TRIAL_OVERHEAD_SECONDS = 0.25
"""Wall time of a trial besides its load: decision, read-back, flush, storing. An estimate."""

SUGGESTION_SECONDS = 0.15
"""Wall time in which learned models choose a trial; the nodes wait for it. An estimate."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Trials and times of an experiment in which nothing has to be repeated."""

    experiment: str
    musters: int
    space: int
    """Settings in the space; fewer trials than asked for are planned where it is smaller."""
    search: int
    baseline: int
    confirm: int
    """Repeats of the best settings and, beside them, of the baseline, when the first rounds settle it."""
    confirm_at_most: int
    """The same when they don't."""
    trials: int
    """All of them, when the first rounds settle it."""
    seconds_per_trial: float
    """On the nodes' clock."""
    node_seconds: float
    """From the first trial to the last, on the nodes' clock."""
    node_seconds_at_most: float
    wall_seconds: float
    """The same in real time, with what deciding and choosing take."""
    wall_seconds_at_most: float
    joules: float | None
    """Energy of all windows, if every one used what the default does; None where the nodes aren't known."""
    budget_minutes: float | None
    budget_joules: float | None
    fits: bool
    """Whether it all fits the budget, as far as can be said beforehand and when the first rounds settle it."""

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        return msgspec.structs.asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """The plan as a person reads it: what, and how much."""
        most = f" (at most {self.confirm_at_most})" if self.confirm_at_most > self.confirm else ""
        rows = [
            ("experiment", self.experiment),
            ("nodes at the same time", str(self.musters)),
            ("settings in the space", f"{self.space:,}"),
            ("search trials", str(self.search)),
            ("baseline trials", str(self.baseline)),
            ("confirmation trials", f"{self.confirm}{most}"),
            ("one trial", f"{duration(self.seconds_per_trial)} on the node's clock"),
            ("all trials", f"{duration(self.node_seconds)} on the nodes' clock"),
            ("duration", f"{duration(self.wall_seconds)} (at most {duration(self.wall_seconds_at_most)})"),
        ]
        if self.joules is not None:
            rows.append(("energy of the windows", f"about {self.joules / 1000:,.0f} kJ at the default's power"))
        limits = [f"{self.budget_minutes:g} min"] if self.budget_minutes is not None else []
        limits += [f"{self.budget_joules / 1000:,.0f} kJ"] if self.budget_joules is not None else []
        if limits:
            rows.append(("budget", f"{' and '.join(limits)}: {'enough' if self.fits else 'ends the experiment early'}"))
        return rows


def plan(experiment: Experiment, musters: int | None = None) -> Plan:
    """What `experiment` takes on `musters` identical nodes; without a number on the simulated ones, or on one."""
    simulated = experiment.herd.simulated
    nodes = max(1, musters if musters is not None else simulated.musters if simulated else 1)
    space = math.prod(len(values) for values in experiment.knobs.values())
    loads = max(1, len(experiment.workload.loads))
    search = loads if experiment.search.method == "one-shot" else min(experiment.trials, space * loads)
    baseline = loads * math.ceil(search / loads / experiment.baseline.every)
    in_round = loads * (1 + min(experiment.confirmation.candidates, math.ceil(search / loads)))
    confirm = experiment.repeats * in_round
    if experiment.workload.parts:
        # A load that changes from window to window is followed, and nothing is compared under it.
        search, baseline, confirm = experiment.trials, 0, 0
    confirm_at_most = max(experiment.repeats, experiment.confirmation.rounds) * in_round if confirm else 0
    load = experiment.workload
    per_trial = _settle_seconds(experiment) + load.ramp_seconds + load.window_seconds
    rounds = math.ceil((search + baseline) / nodes) + math.ceil(confirm / nodes)
    rounds_at_most = math.ceil((search + baseline) / nodes) + math.ceil(confirm_at_most / nodes)
    speed = simulated.speed if simulated else 1.0
    searches = experiment.search.method == "gp" and not experiment.workload.parts
    choosing = search * SUGGESTION_SECONDS if searches else 0.0
    per_round = per_trial / speed + TRIAL_OVERHEAD_SECONDS
    trials = search + baseline + confirm
    joules = profile(simulated.profile).busy_watts * load.window_seconds * trials if simulated else None
    budget = experiment.budget
    in_time = budget.minutes is None or rounds * per_trial <= budget.minutes * 60
    in_energy = budget.joules is None or joules is None or joules <= budget.joules
    return Plan(
        experiment=experiment.name,
        musters=nodes,
        space=space,
        search=search,
        baseline=baseline,
        confirm=confirm,
        confirm_at_most=confirm_at_most,
        trials=trials,
        seconds_per_trial=per_trial,
        node_seconds=rounds * per_trial,
        node_seconds_at_most=rounds_at_most * per_trial,
        wall_seconds=rounds * per_round + choosing,
        wall_seconds_at_most=rounds_at_most * per_round + choosing,
        joules=joules,
        budget_minutes=budget.minutes,
        budget_joules=budget.joules,
        fits=in_time and in_energy,
    )


def _settle_seconds(experiment: Experiment) -> float:
    """The wait before the load: what the definition asks for, or the slowest knob that is known to need longer."""
    simulated = experiment.herd.simulated
    known = profile(simulated.profile).knobs if simulated else ()
    slowest = max((k.settle_seconds for k in known if k.name in experiment.knobs), default=0.0)
    return max(experiment.workload.settle_seconds, slowest)
