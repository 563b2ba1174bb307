"""Replaying searches on tables, and the promise on the recorded one."""

import random
from pathlib import Path
from typing import Any

import pytest

from mustherd.goal import Constraint
from mustherd.learn.base import Dimension, Observation, Settings
from mustherd.learn.registry import make
from mustherd.learn.replay import Table, read_csv, replay, summarize
from mustherd.learn.sensitivity import effects, idle_knobs
from mustherd.node.kinds import DVFS
from mustherd.testing.search import measured
from tests.recorded import problem, table

CSV = "day,qps,done,clock,delay,joules\n0,100,99,0x1a00,2,10\n0,100,50,0xc00,2,8\n1,100,99,0xc00,2,7\n"


def toy() -> Table:
    return Table([measured({"itr-delay": d, "dvfs": f}) for d in (1, 2, 50, 100, 200) for f in (1200, 1500, 1800)])


def test_reads_a_file_by_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(CSV)
    found = read_csv(
        file,
        knobs={"itr-delay": "delay", "dvfs": ("clock", lambda text: DVFS.value_of_word(int(text, 16)))},
        metrics={"energy_joules": "joules", "achieved_ratio": "done/qps"},
        where={"day": 0},
    )
    assert [o.point["dvfs"] for o in found] == [2600, 1200]
    assert found[1].metrics == {"energy_joules": 8.0, "achieved_ratio": 0.5}
    with pytest.raises(ValueError, match=r"no column 'watts'; columns are day, qps"):
        read_csv(file, knobs={"itr-delay": "delay"}, metrics={"power_watts": "watts"})
    file.write_text(CSV + "0,100,?,0xc00,2,7\n")
    with pytest.raises(ValueError, match="line 5"):
        read_csv(file, knobs={"itr-delay": "delay"}, metrics={"achieved_ratio": "done/qps"})
    file.write_text(CSV + "0" * 200_000)
    with pytest.raises(ValueError, match=r"line 5: field larger than field limit"):
        read_csv(file, knobs={"itr-delay": "delay"}, metrics={"achieved_ratio": "done/qps"})


def test_a_mark_that_a_spreadsheet_writes_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(CSV, encoding="utf-8-sig")
    assert len(read_csv(file, knobs={"itr-delay": "delay"}, metrics={"power_watts": "joules"}, where={"day": 0})) == 2


def test_repeats_are_averaged_and_what_can_t_be_answered_is_told() -> None:
    one = Observation(point={"a": 1, "b": 1}, metrics={"x": 1.0})
    other = Observation(point={"a": 1, "b": 1}, metrics={"x": 3.0})
    averaged = Table([one, other])
    assert averaged.observations()[0].metrics == {"x": 2.0}
    holed = Table([one, Observation(point={"a": 2, "b": 2}, metrics={"x": 1.0, "y": 2.0})])
    with pytest.raises(ValueError, match=r"z was not measured; there is x, y"):
        holed.problem("z", ())
    with pytest.raises(ValueError, match=r"y was not measured at \{'a': 1, 'b': 1\}; there is x, y"):
        holed.problem("x", (Constraint("y", 3.0),))
    with pytest.raises(ValueError, match=r"the default \{'a': 1, 'b': 2\} was not measured: it is none of the 2"):
        holed.problem("x", (), default={"a": 1, "b": 2})
    with pytest.raises(ValueError, match="at least one"):
        Table([])
    with pytest.raises(ValueError, match="isn't over a, b"):
        Table([one, Observation(point={"a": 1}, metrics={"x": 1.0})])


HOLES = [("gp", False), ("random", False), ("grid", False), ("penalty", True)]


@pytest.mark.parametrize(("name", "is_peer"), HOLES)
def test_of_a_grid_with_holes_the_rows_that_there_are_are_the_space(name: str, is_peer: bool) -> None:
    whole = toy().observations()
    rows = [o for o in whole if (o.point["itr-delay"], o.point["dvfs"]) not in {(50, 1200), (200, 1800), (1, 1500)}]
    recorded = Table(rows)
    searched = recorded.problem("energy_joules", (Constraint("read_p99_us", 300.0),))
    runs = replay(
        lambda seed: make(name, searched, seed=seed, options={"stop": False} if name == "gp" else None, peers=is_peer),
        recorded, searched, seeds=(1, 2), trials=len(rows) + 5,
    )  # fmt: skip
    for run in runs:
        assert all(Observation(point=p, metrics={}).point in [o.point for o in rows] for p in run.points)
        if not is_peer:
            assert len({tuple(p.items()) for p in run.points}) == len(rows), "each row, then no more"
            # Points that would end the search are measured again.
            assert run.trials - len(rows) in (range(3) if name == "gp" else (0,))
            assert run.trials_to["1 %"] is not None


