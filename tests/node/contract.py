"""What every implementation of a node's parts must do, whatever machine is behind it.

A test module subclasses a contract, names it Test... and overrides its fixtures; pytest then runs every test of the
contract over that implementation. Fixtures that are callables stand for what happens to the node from outside.
"""

from collections.abc import Callable

import pytest

from mustherd.node.clock import Clock
from mustherd.node.energy import EnergyMeter, MeterError, Tally
from mustherd.node.knob import Knob, KnobError, check
from mustherd.node.logger import NativeLogger, TextLogger
from mustherd.node.node import Node
from mustherd.terms import KnobInfo, Load


def some_values(info: KnobInfo) -> list[int]:
    """Allowed values worth trying: those with names of their own, both ends of the range, its middle and neighbours."""
    values = list(info.values)
    if info.low <= info.high:
        steps = (info.high - info.low) // info.step
        values += [info.low + k * info.step for k in sorted({0, min(1, steps), steps // 2, max(0, steps - 1), steps})]
    return values


def refused_values(info: KnobInfo) -> list[int]:
    """Values just outside what is allowed."""
    around = {-1, info.low - 1, info.high + 1, info.high + info.step, *(v + 1 for v in info.values), 10**9}
    if info.step > 1:
        around.add(info.low + 1)
    return sorted(v for v in around if not info.allows(v))


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

    def test_says_what_it_is(self, knob):
        info = knob.info
        assert info.name
        assert info.sheep
        assert info.unit
        assert info.step >= 1
        assert info.settle_seconds >= 0
        assert some_values(info), "a knob without values can't be set"
        assert info.names.keys() <= set(some_values(info))
        assert knob.tolerance() >= 0

    def test_reading_changes_nothing(self, knob):
        assert [knob.read(), knob.running(), knob.read()] == [knob.read(), knob.running(), knob.read()]

    def test_what_is_there_holds_when_nothing_is_asked(self, knob):
        reading = check(knob, None)
        assert reading.held
        assert reading.asked is None
        assert reading.applied == knob.read()
        assert (reading.sheep, reading.knob) == (knob.info.sheep, knob.info.name)

    def test_a_write_lands_where_it_says(self, knob, settle):
        for value in some_values(knob.info):
            knob.write(value)
            settle()
            assert knob.read() == knob.lands_on(value)

    def test_a_written_value_is_held(self, knob, settle):
        for value in some_values(knob.info):
            knob.write(value)
            settle()
            reading = check(knob, value)
            assert reading.held, reading
            assert reading.error == ""
            if reading.running is not None:
                assert abs(reading.running - knob.read()) <= knob.tolerance()

    def test_where_a_value_lands_is_allowed_and_lands_on_itself(self, knob):
        for value in some_values(knob.info):
            landed = knob.lands_on(value)
            assert knob.info.allows(landed)
            assert knob.lands_on(landed) == landed

    def test_refuses_what_is_not_allowed_before_it_touches_the_node(self, knob):
        before = knob.read()
        for value in refused_values(knob.info):
            with pytest.raises(KnobError, match=knob.info.name):
                knob.write(value)
            assert knob.read() == before

    def test_keeps_no_state_of_its_own(self, knob, same_knob, settle):
        for value in some_values(knob.info):
            same_knob.write(value)
            settle()
            assert knob.read() == knob.lands_on(value)
            assert check(knob, value).held

    def test_notices_that_something_overwrote_it(self, knob, settle, overwrite):
        first, *_, last = (v for v in some_values(knob.info) if knob.lands_on(v) == v)
        knob.write(first)
        settle()
        assert check(knob, first).held
        overwrite(last)
        settle()
        reading = check(knob, first)
        assert not reading.held
        assert (reading.asked, reading.applied) == (first, last)


class MeterContract:
    """The energy counters of a node."""

    @pytest.fixture
    def meter(self) -> EnergyMeter:
        raise NotImplementedError

    @pytest.fixture
    def spend(self, meter: EnergyMeter) -> Callable[[], None]:
        """Lets the node use energy: more than one count, less than one wrap."""
        raise NotImplementedError

    @pytest.fixture
    def break_meter(self, meter: EnergyMeter) -> Callable[[], None]:
        """Makes the counters unreadable."""
        raise NotImplementedError

    def test_says_what_it_counts(self, meter):
        names = [zone.name for zone in meter.zones]
        assert len(set(names)) == len(names)
        assert {zone.kind for zone in meter.zones} <= {"package", "core", "dram"}
        assert any(zone.kind == "package" for zone in meter.zones)
        for zone in meter.zones:
            assert zone.package >= 0
            assert zone.joules_per_count > 0
            assert zone.counts_per_wrap > 1

    def test_zones_stay_as_they_are(self, meter, spend):
        before = tuple(meter.zones)
        meter.read()
        spend()
        assert tuple(meter.zones) == before

    def test_reads_one_raw_count_per_zone(self, meter, spend):
        for _ in range(3):
            counts = meter.read()
            assert len(counts) == len(meter.zones)
            for zone, count in zip(meter.zones, counts, strict=True):
                assert isinstance(count, int)
                assert 0 <= count < zone.counts_per_wrap
            spend()

    def test_counts_forwards(self, meter, spend):
        tally = Tally(meter.zones, meter.read())
        sums = [0.0] * len(meter.zones)
        for _ in range(3):
            spend()
            tally.add(meter.read())
            now = [energy.joules for energy in tally.energies()]
            for zone, before, after in zip(meter.zones, sums, now, strict=True):
                if zone.kind == "package":
                    assert after > before
                assert after >= before
            sums = now

    def test_a_part_never_uses_more_than_its_package(self, meter, spend):
        tally = Tally(meter.zones, meter.read())
        spend()
        tally.add(meter.read())
        joules = {zone.name: e.joules for zone, e in zip(meter.zones, tally.energies(), strict=True)}
        packages = {zone.package: joules[zone.name] for zone in meter.zones if zone.kind == "package"}
        for zone in meter.zones:
            if zone.kind == "core":
                assert joules[zone.name] <= packages[zone.package] + 2 * zone.joules_per_count

    def test_a_counter_that_cannot_be_read_is_an_error_never_a_zero(self, meter, break_meter):
        break_meter()
        with pytest.raises(MeterError, match=r"\w"):
            meter.read()


class LoggerContract:
    """A named stream of rows."""

    @pytest.fixture
    def logger(self) -> NativeLogger:
        raise NotImplementedError

    @pytest.fixture
    def produce(self, logger: NativeLogger) -> Callable[[], None]:
        """Makes the node write at least one row, none of which gets lost."""
        raise NotImplementedError

    def test_has_a_name_fit_for_a_file(self, logger):
        assert logger.stream
        assert not set(logger.stream) & set("/\\ \n\0")

    def test_rows_come_as_columns_of_equal_length(self, logger, produce):
        produce()
        rows = logger.read()
        assert len(rows) > 0
        assert {len(column) for column in rows.columns.values()} == {len(rows)}

    def test_rows_come_once_and_in_order(self, logger, produce):
        produce()
        rows = logger.read()
        for _ in range(3):
            expected = rows.first + len(rows)
            produce()
            rows = logger.read()
            assert rows.first == expected
            assert len(rows) > 0
        assert len(logger.read()) == 0

    def test_columns_stay_the_same(self, logger, produce):
        produce()
        before = list(logger.read().columns)
        produce()
        assert list(logger.read().columns) == before
        logger.flush()
        assert set(logger.read().columns) <= set(before)

    def test_flush_throws_away_what_has_piled_up(self, logger, produce):
        produce()
        seen = logger.read()
        produce()
        logger.flush()
        assert len(logger.read()) == 0
        produce()
        rows = logger.read()
        assert len(rows) > 0
        assert rows.first > seen.first + len(seen), "rows that were thrown away keep their numbers"


class TextLoggerContract:
    """A stream whose source writes its rows as lines of unsigned numbers."""

    @pytest.fixture
    def logger(self) -> TextLogger:
        raise NotImplementedError

    @pytest.fixture
    def produce(self, logger: TextLogger) -> Callable[[], None]:
        """Makes the source write at least three rows, none of which gets lost, and no more than it can hold."""
        raise NotImplementedError

    @staticmethod
    def drain(logger: TextLogger, size: int = 1 << 18) -> bytes:
        """One pass to its end."""
        room, text = memoryview(bytearray(size)), b""
        while count := logger.read_into(room):
            assert 0 < count <= size
            text += bytes(room[:count])
        return text

    @staticmethod
    def table(logger: TextLogger, text: bytes) -> list[list[int]]:
        assert text.endswith(b"\n")
        lines = text.split(b"\n")[:-1]
        fields = [line.split(b" ") for line in lines]
        assert all(field.isdigit() and int(field) < 2**64 for line in fields for field in line)
        assert {len(line) for line in fields} == {len(logger.columns)}
        return [[int(field) for field in line] for line in fields]

    def test_has_a_name_fit_for_a_file(self, logger):
        assert logger.stream
        assert not set(logger.stream) & set("/\\ \n\0")

    def test_says_what_its_numbers_are(self, logger):
        assert logger.columns[0] == "i"
        assert len(set(logger.columns)) == len(logger.columns)
        assert logger.capacity >= 0

    def test_rows_are_lines_of_unsigned_numbers_numbered_in_order(self, logger, produce):
        self.drain(logger)
        produce()
        numbers = [row[0] for row in self.table(logger, self.drain(logger))]
        assert len(numbers) >= 3
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    def test_time_goes_forwards(self, logger, produce):
        self.drain(logger)
        times: list[int] = []
        for _ in range(3):
            produce()
            at = logger.columns.index("timestamp")
            times += [row[at] for row in self.table(logger, self.drain(logger))]
        assert times == sorted(set(times))

    def test_reading_takes_rows_away(self, logger, produce):
        produce()
        self.drain(logger)
        assert self.drain(logger) == b""
        produce()
        assert self.table(logger, self.drain(logger))

    def test_an_empty_source_has_an_end(self, logger):
        self.drain(logger)
        room = memoryview(bytearray(1 << 16))
        assert [logger.read_into(room) for _ in range(3)] == [0, 0, 0]

    def test_the_least_room_is_enough(self, logger, produce):
        self.drain(logger)
        produce()
        assert self.table(logger, self.drain(logger, 1 << 16))

    def test_a_pass_that_is_broken_off_begins_anew_or_goes_on_as_it_says(self, logger, produce):
        self.drain(logger)
        produce()
        room = memoryview(bytearray(1 << 16))
        # The least room, so that a source with more than that is left in the middle.
        first = bytes(room[: logger.read_into(room)])
        whole = len(first) < len(room)
        logger.close()
        rest = self.drain(logger)
        if not whole:
            rows = self.table(logger, rest if logger.rewinds else first + rest)
            assert [row[0] for row in rows] == list(range(rows[0][0], rows[0][0] + len(rows)))
            if logger.rewinds:
                assert rest.startswith(first)


class ClockContract:
    """The node's clock."""

    @pytest.fixture
    def clock(self) -> Clock:
        raise NotImplementedError

    @pytest.fixture
    def wait(self, clock: Clock) -> Callable[[float], None]:
        """Lets this many real seconds pass."""
        raise NotImplementedError

    def test_never_goes_back(self, clock, wait):
        last = clock.now()
        for deadline in (None, 0.001, 0.002, None, -1.0, None):
            clock.stop_at(None if deadline is None else last + deadline)
            for _ in range(3):
                wait(0.001)
                now = clock.now()
                assert now >= last
                last = now

    def test_goes_on(self, clock, wait):
        before = clock.now()
        wait(0.001)
        assert clock.now() > before

    def test_what_has_passed_needs_no_waiting(self, clock):
        now = clock.now()
        assert clock.wall_seconds_until(now) == 0
        assert clock.wall_seconds_until(now - 5) == 0

    def test_after_the_wait_it_is_time(self, clock, wait):
        for _ in range(3):
            deadline = clock.now() + 0.002
            while (pause := clock.wall_seconds_until(deadline)) > 0:
                wait(pause)
            assert clock.now() >= deadline

    def test_a_promised_call_can_be_taken_back(self, clock, wait):
        promised = clock.now() + 0.001
        clock.stop_at(promised)
        clock.stop_at(None)
        while (pause := clock.wall_seconds_until(promised + 0.001)) > 0:
            wait(pause)
        assert clock.now() > promised

    def test_it_goes_on_after_a_promise_is_kept(self, clock, wait):
        promised = clock.now() + 0.001
        clock.stop_at(promised)
        while (pause := clock.wall_seconds_until(promised)) > 0:
            wait(pause)
        kept = clock.now()
        assert kept >= promised
        clock.stop_at(None)
        wait(0.001)
        assert clock.now() > kept


class NodeContract:
    """Everything a muster may touch."""

    @pytest.fixture
    def node(self) -> Node:
        raise NotImplementedError

    @pytest.fixture
    def live(self, node: Node) -> Callable[[float], None]:
        """Lets this many seconds of the node's clock pass."""
        raise NotImplementedError

    def test_facts_are_text(self, node):
        assert node.facts["kind"]
        assert all(isinstance(k, str) and isinstance(v, str) for k, v in node.facts.items())

    def test_knobs_and_streams_have_names_of_their_own(self, node):
        knobs = [(knob.info.sheep, knob.info.name) for knob in node.knobs]
        assert len(set(knobs)) == len(knobs)
        streams = [logger.stream for logger in node.loggers]
        assert len(set(streams)) == len(streams)

    def test_parts_are_the_same_every_time(self, node):
        assert [k.info for k in node.knobs] == [k.info for k in node.knobs]
        assert node.meter is node.meter
        assert node.clock is node.clock
        assert [g.stream for g in node.loggers] == [g.stream for g in node.loggers]

    def test_ending_no_load_is_harmless(self, node):
        node.stop_load()
        node.stop_load()

    def test_a_load_is_reported_over_its_window_where_the_node_runs_one(self, node, live):
        running = node.start_load(Load(qps=100_000), seed=1)
        if running is None:
            return
        live(1.0)
        t0 = node.clock.now()
        running.open_window()
        live(2.0)
        report = running.close_window()
        assert t0 <= report.t0_s < report.t1_s <= node.clock.now()
        assert report.generator
        assert report.offered_qps == 100_000
        assert report.requests == pytest.approx(report.achieved_qps * (report.t1_s - report.t0_s), rel=1e-6)
        assert 0 < report.samples <= report.requests
        assert 0 <= report.misses <= report.requests
        for latencies in (report.read_us, report.update_us):
            assert latencies.keys() == {"avg", "p50", "p90", "p95", "p99", "p999"}
            ordered = [latencies[name] for name in ("p50", "p90", "p95", "p99", "p999")]
            assert ordered[0] > 0
            assert ordered == sorted(ordered)
        node.stop_load()
