"""What an experiment believes beforehand."""

import math
from pathlib import Path

import pytest

from mustherd.definition import content, digest, goal, loads, problem
from mustherd.experiment.prior import PRIOR, prior_of, read_prior
from mustherd.goal import Goal
from mustherd.store.errors import StoreError
from mustherd.store.store import Store
from tests.experiment import physics

TEXT = """\
name: x
herd: {simulated: {}}
workload: {qps: QPS}
knobs:
  itr-delay: [2, 50, 100, 200, 300]
  dvfs: [1200 MHz, 1600 MHz, 2000 MHz]
constraints: [read_p99_us <= 500]
search: {prior: PRIOR}
"""


def text(prior: str, qps: str = "600k") -> str:
    return TEXT.replace("PRIOR", prior).replace("QPS", qps)


def test_the_twin_answers_for_every_load_and_metric() -> None:
    one = read_prior(loads(text("twin")))
    assert len(one) == 15
    assert {"energy_joules", "read_p99_us", "achieved_ratio"} <= set(one[0].metrics)
    assert all(math.isfinite(v) for o in one for v in o.metrics.values())
    several = read_prior(loads(text("twin", "[200k, 600k]")))
    assert {o.point["qps"] for o in several} == {200_000, 600_000}


def test_an_earlier_experiment_is_read_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "earlier"
    with Store.create(folder, name="e", definition="", resolved={}, digest="", goal=Goal(loads=(6e5,))) as earlier:
        physics.fill(earlier, physics.experiment())
    experiment = loads(text(str(folder)))
    with Store.create(
        tmp_path / "now",
        name="x",
        definition="",
        resolved=content(experiment),
        digest=digest(experiment),
        goal=goal(experiment),
    ) as store:
        found = prior_of(store, experiment, problem(experiment))
        assert len(found) == 30
        folder.rename(tmp_path / "gone")
        assert prior_of(store, experiment, problem(experiment)) == found
        assert (store.folder / PRIOR).exists()
    with pytest.raises(StoreError, match="does not exist"):
        read_prior(experiment)


def test_an_experiment_over_other_knobs_says_nothing(tmp_path: Path) -> None:
    with Store.create(tmp_path / "e", name="e", definition="", resolved={}, digest="", goal=Goal()):
        pass
    with pytest.raises(StoreError, match="says nothing beforehand"):
        read_prior(loads(text(str(tmp_path / "e"))))