@pytest.mark.parametrize("name", ["gp", "random", "grid", "one-shot"])
@pytest.mark.parametrize("loads", [(), (200_000, 400_000)])
def test_a_space_of_one_setting_is_tried_ranked_and_over(name: str, loads: tuple[int, ...]) -> None:
    point = {"itr-delay": 50, "dvfs": 1500}
    single = Table([measured(point)]).problem("energy_joules", (), default=point)
    if loads:
        dimensions = (Dimension(name="qps", values=loads, scale="log"), *single.space.dimensions)
        single = single.over(dimensions=dimensions, context="qps", default=None)
    points = [{"qps": qps, **point} for qps in loads] or [point]
    search = make(name, single, seed=1, options={"settings": points} if name == "one-shot" else None)
    for _ in points:
        asked = search.ask()
        assert asked in points
        search.tell([Observation(point=asked, metrics=measured(point).metrics)])
    assert search.ask() is None
    state = search.state()
    assert state["observations"] == len(points)
    if name == "gp" and not loads:
        ranking: Any = state["ranking"]
        assert [row["point"] for row in ranking] == points


def test_a_row_whose_measurement_is_missing_is_a_hole(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(CSV + "0,100,, 0x1a00,50,\n0,,7,0x1a00,100,9\n")
    found = read_csv(
        file, knobs={"itr-delay": "delay"},
        metrics={"energy_joules": "joules", "achieved_ratio": "done/qps"}, where={"day": 0},
    )  # fmt: skip
    assert [o.point["itr-delay"] for o in found] == [2, 2]


def test_a_grid_reaches_the_optimum_at_its_place() -> None:
    recorded = toy()
    searched = recorded.problem("energy_joules", (Constraint("read_p99_us", 300.0),))
    best = recorded.optimum(searched)
    place = [o.point for o in recorded.observations()].index(best.point) + 1
    runs = replay(lambda seed: make("grid", searched, seed=seed), recorded, searched, seeds=(1, 2), trials=99)
    assert [r.trials_to["1 %"] for r in runs] == [place, place]
    assert runs[0].pick == best.point
    summary = summarize(runs, best.metrics["energy_joules"])
    assert summary.trials_to["1 %"] == {"median": place, "worst": place, "share": 1.0}
    assert summary.picks_feasible == summary.picks_within_5 == 1.0
    short = replay(
        lambda seed: make("grid", searched, seed=seed), recorded, searched, seeds=(1,), trials=99, until=0.01
    )
    assert short[0].trials == place


def test_what_was_never_reached_is_no_number() -> None:
    recorded = toy()
    searched = recorded.problem("energy_joules", (Constraint("read_p99_us", 300.0),))
    runs = replay(lambda seed: make("grid", searched, seed=seed), recorded, searched, seeds=(1,), trials=1)
    assert runs[0].trials_to["1 %"] is None
    assert summarize(runs, 1.0).trials_to["1 %"] == {"median": None, "worst": None, "share": 0.0}
    impossible = recorded.problem("energy_joules", (Constraint("read_p99_us", 1.0),))
    with pytest.raises(ValueError, match="no point of the table"):
        recorded.optimum(impossible)


@pytest.mark.data
def test_within_5_percent_in_8_trials_at_600k() -> None:
    recorded = table(600_000)
    searched = problem(recorded, 600_000)
    runs = replay(
        lambda seed: make("gp", searched, seed=seed, options={"stop": False}),
        recorded,
        searched,
        seeds=range(10),
        trials=15,
        noise={"energy_joules": 0.002, "read_p99_us": 0.012, "achieved_ratio": 0.0005},
        until=0.05,
    )
    reached = summarize(runs, 1.0).trials_to["5 %"]
    assert reached["share"] == 1.0
    assert reached["median"] is not None
    assert reached["median"] <= 8


def learnt(recorded: Table, prior: list[Observation]) -> int:
    searched = problem(recorded, 600_000).over(prior=tuple(prior))
    runs = replay(
        lambda seed: make("gp", searched, seed=seed, options={"stop": False}),
        recorded,
        searched,
        seeds=(1,),
        trials=16,
        until=0.05,
    )
    return runs[0].trials_to["5 %"] or 99


@pytest.mark.data
def test_a_prior_helps_and_a_reversed_one_costs_a_few_trials() -> None:
    recorded = table(600_000)
    earlier = table(400_000).observations()
    values = {m: [o.metrics[m] for o in earlier] for m in earlier[0].metrics}
    reversed_ = [
        Observation(point=o.point, metrics={m: max(v) + min(v) - o.metrics[m] for m, v in values.items()})
        for o in earlier
    ]
    without = learnt(recorded, [])
    assert learnt(recorded, earlier) <= without
    assert learnt(recorded, reversed_) <= without + 5


@pytest.mark.data
@pytest.mark.parametrize(("campaign", "idle"), [(0, []), (1, ["dvfs"])])
def test_a_clock_that_something_overwrites_is_found_out(campaign: int, idle: list[str]) -> None:
    recorded = table(600_000, campaign)
    searched = problem(recorded, 600_000)
    search = make("random", searched, seed=1)
    observations: list[Observation] = []
    while len(observations) < 30:
        point: Settings | None = search.ask()
        assert point is not None
        observations.append(recorded.measure(point, {}, random.Random(1)))
        search.tell(observations[-1:])
    assert idle_knobs(searched, observations) == idle
    assert {e.knob for e in effects(searched, observations)} == {"dvfs", "itr-delay"}


def test_too_few_observations_are_not_certain() -> None:
    recorded = toy()
    searched = recorded.problem("energy_joules", (Constraint("read_p99_us", 300.0),))
    assert {e.word for e in effects(searched, recorded.observations()[:4])} == {"not certain"}
    assert idle_knobs(searched, []) == []
