"""Tables: what they say, in a window, in a narrow one, and piped."""

import io
import re

import pytest
from rich.console import Console
from rich.text import Text

from mustherd.report import labels
from mustherd.report.compare import row_of
from mustherd.report.frame import emit
from mustherd.report.json import show_form
from mustherd.report.table import compare_table, experiments_table, trials_table, verdict_panel
from mustherd.report.view import View
from mustherd.store.catalog import Summary, list_experiments
from mustherd.trial import Trial, TrialKind
from tests.experiment import physics
from tests.report.conftest import Make, book


def piped() -> Console:
    return Console(file=io.StringIO(), width=40)


def window(width: int, encoding_safe: bool = True) -> Console:
    file = io.StringIO() if encoding_safe else io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    return Console(file=file, force_terminal=True, width=width, color_system="standard", legacy_windows=False)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_piped_trials_are_plain_whole_and_aligned(make: Make, spoilt: list[Trial]) -> None:
    console = piped()
    emit(console, trials_table(View.of(make(trials=spoilt, done=False)), console))
    lines = said(console).splitlines()
    assert lines == [
        "trial  kind      itr-delay us  dvfs MHz  energy J  read p99 us  load %  result",
        "    1  baseline    (adaptive)    (2600)      3223        135.6   100.0  default",
        "    2  search             300      1800      1908        454.3   100.0  invalid: knob-not-held",
        "    3  search             400      1200      1571       2230.4    78.6  over limit: read p99, load",
        "    4  search               2      2600      3334        129.5   100.0  failed: decision-refused",
    ]
    said(console).encode("ascii")


def test_the_best_is_marked(make: Make) -> None:
    view = View.of(make())
    console = piped()
    emit(console, trials_table(view, console))
    [line] = [line for line in said(console).splitlines() if line.endswith("* best")]
    assert view.stored
    assert view.stored.best
    assert str(view.stored.best.knobs["itr-delay"]) in line
    console = window(120)
    emit(console, trials_table(view, console))
    assert "★ best" in said(console)
    assert "\x1b[" in said(console)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_wider_than_the_window(make: Make, width: int) -> None:
    view = View.of(make())
    console = window(width)
    emit(console, trials_table(view, console), verdict_panel(view, console))
    emit(console, experiments_table(list_experiments(view.folder.rpartition("/")[0]), console))
    emit(console, compare_table([row_of(view), row_of(view)], console))
    for line in said(console).splitlines():
        assert Text.from_ansi(line).cell_len <= width


def test_the_verdict_is_told_with_its_numbers(make: Make) -> None:
    view = View.of(make())
    console = piped()
    emit(console, verdict_panel(view, console))
    lines = said(console).splitlines()
    assert lines[0].startswith("met: itr-delay 250 us, dvfs 1600 MHz uses 43.4 % less energy than the default")
    assert "this is for today, the day of its trials" in " ".join(lines)
    words = [line.split() for line in lines[lines.index("") + 1 :]]
    assert words[0] == ["default", "best", "limit"]
    assert words[1] == ["itr-delay", "adaptive", "250", "us"]
    assert ["achieved", "(%)", "100", "100", ">=", "98", "%"] in words
    assert ["trials", "3", "3"] in words


def test_text_from_outside_steers_no_terminal(make: Make) -> None:
    evil = "[red]x\x1b[31m\x07\u202e"
    view = View.of(make(name=evil, trials=[physics.trial(1, TrialKind.SEARCH, {"itr-delay": 2}, muster=evil)]))
    console = window(200)
    emit(console, trials_table(view, console), verdict_panel(view, console))
    emit(console, experiments_table(list_experiments(view.folder.rpartition("/")[0]), console))
    emit(console, compare_table([row_of(view)], console))
    assert "[red]x" in said(console)
    assert "\x1b[31m\x07" not in said(console)
    assert "\x07" not in said(console)
    assert "\u202e" not in said(console)


def test_a_terminal_without_unicode_gets_none(make: Make, spoilt: list[Trial]) -> None:
    view = View.of(make(trials=spoilt))
    console = window(100, encoding_safe=False)
    emit(console, trials_table(view, console), verdict_panel(view, console))
    console.file.flush()


