"""Replaying searches on recorded measurements."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import running
from tests.shared_data import path
from tests.typed import some

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


CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """The address of a scheduler with two workers."""
    program = folder / "cluster.py"
    program.write_text(CLUSTER)
    process = subprocess.Popen(
        [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
    )
    try:
        yield some(process.stdout).readline().strip()
    finally:
        process.communicate("", timeout=30)


@pytest.mark.long
@pytest.mark.data
def test_seeds_and_whole_experiments_run_on_a_cluster(tmp_path: Path) -> None:
    """And find what they find here."""
    pytest.importorskip("distributed")
    words: list[str | Path] = [path("c6220_memcached_grid.csv"), *COLUMNS, *LIMITS, "--json", "--seeds", "4"]
    default = ["--default", "itr-delay=300", "--default", "dvfs=1200"]
    whole = ["--calibrate", "--search", "random", "--trials", "8", *default]
    with cluster(tmp_path) as address:
        for more in (["--search", "random"], whole):
            alone = running.run("replay", *words, *more)
            beside = running.run("replay", *words, *more, "--cluster", address)
            assert alone[0] == beside[0] == 0, beside[2]
            here, there = json.loads(alone[1]), json.loads(beside[1])
            for found in (here, there):
                for summary in found.get("searches", {}).values():
                    # How long each suggestion took.
                    for name in [name for name in summary if name.startswith("suggestion_ms")]:
                        del summary[name]
            assert there == here


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
        ["table.csv", "--knob", "dvfs=clock", "--metric", "energy_joules=j", "--cluster", "not an address"],
    ],
)
def test_what_is_wrong_is_one_message(tmp_path: Path, wrong: list[str]) -> None:
    (tmp_path / "table.csv").write_text("clock,j\n1200,5\n1400,6\n")
    code, out, err = running.here("replay", *wrong, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("mustherd: ")
    assert "Traceback" not in err
