"""What runs now: how far a window is, what the last ones had as a line of bars, in a window of any height."""

import io
import random
import re

import msgspec
import pytest
from rich.console import Console
from rich.text import Text

from mustherd.report import live, now
from mustherd.report.view import View
from mustherd.trial import Trial, TrialKind
from tests.experiment import physics
from tests.report.conftest import Make


def running(make: Make, trials: int = 60, musters: int = 2) -> View:
    """An experiment with finished trials and one under way on each muster."""
    done = physics.experiment(searches=trials - 2)[:trials]
    store = make("runs", done, {"workload": {**physics.resolved()["workload"], "settle_seconds": 2.0}}, done=False)
    for at in range(musters):
        one = Trial(number=trials + 1 + at, kind=TrialKind.SEARCH, settings={"itr-delay": 2, "dvfs": 1200})
        store.start(store.add(one), f"muster-{at}")
    with store.own():
        return View.of(store)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5.0, "settling, 0 of 2 s"),
        (1.0, "settling, 1 of 2 s"),
        (3.0, "load before the window, 1 of 5 s"),
        (8.0, "window, 1 of 30 s"),
        (36.9, "window, 30 of 30 s"),
        (37.0, "after its window"),
    ],
)
def test_how_far_a_trial_is(make: Make, seconds: float, said: str) -> None:
    view = running(make)
    trial = view.trials[-1]
    assert now.how_far(trial, view, trial.started_at + seconds) == said
    assert now.under_way(view, trial.started_at + seconds)[-1] == (
        f"trial 62 on muster-1: itr-delay 2 us, dvfs 1200 MHz: {said}"
    )


def test_a_fast_herd_s_trials_are_over_before_they_are_read(make: Make) -> None:
    view = running(make)
    trial = view.trials[-1]
    for speed, said in (
        (400.0, ""),
        (10.0, "window, 23 of 30 s"),
        ("odd", "settling, 0 of 2 s"),
        (0, "settling, 0 of 2 s"),
    ):
        resolved = {**view.experiment.resolved, "herd": {"simulated": {"speed": speed}}}
        fast = msgspec.structs.replace(view, experiment=msgspec.structs.replace(view.experiment, resolved=resolved))
        assert now.how_far(trial, fast, trial.started_at + (3.0 if speed == 10 else 0)) == said


def test_bars_are_low_and_high() -> None:
    assert now.sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == now.BARS
    assert now.sparkline([3, 1, 3]) == "█▁█"
    assert now.sparkline([2.0]) == now.sparkline([5.0]) == "▅"
    assert now.sparkline([1, 9], plain=True) == ".@"
    noise = random.Random(1)
    values = [noise.gauss(0, 1e9) for _ in range(200)]
    assert set(now.sparkline(values)) <= set(now.BARS)
    assert now.sparkline(values)[values.index(max(values))] == "█"


@pytest.mark.parametrize(("width", "height"), [(120, 64), (200, 60), (120, 40), (80, 24), (60, 20), (40, 12)])
def test_the_view_takes_the_lines_that_there_are_and_no_more(make: Make, width: int, height: int) -> None:
    view = running(make)
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height)
    console.print(live.frame(view, console))
    assert isinstance(console.file, io.StringIO)
    lines = Text.from_ansi(console.file.getvalue()).plain.splitlines()
    assert len(lines) <= max(height, 16)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    if height >= 24:
        assert "▶ trial 61 on muster-0: itr-delay 2 us, dvfs 1200 MHz" in text[:2000]
        assert [line.split("  ")[0] for line in lines if "▁" in line] == ["power", "read p99", "energy"]
        assert "limit 500 us" in text
    rows = sum(bool(re.match(r" *\d+ ", line)) for line in lines)
    assert rows >= (height - 24 if height >= 40 else 3), text
    if height >= 40:
        assert len(lines) >= height - 3, "a tall window has room left"


def test_many_that_run_leave_room_for_the_rest(make: Make) -> None:
    view = running(make, musters=40)
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=40)
    console.print(live.frame(view, console))
    assert isinstance(console.file, io.StringIO)
    text = Text.from_ansi(console.file.getvalue()).plain
    assert "and 35 more trials" in text
    assert "best so far" in text
