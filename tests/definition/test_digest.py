import json
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.definition import Experiment, changes, content, digest, dump, load, loads, quickstart
from tests.definition.make import BASE, made, text

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_a_dump_reads_back_as_the_same(path: Path) -> None:
    experiment = load(path)
    again = loads(dump(experiment), "dump.yml")
    assert again == experiment
    assert digest(again) == digest(experiment)
    assert changes(experiment, again) == []
    assert Experiment.model_validate(content(experiment)) == experiment


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=12), max_size=4))
def test_a_dump_keeps_any_text(options: dict[str, str]) -> None:
    experiment = made().model_copy(update={"policy": made().policy.model_copy(update={"options": options})})
    assert loads(dump(experiment), "dump.yml").policy.options == options


@pytest.mark.parametrize(
    "word", ["off", "1e6", "0x10", "true", "", "~", "1_000", "a: b", "- a", "# a", "'", "014", "*a"]
)
def test_a_dump_keeps_words_that_could_be_something_else(word: str) -> None:
    experiment = loads(f"{text()}policy: {{name: tune, options: {{a: [{json.dumps(word)}]}}}}\n")
    assert experiment.policy.options == {"a": [word]}
    assert loads(dump(experiment), "dump.yml") == experiment


def test_a_digest_is_a_sha256_in_hex() -> None:
    assert re.fullmatch("[0-9a-f]{64}", digest(made()))


def test_layout_units_and_order_don_t_matter() -> None:
    one = """\
name: same
herd: {simulated: {profile: c6220}}
workload: {qps: 600000, preset: etc}
knobs: {dvfs: [1200, 2600], itr-delay: [1, 50]}
constraints: [read_p99_us <= 500]
"""
    two = """\
# the same
workload:
  preset: etc
  qps: 600k   # a second
constraints:
  - "read_p99_us <= 0.5 ms"
knobs:
  itr-delay: [adaptive, 0.05 ms]
  dvfs: [0xc00, 2.6 GHz]
herd:
  simulated: {musters: 1, speed: 2e2}
policy: {name: tune}
trials: 30
name: same
"""
    first, second = loads(one), loads(two)
    assert digest(first) == digest(second)
    assert changes(first, second) == []
    assert first == second


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trials": 31}, ["trials: 30 -> 31"]),
        ({"name": "other"}, ["name: base -> other"]),
        ({"knobs": {"itr-delay": [2, 60], "dvfs": [1200, 2600]}}, ["knobs.itr-delay: [2, 50] -> [2, 60]"]),
        ({"knobs": {"itr-delay": [2, 50]}}, ["knobs.dvfs: removed, was [1200, 2600]"]),
        ({"budget": {"minutes": 5}}, ["budget.minutes: added, 5.0"]),
        ({"constraints": ["misses <= 0"]}, ['constraints: [] -> ["misses <= 0"]']),
        ({"gates": {"energy_watts": {"low": 1}}}, ["gates.energy_watts.low: 5.0 -> 1.0"]),
        ({"baseline": {"settings": {"dvfs": 2600}}}, ['baseline.settings: default -> {"dvfs": 2600}']),
        ({"workload": {"qps": 600000, "update_ratio": 0.5}}, ["workload.update_ratio: 0.25 -> 0.5"]),
    ],
)
def test_what_differs_is_said(change: dict[str, object], said: list[str]) -> None:
    old, new = made(), made(**change)
    assert sorted(changes(old, new)) == sorted(said)
    assert digest(old) != digest(new)
    assert old != new


def test_every_default_is_written_out() -> None:
    found = content(made())
    assert found["gates"]["energy_watts"] == {"low": 5.0, "high": 2000.0}
    assert found["baseline"]["settings"] == "default"
    assert found["workload"]["update_ratio"] == 0.25
    assert found["knobs"] == BASE["knobs"]


def test_where_it_is_written_is_no_part_of_it() -> None:
    assert loads(quickstart(), "a.yml") == loads("\n\n" + quickstart(), "b.yml")
    assert loads(text(), "a.yml").source.file == "a.yml"


def test_an_experiment_may_go_to_another_process() -> None:
    experiment = loads(quickstart(), "quickstart.yml")
    again = pickle.loads(pickle.dumps(experiment))  # noqa: S301
    assert again == experiment
    assert again.source.file == "quickstart.yml"
