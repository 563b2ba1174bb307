"""How an experiment ends: what is stored, and what a knob without effect makes of the verdict."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mustherd.definition import content, digest, goal
from mustherd.experiment.actions import Result
from mustherd.experiment.conclusion import conclude, doubted
from mustherd.experiment.verdict import AtLoad, Verdict
from mustherd.goal import Goal
from mustherd.store.records import Event
from mustherd.store.store import Store
from mustherd.terms import Load
from mustherd.trial import Trial, TrialKind, TrialState
from tests.experiment import physics
from tests.experiment.simulated import defined

KNOBS = '{"itr-delay":[2,20,50,100,150,200,250,300,350,400],"dvfs":[1200,1400,1600,1800,2000,2200,2400,2600]}'
NEARBY = '{"itr-delay":[2,20,50,100,150,200,250,300,350,400],"dvfs":[1800,2000,2200,2400,2600]}'


class Ended:
    """An experiment whose trials are all over."""

    def __init__(self, folder: Path, trials: Sequence[Trial], **changes: Any) -> None:
        self.experiment = defined(**{"knobs": KNOBS, **changes})
        self.goal: Goal = goal(self.experiment)
        self.store = Store.create(
            folder,
            name="toy",
            definition="",
            resolved=content(self.experiment),
            digest=digest(self.experiment),
            goal=self.goal,
        )
        self.store.set_muster("muster-0", state="alive", knobs=physics.KNOBS)
        physics.fill(self.store, trials)

    def conclude(self, *, compares: bool = True) -> tuple[Result, Verdict]:
        result = conclude(self.store, self.experiment, self.goal, compares=compares)
        return result, msgspec.convert(self.store.experiment().verdict, Verdict)

    def events(self, kind: str) -> list[Event]:
        return self.store.events(kinds=[kind])


Make = Callable[..., Ended]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Ended] = []

    def make(trials: Sequence[Trial], **changes: Any) -> Ended:
        made.append(Ended(tmp_path / f"x{len(made)}", trials, **changes))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def at(trial: Trial, mhz: int | None = None, itr: int | None = None, seed: int = 0) -> Trial:
    """The trial, measured as at this clock and delay whatever was set."""
    noise = random.Random(f"{seed}-{trial.number}")
    delay, clock = trial.settings.get("itr-delay", 1), trial.settings.get("dvfs", 2600)
    metrics = physics.measure(delay if itr is None else itr, clock if mhz is None else mhz, noise)
    return msgspec.structs.replace(trial, metrics=metrics)


def test_what_is_met_is_done_and_told_with_its_verdict(make: Make) -> None:
    one = make(physics.experiment())
    result, verdict = one.conclude()
    assert (result, verdict.verdict, verdict.without_effect) == (Result.DONE, "met", ())
    row = one.store.experiment()
    assert (row.status, row.phase) == ("done", "done")
    [told] = one.events("verdict")
    assert (told.text, told.data) == (verdict.reason, {"verdict": "met"})
    assert not one.events("no-effect")
    assert not one.events("table")
    assert not (one.store.folder / "policy.yml").exists()


def test_what_is_not_met_is_another_result(make: Make) -> None:
    one = make(physics.experiment(), constraints='["read_p99_us <= 50"]')
    result, verdict = one.conclude()
    assert (result, verdict.verdict) == (Result.NOT_MET, "not met")
    assert one.store.experiment().status == "done"


def test_what_compares_nothing_ends_by_what_its_windows_kept(make: Make) -> None:
    one = make([trial for trial in physics.experiment() if trial.kind is TrialKind.SEARCH])
    result, verdict = one.conclude(compares=False)
    assert verdict.reason.partition(":")[2].endswith("in all")
    assert (result, verdict.verdict) == (Result.NOT_MET, "not met")
    kept = [trial for trial in physics.experiment() if trial.metrics["read_p99_us"] <= 400][:3]
    assert make(kept).conclude(compares=False)[0] is Result.DONE


def test_of_several_loads_there_is_a_table(make: Make) -> None:
    trials = [
        msgspec.structs.replace(trial, number=trial.number + 100 * place, load=Load(qps=qps))
        for place, qps in enumerate((200e3, 600e3))
        for trial in physics.experiment()
    ]
    one = make(trials, workload='{"qps":[200000,600000]}')
    _, verdict = one.conclude()
    assert [row.qps for row in verdict.loads] == [200e3, 600e3]
    [told] = one.events("table")
    assert (told.text, told.data) == ("the settings for each load are in policy.yml", {"file": "policy.yml"})
    assert "qps: 600000" in (one.store.folder / "policy.yml").read_text()


def test_a_clock_without_effect_over_a_wide_range_leaves_nothing_certain(make: Make) -> None:
    one = make([at(trial, mhz=1600 if trial.settings else None) for trial in physics.experiment()])
    result, verdict = one.conclude()
    assert (result, verdict.verdict, verdict.without_effect) == (Result.NOT_MET, "not certain", ("dvfs",))
    assert verdict.reason.startswith(
        "not certain: dvfs can't be without effect on a load over so wide a range, so some"
    )
    assert verdict.reason.endswith("dvfs had no measurable effect: check that nothing else sets it")
    [told] = one.events("no-effect")
    assert told.data == {"knobs": ["dvfs"]}
    assert told.text == "dvfs had no measurable effect: check that nothing else sets it"
    assert one.events("verdict")[0].data == {"verdict": "not certain"}


def test_several_knobs_without_effect_are_all_named(make: Make) -> None:
    one = make([at(trial, mhz=1600, itr=100) if trial.settings else trial for trial in physics.experiment()])
    assert one.conclude()[1].without_effect == ("dvfs", "itr-delay")
    [told] = one.events("no-effect")
    assert told.text == "dvfs and itr-delay had no measurable effect: check that nothing else sets it"


def test_a_knob_that_needn_t_matter_is_named_and_the_verdict_stays(make: Make) -> None:
    trials = [at(trial, mhz=1800 if trial.settings else None) for trial in physics.experiment()]
    for trial in trials:
        trial.settings = {name: max(value, 1800) if name == "dvfs" else value for name, value in trial.settings.items()}
    one = make(trials, knobs=NEARBY)
    result, verdict = one.conclude()
    assert (result, verdict.verdict, verdict.without_effect) == (Result.DONE, "met", ("dvfs",))
    assert verdict.reason.startswith("met")
    assert verdict.reason.endswith("; dvfs had no measurable effect: check that nothing else sets it")


def test_only_finished_trials_of_the_search_tell_of_effects(make: Make) -> None:
    trials = [at(trial, mhz=1600 if trial.settings else None) for trial in physics.experiment()]
    last = max(trial.number for trial in trials)
    # As many at the lowest clock, broken or measured for a confirmation, would show an effect.
    others = [
        physics.trial(last + number, kind, {"itr-delay": 50 * number, "dvfs": 1200}, state=state)
        for number, (kind, state) in enumerate(
            [(TrialKind.SEARCH, TrialState.FAILED), (TrialKind.BASELINE, TrialState.FINISHED)] * 5, 1
        )
    ]
    assert make([*trials, *others]).conclude()[1].without_effect == ("dvfs",)
    # Nor do those of a policy that leaves knobs as they were found.
    partial = [physics.trial(last + k, TrialKind.SEARCH, point) for k, point in enumerate(({}, {"dvfs": 1200}), 1)]
    assert make([*trials, *partial]).conclude()[1].without_effect == ("dvfs",)


def row(verdict: Any) -> AtLoad:
    return AtLoad(
        qps=1.0, verdict=verdict, reason=f"{verdict}: so it is", best=None, default=None, saving_percent=None,
        saving_ci_percent=None,
    )  # fmt: skip


def test_only_what_was_announced_is_doubted() -> None:
    for word in ("not met", "not certain"):
        other = Verdict(verdict=word, reason="so it is", objective="x", constraints=(), loads=(row("met"),))
        assert doubted(other, ["dvfs"]) is other
    rows = (row("met"), row("not met"), row("not certain"))
    met = Verdict(verdict="met", reason="met: so it is", objective="x", constraints=(), loads=rows)
    found = doubted(met, ["dvfs", "itr-delay"])
    text = "not certain: dvfs and itr-delay can't be without effect on a load over so wide a range"
    assert found.reason == f"{text}, so something else sets it; otherwise met: so it is"
    assert [one.verdict for one in found.loads] == ["not certain", "not met", "not certain"]
    assert [one.reason for one in found.loads] == [f"{text}; met: so it is", *(one.reason for one in rows[1:])]