def test_broken_experiments_are_listed_with_what_is_wrong(make: Make) -> None:
    store = make()
    broken = store.folder.parent / "half"
    broken.mkdir()
    (broken / "experiment.yml").write_text("")
    console = piped()
    emit(console, experiments_table(list_experiments(store.folder.parent), console))
    lines = said(console).splitlines()
    assert lines[0].split() == ["experiment", "status", "trials", "verdict", "saving", "began", "took", "folder"]
    assert lines[1].split()[:6] == ["toy", "done", "46/46", "met", "43.4", "%"]
    assert lines[2].split()[:2] == ["half", "broken"]
    assert lines[2].endswith("has no store.sqlite")


def test_an_empty_list_and_an_experiment_without_trials(make: Make) -> None:
    console = piped()
    emit(console, experiments_table([], console))
    view = View.of(make(trials=[], done=False))
    emit(console, trials_table(view, console), verdict_panel(view, console))
    assert "no trial has begun" in said(console)


def test_an_experiment_with_another_aim(make: Make) -> None:
    resolved = {"objective": "read_p99_us", "constraints": ["power_watts <= 70"], "knobs": {"itr-delay": [2, 300]}}
    view = View.of(make(resolved=resolved, trials=physics.experiment(searches=5)))
    console = piped()
    emit(console, trials_table(view, console), verdict_panel(view, console))
    titles = [title.strip() for title in said(console).splitlines()[0].split("  ") if title]
    assert titles[3:] == [
        "itr-delay us", "dvfs MHz", "read p99 us", "energy J", "power W", "load %", "result",
    ]  # fmt: skip


def test_where_log_rows_went_is_shown_by_trial(make: Make, spoilt: list[Trial]) -> None:
    store = make(trials=spoilt, done=False)
    book(store)
    console = piped()
    emit(console, trials_table(View.of(store), console))
    lines = said(console).splitlines()
    assert lines[0].endswith("load %  written rows  lost rows  result")
    assert lines[2].split()[-5:] == ["100.0", "190", "12", "invalid:", "knob-not-held"]
    # A trial without rows says nothing of any.
    assert lines[1].split()[-2:] == ["100.0", "default"]
    attempts = {form["number"]: form for form in show_form(View.of(store))["attempts"]}
    assert attempts[2]["log_rows"]["lost"] == {"gap": 7, "buffer-full": 5}
    assert attempts[2]["log_rows"]["malformed"] == {"blank": 3}
    assert attempts[1]["log_rows"] is None


def test_a_log_that_is_being_made_is_none_and_a_broken_one_is_told(make: Make) -> None:
    store = make()
    file = store.folder / "logs" / "ledger.sqlite"
    file.touch()
    assert View.of(store).logged == {}
    file.write_bytes(b"no database" * 1000)
    view = View.of(store)
    assert view.logged == {}
    [line] = view.unreadable
    assert re.search(r"ledger\.sqlite can't be", line)
    assert view.trials


@pytest.mark.parametrize(
    ("finished", "planned", "shown"),
    [(0, 21, "0/21"), (20, 21, "20/21"), (21, 21, "21/21"), (32, 21, "32"), (3, 0, "3"), (0, 0, "0")],
)
def test_no_more_trials_are_said_of_a_plan_than_it_has(finished: int, planned: int, shown: str) -> None:
    console = window(140)
    one = Summary(name="one", folder="one", status="done", trials={"finished": finished}, planned=planned)
    emit(console, experiments_table([one], console))
    assert f" {shown} " in Text.from_ansi(said(console)).plain


def test_an_interval_that_says_nothing_is_not_spelt_out() -> None:
    assert labels.plus_minus((100.0, 110.0)) == " ± 5"
    assert labels.plus_minus((-2613308341.0, 2613510103.0)) == " ± many times that"
    # What lies about 0 has its width.
    assert labels.plus_minus((-0.1, 0.1)) == " ± 0.1"
    assert labels.plus_minus((-0.1, 0.2)) == " ± 0.15"
    assert labels.plus_minus((7.0, 7.0)) == labels.plus_minus(None) == ""
