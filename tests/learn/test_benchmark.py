"""The benchmark of learning, made short: its parts run, and its checks say what they hold."""

import random

import pytest

from tests.benchmarks._cases import Case, solved
from tests.benchmarks._replays import measured_again
from tests.benchmarks.learning import over_problems, run


@pytest.mark.long
@pytest.mark.data
@pytest.mark.process
def test_a_short_benchmark_has_its_checks_and_figures() -> None:
    found = run(seeds=1, loads=(600_000,), parts=("recorded", "planted"))
    checks = found["checks"]
    assert isinstance(checks, list)
    said = {c["must"].split(":")[0]: c for c in checks}
    assert len(checks) == 5
    assert all({"must", "figure", "passed"} == set(c) for c in checks)
    planted = said["a clock without effect (campaign 1) is named at every load, and nothing is at campaign 0"]
    assert planted["passed"] is True
    recorded = found["recorded"]
    assert isinstance(recorded, dict)
    assert recorded["mustherd-gp"]["600000"]["worst"] <= 15
    assert recorded["random"]["600000"]["share"] in (0.0, 1.0)
    spread = found["over_problems"]
    assert isinstance(spread, dict)
    assert spread["mustherd-gp"]["problems"] == 1
    assert spread["mustherd-gp"]["different_runs_of_seeds"] == [1, 1]


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(SystemExit, match="no such parts: all"):
        run(seeds=1, parts=("all",))


def test_a_search_s_spread_is_that_of_its_problems_not_of_its_seeds() -> None:
    def rows(*medians: float | None) -> dict[str, dict[str, float | None]]:
        return {f"{n}": {"median": m, "seeds": 3, "different_runs": 1} for n, m in enumerate(medians)}

    found = over_problems(
        {"a": {"ours": rows(3, 4, None), "absent": "not available: needs it"}, "b": {"ours": rows(9)}}
    )
    assert found == {
        "ours": {
            "problems": 4, "median_of_medians": 6.5, "quartiles": [3.75, 13.25], "worst": 26,
            "different_runs_of_seeds": [4, 12],
        }
    }  # fmt: skip


@pytest.mark.data
def test_what_is_announced_is_measured_again_beside_the_default() -> None:
    answers, searched = solved(Case("recorded", 600_000))
    best = answers.optimum(searched)
    again = measured_again(answers, dict(best.point), searched, random.Random(1))
    default = answers.measure({"itr-delay": 1, "dvfs": 2800}, {}, random.Random(0)).metrics["energy_joules"]
    true = 100 * (1 - best.metrics["energy_joules"] / default)
    assert again["saved_again"] == pytest.approx(true, abs=3)
    assert again["energy_joules"] != best.metrics["energy_joules"]
    assert 0 <= again["windows_over"] < 0.5
