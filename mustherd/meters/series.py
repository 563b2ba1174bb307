"""From values at moments to energy over a window, and how far off it may be; pure."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from mustherd.meters.base import Traits
from mustherd.sampling import Samples, value_at, values_within

WINDOW_PER_PERIOD = 10
"""Periods that a window lasts at least: what happens at its two ends is then a fifth of it at most."""


@dataclass(frozen=True)
class WallEnergy:
    """What a machine used over a window, by one meter."""

    joules: float
    uncertain: float
    """J by which that may be off for how coarse the meter is; its maker's accuracy comes on top."""
    accuracy: float = 0.0
    """Its maker's accuracy, as a share."""

    @property
    def reach(self) -> float:
        """J by which it may be off in all."""
        return self.uncertain + self.accuracy * self.joules


def energy(quantity: Literal["watts", "joules"], samples: Samples, t0: float, t1: float, traits: Traits) -> WallEnergy:
    """Energy from samples, each at the time of asking. ValueError where they don't tell."""
    found = [(at - traits.lag_seconds, value) for at, value in samples]
    values_within(found, t0, t1)
    if (late := t1 - found[-1][0]) > 2 * traits.period_seconds or found[0][0] - t0 > 2 * traits.period_seconds:
        raise ValueError(f"its values don't cover the window: the last one is {max(0.0, late):.1f} s short of its end")
    accuracy = traits.accuracy_percent / 100
    if quantity == "joules":
        if any(later < earlier for (_, earlier), (_, later) in pairwise(found)):
            raise ValueError("its count went back: it was set anew, or is another meter's")
        joules = value_at(found, t1) - value_at(found, t0)
        # Each end is known to within what is used in one period, and to one step.
        return WallEnergy(joules, 2 * traits.resolution + joules / (t1 - t0) * traits.period_seconds, accuracy)
    between = [(at, value) for at, value in found if t0 < at < t1]
    around = [(t0, value_at(found, t0)), *between, (t1, value_at(found, t1))]
    joules = math.fsum((v0 + v1) / 2 * (b - a) for (a, v0), (b, v1) in pairwise(around))
    values = [value for _, value in around]
    # A step of the meter's, over the whole window; and at each end what the power changed by within half a period.
    uncertain = traits.resolution / 2 * (t1 - t0) + (max(values) - min(values)) * traits.period_seconds
    return WallEnergy(joules, uncertain, accuracy)


def disagreement(found: dict[str, WallEnergy], processors: float | None, seconds: float) -> str:
    """How meters of one machine contradict one another, or the processors' own counters; empty where they don't.

    `processors` is the energy of packages and memory: parts of the machine, which can't use more than the whole.
    """
    for name, whole in found.items():
        if processors is not None and whole.joules + whole.reach < processors:
            return (
                f"the processors' counters say {processors / seconds:.1f} W and {name} says"
                f" {whole.joules / seconds:.1f} W (at most {(whole.joules + whole.reach) / seconds:.1f}) for the whole"
                " machine: one of the two is read in a wrong unit, or of another machine"
            )
    names = list(found)
    for one, other in ((a, b) for index, a in enumerate(names) for b in names[index + 1 :]):
        a, b = found[one], found[other]
        if abs(a.joules - b.joules) > a.reach + b.reach:
            return (
                f"{one} says {a.joules / seconds:.1f} W and {other} {b.joules / seconds:.1f} W for the same machine,"
                f" which is {abs(a.joules - b.joules) / seconds:.1f} W apart where"
                f" {(a.reach + b.reach) / seconds:.1f} W are between them at most"
            )
    return ""
