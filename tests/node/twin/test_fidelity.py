"""The twin against the record of the machine it was fitted to."""

from statistics import median

import pytest

from mustherd.node.twin import model
from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.profiles import C6220
from mustherd.terms import Load
from tests.benchmarks.twin_fidelity import LIMITS_PERCENT, Cell, best, by_load, errors, measured, off, saving_percent
from tests.typed import some as there

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    """All cells, with noise as measured."""
    return measured(TwinOptions(seed=7))


def test_every_cell_of_the_campaign_is_there(cells: list[Cell]) -> None:
    assert len(cells) == 330
    assert {c.qps for c in cells} == {100_000, 200_000, 400_000, 600_000, 800_000, 1_200_000}


def test_median_errors_are_within_their_limits(cells: list[Cell]) -> None:
    found = {name: median(values) for name, values in errors(cells).items()}
    assert found["energy"] <= LIMITS_PERCENT["energy"]
    assert found["read_p99"] <= LIMITS_PERCENT["read_p99"]
    assert found["achieved"] <= LIMITS_PERCENT["achieved"]


def test_the_fit_is_as_good_as_its_profile_says(cells: list[Cell]) -> None:
    """What the profile's docstring states, so that it can't go stale; a little room for the noise."""
    found = {name: median(values) for name, values in errors(cells).items()}
    assert found["energy"] <= 0.7
    assert found["read_p99"] <= 3.2
    assert max(errors(cells)["achieved"]) <= LIMITS_PERCENT["achieved"]


def test_no_load_is_much_worse_than_the_rest(cells: list[Cell]) -> None:
    for qps, some in by_load(cells):
        for name, values in errors(some).items():
            assert not values or median(values) <= LIMITS_PERCENT[name], (qps, name)
            assert not values or max(values) <= 1.5 * LIMITS_PERCENT[name], (qps, name)


def test_the_same_cells_carry_their_load(cells: list[Cell]) -> None:
    differ = [(c.qps, c.itr_us, c.mhz) for c in cells if c.saturated != (c.twin.achieved_qps < 0.98 * c.qps)]
    assert len(differ) <= 2, differ


def test_the_optimum_lies_where_the_record_has_it() -> None:
    for qps, some in by_load(measured(TwinOptions(noise=0))):
        recorded, twin = there(best(some, "recorded")), there(best(some, "twin"))
        assert (twin.itr_us, twin.mhz) == (recorded.itr_us, recorded.mhz), qps
        assert saving_percent(some, "twin") == pytest.approx(saving_percent(some, "recorded"), abs=2), qps


def test_the_optimum_of_the_quickstart() -> None:
    load = Load(qps=600_000)
    values = {"itr-delay": (2, 20, 50, 100, 150, 200, 250, 300, 350, 400), "dvfs": range(1200, 2601, 100)}
    found = there(model.exhaustive_optimum(C6220, load, values, limit_us=500))
    assert found.values == {"itr-delay": 300, "dvfs": 1200}
    assert 30 * found.prediction.power_watts == pytest.approx(1685, rel=0.02)
    assert 30 * model.predict(C6220, 1, 2800, load).power_watts == pytest.approx(3352, rel=0.02)


def test_mean_latency_follows_too(cells: list[Cell]) -> None:
    assert median(off(c.twin.avg_us, c.recorded.avg_us) for c in cells) <= 2
