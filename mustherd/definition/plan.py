"""The plan: what an experiment will take, before it is started."""

import math
import time
from typing import Any

import msgspec

from mustherd.definition.check import DRAWING, WATCHING
from mustherd.definition.model import Experiment
from mustherd.definition.plugin_options import places_of_load, refusals
from mustherd.definition.units import duration
from mustherd.learn.inference import LEAST_ROUNDS, SAVINGS_ASKED, level_of, rounds_needed
from mustherd.load.registry import traits_of
from mustherd.node.twin.profiles import profile

TRIAL_OVERHEAD_SECONDS = 0.25
"""Wall time of a trial besides its load: decision, read-back, flush, storing. An estimate."""

LEAVE_SECONDS = 60.0
"""How long before the reservation's end an experiment stops: for nodes to be put back and the report to be written."""

SUGGESTION_SECONDS = 0.15
"""Wall time in which learned models choose a trial; the nodes wait for it. An estimate."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Trials and times of an experiment in which nothing has to be repeated."""

    experiment: str
    musters: int
    at_once: int
    """Trials that run at the same time: a muster each, and no more than the load's machines allow."""
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
    until: str
    """The reservation's end, "" where there is none."""
    seconds_left: float | None
    """Until a minute before it, when what runs is stopped, from now."""
    fits: bool
    """Whether it all fits the budget, as far as can be said beforehand and when the first rounds settle it."""
    noise: float | None = None
    """Relative standard deviation of one window's objective that `rounds_needed` is worked out for; None: not known."""
    rounds_needed: dict[str, int | None] = {}
    """Saving in per cent to the `rounds` of a confirmation in which it is announced, with probability 0.8; None: in no
    number that counts, as one that isn't above the least that is announced. Empty where the noise isn't known."""

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        return msgspec.structs.asdict(self)

    def left_text(self) -> str:
        """How long there is until the reservation's end, as a person reads it."""
        left = self.seconds_left or 0.0
        if left <= 0:
            return "which is over or less than a minute away"
        return f"{duration(left)} from now, plus a minute to stop"

    def _at_once_text(self) -> str:
        if self.at_once == self.musters:
            return str(self.at_once)
        return f"{self.at_once}, as many as there are agents: the {self.musters} nodes take turns"

    def _repr_html_(self) -> str:
        from html import escape  # noqa: PLC0415 - few plans are shown in a notebook

        rows = "".join(f"<tr><td>{escape(what)}</td><td>{escape(amount)}</td></tr>" for what, amount in self.rows())
        return f"<table><tbody>{rows}</tbody></table>"

    def rows(self) -> list[tuple[str, str]]:
        """The plan as a person reads it: what, and how much."""
        most = f" (at most {self.confirm_at_most})" if self.confirm_at_most > self.confirm else ""
        rows = [
            ("experiment", self.experiment),
            ("nodes", str(self.musters)),
            ("trials at the same time", self._at_once_text()),
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
        if self.noise is not None:
            needed = ", ".join(f"{p} % {'none is enough' if n is None else n}" for p, n in self.rounds_needed.items())
            rows.append((f"rounds that a saving takes, at {100 * self.noise:.2g} % of noise", needed))
        limits = [f"{self.budget_minutes:g} min"] if self.budget_minutes is not None else []
        limits += [f"{self.budget_joules / 1000:,.0f} kJ"] if self.budget_joules is not None else []
        if self.seconds_left is not None:
            word = "enough" if self.wall_seconds <= self.seconds_left else "does not fit"
            rows.append(("until", f"{self.until}, {self.left_text()}: {word}"))
        if limits:
            rows.append(("budget", f"{' and '.join(limits)}: {'enough' if self.fits else 'ends the experiment early'}"))
        return rows


def plan(
    experiment: Experiment, musters: int | None = None, teams: int | None = None, *, noise: float | None = None
) -> Plan:
    """What `experiment` takes on `musters` identical nodes; without a number on the simulated ones, or on one.

    `teams`: how many nodes can be loaded at the same time; None: all of them. `noise`: relative standard deviation of
    one window's objective, where that is known. Raises DefinitionError, with its line, for options of the definition's
    load that this refuses: what a load takes beside its windows is the load's own.
    """
    simulated = experiment.herd.simulated
    nodes = max(1, musters if musters is not None else simulated.musters if simulated else 1)
    at_once = min(nodes, teams) if teams is not None else nodes
    space = _space(experiment)
    loads = max(1, len(experiment.workload.loads))
    all_of_them = space * loads * experiment.search.repetitions
    search = loads if experiment.search.method == "one-shot" else min(experiment.trials, all_of_them)
    baseline = loads * math.ceil(search / loads / experiment.baseline.every)
    confirm = nodes * confirmation_trials(experiment)
    if experiment.workload.parts or experiment.policy.name in (*WATCHING, DRAWING):
        # A load that changes from window to window is followed, and nothing is compared under it; nor is what is found.
        search, baseline, confirm = experiment.trials, 0, 0
    most = max(experiment.repeats, experiment.confirmation.rounds)
    confirm_at_most = nodes * confirmation_trials(experiment, most) if confirm else 0
    load = experiment.workload
    per_trial = load.cool_down_seconds + _settle_seconds(experiment) + load.ramp_seconds + load.window_seconds
    rounds = math.ceil((search + baseline) / at_once) + math.ceil(confirm / at_once)
    rounds_at_most = math.ceil((search + baseline) / at_once) + math.ceil(confirm_at_most / at_once)
    speed = simulated.speed if simulated else 1.0
    searches = experiment.search.method == "gp" and not experiment.workload.parts
    choosing = search * SUGGESTION_SECONDS if searches else 0.0
    per_round = per_trial / speed + TRIAL_OVERHEAD_SECONDS + _outside_seconds(experiment)
    trials = search + baseline + confirm
    joules = profile(simulated.profile).busy_watts * load.window_seconds * trials if simulated else None
    budget = experiment.budget
    in_time = budget.minutes is None or rounds * per_trial <= budget.minutes * 60
    left = None if budget.until is None else budget.until.timestamp() - time.time() - LEAVE_SECONDS
    wall_seconds = rounds * per_round + choosing
    in_energy = budget.joules is None or joules is None or joules <= budget.joules
    return Plan(
        experiment=experiment.name,
        musters=nodes,
        at_once=at_once,
        space=space,
        search=search,
        baseline=baseline,
        confirm=confirm,
        confirm_at_most=confirm_at_most,
        trials=trials,
        seconds_per_trial=per_trial,
        node_seconds=rounds * per_trial,
        node_seconds_at_most=rounds_at_most * per_trial,
        wall_seconds=wall_seconds,
        wall_seconds_at_most=rounds_at_most * per_round + choosing,
        joules=joules,
        budget_minutes=budget.minutes,
        budget_joules=budget.joules,
        until="" if budget.until is None else budget.until.isoformat(" ", "minutes"),
        seconds_left=left,
        fits=in_time and in_energy and (left is None or wall_seconds <= left),
        noise=noise,
        rounds_needed={} if noise is None else _rounds_needed(experiment, noise, nodes),
    )


def _outside_seconds(experiment: Experiment) -> float:
    """What a load from outside the nodes takes beside its ramp and its window."""
    load = experiment.workload
    outside = load.offered_by or (("mutilate", {}) if experiment.herd.inventory is not None else None)
    if outside is None:
        return 0.0
    with refusals(experiment, places_of_load(experiment)[1]):
        traits = traits_of(*outside)
    whole = math.ceil(load.ramp_seconds) + math.ceil(load.window_seconds) if traits.whole_seconds else 0.0
    return traits.overhead_s + max(0.0, whole - load.ramp_seconds - load.window_seconds)


def confirmation_trials(experiment: Experiment, rounds: int | None = None) -> int:
    """Trials of each node that confirm what was found: so many `rounds`, by default those asked for, of the best few
    settings and the baseline, and as many of the winner and the baseline."""
    loads = max(1, len(experiment.workload.loads))
    search = loads if experiment.search.method == "one-shot" else experiment.trials
    candidates = min(experiment.confirmation.candidates, math.ceil(search / loads), _space(experiment))
    asked = max(experiment.repeats if rounds is None else rounds, LEAST_ROUNDS) if experiment.repeats else 0
    return loads * asked * (1 + candidates + 2)


def _rounds_needed(experiment: Experiment, noise: float, nodes: int) -> dict[str, int | None]:
    """Rounds that savings need where two windows of a block differ by noise alone."""
    how = experiment.confirmation
    least, candidates = max(experiment.repeats, 1), min(how.candidates, _space(experiment))

    def level(rounds: int) -> float:
        return level_of(least, rounds, candidates)

    deviation = math.sqrt(2) * noise
    return {
        f"{s:g}": rounds_needed(s, deviation, nodes=nodes, level=level, least_percent=how.least_saving)
        for s in SAVINGS_ASKED
    }


def _space(experiment: Experiment) -> int:
    return math.prod(len(values) for values in experiment.knobs.values())


def _settle_seconds(experiment: Experiment) -> float:
    """The wait before the load: what the definition asks for, or the slowest knob that is known to need longer."""
    simulated = experiment.herd.simulated
    known = profile(simulated.profile).knobs if simulated else ()
    slowest = max((k.settle_seconds for k in known if k.name in experiment.knobs), default=0.0)
    return max(experiment.workload.settle_seconds, slowest)
