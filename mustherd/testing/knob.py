"""What every knob does, whatever machine is behind it."""

from collections.abc import Callable

import pytest

from mustherd.node.knob import Knob, KnobError, Placed, check
from mustherd.terms import KnobInfo, KnobKind


def some_values(info: KnobInfo) -> list[int]:
    """Allowed values worth trying: those with names of their own, both ends of the range, its middle and neighbours."""
    values = [*info.values, *info.names]
    if info.low <= info.high:
        steps = (info.high - info.low) // info.step
        values += [info.low + k * info.step for k in sorted({0, min(1, steps), steps // 2, max(0, steps - 1), steps})]
    return list(dict.fromkeys(values))


def refused_values(info: KnobInfo) -> list[int]:
    """Values just outside what is allowed."""
    around = {-1, info.low - 1, info.high + 1, info.high + info.step, *(v + 1 for v in info.values), 10**9}
    if info.step > 1:
        around.add(info.low + 1)
    around |= {info.found_low - 1, info.found_high + 1} if info.found_low <= info.found_high else set()
    return sorted(v for v in around if not info.takes_back(v))


class KnobContract:
    """One setting of one sheep."""

    @pytest.fixture
    def knob(self) -> Knob:
        """The knob of a fresh node; what a test does to it must not outlive the test."""
        raise NotImplementedError

    @pytest.fixture
    def same_knob(self, knob: Knob) -> Knob:
        """Another object for the same knob of the same node, as another process would have it."""
        raise NotImplementedError

    @pytest.fixture
    def settle(self, knob: Knob) -> Callable[[], None]:
        """Lets the knob's settle time pass."""
        raise NotImplementedError

    @pytest.fixture
    def overwrite(self, knob: Knob) -> Callable[[int], None]:
        """Puts an allowed value into the register behind the knob's back."""
        raise NotImplementedError

    def test_says_what_it_is(self, knob: Knob) -> None:
        info = knob.info
        assert info.name
        assert info.sheep
        assert info.unit
        assert info.step >= 1
        assert info.settle_seconds >= 0
        assert some_values(info), "a knob without values can't be set"
        assert all(info.allows(value) for value in (*info.names, *info.modes))

    def test_is_described_by_its_kind(self, knob: Knob) -> None:
        kind, info = getattr(type(knob), "kind", None), knob.info
        assert isinstance(kind, KnobKind), "its class says by a `kind` what it is on every machine"
        told = {name: getattr(info, name) for name in KnobKind.__struct_fields__}
        described = {name: getattr(kind, name) for name in KnobKind.__struct_fields__}
        words = {value: word for value, word in kind.names.items() if info.allows(value)}
        modes = tuple(mode for mode in kind.modes if info.allows(mode))
        assert told == {**described, "names": info.names, "modes": modes}
        assert words.items() <= info.names.items(), "a word means the same on every machine"

    def test_words_stand_for_one_value_each(self, knob: Knob) -> None:
        words = [word.lower() for word in knob.info.names.values()]
        assert len(set(words)) == len(words)

    def test_reading_changes_nothing(self, knob: Knob, same_knob: Knob) -> None:
        there, remembered = (same_knob.read(), same_knob.running()), dict(getattr(knob, "__dict__", {}))
        assert [knob.read(), knob.running(), knob.read()] == [knob.read(), knob.running(), knob.read()]
        for value in some_values(knob.info):
            check(knob, value)
        assert (same_knob.read(), same_knob.running()) == there
        assert getattr(knob, "__dict__", {}) == remembered, "a knob remembers nothing of what it read"

    def test_a_tolerance_is_that_of_the_values_given(self, knob: Knob, settle: Callable[[], None]) -> None:
        values = some_values(knob.info)
        pairs = [(applied, running) for applied in values for running in (*values, 0)]
        tolerances = [knob.tolerance(*pair) for pair in pairs]
        assert min(tolerances) >= 0
        for value in values:
            knob.write(value)
            settle()
            check(knob, value)
            assert [knob.tolerance(*pair) for pair in pairs] == tolerances, f"it answers otherwise after {value}"

    def test_what_is_there_holds_when_nothing_is_asked(self, knob: Knob) -> None:
        reading = check(knob, None)
        assert reading.held
        assert reading.asked is None
        assert reading.applied == knob.read()
        assert (reading.sheep, reading.knob) == (knob.info.sheep, knob.info.name)

    def test_a_write_lands_where_it_says(self, knob: Knob, settle: Callable[[], None]) -> None:
        for value in some_values(knob.info):
            knob.write(value)
            settle()
            assert knob.read() == knob.lands_on(value)

    def test_a_written_value_is_held(self, knob: Knob, settle: Callable[[], None]) -> None:
        for value in some_values(knob.info):
            knob.write(value)
            settle()
            reading = check(knob, value)
            assert reading.held, reading
            assert reading.error == ""
            if reading.running is not None:
                assert abs(reading.running - knob.read()) <= knob.tolerance(knob.read(), reading.running)

    def test_where_a_value_lands_is_allowed_and_lands_on_itself(self, knob: Knob) -> None:
        for value in some_values(knob.info):
            landed = knob.lands_on(value)
            assert knob.info.allows(landed)
            assert knob.lands_on(landed) == landed

    def test_puts_back_what_may_be_found_beside_what_is_allowed(self, knob: Knob, settle: Callable[[], None]) -> None:
        info = knob.info
        for value in {info.found_low, (info.found_low + info.found_high) // 2, info.found_high}:
            if info.takes_back(value):
                knob.write(value)
                settle()
                assert knob.read() == knob.lands_on(value)

    def test_goes_back_to_what_was_found_in_every_place(self, knob: Knob, settle: Callable[[], None]) -> None:
        if not isinstance(knob, Placed):
            return
        found, before = knob.places(), knob.read()
        other = next(value for value in reversed(some_values(knob.info)) if knob.lands_on(value) != before)
        knob.write(other)
        settle()
        assert knob.places() != found, f"its places say nothing of {other}"
        knob.put_back(found)
        settle()
        assert knob.places() == found
        assert knob.read() == before

    def test_refuses_what_is_not_allowed_before_it_touches_the_node(self, knob: Knob) -> None:
        before = knob.read()
        for value in refused_values(knob.info):
            with pytest.raises(KnobError, match=knob.info.name):
                knob.write(value)
            assert knob.read() == before

    def test_keeps_no_state_of_its_own(self, knob: Knob, same_knob: Knob, settle: Callable[[], None]) -> None:
        for value in some_values(knob.info):
            same_knob.write(value)
            settle()
            assert knob.read() == knob.lands_on(value)
            assert check(knob, value).held

    def test_notices_that_something_overwrote_it(
        self, knob: Knob, settle: Callable[[], None], overwrite: Callable[[int], None]
    ) -> None:
        first, *_, last = (v for v in some_values(knob.info) if knob.lands_on(v) == v)
        knob.write(first)
        settle()
        assert check(knob, first).held
        overwrite(last)
        settle()
        reading = check(knob, first)
        assert not reading.held
        assert (reading.asked, reading.applied) == (first, last)
