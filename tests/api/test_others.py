"""Replays and loads by hand from Python: what the commands of those names print."""

from pathlib import Path

import pytest

import mustherd

TABLE = "clock,joules,p99\n" + "".join(f"{1200 + 100 * n},{50 - n + n * n / 10},{900 - 60 * n}\n" for n in range(12))


def test_searches_are_replayed_on_a_table(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    told: list[str] = []
    found = mustherd.replay(
        tmp_path / "table.csv",
        ["random", "grid"],
        limits=["read_p99_us <= 600"],
        knobs={"dvfs": "clock"},
        metrics={"energy_joules": "joules", "read_p99_us": "p99"},
        trials=12,
        seeds=2,
        tell=told.append,
    )
    assert told == ["random", "grid"]
    assert found.settings == 12
    # 50 - n + n^2 / 10 is least at n = 5, where the limit is just kept.
    assert found.optimum.point == {"dvfs": 1700}
    assert {name: summary.runs for name, summary in found.searches.items()} == {"random": 2, "grid": 2}
    # Every search finds it that tries everything.
    assert all(run.trials_to["1 %"] is not None for runs in found.runs.values() for run in runs)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"searches": ["magic"]}, "no search 'magic' is installed; there are: gp"),
        ({"searches": "magic"}, "no search 'magic' is installed; there are: gp"),
        ({"seeds": 0}, "seeds: 0; allowed: 1 or more"),
        ({"trials": -1}, "trials: -1; allowed: 1 or more"),
        ({"limits": ["p99 < 3"]}, "limit 'p99 < 3': unknown metric 'p99'"),
        ({"knobs": {"dvfs": "clock:hex"}}, "'clock:hex': a column's values are whole numbers"),
        ({"knobs": {}}, "name the columns of a CSV file"),
        ({"source": "nowhere.csv"}, "nowhere.csv: .*No such file"),
    ],
)
def test_what_cannot_be_replayed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text(TABLE)
    given = {"source": "table.csv", "knobs": {"dvfs": "clock"}, "metrics": {"energy_joules": "joules"}, **changes}
    with pytest.raises(mustherd.UserError, match=said):
        mustherd.replay(**given)  # type: ignore[arg-type]


def test_what_cannot_be_loaded_is_said() -> None:
    for given, said in (
        ({"servers": ["here"]}, "'here' is no server: write HOST:PORT"),
        ({"servers": "127.0.0.1:1"}, "servers: '127.0.0.1:1'; allowed: a list of one or more, each HOST:PORT"),
        ({"servers": []}, "servers: none; allowed: a list of one or more"),
        ({"servers": ["127.0.0.1:1"], "window_s": -1.0}, "window_s: -1.0; allowed: above 0"),
        ({"servers": ["127.0.0.1:1"], "ramp_s": float("nan")}, "ramp_s: nan; allowed: 0 or more"),
        ({"servers": ["127.0.0.1:1"], "preset": "x"}, "preset x: allowed: etc, usr"),
        ({"servers": ["127.0.0.1:1"], "generator": "x"}, "x: allowed: builtin, command, http, memtier, mutilate"),
        ({"servers": ["127.0.0.1:1"], "options": {"workres": 2}}, "generator builtin: .*workres"),
    ):
        with pytest.raises(mustherd.UserError, match=said):
            mustherd.LoadByHand(**given)
    load = mustherd.LoadByHand(["127.0.0.1:1"], window_s=0.5)
    for wrong in (0, -1.0, "many", "1e12"):
        with pytest.raises(mustherd.UserError, match="allowed"):
            load.measure(wrong)
    with pytest.raises(mustherd.UserError, match="low 2000 is above high 1000"):
        load.peak("read_p99_us <= 1 ms", low="2k", high="1k")
