"""What a definition knows of simulated nodes and presets is what those say of themselves."""

from typing import get_args

import msgspec
import pytest

from mustherd.definition.herd import Faults, Simulated
from mustherd.definition.workload import Workload
from mustherd.load.memcached.presets import PRESETS, load
from mustherd.node.twin.faults import TwinFaults, TwinOptions
from mustherd.node.twin.node import TwinNode
from mustherd.node.twin.profiles import PROFILES
from mustherd.terms import Load
from tests.definition.make import made, refused


def test_there_are_the_same_profiles() -> None:
    assert set(PROFILES) == set(get_args(Simulated.model_fields["profile"].annotation))


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_the_knobs_are_those_of_the_node(name: str) -> None:
    assert PROFILES[name].knobs == tuple(knob.info for knob in TwinNode(TwinOptions(profile=name)).knobs)


def test_the_faults_are_those_of_the_node() -> None:
    assert msgspec.convert(Faults().model_dump(), TwinFaults) == TwinFaults()
    assert set(Faults.model_fields) == set(TwinFaults.__struct_fields__)


def test_a_definition_s_node_can_be_made() -> None:
    faults = {"write_error": ["dvfs"], "knob_reverts_after_s": {"itr-delay": 2}, "energy_stuck": True}
    simulated = made(herd={"simulated": {"noise": 0, "faults": faults}}).herd.simulated
    assert simulated is not None
    options = msgspec.convert(simulated.model_dump(mode="json", exclude={"musters"}), TwinOptions)
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


def test_a_mix_that_no_twin_knows_is_refused() -> None:
    error = refused(workload={"qps": 1000, "preset": "usr"})
    assert error.key == "workload.preset"
    assert error.suggestion == "etc"
