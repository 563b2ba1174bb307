"""What windows say of a limit, node by node, and which of them are questioned."""

import math
from collections.abc import Sequence

import pytest
from scipy import stats

from mustherd.goal import Constraint
from mustherd.learn.inference import LEAST_SPREAD
from mustherd.learn.windows import Cell, Repeat, Windows, by_node, held, questioned

P99 = Constraint("p99", 500.0)
POINT = {"x": 1}


def cells(values: Sequence[float], node: str = "a", **errors: float) -> list[Cell]:
    found = []
    for place, value in enumerate(values):
        found.append(Cell(place, node))
        found[-1].add(Repeat(point=POINT, metrics={"p99": value}, where=node, errors=errors))
    return found


def test_a_limit_by_hand() -> None:
    [found] = held(P99, cells([400.0, 410.0, 420.0]))
    logs = [math.log(v) for v in (400.0, 410.0, 420.0)]
    mean, deviation = sum(logs) / 3, float(stats.tstd(logs))
    assert found.mean.mean == pytest.approx(math.exp(mean))
    assert found.mean.high == pytest.approx(math.exp(mean + stats.t.ppf(0.975, 2) * deviation / math.sqrt(3)))
    assert found.bound == pytest.approx(math.exp(mean + stats.t.ppf(0.975, 2) * deviation * math.sqrt(4 / 3)))
    assert found.p_value == pytest.approx(stats.t.sf((math.log(500) - mean) / deviation * math.sqrt(3), 2))
    assert (found.windows, found.kept, found.within, found.broken) == (3, 3, True, False)
    [nearer] = held(P99, cells([440.0, 450.0, 470.0]))
    assert (nearer.kept, nearer.within, nearer.broken) == (3, False, False)
    [margin] = held(P99, cells([300.0, 303.0, 306.0]), 0.5)
    assert margin.broken


def test_a_least_value_is_judged_from_the_other_side_and_without_a_margin() -> None:
    ratio = Constraint("p99", 0.98, at_least=True)
    [found] = held(ratio, cells([1.0, 1.0, 1.0]), 0.3)
    assert found.within
    assert 0.98 < found.bound < 1.0
    [less] = held(ratio, cells([0.9, 0.91, 0.9]))
    assert less.broken
    assert less.kept == 0
    assert less.mean.low < 0.9 < less.mean.high


def test_values_without_a_logarithm() -> None:
    misses = Constraint("p99", 0.0)
    [found] = held(misses, cells([0.0, 0.0, 0.0]), log=False)
    assert not found.broken
    assert found.mean.mean == 0.0
    [more] = held(Constraint("p99", 100.0), cells([-1.0, 2.0, 0.5]), log=False)
    assert more.within
    assert more.mean.mean == pytest.approx(0.5)


def test_each_node_is_judged_by_itself_and_the_worst_comes_first() -> None:
    found = held(P99, [*cells([451.0, 452.0, 450.0], "a"), *cells([509.0, 510.0, 508.0], "b")])
    assert [h.node for h in found] == ["b", "a"]
    assert found[0].broken
    assert not found[1].broken
    assert found[1].within


def test_the_spread_is_the_setting_s_own_over_its_nodes_and_a_node_s_where_that_is_greater() -> None:
    quiet, loud = cells([400.0, 401.0, 399.0], "a"), cells([400.0, 470.0, 340.0], "b")
    found = {h.node: h for h in held(P99, [*quiet, *loud])}
    [alone] = held(P99, quiet)
    assert found["a"].bound > alone.bound
    assert found["b"].bound > found["a"].bound


def test_quiet_nodes_do_not_say_how_well_a_loud_one_s_spread_is_known() -> None:
    quiet = [cell for node in "abcdefg" for cell in cells([400.0, 401.0, 399.0], node)]
    loud = cells([400.0, 470.0, 340.0], "h")
    [alone] = held(P99, loud)
    found = {h.node: h for h in held(P99, [*quiet, *loud])}
    assert found["h"].bound == pytest.approx(alone.bound)
    assert found["h"].p_value == pytest.approx(alone.p_value)
    # Chance makes equal nodes differ by less: then all of them say it together.
    alike = held(P99, [*cells([400.0, 420.0, 380.0], "a"), *cells([400.0, 430.0, 375.0], "b")])
    assert max(h.bound for h in alike) < held(P99, cells([400.0, 430.0, 375.0]))[0].bound


def test_one_window_says_nothing() -> None:
    [found] = held(P99, cells([300.0]))
    assert found.bound == math.inf
    assert found.mean.high == math.inf
    assert found.p_value == 1.0
    assert not found.within


