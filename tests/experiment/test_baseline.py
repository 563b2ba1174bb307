"""The baseline: what is set for it, and how a verdict names it."""

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from mustherd import api
from mustherd.experiment.baseline import said
from mustherd.experiment.trial_runner import _asked
from mustherd.node.kinds import DVFS, GOVERNORS, ITR_DELAY, ONDEMAND
from mustherd.terms import NODE, Reading
from mustherd.trial import Trial, TrialKind, TrialState
from mustherd.wire.messages import MusterView

KNOBS = (
    DVFS.offer(values=tuple(GOVERNORS), low=1200, high=2600, step=100, default=ONDEMAND),
    ITR_DELAY.offer(values=(1,), low=2, high=400),
)
VIEW = cast("MusterView", type("View", (), {"knobs": KNOBS}))


def trial(kind: TrialKind, settings: dict[str, int], *readings: Reading) -> Trial:
    made = Trial(number=1, kind=kind, settings=settings)
    return msgspec.structs.replace(made, state=TrialState.FINISHED, readings=readings)


def reading(knob: str, applied: int | None, asked: int | None = None, sheep: str = NODE) -> Reading:
    return Reading(sheep=sheep, knob=knob, asked=asked, applied=applied, running=applied, held=True)


@pytest.mark.parametrize("kind", [TrialKind.BASELINE, TrialKind.CONFIRM])
def test_a_baseline_without_settings_sets_what_was_recorded(kind: TrialKind) -> None:
    assert _asked(trial(kind, {}), VIEW) == {"dvfs": ONDEMAND}
    assert _asked(trial(kind, {"dvfs": 1900}), VIEW) == {"dvfs": 1900}


def test_a_trial_of_a_policy_that_sets_nothing_leaves_the_node_alone() -> None:
    assert _asked(trial(TrialKind.SEARCH, {}), VIEW) == {}


@pytest.mark.parametrize(
    ("measured", "phrase"),
    [
        (
            trial(TrialKind.BASELINE, {}, reading("dvfs", ONDEMAND, ONDEMAND), reading("itr-delay", 1)),
            "the baseline is the machine's own default: dvfs ondemand, as recorded before the node was prepared;"
            " itr-delay adaptive, as found",
        ),
        (
            trial(TrialKind.BASELINE, {"dvfs": 1, "itr-delay": 1}),
            "the baseline is dvfs performance, itr-delay adaptive, as the definition names it",
        ),
        (
            trial(TrialKind.BASELINE, {}, reading("dvfs", None), reading("itr-delay", 1)),
            "the baseline is the machine's own default: itr-delay adaptive, dvfs different from place to place, as"
            " found",
        ),
        (
            trial(TrialKind.BASELINE, {}, reading("dvfs", 1200, sheep="core-0"), reading("dvfs", 1300, sheep="core-1")),
            "the baseline is the machine's own default: dvfs different from place to place, as found",
        ),
        (trial(TrialKind.BASELINE, {}), "the baseline is the machine's own default: as found"),
        (trial(TrialKind.SEARCH, {}, reading("dvfs", 1)), ""),
    ],
)
def test_how_it_is_named(measured: Any, phrase: str) -> None:
    assert said([measured], KNOBS) == phrase


@pytest.mark.process
def test_nothing_is_set_on_a_node_without_the_knobs(tmp_path: Path) -> None:
    text = (
        "name: watch\nherd: {simulated: {speed: 2000}}\nworkload: {qps: 400k, window_seconds: 10}\n"
        "knobs: {ring-size-rx: [512]}\npolicy: nop\ntrials: 2\n"
    )
    assert api.plan(text).search == 2
    result = api.run(text, into=tmp_path / "x", report=False)
    assert result.status == "done"
    assert [trial.kind for trial in result.view().trials] == [TrialKind.SEARCH] * 2
