"""Mixes of requests on a twin: which way each goes, what rows show; the one that was fitted changes nothing."""

import msgspec
import pytest

from mustherd.load.memcached.presets import PRESETS, load
from mustherd.node.twin import mixes
from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.model import exhaustive_optimum, predict
from mustherd.node.twin.profiles import C6220
from mustherd.terms import Load
from tests.node.twin.stand import Stand

ETC = load("etc", 600_000)
USR = load("usr", 600_000)


def test_every_preset_of_memcached_can_be_tried() -> None:
    assert set(mixes.MIXES) == set(PRESETS)
    for name in PRESETS:
        _, report = Stand(TwinOptions()).trial(100, 1600, load(name, 200_000))
        assert report.achieved_qps == pytest.approx(200_000, rel=0.02)


def test_the_mix_that_was_fitted_changes_nothing() -> None:
    assert ETC.update_ratio == mixes.FITTED_UPDATES
    assert mixes.under(C6220, ETC) is C6220


def test_updates_cost_work_whatever_the_preset_is_called() -> None:
    fewer, more = (msgspec.structs.replace(ETC, update_ratio=ratio) for ratio in (0.01, 0.75))
    found = [predict(C6220, 100, 1600, one) for one in (fewer, ETC, more)]
    assert [f.busy_fraction for f in found] == sorted(f.busy_fraction for f in found)
    assert [f.power_watts for f in found] == sorted(f.power_watts for f in found)
    assert found[0].power_watts > 0.95 * found[1].power_watts, "a few per cent of a request's work"
    assert predict(C6220, 100, 1600, USR) == found[0]


def test_a_machine_whose_updates_cost_much_still_has_work_to_do() -> None:
    dear = msgspec.structs.replace(C6220, latency=msgspec.structs.replace(C6220.latency, update_kcycles=1e4))
    assert mixes.under(dear, USR).service.kcycles == pytest.approx(mixes.LEAST_SHARE * C6220.service.kcycles)
    assert predict(dear, 100, 1600, USR).busy_fraction > 0


def test_usr_has_a_best_setting_too() -> None:
    values = {"itr-delay": range(2, 401, 20), "dvfs": range(1200, 2601, 200)}
    best = exhaustive_optimum(C6220, USR, values, limit_us=500)
    assert best is not None
    assert best.prediction.power_watts < 0.7 * predict(C6220, 1, 2800, USR).power_watts


@pytest.mark.parametrize(("name", "received"), [("etc", 108 + 0.25 * 186), ("usr", 91 + 0.01 * 10)])
def test_rows_show_the_frames_of_the_mix(name: str, received: float) -> None:
    stand = Stand(TwinOptions(noise=0, intlog_cores=1))
    stand.trial(100, 1600, load(name, 400_000), seconds=3.0)
    room = memoryview(bytearray(1 << 22))
    filled = stand.node.text_loggers[0].read_into(room)
    rows = [[int(word) for word in line.split()] for line in bytes(room[:filled]).splitlines()]
    requests, bytes_in = sum(row[1] for row in rows), sum(row[2] for row in rows)
    assert requests > 10_000
    assert bytes_in / requests == pytest.approx(received, rel=0.02)


def test_what_is_no_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="etc, usr"):
        predict(C6220, 100, 1600, Load(qps=1000, preset="web"))
