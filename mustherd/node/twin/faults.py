"""What can be wrong with a twin, and the options that make one."""

import math

import msgspec

from mustherd.node.kinds import DVFS, ITR_DELAY
from mustherd.node.twin.profiles import DEFAULT

KNOBS = (ITR_DELAY.name, DVFS.name)
"""The names of a twin's knobs."""


def _at_least(least: float, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= least):
            raise ValueError(f"{name} must be at least {least}, not {value}")


class TwinFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Faults that a test or a user switches on; by default nothing is wrong. Knobs are named by their names."""

    dvfs_without_effect: bool = False
    """The register takes every value, the clock stays as it was (something else owns it)."""
    knob_ignored: tuple[str, ...] = ()
    """Writes to these knobs are taken and forgotten: the read-back shows the old value."""
    knob_reverts_after_s: dict[str, float] = {}
    """This long after a write, on the node's clock, something puts the knob's original value back."""
    write_error: tuple[str, ...] = ()
    """Writes to these knobs are refused with KnobError."""
    lost_rows: int = 0
    """Every so many-th row of the log is missing; 0: none."""
    energy_stuck: bool = False
    """The energy counters stand still."""
    energy_error: bool = False
    """Reading the energy counters fails with MeterError."""
    energy_factor: float = 1.0
    """What the energy counters show as a multiple of the energy used."""
    misses: float = 0.0
    """Share of the requests that are misses."""
    generator_saturated: bool = False
    """The load generator is the bottleneck: it sends nine tenths of what it was asked for, and says so."""

    def __post_init__(self) -> None:
        """ValueError for a fault that can't be."""
        named = {*self.knob_ignored, *self.knob_reverts_after_s, *self.write_error}
        if unknown := named.difference(KNOBS):
            raise ValueError(f"a twin has the knobs {' and '.join(KNOBS)}, no {', '.join(sorted(unknown))}")
        _at_least(0, lost_rows=self.lost_rows, energy_factor=self.energy_factor, misses=self.misses)
        _at_least(0, **{f"knob_reverts_after_s[{k}]": s for k, s in self.knob_reverts_after_s.items()})
        if self.misses > 1:
            raise ValueError(f"misses is a share of the requests, at most 1, not {self.misses}")


class TwinOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a twin."""

    profile: str = DEFAULT.name
    speed: float = 1.0
    """Seconds of the twin per real second."""
    seed: int = 1
    noise: float = 1.0
    """Spread between repeats as a multiple of what was measured; 0: none, every repeat is exact."""
    drift: float = 0.0
    """Drift of this campaign's latencies, as a multiple of what was measured between campaigns (6 % +/- 8 %)."""
    intlog_cores: int = 0
    """Cores, from core 0 on, whose interrupts are logged as the intlog driver does; 0: none."""
    faults: TwinFaults = TwinFaults()

    def __post_init__(self) -> None:
        """ValueError for a number that can't be."""
        _at_least(0, noise=self.noise, intlog_cores=self.intlog_cores)
        if not (math.isfinite(self.speed) and self.speed > 0):
            raise ValueError(f"a twin's speed must be above 0, not {self.speed}")
