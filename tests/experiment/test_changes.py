"""Knobs set again within a window while its load goes on."""

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest

from mustherd.experiment.changing import Changing
from mustherd.node.twin.profiles import profile
from mustherd.reasons import Reason
from mustherd.shepherd.events import HerdError
from mustherd.store.store import Store
from mustherd.terms import Setting
from mustherd.trial import TrialKind, TrialState
from mustherd.wire.messages import Applied
from tests import running
from tests.definition.make import made, refused

START = {"itr-delay": 2, "dvfs": 1200}
ONE_SHOT = {"method": "one-shot", "settings": START}
KNOBS = profile("c6220").knobs
CHANGES = [{"at_seconds": 5, "itr-delay": 50}, {"at_seconds": 10, "dvfs": 2600}]


class Herd:
    """Takes every decision, or answers with `outcome`."""

    def __init__(self, outcome: str = "applied") -> None:
        self.outcome = outcome
        self.asked: list[tuple[Setting, ...]] = []

    def decide(self, _: str, settings: tuple[Setting, ...]) -> Future[Applied]:
        self.asked.append(settings)
        done: Future[Any] = Future()
        done.set_result(type("Answer", (), {"outcome": self.outcome, "detail": "no", "seq": len(self.asked)}))
        return done


def changing(herd: Herd, over: threading.Event | None = None, *, speed: float = 1e6) -> Changing:
    view = cast(Any, type("View", (), {"name": "m", "knobs": KNOBS}))
    experiment = made(search=ONE_SHOT, repeats=0, changes=CHANGES)
    return Changing(cast(Any, herd), view, START, experiment.changes, speed=speed, over=over or threading.Event())


def test_each_is_a_decision_about_all_knobs_at_its_time() -> None:
    herd = Herd()
    changes = changing(herd)
    changes.opened()
    some = changes._thread
    assert some is not None
    some.join(60)
    last, seq = changes.end()
    assert [next(s.value for s in settings if s.knob == "itr-delay") for settings in herd.asked] == [50, 50]
    assert [next(s.value for s in settings if s.knob == "dvfs") for settings in herd.asked] == [1200, 2600]
    assert (last, seq) == (herd.asked[-1], 2)


def test_one_that_is_refused_is_its_window_s_end() -> None:
    herd = Herd("refused")
    changes = changing(herd)
    changes.opened()
    some = changes._thread
    assert some is not None
    some.join(60)
    with pytest.raises(HerdError, match="at 5 s of the window: no") as caught:
        changes.end()
    assert caught.value.reason == Reason.DECISION_REFUSED
    assert len(herd.asked) == 1


def test_a_window_that_ends_early_changes_nothing_more() -> None:
    herd = Herd()
    changes = changing(herd, speed=1e-3)
    changes.opened()
    with pytest.raises(HerdError, match="before what was to be set at 5 s"):
        changes.end()
    assert herd.asked == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{"at_seconds": 10, "dvfs": 2600}, {"at_seconds": 5, "dvfs": 1200}], "above 10 and below 30 s"),
        ([{"at_seconds": 30, "dvfs": 2600}], "below 30 s"),
        ([{"at_seconds": 5, "dfvs": 2600}], "did you mean"),
        ([{"at_seconds": 5, "dvfs": 1300}], "not among the knob's values"),
        ([{"at_seconds": 5}], "settings"),
        ([{"dvfs": 2600}], "at_seconds"),
        ("x", "changes"),
    ],
)
def test_a_wrong_one_is_said(changes: Any, said: str) -> None:
    text = str(refused(changes=changes, search=ONE_SHOT, repeats=0))
    assert said in text
    assert "test.yml:" in text


def test_nobody_changes_what_nothing_is_set_on() -> None:
    assert "'nop' sets nothing" in str(refused(changes=CHANGES, policy="nop"))


DEFINITION = """\
name: changes
herd: {simulated: {profile: c6220, speed: 5}}
workload: {qps: 400k, ramp_seconds: 1, window_seconds: 30}
knobs: {itr-delay: [2, 200, 300]}
search: {method: one-shot, settings: {itr-delay: 2}}
changes: [{at_seconds: 5, itr-delay: 300}, {at_seconds: 10, itr-delay: 200}]
trials: 1
repeats: 0
"""


@pytest.mark.process
@pytest.mark.long
def test_on_a_node_the_load_goes_on_and_the_last_one_is_in_force(tmp_path: Path) -> None:
    run = running.start(tmp_path, DEFINITION)
    assert run.finish(120)[0] in (0, 1)
    with Store.open(run.folder, read_only=True) as store:
        [trial] = store.trials(TrialKind.SEARCH)
        [baseline] = store.trials(TrialKind.BASELINE)
    assert trial.state is TrialState.FINISHED, trial.detail
    assert [(r.asked, r.applied) for r in trial.readings if r.knob == "itr-delay"] == [(200, 200)]
    # Most of the window ran at 200 us: the latency is nowhere near that of 2 us.
    assert trial.metrics["read_p99_us"] > baseline.metrics["read_p99_us"] + 50
