"""Replaying searches on recorded measurements."""

import json
from pathlib import Path

import pytest

from tests import running
from tests.shared_data import path

pytestmark = pytest.mark.process

COLUMNS = [
    *("--knob", "itr-delay=itr_delay_us", "--knob", "dvfs=dvfs:msr"),
    *("--metric", "energy_joules=pkg_joules", "--metric", "read_p99_us=read_p99"),
    *("--metric", "achieved_ratio=achieved_qps/target_qps"),
    *("--where", "campaign=0", "--where", "target_qps=600000"),
]
LIMITS = ["--limit", "read_p99_us <= 500", "--limit", "achieved_ratio >= 0.98"]


@pytest.mark.data
def test_searches_side_by_side_on_a_recorded_table(tmp_path: Path) -> None:
    table = path("c6220_memcached_grid.csv")
    more: list[str | Path] = ["--seeds", "3", "--plot", tmp_path / "replay.svg", "--json"]
    code, out, err = running.run("replay", table, *COLUMNS, *LIMITS, *more)
    assert code == 0, err
    found = json.loads(out)
    assert found["settings"] == 55
    assert found["optimum"]["point"] == {"itr-delay": 300, "dvfs": 1200}
    assert set(found["searches"]) == {"gp", "random"}
    assert found["searches"]["gp"]["trials_to"]["5 %"]["worst"] <= 15
    assert "<svg" in (tmp_path / "replay.svg").read_text()


@pytest.mark.long
def test_an_experiment_can_be_replayed(tmp_path: Path) -> None:
    text = running.definition(method="grid", trials=90, speed=5000)
    running.complete(tmp_path, text)
    code, out, err = running.run(
        "replay", tmp_path / "x", "--limit", "read_p99_us <= 500", "--search", "random", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["settings"] == 90


@pytest.mark.parametrize(
    "wrong",
    [
        ["nowhere.csv", *COLUMNS],
        ["table.csv"],
        ["table.csv", "--knob", "dvfs", "--metric", "x=y"],
        ["table.csv", "--knob", "dvfs=clock", "--metric", "energy_joules=j", "--search", "magic"],
        ["table.csv", "--knob", "dvfs=nothing", "--metric", "energy_joules=j"],
        ["table.csv", "--knob", "dvfs=clock", "--metric", "energy_joules=j", "--limit", "p99 < fast"],
    ],
)
def test_what_is_wrong_is_one_message(tmp_path: Path, wrong: list[str]) -> None:
    (tmp_path / "table.csv").write_text("clock,j\n1200,5\n1400,6\n")
    code, out, err = running.here("replay", *wrong, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("mustherd: ")
    assert "Traceback" not in err
