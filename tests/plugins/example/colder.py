"""An example of a policy in a package of its own; docs/extend/policy.md shows it."""

from collections.abc import Sequence
from typing import ClassVar

from mustherd.definition import Experiment
from mustherd.learn.base import Observation, Problem, Settings
from mustherd.policy.base import WAIT, Proposal


class Colder:
    """Lower the clock a step at a time until a limit breaks."""

    compares: ClassVar[bool] = True  # held against a baseline, and its best setting is confirmed

    def __init__(self, experiment: Experiment, problem: Problem) -> None:
        self._limits = problem.goal.aimed
        self._left = sorted(experiment.knobs["dvfs"], reverse=True)
        self._broke = False

    def observe(self, observations: Sequence[Observation]) -> None:
        for seen in observations:
            if seen.point["dvfs"] in self._left:
                self._left.remove(seen.point["dvfs"])
            self._broke |= not all(limit.met_by(seen.metrics[limit.metric]) for limit in self._limits)

    def propose(self, pending: Sequence[Settings]) -> Proposal:
        if self._broke or not self._left:
            return None  # enough, for good
        if pending:
            return WAIT  # what is under way decides whether there is a next step
        return {"dvfs": self._left[0]}

    def why_enough(self) -> str:
        return "a limit broke" if self._broke else "the lowest clock was tried"

    def close(self) -> None:
        pass
