"""Quantities, knobs' values, metrics and limits."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.definition.knobs import MAX_VALUES, FindingsError, KnobValues, settings, space, spaces, value, value_text
from mustherd.definition.limits import MetricError, check_metric, limit, limit_text
from mustherd.definition.units import SCALES, QuantityError, number_text, quantity
from mustherd.definition.yaml import Hex
from mustherd.goal import Constraint
from mustherd.metrics import OURS, Use
from mustherd.node.catalog import knob_names


@pytest.mark.parametrize(
    ("raw", "unit", "amount"),
    [
        (5, "us", 5),
        (0.1, "s", Fraction(1, 10)),
        ("0.5 ms", "us", 500),
        ("0.5ms", "us", 500),
        ("500 \u00b5s", "us", 500),
        ("500 \u03bcs", "us", 500),
        ("1 s", "us", 10**6),
        ("2.6 GHz", "MHz", 2600),
        ("2600000 kHz", "MHz", 2600),
        ("1.2 kJ", "J", 1200),
        ("98 %", "ratio", Fraction(98, 100)),
        ("600k", "qps", 600000),
        ("1.2 M", "qps", 1200000),
        ("600_000", "qps", 600000),
        ("1e3", "us", 1000),
        ("12", "", 12),
    ],
)
def test_amounts(raw: object, unit: str, amount: Fraction) -> None:
    assert quantity(raw, unit) == amount


@pytest.mark.parametrize(
    ("raw", "unit", "suggestion"),
    [
        ("5 mhz", "MHz", "5 MHz"),
        ("5 W", "us", ""),
        ("five", "us", ""),
        ("", "us", ""),
        ("1e999", "us", ""),
        ("9" * 30, "us", ""),
        ("1 2", "us", ""),
        ("\u0665", "us", ""),
        (True, "us", ""),
        (None, "us", ""),
        ([1], "us", ""),
        (float("inf"), "us", ""),
        (float("nan"), "us", ""),
        ("5 us", "", ""),
    ],
)
def test_no_amounts(raw: object, unit: str, suggestion: str) -> None:
    with pytest.raises(QuantityError) as caught:
        quantity(raw, unit)
    assert caught.value.suggestion == suggestion


@given(st.sampled_from([unit for family in SCALES for unit in family]), st.integers(0, 10**9))
def test_every_unit_of_a_family_means_the_same_amount(unit: str, number: int) -> None:
    family = next(f for f in SCALES if unit in f)
    for other, factor in family.items():
        assert quantity(f"{number} {unit}", other) * factor == number * family[unit]


@pytest.mark.parametrize(
    ("key", "raw", "meant"),
    [
        ("dvfs", 2600, 2600),
        ("dvfs", "2600", 2600),
        ("dvfs", "2600 MHz", 2600),
        ("dvfs", "2.6 GHz", 2600),
        ("dvfs", "2600000 kHz", 2600),
        ("dvfs", Hex(0x1A00), 2600),
        ("dvfs", "0xc00", 1200),
        ("dvfs", Hex(0x1C00), 2800),
        ("dvfs@core-3", "2.6 GHz", 2600),
        ("itr-delay", 50, 50),
        ("itr-delay", "50 us", 50),
        ("itr-delay", "0.05 ms", 50),
        ("itr-delay", "adaptive", 1),
        ("itr-delay", "Adaptive", 1),
        ("itr-delay", "off", 0),
        ("itr-delay", Hex(0x32), 50),
        ("rapl-limit", "35 W", 35),
        ("dvfs", "performance", 1),
        ("dvfs", "free", 0),
        ("memcached-threads", "4 threads", 4),
        ("cpu-quota", "50 %", 50),
        ("busy-poll", "0.1 ms", 100),
        ("ring-size-rx@node-0", 512, 512),
        ("threads", 4, 4),
        ("threads", "4", 4),
        ("threads", Hex(0x10), 16),
    ],
)
def test_values(key: str, raw: object, meant: int) -> None:
    found = value(key, raw)
    assert found == meant
    assert type(found) is int


@pytest.mark.parametrize(
    ("key", "raw", "suggestion"),
    [
        ("dvfs", 2.6, "2.6 GHz"),
        ("dvfs", "2600.5 MHz", ""),
        ("dvfs", "2.6 Ghz", "2.6 GHz"),
        ("dvfs", Hex(0xA28), ""),
        ("dvfs", Hex(0), ""),
        ("dvfs", Hex(0x1A00000), ""),
        ("dvfs", -1, ""),
        ("dvfs", 2**53, ""),
        ("dvfs", "50 us", ""),
        ("dvfs", "adaptive", ""),
        ("itr-delay", "adaptve", "adaptive"),
        ("itr-delay", "50 ns", ""),
        ("itr-delay", True, ""),
        ("itr-delay", None, ""),
        ("threads", "4 us", ""),
        ("threads", 4.0, ""),
        ("threads", "off", ""),
    ],
)
def test_no_values(key: str, raw: object, suggestion: str) -> None:
    with pytest.raises(QuantityError) as caught:
        value(key, raw)
    assert caught.value.suggestion == suggestion


@given(st.sampled_from([*knob_names(), "threads"]), st.integers(0, 2**53 - 1))
def test_a_value_reads_back_from_its_text(key: str, number: int) -> None:
    assert value(key, value_text(key, number)) == number


def test_a_list_mixes_values_modes_and_ranges() -> None:
    found = space("itr-delay", ["adaptive", {"low": 2, "high": 7}, "50 us"])
    assert list(found) == [1, 2, 4, 6, 50]
    assert found.items == (0, 1, 1, 1, 2)
    assert len(found) == 5
    assert 4 in found
    assert 3 not in found


def test_a_range_stays_a_range() -> None:
    found = space("dvfs", {"low": "1.2 GHz", "high": Hex(0x1A00), "step": Hex(0x200)})
    assert found == KnobValues(low=1200, high=2600, step=200)
    assert list(found) == [1200, 1400, 1600, 1800, 2000, 2200, 2400, 2600]
    assert space("dvfs", found.plain()) == found
    assert space("dvfs", space("dvfs", [1200, 1400]).plain()) == KnobValues(values=(1200, 1400))


def test_a_range_has_the_knob_s_own_step() -> None:
    assert space("dvfs", {"low": 1200, "high": 2600}).step == 100
    assert space("itr-delay", {"low": 2, "high": 400}).step == 2
    assert space("cpu-quota", {"low": 20, "high": 400}).step == 5
    assert space("threads", {"low": 2, "high": 400}).step == 1


@pytest.mark.parametrize(
    ("key", "raw", "places"),
    [
        ("dvfs", [], [()]),
        ("dvfs", 2600, [()]),
        ("dvfs", None, [()]),
        ("dvfs", [1200, "x", 1300, True], [(1,), (3,)]),
        ("dvfs", [1200, "1.2 GHz"], [(1,)]),
        ("dvfs", [1200, {"low": 1000, "high": 1300}], [(1,)]),
        ("dvfs", {"low": 1200}, [()]),
        ("dvfs", {"low": 1200, "high": 1200}, [("low",)]),
        ("dvfs", {"low": 1200, "high": 2600, "step": 0}, [("step",)]),
        ("dvfs", {"low": 1200, "high": 2600, "setp": 100}, [("setp",)]),
        ("dvfs", {"low": "x", "high": "y"}, [("low",), ("high",)]),
        ("itr-delay", {"low": 0, "high": 400}, [("low",)]),
        ("itr-delay", {"low": "adaptive", "high": 400}, [("low",)]),
        ("itr-delay", [{"low": 0, "high": 400}], [(0, "low")]),
        ("threads", {"low": 0, "high": 2**53 - 1}, [()]),
        ("threads", [{"low": 0, "high": MAX_VALUES - 1}, {"low": MAX_VALUES, "high": MAX_VALUES + 5}], [(1,)]),
        ("dvfs", [[1200]], [(0,)]),
    ],
)
def test_no_spaces(key: str, raw: object, places: list[tuple[object, ...]]) -> None:
    with pytest.raises(FindingsError) as caught:
        space(key, raw)
    assert [f.path for f in caught.value.findings] == places


@pytest.mark.parametrize(
    "raw", [None, [], {}, "dvfs", {"DVFS": [1]}, {"dvfs@": [1]}, {"dvfs": [1], "dvfs@core-1": [1]}]
)
def test_no_knobs(raw: object) -> None:
    with pytest.raises(FindingsError):
        spaces(raw)


@pytest.mark.parametrize("raw", [None, [], {}, "dvfs", {"DVFS": 1}, {"dvfs": [1]}, {"dvfs": "x"}])
def test_no_settings(raw: object) -> None:
    with pytest.raises(FindingsError):
        settings(raw)


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        ("read_p99_us <= 500", Constraint("read_p99_us", 500.0)),
        ("read_p99_us<=500us", Constraint("read_p99_us", 500.0)),
        ("  read_p99_us  <=  0.5 ms ", Constraint("read_p99_us", 500.0)),
        ("read_p99_us \u2264 500", Constraint("read_p99_us", 500.0)),
        ("achieved_qps >= 590k", Constraint("achieved_qps", 590000.0, at_least=True)),
        ("energy_joules <= 2.5 kJ", Constraint("energy_joules", 2500.0)),
        ("misses <= 0", Constraint("misses", 0.0)),
    ],
)
def test_limits(text: str, constraint: Constraint) -> None:
    assert limit(text) == constraint
    assert limit(limit_text(constraint)) == constraint
    assert limit(constraint) == constraint


@pytest.mark.parametrize(
    ("raw", "suggestion"),
    [
        ("read_p99_us < 500", "read_p99_us <= 500"),
        ("read_p99_us > 5", "read_p99_us >= 5"),
        ("read_p99_us != 5", ""),
        ("read_p99 <= 500", "read_p99_us"),
        ("read_p99_us <= 500 Us", "read_p99_us <= 500 us"),
        ("read_p99_us <= 500 W", ""),
        ("read_p99_us <= -1", ""),
        ("read_p99_us <= 1e99", ""),
        ("read_p99_us <=", ""),
        ("<= 500", ""),
        ("read_p99_us", ""),
        (500, ""),
        (None, ""),
        ({"read_p99_us": 500}, "read_p99_us <= 500"),
        (Constraint("nothing", 1.0), ""),
        (Constraint("misses", float("nan")), ""),
    ],
)
def test_no_limits(raw: object, suggestion: str) -> None:
    with pytest.raises(MetricError) as caught:
        limit(raw)
    assert caught.value.suggestion == suggestion


@given(
    st.sampled_from(sorted(name for name, m in OURS.items() if m.use is not Use.REPORT)),
    st.floats(0, 1e15),
    st.booleans(),
)
def test_a_limit_reads_back_from_its_text(metric: str, number: float, at_least: bool) -> None:
    constraint = Constraint(metric, number, at_least)
    assert limit(limit_text(constraint)) == constraint


def test_what_is_given_is_no_objective() -> None:
    assert check_metric("achieved_qps", objective=True) == "achieved_qps"
    assert check_metric("offered_qps") == "offered_qps"
    with pytest.raises(MetricError, match="can be a constraint"):
        check_metric("offered_qps", objective=True)


def test_numbers_are_said_shortly() -> None:
    assert [number_text(n) for n in (500.0, 0.98, 1e20)] == ["500", "0.98", "1e+20"]
