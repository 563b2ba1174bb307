"""A profile of one's own machine from a short sweep: what it foretells, what it is told to be, where it can be used."""

import csv
import math
import random
from pathlib import Path

import msgspec
import pytest

from mustherd.experiment.twin_fit import Fit, FitError, Window, _require, fit, text, window_of
from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.model import predict
from mustherd.node.twin.profiles import C6220, Profile, profile
from mustherd.plugins import OptionError
from mustherd.terms import Load, LoadReport, Reading
from mustherd.trial import Trial, TrialKind
from tests.shared_data import path

OTHER = msgspec.structs.replace(
    C6220,
    cores=32,
    nominal_mhz=(800, 2400),
    turbo_ask_mhz=2600,
    power=msgspec.structs.replace(C6220.power, base=70.0, linear=12.0, busy_linear=30.0),
    service=msgspec.structs.replace(C6220.service, kcycles=45.0),
    latency=msgspec.structs.replace(C6220.latency, wire_us=12.0, kcycles=35.0),
)
"""A machine that is none of ours."""


def sweep(machine: Profile, seed: int, loads: tuple[float, ...] = (2e5, 6e5)) -> list[Window]:
    noise = random.Random(seed)
    found = []
    for delay in (2, 50, 150, 350):
        for mhz in (machine.nominal_mhz[0], 1600, machine.nominal_mhz[1]):
            for qps in loads:
                seen = predict(machine, delay, mhz, Load(qps=qps))
                read = {part: us * noise.gauss(1, 0.02) for part, us in seen.read_us.items() if part in ("avg", "p99")}
                watts = seen.power_watts * noise.gauss(1, 0.01)
                found.append(
                    Window(delay_us=delay, mhz=mhz, load=Load(qps=qps), watts=watts, achieved_qps=seen.achieved_qps,
                           read_us=read)
                )  # fmt: skip
    return found


def started(machine: Profile) -> Profile:
    return msgspec.structs.replace(
        C6220, name="mine", cores=machine.cores, nominal_mhz=machine.nominal_mhz, turbo_ask_mhz=machine.turbo_ask_mhz
    )


@pytest.mark.long
def test_a_sweep_of_another_machine_foretells_settings_that_were_not_in_it() -> None:
    found = fit(sweep(OTHER, 1), started(OTHER))
    power, p99 = [], []
    for delay in (20, 100, 250):
        for mhz in (1200, 2000):
            for qps in (3e5, 5e5):
                true, seen = (predict(of, delay, mhz, Load(qps=qps)) for of in (OTHER, found.profile))
                power.append(abs(math.log(seen.power_watts / true.power_watts)))
                p99.append(abs(math.log(seen.read_us["p99"] / true.read_us["p99"])))
    assert max(power) < 0.05
    assert sorted(p99)[len(p99) // 2] < 0.05
    assert max(p99) < 0.2
    assert found.errors["power"].median < 0.03
    assert found.errors["p99"].median < 0.08


@pytest.mark.data
@pytest.mark.long
def test_a_tenth_of_a_recorded_grid_foretells_the_rest_as_well_as_it_says() -> None:
    with path("c6220_memcached_grid.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["campaign"] == "0" and float(row["target_qps"]) <= 6e5]
    windows = [
        Window(
            delay_us=int(row["itr_delay_us"]), mhz=int(row["dvfs"], 16) // 0x100 * 100,
            load=Load(qps=float(row["target_qps"])), watts=float(row["pkg_joules"]) / float(row["seconds"]),
            achieved_qps=float(row["achieved_qps"]),
            read_us={part: float(row[f"read_{part}"]) for part in ("avg", "p90", "p99")},
        )
        for row in rows
    ]  # fmt: skip
    random.Random(3).shuffle(windows)
    # Not from what was fitted to this very record: from a machine of half its power and twice its work.
    wrong = msgspec.structs.replace(
        C6220,
        power=msgspec.structs.replace(C6220.power, base=17.0, linear=3.5, busy_linear=5.0),
        service=msgspec.structs.replace(C6220.service, kcycles=140.0),
        latency=msgspec.structs.replace(C6220.latency, wire_us=40.0),
    )
    few, rest = windows[:30], windows[30:]
    found = fit(few, wrong)
    power, p99 = [], []
    for window in rest:
        seen = predict(found.profile, window.delay_us, window.mhz, window.load)
        power.append(abs(math.log(seen.power_watts / window.watts)))
        p99.append(abs(math.log(seen.read_us["p99"] / window.read_us["p99"])))
    assert sorted(power)[len(power) // 2] < 0.03
    assert sorted(p99)[len(p99) // 2] < 0.10
    assert sorted(p99)[len(p99) // 2] < 2 * found.errors["p99"].median + 0.03, "it doesn't say that it is better"


def test_a_profile_is_a_file_that_a_twin_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = msgspec.structs.replace(started(OTHER), band_watts=(20.0, 400.0), processor="EPYC")
    found = Fit(profile=mine, windows=24, errors={})
    Path("mine.toml").write_text(text(found))
    assert profile("mine.toml") == mine
    assert TwinOptions(profile="mine.toml").profile == "mine.toml"
    with pytest.raises(OptionError, match=r"my.toml: No such file"):
        TwinOptions(profile="my.toml")
    for old, new in (("cores = 32", "cores = -1"), ("base = ", "base = -"), ("[power]", "[powr]"), ("=", "")):
        Path("odd.toml").write_text(text(found).replace(old, new))
        with pytest.raises(ValueError, match=r"odd\.toml"):
            profile("odd.toml")


def trial(**changed: object) -> Trial:
    readings = tuple(
        Reading(sheep="node-0", knob=knob, asked=value, applied=value, running=value, held=True)
        for knob, value in {"itr-delay": 100, "dvfs": 2000, **changed}.items()
        if isinstance(value, int)
    )
    report = LoadReport(
        offered_qps=1e5, achieved_qps=1e5, requests=10**6, misses=0, read_us={"avg": 90.0, "p99": 200.0}, update_us={},
        t0_s=0.0, t1_s=10.0, generator="builtin", samples=10**6,
    )  # fmt: skip
    return Trial(
        number=1, kind=TrialKind.SEARCH, settings={}, readings=readings, load_report=report,
        metrics={"power_watts": 90.0} if changed.get("metered", "yes") else {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "why"),
    [({"dvfs": 2}, "a governor chose"), ({"dvfs": None}, "without one value"), ({"metered": ""}, "power")],
)
def test_what_says_nothing_to_the_model_is_left_out_and_counted(changed: dict[str, object], why: str) -> None:
    assert why in str(window_of(trial(**changed), Load(qps=1e5)))
    assert isinstance(window_of(trial(), Load(qps=1e5)), Window)


def test_too_few_windows_and_one_clock_are_said() -> None:
    windows = sweep(C6220, 1)
    with pytest.raises(FitError, match=r"at least 8 measured windows, and there are 3 .left out: 2 windows, for x"):
        _require(windows[:3], ["left out: 2 windows, for x"])
    with pytest.raises(FitError, match=r"several clocks, and all windows have 1200.*examples/sweep.yml"):
        _require([w for w in windows if w.mhz == 1200], [])