def test_what_a_window_can_t_resolve_widens_its_bound() -> None:
    [fine] = held(P99, cells([480.0, 480.0, 480.0]))
    assert fine.within
    assert fine.bound == pytest.approx(480 * math.exp(stats.t.ppf(0.975, 2) * LEAST_SPREAD * math.sqrt(4 / 3)))
    [coarse] = held(P99, cells([480.0, 480.0, 480.0], p99=0.03))
    assert not coarse.within
    assert coarse.bound == pytest.approx(480 * math.exp(stats.norm.ppf(0.975) * 0.03 * math.sqrt(4 / 3)))


def test_windows_that_broke_the_limit_are_counted() -> None:
    of = cells([300.0, 301.0, 302.0, 900.0, 303.0, 304.0])
    [found] = held(P99, of)
    assert (found.windows, found.kept, found.within) == (6, 5, False)
    for value in (301.0, 302.5):
        of[3].add(Repeat(point=POINT, metrics={"p99": value}, where="a"))
    [found] = held(P99, of)
    assert (found.windows, found.kept, found.within) == (8, 7, True)
    # A second one is one too many, contradicted or not.
    for value in (950.0, 305.0, 303.0):
        of[1].add(Repeat(point=POINT, metrics={"p99": value}, where="a"))
    assert not held(P99, of)[0].within


def test_a_window_far_from_its_siblings_is_questioned_once() -> None:
    of = cells([300.0, 302.0, 301.0, 900.0, 299.0])
    assert questioned(of, "p99", 0.01) == [of[3]]
    of[3].add(Repeat(point=POINT, metrics={"p99": 300.0}, where="a"))
    assert questioned(of, "p99", 0.01) == []


def test_a_window_that_is_too_good_is_questioned_as_well() -> None:
    of = cells([300.0, 302.0, 301.0, 100.0])
    assert questioned(of, "p99", 0.01) == [of[3]]


def test_usual_noise_is_not_questioned() -> None:
    assert questioned(cells([300.0, 302.0, 310.0]), "p99", 0.0) == []
    assert questioned(cells([300.0, 300.1, 340.0]), "p99", 0.05) == []
    assert questioned(cells([300.0, 900.0]), "p99", 0.0) == []


def differences(windows: Windows, point: dict[str, int], rounds: Sequence[int]) -> list[float]:
    return [block.here - block.there for block in windows.blocks(point, {"x": 0}, "e", rounds)]


def test_differences_are_taken_within_blocks() -> None:
    windows = Windows()
    for place, node, energies in ((0, "a", (100.0, 50.0)), (0, "b", (110.0, 55.0)), (1, "a", (200.0, 100.0))):
        windows.add(
            place,
            [Repeat(point={"x": x}, metrics={"e": e}, where=node) for x, e in enumerate(energies)],
        )
    # Without the default beside it, a window compares with nothing.
    windows.add(1, [Repeat(point={"x": 1}, metrics={"e": 1.0}, where="b")])
    found = differences(windows, {"x": 1}, range(5))
    assert found == pytest.approx([math.log(0.5)] * 3)
    assert differences(windows, {"x": 1}, [1]) == pytest.approx([math.log(0.5)])
    assert differences(windows, {"x": 2}, range(5)) == []
    assert set(by_node(windows.of({"x": 1}))) == {"a", "b"}


def test_a_metric_that_was_ever_zero_has_no_logarithm() -> None:
    windows = Windows()
    windows.add(0, [Repeat(point=POINT, metrics={"e": 1.0, "misses": 0.0})])
    assert windows.positive("e")
    assert not windows.positive("misses")


def test_the_usual_spread_is_a_median_over_settings() -> None:
    windows = Windows()
    assert windows.spread("e") == 0.0
    for place, wobble in enumerate((1.0, 1.01, 0.99)):
        windows.add(
            place,
            [Repeat(point={"x": x}, metrics={"e": 100 * wobble**factor}) for x, factor in enumerate((1, 1, 30))],
        )
    assert windows.spread("e") == pytest.approx(0.01, rel=0.01)


def test_a_saving_rests_on_the_windows_that_were_not_measured_again() -> None:
    windows = Windows()
    default, first, second, third = (
        {"x": x, "energy": e} for x, e in ((0, 1200.0), (1, 1200.0), (1, 1000.0), (1, 1000.0))
    )
    for one in (default, first, second, third):
        windows.add(0, [Repeat(point={"x": int(one["x"])}, metrics={"energy": one["energy"]}, where="a")])
    [block] = windows.blocks(POINT, {"x": 0}, "energy", [0])
    assert block.here == block.there
