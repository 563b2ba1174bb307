"""From values at moments to energy over a window, what that may be off by, and what contradicts what."""

import time
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.meters.base import Traits, UnreadableError
from mustherd.meters.series import WallEnergy, disagreement, energy
from mustherd.meters.watch import MeterWatch


def told(power: list[float], traits: Traits, seconds: int) -> list[tuple[float, float]]:
    """What a meter tells of a machine that draws so much in each second: its mean over a period, in its steps, late."""
    period = round(traits.period_seconds)
    found = []
    for at in range(seconds):
        last = int(at - traits.lag_seconds) // period * period
        mean = sum(power[max(0, last - period) : max(1, last)]) / max(1, last - max(0, last - period))
        found.append((float(at), round(mean / traits.resolution) * traits.resolution))
    return found


@given(
    power=st.lists(st.floats(80, 400), min_size=100, max_size=100),
    step=st.sampled_from([1.0, 4.0, 10.0]),
    period=st.integers(1, 3),
    lag=st.integers(0, 3),
)
def test_energy_by_a_slow_coarse_late_meter_is_within_what_it_says(
    power: list[float], step: float, period: int, lag: int
) -> None:
    traits = Traits(period_seconds=period, lag_seconds=lag, resolution=step)
    found = energy("watts", told(power, traits, 90), 20.0, 60.0, traits)
    # A mean over a period is told at its end: half a period more of lag, which the edges' part covers.
    assert abs(found.joules - sum(power[20:60])) <= found.uncertain + (max(power) - min(power)) * period


def test_a_count_of_energy_is_taken_at_both_ends() -> None:
    traits = Traits(period_seconds=1, resolution=3600)
    samples = [(float(t), 1e6 + 200.0 * t) for t in range(61)]
    found = energy("joules", samples, 10.5, 50.5, traits)
    assert found.joules == pytest.approx(8000)
    assert found.uncertain == pytest.approx(2 * 3600 + 200)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([(0.0, 1.0)] * 2, "0 values in a window"),
        ([(float(t), 100.0) for t in range(12, 18)], "don't cover the window"),
        ([(float(t), 100.0 + t % 9) for t in range(30)], "went back"),
    ],
)
def test_what_the_values_don_t_tell_is_said(samples: list[tuple[float, float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        energy("joules", samples, 10.0, 20.0, Traits())


def wall(joules: float, uncertain: float = 50.0, accuracy: float = 0.05) -> WallEnergy:
    return WallEnergy(joules, uncertain, accuracy)


@pytest.mark.parametrize(
    ("found", "processors", "said"),
    [
        ({"bmc": wall(2000), "pdu": wall(2150)}, 1200.0, ""),
        ({"bmc": wall(2000), "pdu": wall(2600)}, None, "bmc says 200.0 W and pdu 260.0 W for the same machine"),
        ({"bmc": wall(1300)}, 4 * 700.0, "the processors' counters say 280.0 W and bmc says 130.0 W (at most 141.5)"),
        ({"bmc": wall(1300)}, 1400.0, ""),
        ({}, 1400.0, ""),
    ],
)
def test_a_contradiction_is_named(found: dict[str, WallEnergy], processors: float | None, said: str) -> None:
    assert said in disagreement(found, processors, 10.0)
    assert bool(said) == bool(disagreement(found, processors, 10.0))


class Meter:
    Options: ClassVar[type] = Traits
    quantity: Literal["watts"] = "watts"

    def __init__(self, fails: Any = False) -> None:
        self._fails = fails

    def read(self) -> float:
        if self._fails:
            raise UnreadableError("it is broken")
        return 200.0


def test_values_are_taken_until_the_window_s_last_one_has_been_told() -> None:
    traits = Traits(period_seconds=0.05, lag_seconds=0.1)
    began = time.monotonic()
    with MeterWatch({"bmc": (Meter(), traits), "pdu": (Meter(fails=True), traits)}) as watch:
        time.sleep(0.4)  # fixed: it is a window
        ended = time.monotonic()
    found, why = watch.over(began + 0.1, ended)
    assert found["bmc"].joules == pytest.approx(200 * (ended - began - 0.1), rel=0.01)
    assert why == {"pdu": "it is broken"}
