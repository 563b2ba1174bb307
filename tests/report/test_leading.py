"""Whatever is asked of an experiment, at any moment, the same setting is the best, closest or none: page, terminal,
status, story, report, notebook and verdict do not contradict each other."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mustherd
from mustherd.experiment import wording
from mustherd.experiment.events import Event
from mustherd.experiment.lead import Lead
from mustherd.report import html, live, prometheus
from mustherd.report.card import card
from mustherd.report.json import show_form, status_form
from mustherd.report.leading import leading
from mustherd.report.state import experiment_state
from mustherd.report.story import story
from mustherd.report.view import View
from mustherd.store.store import Store
from mustherd.trial import Trial, TrialKind, TrialState
from tests.experiment import physics
from tests.report.conftest import Make
from tests.report.test_story import at_loads

DEFINITION = """name: walked
herd:
  simulated: {profile: c6220, musters: 1, speed: 1000}
workload: {preset: etc, qps: 200k}
knobs:
  itr-delay: [20, 150, 300]
  dvfs: [1.2 GHz, 2.0 GHz]
objective: energy_joules
constraints: [read_p99_us <= 400]
search: {method: random, seed: 2}
trials: 5
repeats: 2
"""

SETTING = re.compile(r"itr-delay [\w ]+?, dvfs (?:\d+ MHz|turbo)|dvfs (?:\d+ MHz|turbo), itr-delay (?:\d+ us|\w+)")


def named(text: str) -> set[str]:
    """The settings that a text names."""
    return set(SETTING.findall(text))


def agree(view: View) -> Lead:
    """Every surface at this moment, held against the one home of what is ahead; gives how it stands."""
    one = leading(view)[0]
    state, found = experiment_state(view), view.verdict()
    story_of = " ".join(story(view))
    told = status_form(view, view.status, ())["lead"]
    assert told == show_form(view)["lead"]
    assert [line["text"] for line in told] == [b.line() for b in leading(view)]
    assert [line["ahead"] for line in told] == [b.lead.is_ahead for b in leading(view)]
    assert [wording.settings(line["settings"] or {}, view.knobs) for line in told] == [
        b.settings or wording.settings({}, view.knobs) for b in leading(view)
    ]
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    lines = [one.line(), *live.standing(view, view.status)[1:]]
    assert [b["settings"] for b in state["best"]] == [b.settings for b in leading(view)]
    assert state["best"][0]["head"].lower() == one.head.lower()
    assert state["story"] == story_of
    if one.qps is not None:
        return one.lead
    # Whoever names a setting names this one, and whoever may not call it the best does not.
    mine = {one.settings} if one.settings else set()
    texts = {"story": story_of, "status": " ".join(lines), "verdict": found.reason}
    for where, text in texts.items():
        assert named(text) in (mine, set()), f"{where} names {named(text)}, the page {mine}: {text}"
    for where in ("story", "status"):
        assert not mine or view.counts["finished"] == 0 or named(texts[where]) == mine, (where, texts[where], one)
    stars = {wording.settings(t.settings, view.knobs) for t in view.winners()}
    best = next((t for t in view.trials if t.number == show_form(view)["best_so_far"]), None)
    assert {wording.settings(t.settings, view.knobs) for t in [best] if t} == stars
    if one.lead.is_ahead:
        assert stars in (mine, set())
        assert "No better setting" not in story_of
        assert "no setting" not in found.reason
        assert view.lead.column == "best"
    else:
        assert stars == set()
        assert "best so far:" not in " ".join(lines)
        assert "announced" not in one.head
        assert view.lead is Lead.NOTHING or "o better setting" in story_of, story_of
    assert ("announced" in one.head) == (view.stored is not None and view.stored.verdict == "met")
    if found.saving_percent is not None and mine:
        percent = f"{abs(found.saving_percent):.1f} %"
        assert percent in story_of
        assert all(percent in line for line in lines)
    assert (b"mustherd_best{" in prometheus.exposition((view, ()))) == one.lead.is_ahead
    headline = html._headline(view)
    assert (headline.removeprefix("so far: ") == found.verdict) or one.lead is Lead.NOTHING
    assert found.reason.startswith(found.verdict)
    assert one.settings in card(view) or one.lead is Lead.NOTHING
    return one.lead


def scaled(trials: list[Trial], factor: float, kinds: tuple[TrialKind, ...]) -> list[Trial]:
    """The same, with other energies of the trials that set something."""
    for one in trials:
        if one.kind in kinds and one.settings:
            one.metrics = {**one.metrics, "energy_joules": factor * one.metrics["energy_joules"]}
    return trials


BOTH = (TrialKind.SEARCH, TrialKind.CONFIRM)


def usual() -> list[Trial]:
    return physics.experiment(searches=8)


def dearer() -> list[Trial]:
    return scaled(usual(), 3.0, BOTH)


def dearer_again() -> list[Trial]:
    """Cheap in the search, dear when it is repeated."""
    return scaled(usual(), 3.0, (TrialKind.CONFIRM,))


def as_dear() -> list[Trial]:
    """Settings that keep the limits, and certainly save nothing worth having."""
    noise = random.Random(4)
    trials = usual()
    for one in trials:
        one.metrics = {**one.metrics, "energy_joules": noise.gauss(1500, 0.3)}
    return trials


def slow() -> list[Trial]:
    """No setting keeps the limit, in the search or afterwards."""
    trials = usual()
    for one in trials:
        if one.settings:
            one.metrics = {**one.metrics, "read_p99_us": one.metrics["read_p99_us"] + 800}
    return trials


def slow_again() -> list[Trial]:
    """Settings that kept the limit in the search, and miss it when they are repeated."""
    trials = usual()
    for one in trials:
        if one.kind is TrialKind.CONFIRM and one.settings:
            one.metrics = {**one.metrics, "read_p99_us": one.metrics["read_p99_us"] + 800}
    return trials


def default_best() -> list[Trial]:
    """The search comes upon the settings that the node was found at, and they are the cheapest."""
    trials = dearer()[:6]
    return [*trials, physics.trial(7, TrialKind.SEARCH, {"itr-delay": 1, "dvfs": 2600})]


def no_default() -> list[Trial]:
    return [one for one in usual() if one.settings]


def broken() -> list[Trial]:
    return [
        physics.trial(n, TrialKind.SEARCH, {"itr-delay": 2, "dvfs": 1200}, state=TrialState.INVALID, reason="misses")
        for n in (1, 2)
    ]


WALKS: dict[str, tuple[Any, set[Lead]]] = {
    "usual": (usual, {Lead.NOTHING, Lead.BEST, Lead.ANNOUNCED}),
    "dearer": (dearer, {Lead.NOTHING, Lead.NO_BETTER, Lead.CLOSEST}),
    "dearer again": (dearer_again, {Lead.NOTHING, Lead.BEST, Lead.CLOSEST}),
    "as dear": (as_dear, {Lead.NOTHING, Lead.CLOSEST}),
    "slow": (slow, {Lead.NOTHING, Lead.CLOSEST}),
    "slow again": (slow_again, {Lead.NOTHING, Lead.BEST, Lead.CLOSEST}),
    "default best": (default_best, {Lead.NOTHING, Lead.NO_BETTER, Lead.DEFAULT}),
    "no default": (no_default, {Lead.ALONE}),
    "broken": (broken, {Lead.NOTHING}),
}


def moments(make: Make, name: str, trials: list[Trial], repeats: int) -> Iterator[View]:
    """An experiment after each of its trials, and when it is done."""
    changes = {"repeats": repeats}
    if not repeats:
        trials = [one for one in trials if one.kind is not TrialKind.CONFIRM]
    store = make(f"{name}-{repeats}", [], changes, done=False)
    for one in trials:
        physics.fill(store, [one])
        yield View.of(store)
    yield View.of(make(f"{name}-{repeats}-done", trials, changes))


@pytest.mark.parametrize("repeats", [0, 3])
@pytest.mark.parametrize("name", WALKS)
def test_all_say_the_same_at_every_moment(make: Make, name: str, repeats: int) -> None:
    planted, expected = WALKS[name]
    seen = [agree(view) for view in moments(make, name, planted(), repeats)]
    if repeats:
        assert expected <= set(seen), seen


def test_each_of_several_loads_has_its_own(make: Make) -> None:
    trials = [*scaled(at_loads(200e3, 0.5, 0), 3.0, BOTH), *at_loads(600e3, 1.0, 100)]
    changes = {"workload": {**physics.resolved()["workload"], "qps": [200e3, 600e3]}}
    view = View.of(make("loads", trials, changes))
    agree(view)
    dear, cheap = leading(view)
    assert (dear.lead.is_ahead, cheap.lead) == (False, Lead.ANNOUNCED)
    assert [trial.qps for trial in view.winners()] == [600e3]


@pytest.mark.long
@pytest.mark.process
def test_a_real_one_agrees_while_it_runs_and_when_it_is_done(tmp_path: Path) -> None:
    seen: list[Lead] = []

    def look(_event: Event) -> None:
        with Store.open(tmp_path / "walked", read_only=True) as store:
            seen.append(agree(View.of(store)))

    result = mustherd.run(DEFINITION, into=tmp_path / "walked", on_event=look, report=False)
    assert result.decided
    assert seen[0] is Lead.NOTHING
    assert agree(result.view()) is seen[-1]
    assert result.view().begun
