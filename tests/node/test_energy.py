"""Counters that wrap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.node.energy import Tally
from mustherd.terms import Zone


def zone(name: str = "package-0", *, kind: str = "package", wrap: int = 2**32, unit: float = 2.0**-16) -> Zone:
    return Zone(name=name, kind=kind, package=0, joules_per_count=unit, counts_per_wrap=wrap)


@given(
    wrap=st.sampled_from([2, 1000, 2**32, 262143328850]),
    start=st.integers(0, 2**40),
    fractions=st.lists(st.floats(0, 1, exclude_max=True), max_size=20),
)
def test_adds_up_whatever_wraps_as_long_as_it_is_fed_once_per_wrap(
    wrap: int, start: int, fractions: list[float]
) -> None:
    steps = [int(f * wrap) for f in fractions]
    count = start % wrap
    tally = Tally([zone(wrap=wrap, unit=0.5)], [count])
    for step in steps:
        count = (count + step) % wrap
        tally.add([count])
    assert tally.energies()[0].joules == sum(steps) * 0.5


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 999)), min_size=1, max_size=10))
def test_zones_wrap_on_their_own(steps: list[tuple[int, int]]) -> None:
    zones = [zone("a", wrap=100), zone("b", kind="core", wrap=1000)]
    sums = [50, 50]
    tally = Tally(zones, sums)
    for narrow, wide in steps:
        sums = [sums[0] + narrow, sums[1] + wide]
        tally.add([sums[0] % 100, sums[1] % 1000])
    assert [(e.zone, e.kind) for e in tally.energies()] == [("a", "package"), ("b", "core")]
    assert [e.joules * 2**16 for e in tally.energies()] == [sums[0] - 50, sums[1] - 50]


def test_nothing_has_been_used_before_the_second_reading() -> None:
    assert [e.joules for e in Tally([zone()], [12345]).energies()] == [0.0]


def test_a_reading_of_other_zones_is_refused() -> None:
    tally = Tally([zone("a"), zone("b")], [0, 0])
    with pytest.raises(ValueError, match="zip"):
        tally.add([1])
