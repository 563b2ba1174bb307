"""Latency predictor: settings and loads at random, as training data (mustherd.data.training reads them back)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mustherd.definition import Experiment
from mustherd.definition.problem import CONTEXT
from mustherd.learn.base import Observation, Problem, Settings


@dataclass(frozen=True)
class LatencyPredictorOptions:
    """How it draws."""

    seed: int = 0


class LatencyPredictor:
    """Draws each knob's value and the load at random, independently: a draw may come twice, and shows the noise then.

    The n-th draw depends on the seed and n alone, so that a resumed experiment goes on as if it had never stopped.
    """

    Options = LatencyPredictorOptions
    compares: ClassVar[bool] = False

    def __init__(self, experiment: Experiment, _problem: Problem) -> None:
        self._seed = LatencyPredictorOptions(**experiment.policy.options).seed
        self._knobs = experiment.knobs
        self._loads = experiment.workload.loads
        self._ended = 0

    def observe(self, observations: Sequence[Observation]) -> None:
        self._ended += len(observations)

    def propose(self, pending: Sequence[Settings]) -> Settings | None:
        draw = random.Random(f"{self._seed}/{self._ended + len(pending)}")
        point: Settings = {knob: draw.choice(tuple(values)) for knob, values in self._knobs.items()}
        if len(self._loads) > 1:
            point[CONTEXT] = int(draw.choice(self._loads))
        return point

    def why_enough(self) -> str:
        return ""

    def close(self) -> None:
        pass
