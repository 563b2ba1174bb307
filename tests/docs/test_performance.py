"""The page of figures has every goal, and says of each whether it was met."""

from pathlib import Path
from typing import Any

import pytest

from docs.make_performance import BEGIN, END, PAGE, table, written
from tests.benchmarks._goals import ALONE, GOALS, rows

FOUND: dict[str, dict[str, Any]] = {
    "command_start": {"help_s": 0.25},
    "reading_back": {"trials": {"3000": {"report_s": 1.0, "report_bytes": 3_000_001, "show_s": 5.0}}},
    "log_path": {
        "runs": [
            {
                **{"cores": cores, "rows": count, "rows_per_s": count, "rows_lost": cores - 1, "bytes_per_row": 18.5},
                **{"muster_cpu_s_per_million": 0.1, "shepherd_cpu_s_per_million": 0.4, "muster_peak_rss_mb": 40.0},
            }
            for cores in (1, 16)
            for count in (100_000, 10_000_000)
        ]
    },
    "control_round_trip": {"herds": []},
}


def test_each_figure_is_held_against_its_goal() -> None:
    met = {row["what"]: (row["figure"], row["met"]) for row in rows(FOUND)}
    assert met["`mustherd --help`"] == (0.25, False)
    assert met["`show` of 3,000 trials"] == (5.0, True)
    assert met["its size"] == (3_000_001, False)
    assert met["rows of one core's log"] == (10_000_000, True)
    assert met["rows lost"] == (15, False)
    assert met["a decision to a muster and back by bare ZeroMQ's"] == (None, None)
    assert met["to one of 128 and back, encrypted, 99 %"] == (None, None)
    assert "an idle muster and its guardian, CPU" not in met


def test_a_round_trip_is_held_against_bare_zeromqs_of_the_same_run() -> None:
    def met(ours: float, bare: float) -> tuple[object, object]:
        herds = [
            {"musters": 1, "kind": "plain text", "p50": ours},
            {"musters": 1, "kind": "curve", "p50": 9.0},
            {"musters": 1, "kind": "bare ZeroMQ", "p50": bare},
            {"musters": 32, "kind": "bare ZeroMQ", "p50": 9.0},
        ]
        found = rows({"control_round_trip": {"herds": herds}})
        [row] = [row for row in found if row["what"] == "a decision to a muster and back by bare ZeroMQ's"]
        return row["figure"], row["met"]

    assert met(0.5, 0.2) == (2.5, True)
    assert met(0.52, 0.2) == (pytest.approx(2.6), False)
    assert met(0.5, 0.0) == (None, None)


def test_the_page_has_a_row_for_every_goal() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for goal in GOALS:
        if goal.benchmark in ALONE:
            continue
        assert f"| {goal.what} (`{goal.benchmark}`) |" in page


def test_the_table_is_made_of_what_was_printed_and_the_rest_of_the_page_stays() -> None:
    machine = {"cpu": "A", "cores": 2, "kernel": "6.1", "python": "3.11.7"}
    found = {
        "began": "2026-01-02T03:04:05+00:00",
        "machine": machine,
        "load_average_before": {"log_path": 0.26, "x": 0.1},
        "figures": list(rows(FOUND)),
    }
    assert table(found).splitlines()[0] == (
        "2026-01-02, A, 2 cores, Linux 6.1, Python 3.11.7; load average before each at most 0.3."
    )
    assert "| its size (`reading_back`) | 3,000,001 bytes | at most 3,000,000 | **missed** |" in table(found)
    assert (
        "| a decision to a muster and back by bare ZeroMQ's (`control_round_trip`) |  | at most 2.5 | not measured |"
        in table(found)
    )
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert written(page, found) == f"before\n{BEGIN}\n\n{table(found)}\n\n{END}\nafter\n"


@pytest.mark.parametrize("name", sorted({goal.benchmark for goal in GOALS}))
def test_each_goal_is_of_a_benchmark(name: str) -> None:
    assert (Path(__file__).parents[1] / "benchmarks" / f"{name}.py").is_file()
