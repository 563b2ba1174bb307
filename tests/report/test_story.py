"""A report says what ran and nothing else, in plain words; loads stay apart; runs are held side by side."""

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from mustherd.report import compare_page, html
from mustherd.report.compare import compare, row_of
from mustherd.report.effects import effects_of
from mustherd.report.live import line_of
from mustherd.report.paired import all_paired, paired
from mustherd.report.plots import describe
from mustherd.report.side_by_side import compare_lines
from mustherd.report.spread import groups_of, short_names
from mustherd.report.story import story
from mustherd.report.timeline import timeline
from mustherd.report.view import View
from mustherd.store.store import Store
from mustherd.terms import Load
from mustherd.trial import Trial, TrialKind, TrialState
from tests.experiment import physics
from tests.report.conftest import RESOLVED, Make

LEVELS = (400e3, 800e3, 200e3, 100e3)


def words(page: str) -> str:
    """The page's text as a reader sees it, without pictures."""
    return " ".join(re.sub(r"<svg.*?</svg>|<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split())


def windows(count: int = 8, *, joules: float = 1.0, follows: bool = True) -> list[Trial]:
    """Windows of a load that changes, as a policy that follows it or leaves the node alone had them."""
    noise = random.Random(3)
    found = []
    for number in range(1, count + 1):
        settings = {"itr-delay": 300, "dvfs": 1200 + 100 * (number % 3)} if follows else {}
        one = physics.trial(number, TrialKind.SEARCH, settings, muster="muster-0")
        qps = LEVELS[(number - 1) % len(LEVELS)]
        one.load = Load(qps=qps)
        one.metrics = {**one.metrics, "energy_joules": joules * (1000 + qps / 1000) * noise.gauss(1, 0.001)}
        found.append(one)
    return found


def at_loads(qps: float, factor: float, first: int) -> list[Trial]:
    """A whole experiment at one load of several."""
    trials = physics.experiment(searches=12)
    for one in trials:
        one.number += first
        one.load = Load(qps=qps)
        one.metrics = {**one.metrics, "energy_joules": factor * one.metrics["energy_joules"]}
    return trials


def policy(name: str, **rest: Any) -> dict[str, Any]:
    return {"policy": {"name": name, "options": {}}, "repeats": 0, **rest}


def unplanned(store: Store) -> Store:
    """As the plan of a policy that compares nothing is."""
    store.set_plan({"search": 8})
    return store


@pytest.mark.parametrize("name", ["follow", "nop"])
def test_a_policy_that_searches_nothing_is_not_said_to_have_searched(make: Make, name: str) -> None:
    store = unplanned(make(name, windows(follows=name == "follow"), policy(name)))
    view = View.of(store)
    page = html.render(view)
    text = words(page)
    for never in ("gp, seed", "default measured", "measured again", "best so far", "★", "Student", "search trials"):
        assert never not in text, never
    assert f"{name}: nothing was searched, compared or confirmed" in text
    assert "Nothing was compared, so this is not a saving" in text
    assert "<td>search</td>" not in page
    assert 'id="timeline"' in page
    assert not [id for id in ("time", "trade", "surface") if f'<h2 id="{id}"' in page]
    assert view.winner() is None
    assert view.improvements() == []


def test_loads_have_pictures_bests_and_defaults_of_their_own(make: Make) -> None:
    trials = [*at_loads(200e3, 0.5, 0), *at_loads(600e3, 1.0, 100)]
    store = make("loads", trials, {"workload": {**RESOLVED["workload"], "qps": [200e3, 600e3]}})
    view = View.of(store)
    page = html.render(view)
    for name in ("time", "trade", "surface"):
        assert [f'id="{name}-{qps}-title"' in page for qps in (200000, 600000)] == [True, True], name
    assert view.winner() is None
    assert sorted(trial.qps for trial in view.winners()) == [200e3, 600e3]
    # Once, the cheaper load's trials were the best of all, and its default halved the other's.
    means = sorted(float(m) for m in re.findall(r"default's mean, ([\d.]+)", page))
    assert means[1] == pytest.approx(2 * means[0], rel=0.01)
    assert "The default and the best setting" not in page, "an empty table"
    assert "certain at" in words(page)


def test_maximizing_says_that_high_is_good(make: Make) -> None:
    low = words(html.render(View.of(make("low"))))
    high = words(html.render(View.of(make("high", resolved={"objective": "achieved_qps"}))))
    assert "low is good" in low
    assert "high is good" in high
    assert "low is good" not in high


def test_a_default_that_breaks_its_own_limit_is_told(make: Make) -> None:
    trials = physics.experiment(limit=600)
    for one in trials:
        if not one.settings:
            one.metrics = {**one.metrics, "read_p99_us": 700.0}
    said = " ".join(story(View.of(make("slow", trials))))
    assert "The default itself breaks a limit: read p99 is 700 us, allowed is at most 500 us" in said
    assert "itself breaks" not in " ".join(story(View.of(make("fast"))))


def test_what_never_began_is_neither_met_nor_not_met(make: Make) -> None:
    store = make("never", trials=[], done=False)
    store.set_status("failed", "the shepherd did not listen within 60 s")
    text = words(html.render(View.of(store)))
    assert "It never began: the shepherd did not listen within 60 s" in text
    assert "not met" not in text
    for never in ("search gp", "confirmation", "intervals"):
        assert never not in text, never


def test_windows_that_were_measured_again_are_no_rounds(make: Make) -> None:
    trials = physics.experiment()
    rounds = max(one.round for one in trials)
    chosen = next(one for one in reversed(trials) if one.settings)
    asked = physics.trial(len(trials) + 1, TrialKind.CONFIRM, chosen.settings, muster="muster-0")
    asked.place, asked.round = "muster-0", rounds + 1
    text = words(html.render(View.of(make("asked", [*trials, asked]))))
    assert f"measured again in {rounds} rounds" in text


def test_a_resumed_one_says_so_and_what_does_not_count(make: Make, spoilt: list[Trial]) -> None:
    store = make("again", spoilt, done=False)
    store.event("requeued", "2 interrupted trials are run again", {})
    said = " ".join(story(View.of(store)))
    assert "interrupted and resumed once" in said
    assert "2 attempts could not be trusted or broke and do not count" in said


def test_the_story_is_short_and_names_no_metric_by_its_key(make: Make) -> None:
    said = " ".join(story(View.of(make())))
    assert "43.4 % less energy than the default" in said
    assert "_joules" not in said
    assert len(said.split()) < 80


def test_effects_are_of_each_knob_alone(make: Make) -> None:
    """Two knobs that act independently, tried unevenly: each one's own effect comes out."""
    draw = random.Random(1)
    trials = []
    for number in range(1, 60):
        fast = draw.random() < 0.7
        # Long delays were tried mostly at the high clock: means by delay alone would say that delay costs energy.
        settings = {"itr-delay": 400 if fast != (draw.random() < 0.2) else 2, "dvfs": 2600 if fast else 1200}
        one = physics.trial(number, TrialKind.SEARCH, settings)
        scale = (0.9 if settings["itr-delay"] == 400 else 1.0) * (2.0 if fast else 1.0)
        one.metrics = {**one.metrics, "energy_joules": 1000 * scale, "read_p99_us": 300.0, "achieved_ratio": 1.0}
        trials.append(one)
    found = effects_of(View.of(make("uneven", trials, done=False)))["energy_joules"]
    spans = {key: max(y for _, y in levels) - min(y for _, y in levels) for key, levels in found.items()}
    by_value = dict(found["itr-delay"])
    assert by_value[400.0] < by_value[2.0]
    assert spans["itr-delay"] == pytest.approx(10.5, abs=0.5)
    assert spans["dvfs"] == pytest.approx(70.7, abs=1)


def test_runs_under_the_same_loads_are_held_window_beside_window(make: Make, tmp_path: Path) -> None:
    follow = View.of(unplanned(make("follow", windows(joules=0.8), policy("follow"))))
    found_as = View.of(unplanned(make("as-found", windows(9, follows=False), policy("nop"))))
    found = paired(follow, found_as)
    assert found is not None
    assert (found.windows, found.left_out) == (8, 1)
    assert found.better_percent == pytest.approx(20, abs=0.2)
    assert found.ci_percent is not None
    assert found.ci_percent[0] < found.better_percent < found.ci_percent[1]
    assert "follow uses 20.0 % less energy than as-found over 8 windows of the same loads" in found.text
    other_way = paired(found_as, follow)
    assert other_way is not None
    assert "as-found uses 25.0 % more energy than follow" in other_way.text
    both = compare([follow, found_as])
    assert json.loads(json.dumps(both["paired"])) == both["paired"]
    page = compare_page.write([follow, found_as], tmp_path / "saved.html").read_text()
    assert "less energy than as-found" in words(page)
    assert page.count("<svg") == 1
    assert not re.search(r"(?:src|href)=[\"'](?!#)", page)


def test_a_search_is_never_held_window_beside_window(make: Make) -> None:
    search, still = View.of(make("search")), View.of(unplanned(make("still", windows(), policy("nop"))))
    assert paired(search, still) is None
    assert paired(still, search) is None
    other = unplanned(make("qps", windows(), policy("nop", objective="achieved_qps")))
    assert paired(View.of(other), still) is None


def test_no_picture_fails_on_odd_values(make: Make) -> None:
    trials = windows(6)
    trials[1].metrics = {"energy_joules": math.nan}
    trials[2].state = TrialState.FAILED
    trials[3].metrics = {"energy_joules": 3.0}
    page = html.render(View.of(unplanned(make("odd", trials, policy("follow")))))
    assert "nan" not in words(page)


def test_two_runs_of_one_name_go_by_their_folders(make: Make, tmp_path: Path) -> None:
    """As `sed` makes them on the page about loads that change: another policy, the same name."""
    views = []
    for name, trials, how in (
        ("follow", windows(joules=0.8), "follow"),
        ("first", windows(joules=0.5), "follow"),
        ("as-found", windows(follows=False), "nop"),
    ):
        view = View.of(unplanned(make(name, trials, policy(how))))
        views.append(msgspec.structs.replace(view, experiment=msgspec.structs.replace(view.experiment, name="follow")))
    said = [one.text for one in all_paired(views)]
    assert [text.split(" over ")[0] for text in said] == [
        "follow uses 20.0 % less energy than as-found",
        "first uses 50.0 % less energy than as-found",
    ]
    assert "of those of as-found" in said[0]
    page = compare_page.render(views)
    for heading in ("follow", "first", "as-found"):
        assert f">{heading}</h2>" in page
    pictures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert [re.findall(r">(follow|first|as-found)</text>", picture) for picture in pictures] == [
        ["follow", "as-found"],
        ["first", "as-found"],
    ]


def test_different_aims_side_by_side_each_say_what_they_are_of(make: Make) -> None:
    most = make("most", None, {"objective": "achieved_qps"})
    names, lines = compare_lines([row_of(View.of(make("least"))), row_of(View.of(most))])
    assert names == ["least", "most"]
    cells = dict(lines)
    assert cells["default"][0].startswith("energy ")
    assert cells["default"][0].endswith(" J")
    assert cells["default"][1].startswith("answered load ")
    assert "saving or gain" in cells or not any(name in cells for name in ("saving", "gain"))
    _, same = compare_lines([row_of(View.of(make("one"))), row_of(View.of(make("two")))])
    assert "best energy (J)" in dict(same)


def test_what_watches_is_no_search_in_lines_hints_and_days(make: Make) -> None:
    """`again` refuses what announced nothing, so nobody is sent there."""
    store = unplanned(make("nop", windows(follows=False), policy("nop")))
    view = View.of(store)
    assert view.stored is not None
    view = msgspec.structs.replace(view, stored=msgspec.structs.replace(view.stored, verdict="met"))
    assert view.today == ""
    assert "experiment again" not in words(html.render(view))
    assert "trial 1 window on" in line_of(view.trials[0], view, Console())
    assert describe(view.trials[0], view).startswith("trial 1, window on")
    searched = View.of(make("searched"))
    assert searched.stored is not None
    searched = msgspec.structs.replace(searched, stored=msgspec.structs.replace(searched.stored, verdict="met"))
    assert searched.today
    assert "search" in line_of(searched.trials[3], searched, Console())


def test_a_window_whose_load_was_not_reached_is_marked_on_the_load(make: Make) -> None:
    trials = windows()
    assert "load not reached" not in str(timeline(View.of(unplanned(make("kept", trials, policy("follow"))))))
    trials[2].metrics = {**trials[2].metrics, "achieved_ratio": 0.5, "achieved_qps": 100e3}
    drawn = str(timeline(View.of(unplanned(make("broken", trials, policy("follow"))))))
    assert "load not reached" in drawn
    assert not re.search(r">\d+\.5</text>", drawn.rsplit("power", maxsplit=1)[-1]), "there is no half of a window"


def test_long_settings_leave_room_for_their_windows(make: Make) -> None:
    short = View.of(make("short"))
    names, key = short_names(groups_of(short)[:6])
    assert names[0] == "default"
    assert names[1].startswith("best: ")
    assert key == ""
    groups = [msgspec.structs.replace(g, name=g.name + ", and more of it" * 4) for g in groups_of(short)[:6]]
    names, key = short_names([*groups[:2], msgspec.structs.replace(groups[1], role="")])
    assert names == ["default", "best", "setting 3"]
    assert key == f"setting 3 is {groups[1].name}"
