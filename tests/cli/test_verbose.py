"""`-v` is on every verb, and says the steps: on stderr alone, above a live view, from the herd's processes too."""

import inspect
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from rich.live import Live

from mustherd import programs
from mustherd.cli.app import app
from mustherd.cli.verbose import say_steps, says_steps
from tests.running import logging_as_before

MUSTHERD = str(Path(sys.executable).with_name("mustherd"))

QUICK = """name: quick
herd:
  simulated: {profile: c6220, musters: 1, speed: 2000}
workload: {preset: etc, qps: 200k}
knobs:
  dvfs: [1.2 GHz, 2.0 GHz]
constraints: [read_p99_us <= 400]
search: {method: grid}
trials: 2
repeats: 0
"""


def verbs(command: Any, name: str = "mustherd") -> Iterator[tuple[str, Any]]:
    """Every verb below a command, with its words."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for word, one in below.items():
        yield from verbs(one, f"{name} {word}")


VERBS = dict(verbs(typer.main.get_command(app)))


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_takes_it(name: str) -> None:
    command = VERBS[name]
    assert inspect.getdoc(command.callback), "its own words are still its help"
    means = [p for p in command.params if {"-v", "--verbose"} & set(p.opts)]
    assert [sorted(p.opts) for p in means] == [["--verbose", "-v"]]
    assert means[0].help.startswith("Say each step on stderr")


def test_there_are_as_many_verbs_as_ever() -> None:
    assert len(VERBS) > 40
    assert {"mustherd replay", "mustherd experiment start", "mustherd muster run"} <= set(VERBS)


@pytest.fixture
def steps() -> Iterator[None]:
    """Steps said within this test alone."""
    with logging_as_before():
        say_steps()
        yield


def test_steps_pass_above_a_live_view(steps: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert says_steps()
    screen = io.StringIO()
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    with Live("the view", console=Console(file=screen, force_terminal=True, width=80), auto_refresh=False):
        assert programs.printed(["echo", "a word"], 60) == "a word"
        logging.getLogger("paramiko").debug("what another package is about")
    said = screen.getvalue()
    assert "running echo 'a word'" in said
    assert "another package" not in said
    assert "running" not in err.getvalue()


def test_whoever_is_not_asked_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert not says_steps()
    programs.printed(["echo", "a word"], 60)
    assert capsys.readouterr().err == ""


@pytest.mark.process
def test_an_experiment_says_decisions_and_trials_on_stderr_alone(tmp_path: Path) -> None:
    (tmp_path / "quick.yml").write_text(QUICK)
    done = subprocess.run(
        [MUSTHERD, "experiment", "start", "quick.yml", "--into", "quick", "--no-report", "--json", "-v"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout)["experiment"] == "quick", done.stderr
    lines = done.stderr.splitlines()
    for words in ("phase search", "trial 2 begins on muster-1: dvfs", "decision 3 for muster-1: dvfs@", "is applied"):
        assert any("mustherd.experiment.local_herd: shepherd:" in line and words in line for line in lines), words
    # A line of a log comes once.
    assert sum("phase search" in line for line in lines) == 1
