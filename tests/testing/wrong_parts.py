"""Parts of a node that break their contract, each in one way, and beside them the ones that keep it.

Every class names by `caught_by` the test of its suite that has to fail; test_suites.py runs them and looks.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest

from mustherd.node.energy import MeterError
from mustherd.node.knob import BaseKnob, KnobError
from mustherd.node.logger import Rows
from mustherd.terms import KnobKind, Zone
from mustherd.testing.clock import ClockContract
from mustherd.testing.knob import KnobContract
from mustherd.testing.logger import LoggerContract
from mustherd.testing.meter import MeterContract


class Fan(BaseKnob):
    """Keeps its contract. The register is a list, so that two objects share it."""

    kind = KnobKind(name="fan", unit="rpm", names={0: "off"}, range_step=100)

    def __init__(self, register: list[int]) -> None:
        super().__init__(self.kind.offer(low=0, high=1000, step=100))
        self.register = register

    def read(self) -> int:
        return self.register[0]

    def running(self) -> int | None:
        return self.register[0]

    def write(self, value: int) -> None:
        self._refuse(value)
        self.register[0] = value


class OfFan(KnobContract):
    made: ClassVar[Callable[[list[int]], Fan]] = Fan

    @pytest.fixture
    def register(self) -> list[int]:
        return [300]

    @pytest.fixture
    def knob(self, register: list[int]) -> Fan:
        return type(self).made(register)

    @pytest.fixture
    def same_knob(self, register: list[int], knob: Fan) -> Fan:
        return type(self).made(register)

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None

    @pytest.fixture
    def overwrite(self, register: list[int]) -> Callable[[int], None]:
        return lambda value: register.__setitem__(0, value)


class TestRightKnob(OfFan):
    caught_by = ""


class TestForgets(OfFan):
    caught_by = "test_a_write_lands_where_it_says"

    class made(Fan):  # noqa: N801
        def write(self, value: int) -> None:
            self._refuse(value)


class TestRemembersWhatItWrote(OfFan):
    caught_by = "test_keeps_no_state_of_its_own"

    class made(Fan):  # noqa: N801
        def __init__(self, register: list[int]) -> None:
            super().__init__(register)
            self.last = register[0]

        def read(self) -> int:
            return self.last

        def running(self) -> int | None:
            return self.last

        def write(self, value: int) -> None:
            super().write(value)
            self.last = value


class TestReadsAndWrites(OfFan):
    caught_by = "test_reading_changes_nothing"

    class made(Fan):  # noqa: N801
        def read(self) -> int:
            found = self.register[0]
            self.register[0] = min(1000, found + 100)
            return found


class TestTakesAnything(OfFan):
    caught_by = "test_refuses_what_is_not_allowed_before_it_touches_the_node"

    class made(Fan):  # noqa: N801
        def write(self, value: int) -> None:
            self.register[0] = value


class TestRefusesAfterwards(OfFan):
    caught_by = "test_refuses_what_is_not_allowed_before_it_touches_the_node"

    class made(Fan):  # noqa: N801
        def write(self, value: int) -> None:
            self.register[0] = value
            self._refuse(value)


class TestRefusesWithoutAName(OfFan):
    caught_by = "test_refuses_what_is_not_allowed_before_it_touches_the_node"

    class made(Fan):  # noqa: N801
        def write(self, value: int) -> None:
            if not self.info.allows(value):
                raise KnobError("no")
            self.register[0] = value


class TestRoundsInSilence(OfFan):
    caught_by = "test_a_write_lands_where_it_says"

    class made(Fan):  # noqa: N801
        def write(self, value: int) -> None:
            self._refuse(value)
            self.register[0] = value // 200 * 200


class TestLandsOutside(OfFan):
    caught_by = "test_where_a_value_lands_is_allowed_and_lands_on_itself"

    class made(Fan):  # noqa: N801
        def lands_on(self, value: int) -> int:
            return value + 1

        def write(self, value: int) -> None:
            self._refuse(value)
            self.register[0] = value + 1


class TestToleratesByWhatItReadLast(OfFan):
    caught_by = "test_a_tolerance_is_that_of_the_values_given"

    class made(Fan):  # noqa: N801
        def tolerance(self, applied: int, running: int) -> int:
            return self.register[0]


class TestRunsOtherwise(OfFan):
    caught_by = "test_a_written_value_is_held"

    class made(Fan):  # noqa: N801
        def running(self) -> int | None:
            return self.register[0] + 150


class TestSaysNothingOfItsKind(OfFan):
    caught_by = "test_is_described_by_its_kind"

    class made(Fan):  # noqa: N801
        kind = None  # type: ignore[assignment]

        def __init__(self, register: list[int]) -> None:
            BaseKnob.__init__(self, Fan.kind.offer(low=0, high=1000, step=100))
            self.register = register


class TestNamesTwoValuesAlike(OfFan):
    caught_by = "test_words_stand_for_one_value_each"

    class made(Fan):  # noqa: N801
        kind = KnobKind(name="fan", unit="rpm", names={0: "off", 100: "Off"}, range_step=100)


class PlacedFan(Fan):
    """Kept in one place."""

    def places(self) -> dict[str, str]:
        return {"register": str(self.register[0])}

    def put_back(self, places: Mapping[str, str]) -> None:
        self.register[0] = int(places["register"])


class TestPutsNothingBack(OfFan):
    caught_by = "test_goes_back_to_what_was_found_in_every_place"

    class made(PlacedFan):  # noqa: N801
        def put_back(self, places: Mapping[str, str]) -> None:
            pass


class Ticks:
    """A clock of its own that keeps its contract: it stands still where it promised to be called."""

    def __init__(self) -> None:
        self.at = 10.0
        self.stop: float | None = None

    def now(self) -> float:
        return self.at

    def wall_seconds_until(self, deadline: float) -> float:
        return max(0.0, deadline - self.at)

    def stop_at(self, deadline: float | None) -> None:
        self.stop = deadline

    def live(self, seconds: float) -> None:
        ends = self.at + seconds + 1e-6
        self.at = max(self.at, ends if self.stop is None else min(ends, self.stop + 1e-9))


class OfTicks(ClockContract):
    made: ClassVar[type[Ticks]] = Ticks

    @pytest.fixture
    def clock(self) -> Ticks:
        return type(self).made()

    @pytest.fixture
    def wait(self, clock: Ticks) -> Callable[[float], None]:
        return clock.live


class TestRightClock(OfTicks):
    caught_by = ""


class TestGoesBack(OfTicks):
    caught_by = "test_never_goes_back"

    class made(Ticks):  # noqa: N801
        def stop_at(self, deadline: float | None) -> None:
            self.at -= 0.01


class TestStandsStill(OfTicks):
    caught_by = "test_goes_on"

    class made(Ticks):  # noqa: N801
        def live(self, seconds: float) -> None:
            pass

        def wall_seconds_until(self, deadline: float) -> float:
            return 0.0


class TestWaitsForThePast(OfTicks):
    caught_by = "test_what_has_passed_needs_no_waiting"

    class made(Ticks):  # noqa: N801
        def wall_seconds_until(self, deadline: float) -> float:
            return max(0.01, deadline - self.at)


class TestWaitsTooShort(OfTicks):
    caught_by = "test_after_the_wait_it_is_time"

    class made(Ticks):  # noqa: N801
        def wall_seconds_until(self, deadline: float) -> float:
            return 0.0


ZONES = (
    Zone(name="package-0", kind="package", package=0, joules_per_count=0.5, counts_per_wrap=1000),
    Zone(name="core-0", kind="core", package=0, joules_per_count=0.5, counts_per_wrap=1000),
)


class Counters:
    """A meter that keeps its contract."""

    def __init__(self) -> None:
        self.zones = ZONES
        self.counts = [990, 10]
        self.broken = False

    def read(self) -> tuple[int, ...]:
        if self.broken:
            raise MeterError("package-0 can't be read")
        return tuple(self.counts)

    def spend(self) -> None:
        self.counts = [(self.counts[0] + 30) % 1000, (self.counts[1] + 20) % 1000]


class OfCounters(MeterContract):
    made: ClassVar[type[Counters]] = Counters

    @pytest.fixture
    def meter(self) -> Counters:
        return type(self).made()

    @pytest.fixture
    def spend(self, meter: Counters) -> Callable[[], None]:
        return meter.spend

    @pytest.fixture
    def break_meter(self, meter: Counters) -> Callable[[], None]:
        return lambda: setattr(meter, "broken", True)


class TestRightMeter(OfCounters):
    caught_by = ""


class TestBrokenReadsAsZero(OfCounters):
    caught_by = "test_a_counter_that_cannot_be_read_is_an_error_never_a_zero"

    class made(Counters):  # noqa: N801
        def read(self) -> tuple[int, ...]:
            return (0, 0) if self.broken else tuple(self.counts)


class TestCountsBeyondItsWrap(OfCounters):
    caught_by = "test_reads_one_raw_count_per_zone"

    class made(Counters):  # noqa: N801
        def spend(self) -> None:
            self.counts = [count + 30 for count in self.counts]


class TestStandsStillWhileEnergyIsSpent(OfCounters):
    caught_by = "test_counts_forwards"

    class made(Counters):  # noqa: N801
        def spend(self) -> None:
            pass


class TestCountsNoPackage(OfCounters):
    caught_by = "test_says_what_it_counts"

    class made(Counters):  # noqa: N801
        def __init__(self) -> None:
            super().__init__()
            self.zones = (ZONES[1], ZONES[1])


class TestAPartUsesMoreThanItsPackage(OfCounters):
    caught_by = "test_a_part_never_uses_more_than_its_package"

    class made(Counters):  # noqa: N801
        def spend(self) -> None:
            self.counts = [(self.counts[0] + 20) % 1000, (self.counts[1] + 40) % 1000]


class Stream:
    """A logger that keeps its contract."""

    stream = "power-node-0"

    def __init__(self) -> None:
        self.made = 0
        self.taken = 0

    def produce(self) -> None:
        self.made += 2

    def flush(self) -> None:
        self.taken = self.made

    def read(self) -> Rows:
        first, self.taken = self.taken, self.made
        values = tuple(float(n) for n in range(first, self.made))
        return Rows(first=first, columns={"watts": values, "seconds": values})


class OfStream(LoggerContract):
    made: ClassVar[type[Stream]] = Stream

    @pytest.fixture
    def logger(self) -> Stream:
        return type(self).made()

    @pytest.fixture
    def produce(self, logger: Stream) -> Callable[[], None]:
        return logger.produce


class TestRightLogger(OfStream):
    caught_by = ""


class TestGivesRowsTwice(OfStream):
    caught_by = "test_rows_come_once_and_in_order"

    class made(Stream):  # noqa: N801
        def read(self) -> Rows:
            values = tuple(float(n) for n in range(self.made))
            return Rows(first=0, columns={"watts": values})


class TestKeepsWhatWasFlushed(OfStream):
    caught_by = "test_flush_throws_away_what_has_piled_up"

    class made(Stream):  # noqa: N801
        def flush(self) -> None:
            pass


class TestCountsAnewAfterAFlush(OfStream):
    caught_by = "test_flush_throws_away_what_has_piled_up"

    class made(Stream):  # noqa: N801
        def flush(self) -> None:
            self.made = self.taken


class TestColumnsOfUnequalLength(OfStream):
    caught_by = "test_rows_come_as_columns_of_equal_length"

    class made(Stream):  # noqa: N801
        def read(self) -> Rows:
            whole = super().read()
            return Rows(first=whole.first, columns={**whole.columns, "late": ()})


class TestNameIsNoFileName(OfStream):
    caught_by = "test_has_a_name_fit_for_a_file"

    class made(Stream):  # noqa: N801
        stream = "power/node 0"
