"""What leaves an experiment: the table of settings by load, picks within other limits, the front."""

from pathlib import Path

import pytest

from mustherd.definition.errors import DefinitionError
from mustherd.definition.settings_table import nearest, read
from mustherd.experiment.results import front_of, picked, table_rows, volumes, write_table
from mustherd.experiment.verdict import decide
from mustherd.goal import Constraint
from mustherd.terms import Load
from mustherd.trial import TrialKind
from tests.experiment import physics

RESOLVED = {
    "objective": "energy_joules",
    "objectives": ["energy_joules", "read_p99_us"],
    "constraints": ["read_p99_us <= 500"],
    "repeats": 3,
}


def test_a_pick_within_another_limit_is_cheapest_of_what_was_measured() -> None:
    trials, goal = physics.experiment(), physics.goal_of(RESOLVED)
    found = picked(trials, goal, [Constraint("read_p99_us", 300.0)])
    assert found
    assert found.metrics["read_p99_us"] <= 300
    assert found.metrics["achieved_ratio"] >= 0.98
    within = [
        t.metrics["energy_joules"]
        for t in trials
        if t.kind is TrialKind.SEARCH and t.metrics["read_p99_us"] <= 300 and t.metrics["achieved_ratio"] >= 0.98
    ]
    assert found.metrics["energy_joules"] == pytest.approx(min(within), rel=0.01)
    assert picked(trials, goal, [Constraint("read_p99_us", 1.0)]) is None


def test_the_front_and_how_it_grew() -> None:
    trials, goal = physics.experiment(), physics.goal_of(RESOLVED)
    assert goal.second == "read_p99_us"
    front = front_of(trials, goal)
    assert len(front) > 3
    energies = [o.metrics["energy_joules"] for o in front]
    latencies = [o.metrics["read_p99_us"] for o in front]
    assert energies == sorted(energies)
    assert latencies == sorted(latencies, reverse=True)
    grown, reference = volumes(trials, goal)
    assert [n for n, _ in grown] == [t.number for t in trials if t.kind is TrialKind.SEARCH]
    assert [v for _, v in grown] == sorted(v for _, v in grown)
    assert reference[1] == 500.0
    assert volumes([], goal) == ([], (0.0, 0.0))


def test_a_table_is_written_and_read_back(tmp_path: Path) -> None:
    goal = physics.goal_of({**RESOLVED, "workload": {"qps": [200e3, 600e3]}})
    trials = []
    for qps in goal.loads:
        for one in physics.experiment():
            one.load = Load(qps=qps, preset="etc", update_ratio=0.25, outstanding=256)
            one.number += 100 * (qps > 300e3)
            trials.append(one)
    verdict = decide(trials, goal)
    rows = table_rows(verdict)
    assert [(row.qps, row.verdict) for row in rows] == [(200e3, "met"), (600e3, "met")]
    back = read(write_table(tmp_path / "policy.yml", verdict, "toy"))
    assert [(row.qps, row.settings) for row in back] == [(row.qps, row.settings) for row in rows]
    assert nearest(back, 340e3).qps == 200e3
    assert nearest(back, 400e3).qps == 600e3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "holds no table"),
        ("table: []", "holds no table"),
        ("table:\n- {settings: {dvfs: 1200}}", "x.yml:2: table[0]: a row needs 'qps'"),
        ("table:\n- {qps: -5, settings: {dvfs: 1200}}", "a row needs 'qps'"),
        ("table:\n- {qps: 5}", "table[0].settings"),
        (
            "table:\n- {qps: 5, settings: {dvfs: 1200}}\n- {qps: 5, settings: {dvfs: 1300}}",
            "x.yml:3: table[1].qps: a second row for 5 requests per second; allowed: one row a load",
        ),
        ("table:\n- {qps: 5, settings: {dvfs: fast}}", "'fast' is no amount"),
    ],
)
def test_a_table_that_is_none_has_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.yml").write_text(text)
    with pytest.raises(DefinitionError) as caught:
        read(tmp_path / "x.yml")
    assert said in str(caught.value)
    with pytest.raises(DefinitionError, match="can't be read"):
        read(tmp_path / "none.yml")
