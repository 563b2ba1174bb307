"""What meters of whole machines say of a window: as metrics, and against one another and the processors' counters."""

import math
from collections.abc import Collection, Mapping, Sequence

from mustherd import metrics
from mustherd.experiment.gates import Fired
from mustherd.load.error import LoadError
from mustherd.meters import series
from mustherd.meters.base import MUSTER, Traits, WallMeter
from mustherd.meters.registry import make, of_one_muster
from mustherd.meters.series import WallEnergy
from mustherd.reasons import Reason
from mustherd.terms import Energy

BAND_W = (0.5, 100_000.0)
"""What a whole machine is believed to draw: from less than the smallest board with a network to more than a rack."""


def meters_of(
    given: Mapping[str, Mapping[str, object]], muster: str, *, alone: bool
) -> dict[str, tuple[WallMeter, Traits]]:
    """The meters of a muster's machine. Raises LoadError for one that measures another one's just as well."""
    for name, options in given.items():
        if not alone and of_one_muster(options):
            text = (
                f"meter {name} measures one machine, and the herd has several: put {MUSTER} into its address or command"
            )
            raise LoadError(Reason.METRIC_MISSING, text)
    return {name: make(options, muster) for name, options in given.items()}


def counts(meters: Collection[str], found: Mapping[str, WallEnergy]) -> dict[str, float]:
    """`wall_joules` and its uncertainty, by the first of the meters and by no other one."""
    first = next(iter(meters), "")
    if first not in found:
        return {}
    return {metrics.WALL: found[first].joules, metrics.WALL_UNCERTAINTY: found[first].uncertain}


def metrics_of(found: Mapping[str, WallEnergy]) -> dict[str, float]:
    """What each meter counted, as a metric of its own."""
    return {f"{name}_joules": energy.joules for name, energy in found.items()}


def missing(meters: Collection[str], why: Mapping[str, str]) -> dict[str, str]:
    """Why metrics of meters were not measured."""
    found = {f"{name}_joules": f"{name}: {text}" for name, text in why.items()}
    first = next(iter(meters), "")
    if first in why:
        found |= dict.fromkeys(metrics.OF_WALL, f"{first}: {why[first]}")
    return found


def implausible(found: Mapping[str, WallEnergy], seconds: float) -> Fired | None:
    """A meter whose power no machine has: where nothing else measures it, its unit is all that could tell."""
    for name, whole in found.items():
        if not BAND_W[0] <= (watts := whole.joules / seconds) <= BAND_W[1]:
            text = f"{name} says {watts:.4g} W, outside {BAND_W[0]:g}..{BAND_W[1]:g} W: it is read in a wrong unit"
            return Fired(Reason.ENERGY_IMPLAUSIBLE, text)
    return None


def disagreement(found: dict[str, WallEnergy], energies: Sequence[Energy], seconds: float) -> Fired | None:
    """How meters contradict one another, or the processors."""
    parts = [e.joules for e in energies if e.kind in ("package", "dram")]
    text = series.disagreement(found, math.fsum(parts) if parts else None, seconds)
    return Fired(Reason.METERS_DISAGREE, text) if text else None
