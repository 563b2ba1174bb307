"""Knobs by name: what packages say of them, and what a definition makes of it."""

import sys
from importlib.metadata import EntryPoint

import pytest

from mustherd.definition import DefinitionError, loads, problem
from mustherd.definition.knobs import settings, spaces, value, value_text
from mustherd.definition.units import QuantityError
from mustherd.node import catalog
from mustherd.node.catalog import knob_class, knob_kind, knob_names
from mustherd.node.kinds import SHARED
from mustherd.node.linux import msr
from mustherd.plugins import KNOBS
from mustherd.terms import KnobKind
from tests.definition.make import text
from tests.plugged import found
from tests.typed import some


class CStateLimit:
    """As a package would have it."""

    kind = KnobKind(
        name="c-state-limit",
        unit="us",
        names={0: "poll"},
        modes=(0,),
        range_step=10,
        scale="log",
        role="delay",
        hex_scale=2,
        hex_shift=4,
    )


class Bare:
    pass


def entry(name: str, attribute: str) -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{attribute}", KNOBS)


def test_every_knob_of_ours_is_described_by_its_own_name() -> None:
    assert {"itr-delay", "dvfs", "rapl-limit", "ring-size-rx", "server-cores"} <= set(knob_names())
    for name in knob_names():
        assert knob_class(name).kind.name == name
        assert some(knob_kind(name)).unit
    assert knob_kind("threads") is None


def test_a_register_s_word_means_the_same_to_a_definition_and_to_the_register() -> None:
    for mhz in range(100, 25600, 100):
        assert value("dvfs", hex(msr.word_of_mhz(mhz))) == mhz == msr.mhz_of_word(msr.word_of_mhz(mhz))


def test_the_knob_of_a_package_is_written_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, entry("c-state-limit", "CStateLimit"))
    assert [value("c-state-limit", raw) for raw in ("poll", "0.5 ms", 7, "0x50")] == [0, 500, 7, 10]
    assert [value_text("c-state-limit", number) for number in (0, 7)] == ["poll", "7 us"]
    assert settings({"c-state-limit@node-0": "Poll"}) == {"c-state-limit@node-0": 0}
    assert list(spaces({"c-state-limit": {"low": 10, "high": 40}})["c-state-limit"]) == [10, 20, 30, 40]
    with pytest.raises(QuantityError) as caught:
        value("c-state-limit", "pol")
    assert caught.value.suggestion == "poll"
    definition = text(herd={"inventory": "x"}, knobs={"c-state-limit": ["poll", 10, 20]})
    (dimension,) = problem(loads(definition)).space.dimensions
    assert (dimension.categories, dimension.scale, dimension.role) == ((0,), "log", "delay")


def test_a_name_that_is_nearly_a_package_s_knob_is_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, entry("c-state-limit", "CStateLimit"))
    with pytest.raises(DefinitionError, match="did you mean 'c-state-limit'"):
        loads(text(herd={"inventory": "x"}, knobs={"c_state_limit": [1]}))


@pytest.mark.parametrize(
    ("name", "attribute", "said"),
    [
        ("bare", "Bare", "has no `kind`"),
        ("other", "CStateLimit", "describes 'c-state-limit' instead of itself"),
        ("gone", "Gone", "can't be loaded: AttributeError"),
    ],
)
def test_a_package_that_does_not_describe_its_knob_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, attribute: str, said: str
) -> None:
    found(monkeypatch, entry(name, attribute))
    with pytest.raises(DefinitionError) as caught:
        loads(text(herd={"inventory": "x"}, knobs={name: [1]}))
    assert said in str(caught.value)
    assert f": knobs.{name}: knob {name!r} of tests" in str(caught.value)


def test_no_package_takes_the_place_of_a_knob_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, EntryPoint("dvfs", f"{__name__}:Bare", KNOBS))
    assert knob_class("dvfs").__module__ == "mustherd.node.linux.dvfs"


def test_reading_a_definition_loads_no_package_that_it_does_not_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, EntryPoint("broken", "no_such_module_at_all:Knob", KNOBS))
    loads(text())
    assert "no_such_module_at_all" not in sys.modules


def test_knobs_of_several_nodes_are_known_without_the_classes_that_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their modules took 12 ms of each command that reads a definition."""
    assert {name: knob_class(name).kind for name in SHARED} == SHARED

    def refused(name: str) -> None:
        raise AssertionError(f"{name} is loaded")

    monkeypatch.setattr(catalog, "knob_class", refused)
    assert {name: knob_kind(name) for name in SHARED} == SHARED
