"""Registers that behave as the driver and the MSR do, and the ways in which they don't."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mustherd.node.knob import KnobError, check
from mustherd.node.twin import model
from mustherd.node.twin.faults import TwinFaults, TwinOptions
from mustherd.node.twin.profiles import C6220
from mustherd.terms import Load
from tests.node.twin.stand import Stand, faulty


def test_a_twin_is_found_as_linux_leaves_a_machine() -> None:
    stand = Stand()
    assert (stand.itr.read(), stand.dvfs.read()) == (1, 2800)
    assert stand.itr.info.names[1] == "adaptive"
    assert stand.dvfs.info.names[2800] == "turbo"


@settings(max_examples=50)
@given(st.integers(-5, 1100))
def test_the_adapter_keeps_delays_in_steps_of_two(value: int) -> None:
    stand = Stand()
    if not 0 <= value <= 1022:
        with pytest.raises(KnobError, match="not allowed"):
            stand.itr.write(value)
        assert stand.itr.read() == 1
        return
    stand.itr.write(value)
    assert stand.itr.read() == (1 if value == 1 else value // 2 * 2)
    assert check(stand.itr, value).held


@settings(max_examples=50)
@given(st.integers(1000, 3000))
def test_clocks_come_in_steps_of_a_hundred(value: int) -> None:
    stand = Stand()
    allowed = value == 2800 or (1200 <= value <= 2600 and value % 100 == 0)
    assert stand.dvfs.info.allows(value) == allowed
    if allowed:
        stand.dvfs.write(value)
        assert check(stand.dvfs, value).held
    else:
        with pytest.raises(KnobError, match="not allowed"):
            stand.dvfs.write(value)


def test_turbo_runs_at_what_all_cores_reach() -> None:
    stand = Stand()
    reading = check(stand.dvfs, 2800)
    assert reading.held
    assert reading.running == 2900


@pytest.mark.parametrize(("before", "after", "down"), [(1, 300, True), (300, 1, True), (300, 10, False), (2, 8, False)])
def test_crossing_ten_microseconds_takes_the_link_down(before: int, after: int, down: bool) -> None:
    stand = faulty()
    stand.itr.write(before)
    stand.live(10.0)
    running = stand.node.start_load(Load(qps=100_000), seed=1)
    stand.itr.write(after)
    running.open_window()
    stand.live(stand.itr.info.settle_seconds)
    stand.live(3.0)
    report = running.close_window()
    assert report.achieved_qps == pytest.approx(50_000 if down else 100_000, rel=1e-6)
    assert report.read_us["p99"] > 0


class TestFaults:
    @pytest.mark.parametrize("value", [1200, 2000, 2600])
    def test_a_clock_without_effect_is_seen_in_what_runs(self, value: int) -> None:
        stand = faulty(dvfs_without_effect=True)
        stand.dvfs.write(value)
        reading = check(stand.dvfs, value)
        assert (reading.applied, reading.running, reading.held) == (value, 2900, False)
        joules, _ = stand.trial(300, value, Load(qps=600_000))
        exact = 30 * model.predict(C6220, 300, 2800, Load(qps=600_000)).power_watts
        assert joules == pytest.approx(exact, rel=1e-5)

    @pytest.mark.parametrize(("knob", "value"), [("itr-delay", 300), ("dvfs", 1200)])
    def test_a_knob_that_forgets(self, knob: str, value: int) -> None:
        stand = faulty(knob_ignored=(knob,))
        found = next(k for k in stand.node.knobs if k.info.name == knob)
        before = found.read()
        found.write(value)
        assert found.read() == before
        assert not check(found, value).held

    @pytest.mark.parametrize(("knob", "value"), [("itr-delay", 300), ("dvfs", 1200)])
    def test_a_knob_that_something_puts_back_between_two_reads(self, knob: str, value: int) -> None:
        stand = faulty(knob_reverts_after_s={knob: 12.0})
        found = next(k for k in stand.node.knobs if k.info.name == knob)
        original = found.read()
        found.write(value)
        stand.live(11.9)
        assert check(found, value).held
        stand.live(0.2)
        reading = check(found, value)
        assert (reading.held, reading.applied) == (False, original)

    def test_the_physics_follow_a_knob_that_is_put_back(self) -> None:
        load = Load(qps=600_000)
        stand = faulty(knob_reverts_after_s={"dvfs": 3 + 5 + 10.0})
        joules, report = stand.trial(300, 1200, load)
        slow, fast = (model.predict(C6220, 300, mhz, load) for mhz in (1200, 2800))
        assert joules == pytest.approx(10 * slow.power_watts + 20 * fast.power_watts, rel=1e-5)
        assert report.read_us["p99"] == pytest.approx((slow.read_us["p99"] + 2 * fast.read_us["p99"]) / 3)

    def test_a_write_that_fails_says_which_and_changes_nothing(self) -> None:
        stand = faulty(write_error=("dvfs",))
        with pytest.raises(KnobError, match="dvfs of node-0"):
            stand.dvfs.write(1200)
        assert stand.dvfs.read() == 2800
        stand.itr.write(300)

    @pytest.mark.parametrize(
        "faults",
        [
            {"knob_ignored": ("itr-dely",)},
            {"write_error": ("volume",)},
            {"knob_reverts_after_s": {"dfvs": 1.0}},
            {"knob_reverts_after_s": {"dvfs": -1.0}},
            {"misses": 1.5},
            {"misses": -0.1},
            {"lost_rows": -1},
            {"energy_factor": float("nan")},
        ],
    )
    def test_a_fault_that_cannot_be_is_refused(self, faults: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"dvfs|misses|lost_rows|energy_factor"):
            TwinFaults(**faults)


@pytest.mark.parametrize("options", [{"speed": 0}, {"speed": float("inf")}, {"noise": -1}, {"profile": "vax"}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"speed|noise|profile"):
        Stand(TwinOptions(**options))


class TestStateFile:
    def test_registers_outlive_the_process(self, tmp_path: Path) -> None:
        path = tmp_path / "registers.json"
        first = Stand(state_file=path)
        assert not path.exists(), "reading never writes"
        first.itr.write(301)
        first.dvfs.write(1200)
        again = Stand(state_file=path)
        assert (again.itr.read(), again.dvfs.read()) == (300, 1200)

    def test_the_twin_goes_on_as_the_registers_say(self, tmp_path: Path) -> None:
        path = tmp_path / "registers.json"
        Stand(state_file=path).dvfs.write(1200)
        assert Stand(state_file=path).dvfs.running() == 1200

    def test_what_something_put_back_is_kept_too(self, tmp_path: Path) -> None:
        path = tmp_path / "registers.json"
        stand = Stand(TwinOptions(faults=TwinFaults(knob_reverts_after_s={"dvfs": 5.0})), path)
        stand.dvfs.write(1200)
        stand.live(6.0)
        assert stand.dvfs.read() == 2800
        assert Stand(state_file=path).dvfs.read() == 2800

    def test_nothing_but_the_file_is_left_behind(self, tmp_path: Path) -> None:
        path = tmp_path / "registers.json"
        stand = Stand(state_file=path)
        for value in (1200, 1300, 1400):
            stand.dvfs.write(value)
        assert [p.name for p in tmp_path.iterdir()] == ["registers.json"]

    @pytest.mark.parametrize("text", ["", "{", "[1]", '{"itr-delay": "x", "dvfs": 1}', '{"itr-delay": 1}', '{"a": 1}'])
    def test_a_file_of_something_else_is_refused(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "registers.json"
        path.write_text(text)
        with pytest.raises(ValueError, match=r"registers\.json"):
            Stand(state_file=path)

    def test_registers_that_cannot_be_kept_are_not_changed(self, tmp_path: Path) -> None:
        folder = tmp_path / "gone"
        folder.mkdir()
        stand = Stand(state_file=folder / "registers.json")
        folder.rmdir()
        with pytest.raises(KnobError, match="dvfs of node-0"):
            stand.dvfs.write(1200)
        assert stand.dvfs.read() == 2800
