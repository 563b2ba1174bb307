"""The verdict on a knob."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.node.knob import KnobError, check, whole
from mustherd.terms import KnobInfo

VALUES = st.integers(0, 100)


class Scripted:
    """A knob whose register something may overwrite between any two looks at it."""

    info = KnobInfo(name="k", sheep="node-0", unit="us", low=0, high=100)

    def __init__(
        self, reads: Iterable[int | Exception], runs: Iterable[int | Exception | None], *, tolerance: int = 0
    ) -> None:
        self.reads, self.runs = list(reads), list(runs)
        self.allowed = tolerance

    def read(self) -> int:
        return int(self._next(self.reads))

    def running(self) -> int | None:
        found: int | None = self._next(self.runs)
        return found

    def write(self, value: int) -> None:
        raise AssertionError("a check must not write")

    def lands_on(self, value: int) -> int:
        return value - value % 2

    def tolerance(self, applied: int, running: int) -> int:
        return self.allowed

    @staticmethod
    def _next(values: list[Any]) -> Any:
        value = values.pop(0)
        if isinstance(value, Exception):
            raise value
        return value


def test_holds_where_the_driver_rounded_it() -> None:
    assert check(Scripted([50], [50]), 51).held


def test_does_not_hold_when_the_node_kept_something_else() -> None:
    reading = check(Scripted([48], [48]), 51)
    assert (reading.held, reading.asked, reading.applied, reading.running) == (False, 51, 48, 48)


def test_does_not_hold_when_something_else_runs() -> None:
    reading = check(Scripted([50], [20]), 50)
    assert (reading.held, reading.applied, reading.running) == (False, 50, 20)


def test_what_the_register_says_decides_where_the_machine_cannot_tell() -> None:
    assert check(Scripted([50], [None]), 50).held
    assert not check(Scripted([48], [None]), 50).held


def test_overwritten_between_the_two_reads() -> None:
    """The register still showed what was asked; by the time of the second look something else ran."""
    reading = check(Scripted([50], [100]), 50)
    assert not reading.held
    assert (reading.applied, reading.running) == (50, 100)


def test_a_knob_that_cannot_be_read_does_not_hold_and_says_why() -> None:
    gone = KnobError("k: gone")
    scripts: list[tuple[list[int | Exception], list[int | Exception | None]]] = [([gone], [1]), ([50], [gone])]
    for reads, runs in scripts:
        for asked in (50, None):
            reading = check(Scripted(reads, runs), asked)
            assert not reading.held
            assert reading.error == "k: gone"
            assert (reading.applied, reading.running, reading.asked) == (None, None, asked)


@given(asked=st.none() | VALUES, applied=VALUES, running=st.none() | VALUES, tolerance=st.integers(0, 10))
def test_held_means_kept_and_within_tolerance(
    asked: int | None, applied: int, running: int | None, tolerance: int
) -> None:
    reading = check(Scripted([applied], [running], tolerance=tolerance), asked)
    kept = asked is None or applied == asked - asked % 2
    near = asked is None or running is None or abs(running - applied) <= tolerance
    assert reading.held == (kept and near)
    assert (reading.asked, reading.applied, reading.running, reading.error) == (asked, applied, running, "")


@given(
    low=VALUES, span=VALUES, step=st.integers(1, 20), values=st.lists(VALUES, max_size=3), value=st.integers(-50, 300)
)
def test_allowed_is_what_is_listed_or_on_the_grid(
    low: int, span: int, step: int, values: list[int], value: int
) -> None:
    info = KnobInfo(name="k", sheep="s", unit="us", values=tuple(values), low=low, high=low + span, step=step)
    assert info.allows(value) == (value in values or value in range(low, low + span + 1, step))


def test_a_knob_without_a_range_has_its_values_alone() -> None:
    info = KnobInfo(name="k", sheep="s", unit="us", values=(0, 1), names={1: "adaptive"})
    assert [v for v in range(-2, 5) if info.allows(v)] == [0, 1]
    assert info.allowed_text() == "0, adaptive us"


def test_what_is_no_whole_number_is_no_reading() -> None:
    """The text or NaN of a package's knob was journalled; the knob was set, and could not be put back."""
    for reads, runs, said in ((["3"], [3], "'3'"), ([math.nan], [3], "nan"), ([3], [3.5], "3.5")):
        knob = Scripted([], [])
        knob.read = lambda value=reads[0]: value  # type: ignore[method-assign, misc]
        knob.runs = list[Any](runs)
        reading = check(knob, 3)
        assert (reading.held, reading.applied, reading.running) == (False, None, None)
        assert reading.error == f"k of node-0: it gives {said}, which is no whole number"


@pytest.mark.parametrize(("given", "value"), [(True, 1), (np.int64(7), 7), (np.uint8(9), 9)])
def test_a_bool_and_numpys_integers_are_whole_numbers(given: Any, value: int) -> None:
    """True was journalled as it was, in a journal that nobody could read; numpy's was refused."""
    found = whole(Scripted([], []), given)
    assert (found, type(found)) == (value, int)


def test_what_no_message_can_hold_is_no_reading() -> None:
    """2**80 as what runs ended the muster, again in each of its lives."""
    knob = Scripted([3], [2**80])
    reading = check(knob, 3)
    assert (reading.held, reading.running) == (False, None)
    assert reading.error == "k of node-0: it gives a number beyond 9007199254740991"
