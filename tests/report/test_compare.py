"""Experiments beside one another, and the forms that `--json` prints."""

import json
import math
import sqlite3

import pytest

from mustherd.report import labels
from mustherd.report.compare import compare
from mustherd.report.json import list_form, show_form
from mustherd.report.view import View
from mustherd.store.catalog import list_experiments
from mustherd.store.errors import StoreError
from mustherd.store.store import DATABASE
from mustherd.trial import TrialKind
from tests.experiment import physics
from tests.report.conftest import RESOLVED, Make


def test_compare_says_what_was_found_and_what_differs(make: Make) -> None:
    one = make("one")
    two = make(
        "two",
        trials=physics.experiment(searches=8),
        resolved={"workload": {**RESOLVED["workload"], "qps": 4e5}, "search": {"method": "random"}, "budget": {}},
        done=False,
    )
    found = compare([View.of(one), View.of(two)])
    assert json.loads(json.dumps(found)) == found
    assert found["differences"] == {
        "workload.qps": [600000.0, 400000.0],
        "search.method": ["gp", "random"],
        "search.seed": [1, None],
        "budget": [None, {}],
    }
    first, second = found["experiments"]
    assert first["best"] == {"itr-delay": 250, "dvfs": 1600}
    assert first["found_at_trial"] == 24
    assert (first["verdict"], second["verdict"]) == ("met", None)
    assert first["saving_ci_percent"][0] < first["saving_percent"] < first["saving_ci_percent"][1]
    assert not [key for key in first if "text" in key]


def test_compare_experiments_without_results(make: Make) -> None:
    found = compare([View.of(make(trials=[], done=False))])
    assert found["experiments"][0]["best"] is None
    assert found["differences"] == {}


def test_forms_are_json_and_complete(make: Make) -> None:
    broken = physics.trial(1, TrialKind.SEARCH, {"itr-delay": 2, "dvfs": 2600})
    broken.metrics["read_p99_us"] = math.nan
    store = make("odd", trials=[broken, *physics.experiment(searches=5)[1:]])
    shown = show_form(View.of(store))
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert shown["experiment"] == "odd"
    assert {"folder", "verdict", "default", "best", "saving_percent", "trials", "wall_seconds", "reason"} <= set(shown)
    assert shown["attempts"][0]["metrics"]["read_p99_us"] is None
    assert shown["attempts"][0]["feasible"] is False
    assert shown["musters"][0]["facts"]["cores"] == 16
    [listed] = list_form(list_experiments(store.folder.parent))
    assert json.loads(json.dumps(listed)) == listed
    assert (listed["name"], listed["status"], listed["trials"]["finished"]) == ("odd", "done", len(shown["attempts"]))


@pytest.mark.parametrize("goal", ["{}", '{"objectives": []}', '{"limits": ["read_p99_us <= 500"]}', '{"guard": 98}'])
def test_a_goal_that_cannot_be_read_is_told(make: Make, goal: str) -> None:
    store = make(done=False)
    with sqlite3.connect(store.folder / DATABASE) as database:
        database.execute("UPDATE experiment SET goal = ?", [goal])
    database.close()
    with pytest.raises(StoreError, match="what it says of its experiment can't be read"):
        View.of(store)


def test_a_verdict_of_another_shape_is_computed_again(make: Make) -> None:
    store = make()
    store.set_verdict({"policy": "of its own"})
    view = View.of(store)
    assert view.stored is None
    assert view.verdict().verdict == "met"


def test_the_star_goes_to_the_setting_that_was_announced(make: Make) -> None:
    store = make()
    view = View.of(store)
    assert view.stored
    runner_up = view.improvements()[-2]
    announced, best = view.winner(), view.improvements()[-1]
    assert announced is not None
    assert view.stored.best is not None
    # What looked best of all left the next window no room.
    assert announced.settings == view.stored.best.knobs != best.settings
    assert announced != runner_up
    row = store.experiment().verdict
    assert row
    row["best"]["knobs"] = runner_up.settings
    store.set_verdict(row)
    assert View.of(store).winner() == runner_up


def test_values_in_words() -> None:
    assert labels.amount("achieved_ratio", 0.97999) == "97.9"
    assert labels.aligned("achieved_ratio", 0.98, 1) == "98.0"
    assert labels.aligned("x", math.nan, 1) == labels.amount("x", None) == ""
    assert labels.quantity("read_p99_us", None) == "not measured"
    assert labels.decimals("energy_joules", [1700.0, 1800.0, math.nan]) == 0
    assert labels.decimals("read_p99_us", [135.0, 482.0]) == 1
    assert labels.decimals("joules_per_request", [1e-4]) == 6
    assert labels.clock(0) == ""
    assert labels.clock(1.7e9) == "2023-11-14 22:13:20 UTC"
