"""What a person has recorded is replayed as it is, and what it can't answer is said in a sentence."""

from pathlib import Path
from typing import Any

import pytest

import mustherd
from mustherd import metrics
from mustherd.errors import UserError
from mustherd.learn.registry import make
from mustherd.learn.replay import Table, replay
from mustherd.node.kinds import DVFS, ITR_DELAY
from mustherd.testing.search import measured

LOAD = (256, 600_000.0)


def rows(hole: bool = True) -> list[dict[str, float]]:
    found = []
    for delay in (1, 2, 50, 100, 200, 300, 400):
        for clock in (1200, 1500, 1800, 2200, 2600):
            if hole and (delay, clock) in {(200, 1200), (2, 2600), (400, 1800)}:
                continue
            point = {"itr-delay": delay, "dvfs": clock}
            found.append({"delay": delay, "clock": clock, **measured(point).metrics})
    return found


def written(path: Path, table: list[dict[str, float]]) -> Path:
    names = list(table[0])
    lines = [",".join(str(row.get(name, "")) for name in names) for row in table]
    path.write_text("\n".join([",".join(names), *lines]) + "\n")
    return path


def replayed(file: Path, **options: Any) -> Any:
    given: dict[str, Any] = {
        "limits": ["read_p99_us <= 300"], "knobs": {"itr-delay": "delay", "dvfs": "clock"}, "trials": 12, "seeds": 2,
        "metrics": {"energy_joules": "energy_joules", "read_p99_us": "read_p99_us"}, "searches": ["gp"],
    }  # fmt: skip
    return mustherd.replay(file, **{**given, **options})


def test_a_grid_with_holes_is_replayed_on_the_rows_that_there_are(tmp_path: Path) -> None:
    found = replayed(written(tmp_path / "t.csv", rows()), trials=99, searches=["random"])
    assert found.settings == 32
    assert found.searches["random"].trials_to["1 %"]["share"] == 1.0
    assert {run.trials for run in found.runs["random"]} == {32}


def test_requests_in_flight_that_are_given_are_told_to_the_search(tmp_path: Path) -> None:
    file = written(tmp_path / "t.csv", rows())
    table = Table(measured({"itr-delay": int(r["delay"]), "dvfs": int(r["clock"])}) for r in rows())
    plain = table.problem(
        "energy_joules", mustherd.Experiment(
            name="x", herd={"simulated": {}}, workload={"qps": 1000}, knobs={"dvfs": [1200]},
            constraints=["read_p99_us <= 300"],
        ).constraints, kinds={"itr-delay": ITR_DELAY, "dvfs": DVFS},
    )  # fmt: skip
    told = plain.over(in_flight_us=LOAD[0] / LOAD[1] * 1e6)
    for searched, load in ((plain, None), (told, LOAD)):
        runs = replay(lambda seed, of=searched: make("gp", of, seed=seed), table, searched, seeds=(0, 1), trials=12)  # type: ignore[misc]
        assert [run.points for run in replayed(file, load=load).runs["gp"]] == [run.points for run in runs]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"limits": ["update_p99_us <= 3"]}, "update_p99_us was not measured; there is energy_joules, read_p99_us"),
        ({"objective": "achieved_qps"}, "achieved_qps was not measured; there is energy_joules, read_p99_us"),
        ({"noise": {"read_p95_us": 0.1}}, "noise of read_p95_us: it was not measured; there is energy_joules"),
        ({"default": {"itr-delay": 7, "dvfs": 1200}}, "the default .* was not measured: it is none of the 32 settings"),
        ({"metrics": {"energy_joules": "watts"}}, "there is no column 'watts'; columns are delay, clock"),
    ],
)
def test_what_the_rows_do_not_have_is_said_in_a_sentence(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        replayed(written(tmp_path / "t.csv", rows()), **options)


def test_a_row_without_its_measurement_is_left_out(tmp_path: Path) -> None:
    table = rows()
    for row in table[3:6]:
        del row[metrics.ENERGY]
    assert replayed(written(tmp_path / "t.csv", table), searches=["grid"]).settings == 29
