"""What an experiment may spend, and whether there is enough left of it for more attempts. Pure."""

from dataclasses import dataclass
from typing import Literal, Self

from mustherd.definition import Experiment
from mustherd.experiment.tally import Tally


@dataclass(frozen=True)
class Shortage:
    """A budget that is used up."""

    code: Literal["budget-minutes", "budget-joules"]
    text: str


@dataclass(frozen=True)
class Budget:
    """Limits on the time of the nodes and on the energy of their windows; None: there is no such limit.

    Nothing is started that would go beyond them, as far as can be said beforehand: each attempt is taken to last
    `trial_s`, and to use what the windows so far used on average.
    """

    minutes: float | None
    joules: float | None
    parallel: int
    """Nodes that spend time beside one another."""
    trial_s: float
    """From a decision to the end of its window, on the node's clock."""

    @classmethod
    def of(cls, experiment: Experiment, parallel: int, settle_s: float = 0.0) -> Self:
        """The budget of a definition, on nodes whose slowest knob takes `settle_s` to settle."""
        load = experiment.workload
        moved_s = max(load.settle_seconds, settle_s)
        trial_s = load.cool_down_seconds + moved_s + load.ramp_seconds + load.window_seconds
        return cls(experiment.budget.minutes, experiment.budget.joules, max(1, parallel), trial_s)

    def short(self, tally: Tally, more: int) -> Shortage | None:
        """What is short where `more` attempts are to be started; None when there is enough."""
        if self.minutes is not None:
            minutes = (tally.begun + more) * self.trial_s / 60 / self.parallel
            if minutes > self.minutes:
                return Shortage("budget-minutes", f"the budget of {self.minutes:g} minutes is used up")
        if self.joules is not None:
            mean = tally.joules / tally.measured if tally.measured else 0.0
            if tally.joules + mean * (tally.running + more) > self.joules:
                return Shortage("budget-joules", f"the budget of {self.joules:g} J is used up")
        return None
