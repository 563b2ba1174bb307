import json
from datetime import UTC, datetime, timedelta

import pytest

from mustherd.definition import DefinitionError, loads, plan, quickstart
from mustherd.definition.units import duration
from tests.definition.make import made, refused


def test_the_quickstart_s_plan() -> None:
    found = plan(loads(quickstart()))
    assert (found.musters, found.space, found.search, found.baseline, found.confirm) == (2, 90, 30, 3, 36)
    assert (found.trials, found.confirm_at_most) == (69, 96)
    assert found.seconds_per_trial == 38
    assert found.node_seconds == (17 + 18) * 38
    assert found.node_seconds_at_most == (17 + 48) * 38
    assert found.node_seconds / 200 < found.wall_seconds < found.wall_seconds_at_most
    assert found.fits


def test_options_that_its_load_refuses_are_told_with_their_line() -> None:
    several = [{"servers": [1], "share": 4}, {"servers": [2], "share": 2, "update_ 3": None}]
    load = {"name": "several", "options": {"loads": several}}
    experiment = made(herd={"inventory": "x"}, workload={"qps": 600000, "load": load})
    with pytest.raises(DefinitionError, match=r"workload\.load\.options\.loads\[1\]: .*`update_ 3`"):
        plan(experiment)


def test_repetitions_and_rests_are_planned() -> None:
    grid = {"search": {"method": "grid", "order": "blocked", "repetitions": 3}, "trials": 99, "repeats": 0}
    found = plan(made(**grid, workload={"qps": 600000, "window_seconds": 30, "cool_down_seconds": 10}))
    assert found.search == 3 * 4
    assert found.seconds_per_trial == plan(made(**grid)).seconds_per_trial + 10
    assert plan(made(**{**grid, "trials": 7})).search == 7


def test_an_order_is_the_grid_s_alone() -> None:
    error = refused(search={"method": "random", "order": "blocked"})
    assert "'random' goes through nothing in an order of its own" in str(error)
    assert "only with grid" in str(error)
    assert "repetitions" in str(refused(search={"repetitions": 2}))
    assert "as-written, random, blocked" in str(refused(search={"method": "grid", "order": "shuffled"}))
    wide = {"itr-delay": {"low": 2, "high": 1000, "step": 2}, "dvfs": {"low": 1200, "high": 2600, "step": 1}}
    too_many = {"method": "grid", "order": "random", "repetitions": 9}
    assert "too many to shuffle" in str(refused(herd={"inventory": "x"}, knobs=wide, search=too_many))


def test_more_nodes_take_less_time_and_each_confirms() -> None:
    experiment = loads(quickstart())
    one, many = plan(experiment, 1), plan(experiment, 8)
    assert (one.search, one.baseline) == (many.search, many.baseline)
    assert (one.confirm, many.confirm) == (18, 8 * 18)
    assert one.node_seconds == (33 + 18) * 38
    assert many.node_seconds == (5 + 18) * 38


def test_no_more_trials_than_settings() -> None:
    assert plan(made()).search == 4
    assert plan(made(trials=3)).search == 3


def test_one_shot_is_one_trial() -> None:
    found = plan(made(search={"method": "one-shot", "settings": {"itr-delay": 2, "dvfs": 1200}}, repeats=5))
    assert (found.search, found.baseline, found.confirm, found.confirm_at_most) == (1, 1, 20, 32)


@pytest.mark.parametrize(
    ("trials", "every", "baselines"), [(1, 10, 1), (10, 10, 1), (11, 10, 2), (30, 10, 3), (30, 1, 30)]
)
def test_baselines_come_first_and_in_between(trials: int, every: int, baselines: int) -> None:
    found = plan(made(knobs={"itr-delay": {"low": 2, "high": 400}}, trials=trials, baseline={"every": every}))
    assert found.baseline == baselines


def test_the_slowest_of_node_and_definition_settles() -> None:
    workload = {"qps": 1, "ramp_seconds": 0, "window_seconds": 10}
    assert plan(made(workload=workload)).seconds_per_trial == 13
    assert plan(made(workload={**workload, "settle_seconds": 20})).seconds_per_trial == 30
    assert plan(made(workload=workload, knobs={"dvfs": [1200]})).seconds_per_trial == 10
    assert plan(made(workload=workload, herd={"inventory": "there"})).seconds_per_trial == 10


def test_real_nodes_run_in_real_time() -> None:
    found = plan(made(herd={"inventory": "there"}), musters=3)
    assert found.wall_seconds > found.node_seconds
    assert found.joules is None


@pytest.mark.parametrize(
    ("budget", "fits"),
    [({}, True), ({"minutes": 60}, True), ({"minutes": 5}, False), ({"joules": 1e6}, True), ({"joules": 1e4}, False)],
)
def test_the_budget_is_enough_or_not(budget: dict[str, float], fits: bool) -> None:
    found = plan(made(budget=budget))
    assert found.fits is fits
    said = dict(found.rows()).get("budget", "")
    assert ("enough" in said) is (fits and bool(budget))


def test_a_plan_is_json_and_rows() -> None:
    found = plan(loads(quickstart()))
    assert json.loads(json.dumps(found.to_dict()))["trials"] == 69
    assert all(label and value for label, value in found.rows())
    assert found._repr_html_().count("<tr>") == len(found.rows())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 s"),
        (0.35, "0.35 s"),
        (45.4, "45 s"),
        (119.9, "2 min 00 s"),
        (200, "3 min 20 s"),
        (1050, "17 min 30 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_no_more_at_the_same_time_than_the_load_s_machines_allow() -> None:
    experiment = made(herd={"inventory": "there"}, trials=4, repeats=0)
    three, two = plan(experiment, 3), plan(experiment, 3, 2)
    assert (three.at_once, two.at_once) == (3, 2)
    assert two.wall_seconds > three.wall_seconds
    assert "2, as many as there are agents: the 3 nodes take turns" in dict(two.rows()).values()


@pytest.mark.parametrize("minutes", [-1, 0.5, 600])
def test_the_reservation_s_end(minutes: float) -> None:
    until = datetime.now(tz=UTC) + timedelta(minutes=minutes)
    found = plan(made(budget={"until": until.isoformat()}))
    assert found.fits is (minutes == 600)
    assert found.seconds_left == pytest.approx(minutes * 60 - 60, abs=60)
    assert ("does not fit" in dict(found.rows())["until"]) is (minutes != 600)


def test_a_moment_without_a_zone_is_in_this_machine_s() -> None:
    until = made(budget={"until": "2030-01-02 03:04"}).budget.until
    assert until == datetime(2030, 1, 2, 3, 4).astimezone()
    assert "is no date and time" in str(refused(budget={"until": "tomorrow"}))


def test_how_many_rounds_savings_take() -> None:
    known = plan(made(), 1, noise=0.0025)
    noisy = plan(made(), 1, noise=0.05)
    assert plan(made(), 1).rounds_needed == {}
    for percent in ("2", "5"):
        quiet, loud = known.rounds_needed[percent], noisy.rounds_needed[percent]
        assert quiet is not None
        assert loud is not None
        assert 2 <= quiet < loud
    # The least that is announced: of such savings every other is estimated at less.
    assert known.rounds_needed["1"] is None
    assert plan(made(confirmation={"least_saving": 0.5}), 1, noise=0.0025).rounds_needed["1"] is not None
    assert list(known.rounds_needed) == ["1", "2", "5"]
    assert "rounds that a saving takes, at 0.25 % of noise" in dict(known.rows())
