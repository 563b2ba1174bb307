"""A node rests between two trials, unless the experiment ends."""

import threading
from typing import Any, cast

from mustherd.experiment.trial_runner import TrialRunner
from mustherd.reasons import Reason
from mustherd.shepherd.events import HerdError
from mustherd.trial import Trial, TrialKind, TrialState
from tests.definition.make import made


class Herd:
    """One that takes no decision."""

    def __init__(self) -> None:
        self.asked = 0

    def musters(self) -> dict[str, Any]:
        self.asked += 1
        raise HerdError(Reason.MUSTER_DEAD, "it is dead")


def trial(number: int) -> Trial:
    return Trial(number=number, attempt=1, kind=TrialKind.SEARCH, settings={}, state=TrialState.RUNNING)


def runner(herd: Herd, seconds: float) -> TrialRunner:
    workload = {"qps": 400_000, "window_seconds": 1, "cool_down_seconds": seconds}
    return TrialRunner(made(workload=workload), cast(Any, herd), cast(Any, None))


def test_the_next_trial_waits_for_the_rest_and_an_end_does_not() -> None:
    herd = Herd()
    runs = runner(herd, 86_400)
    assert runs.run(trial(1), "one").reason == Reason.MUSTER_DEAD
    ended: list[Trial] = []
    second = threading.Thread(target=lambda: ended.append(runs.run(trial(2), "one")))
    second.start()
    # Another muster has nothing to rest from.
    assert runs.run(trial(3), "other").reason == Reason.MUSTER_DEAD
    assert (herd.asked, ended) == (2, [])
    runs.stop()
    second.join(60)
    assert [t.reason for t in ended] == [Reason.RUN_ENDED]
    assert herd.asked == 2


def test_without_a_rest_nobody_waits() -> None:
    herd = Herd()
    runs = runner(herd, 0)
    assert [runs.run(trial(n), "one").reason for n in (1, 2)] == [Reason.MUSTER_DEAD] * 2
