"""What a definition knows of simulated nodes and presets is what those say of themselves."""

from typing import Any, get_type_hints

import msgspec
import pytest

from mustherd.definition import content
from mustherd.definition.herd import Herd, Simulated
from mustherd.definition.schema import keys
from mustherd.definition.workload import Workload
from mustherd.load.memcached.presets import PRESETS, load
from mustherd.load.saturation import SaturationLimits
from mustherd.node.twin.faults import TwinFaults, TwinOptions
from mustherd.node.twin.mixes import MIXES
from mustherd.node.twin.node import TwinNode
from mustherd.node.twin.profiles import PLAYGROUND, PROFILES
from mustherd.terms import Load
from tests.definition.make import made, refused


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_the_knobs_are_those_of_the_node(name: str) -> None:
    assert PROFILES[name].knobs == tuple(knob.info for knob in TwinNode(TwinOptions(profile=name)).knobs)


@pytest.mark.parametrize(
    ("section", "struct"),
    [("herd.simulated.", TwinOptions), ("herd.simulated.faults.", TwinFaults), ("gates.generator.", SaturationLimits)],
)
def test_a_structs_fields_are_the_keys_with_what_they_say_of_themselves(
    section: str, struct: type[msgspec.Struct]
) -> None:
    found = {key.name.removeprefix(section): key for key in keys() if key.name.startswith(section)}
    for field in msgspec.structs.fields(struct):
        notes = get_type_hints(struct, include_extras=True)[field.name].__metadata__
        assert found[field.name].meaning == notes[0].description
        assert found[field.name].unit == (notes[0].extra_json_schema or {}).get("x-unit", "")
        if isinstance(field.default, int | float | str) and field.name != "speed":
            assert found[field.name].default == field.default


def test_a_definition_holds_the_node_s_own_options() -> None:
    herd = made(herd={"simulated": {"musters": 3, "faults": {"misses": 0.5}}}).herd
    assert herd.simulated == Simulated(musters=3, faults=TwinFaults(misses=0.5))
    assert made(gates={"generator": {"busy": 0.5}}).gates.generator == SaturationLimits(busy=0.5)
    # In Python they may be given as they are.
    assert Herd(simulated=Simulated(musters=3, faults=TwinFaults(misses=0.5))) == herd
    assert content(made())["herd"]["simulated"]["faults"] == msgspec.json.decode(msgspec.json.encode(TwinFaults()))


@pytest.mark.parametrize(
    ("options", "place", "says"),
    [
        ({"speed": 0}, "speed", "0 is too small"),
        ({"speed": 20_000}, "speed", "20000 is too large"),
        ({"profile": "vax"}, "profile", "unknown profile 'vax'"),
        ({"faults": {"write_error": ["itr-delay", "dvfz"]}}, "faults.write_error[1]", "unknown knob 'dvfz'"),
        ({"faults": {"knob_reverts_after_s": {"dvfz": 3}}}, "faults.knob_reverts_after_s.dvfz", "unknown knob 'dvfz'"),
        ({"faults": {"knob_reverts_after_s": {"dvfs": -3}}}, "faults.knob_reverts_after_s.dvfs", "-3 is too small"),
        ({"faults": {"missed": 1}}, "faults.missed", "unknown key 'missed'"),
    ],
)
def test_what_a_node_can_not_be_is_refused_at_its_place(options: dict[str, Any], place: str, says: str) -> None:
    error = refused(herd={"simulated": options})
    assert f"herd.simulated.{place}: {says}" in str(error)


def test_a_definition_s_node_can_be_made() -> None:
    faults = {"write_error": ["dvfs"], "knob_reverts_after_s": {"itr-delay": 2}, "energy_stuck": True}
    simulated = made(herd={"simulated": {"noise": 0, "faults": faults}}).herd.simulated
    assert simulated is not None
    options = msgspec.convert({k: v for k, v in msgspec.to_builtins(simulated).items() if k != "musters"}, TwinOptions)
    assert options.faults.write_error == ("dvfs",)
    assert TwinNode(options).facts.text["noise"] == "0"


def test_the_presets_are_those_of_the_load() -> None:
    assert list(PRESETS) == Workload.model_json_schema()["properties"]["preset"]["enum"]


def test_a_preset_fills_in_the_share_of_updates() -> None:
    assert load("etc", 1000) == Load(qps=1000, preset="etc", update_ratio=0.25, outstanding=256)
    assert load("usr", 1000).update_ratio == 0.01
    assert load("usr", 1000, update_ratio=0.0, outstanding=8) == Load(
        qps=1000, preset="usr", update_ratio=0, outstanding=8
    )
    with pytest.raises(KeyError):
        load("sys", 1000)


def test_every_mix_can_be_tried_on_a_twin_and_another_is_refused() -> None:
    assert set(MIXES) == set(PRESETS)
    for preset in PRESETS:
        assert made(workload={"qps": 1000, "preset": preset}).workload.preset == preset
    error = refused(workload={"qps": 1000, "preset": "use"})
    assert error.key == "workload.preset"
    assert error.suggestion == "usr"


def test_knobs_and_faults_are_those_of_the_profile() -> None:
    knobs = {info.name: list(info.values[:2] or (info.low, info.high)) for info in PLAYGROUND.knobs}
    assert len(made(herd={"simulated": {"profile": "playground"}}, knobs=knobs).knobs) == 6
    assert "unknown knob 'uncore-max'" in str(refused(knobs=knobs))
    faults = {"write_error": ["napi-defer"]}
    assert made(herd={"simulated": {"profile": "playground", "faults": faults}}).herd.simulated is not None
    assert "faults.write_error[0]: unknown knob 'napi-defer'" in str(refused(herd={"simulated": {"faults": faults}}))
