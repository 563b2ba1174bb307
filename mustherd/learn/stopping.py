"""When a search is over: what can still be expected is lost in the noise, or nothing left may keep the limits."""

import math

import numpy as np

from mustherd.learn.exploring import LEFT
from mustherd.learn.models import Model

GAIN = (0.001, 0.005)
"""The relative improvement that is not worth a trial: the noise of the objective, but at least and at most these."""
PATIENCE = 3
"""How many proposals in a row may promise less than that before the search ends."""
LEAST_TRIALS = 8
RESOLUTION = 0.01
"""Before the search ends, the trials together must tell settings apart that differ by 1 %: their noise, averaged over
as many trials as there are per parameter of the model, has to be below that."""
HOPELESS = 0.01
"""When no point left keeps the limits with this probability, and none that was tried does, the search ends."""


class Stopping:
    """Counts the proposals that promised too little."""

    def __init__(self, width: int, least: int = LEAST_TRIALS) -> None:
        """For a model over `width` coordinates; never before `least` points were tried."""
        self._width = width
        self._least = least
        self._quiet = 0
        self.reason = ""
        """Why the search is over; '' while it isn't."""

    def enough(self, model: Model, value: float, *, kept: bool, tried: int, observations: int, unseen: float) -> bool:
        """Whether the best score left, the logarithm `value`, means that nothing is worth a trial.

        `kept`: whether any point tried keeps the limits, so that the score holds an expected improvement; `unseen`: the
        share of the space that no trial is near to.
        """
        if not kept:
            enough, reason = value < math.log(HOPELESS), "no setting left is likely to keep the limits"
        else:
            least = self.least(model)
            enough = value < math.log(least)
            reason = f"the improvement still expected, {100 * math.exp(value):.2g} %, is below {100 * least:.2g} %"
        self._quiet = self._quiet + 1 if enough and tried >= self._least else 0
        resolved = model.noise() <= RESOLUTION * (observations / (self._width + 2)) ** 0.5
        over = self._quiet >= PATIENCE and resolved and unseen <= LEFT
        self.reason = (
            f"{reason}, and no more than {100 * LEFT:g} % of the space is far from every trial" if over else ""
        )
        return over

    def least(self, model: Model) -> float:
        """The least relative improvement that is worth a trial."""
        return float(np.clip(model.objective.surrogate.noise(), *GAIN))

    @property
    def quiet(self) -> bool:
        """Whether the last proposal promised too little to be worth a trial for itself."""
        return self._quiet > 0
