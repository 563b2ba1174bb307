"""The reservation's end: what doesn't fit is refused before anything is made, what runs stops in order before it."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from mustherd import api
from mustherd.cli.experiment import plan
from mustherd.definition import Experiment, given, loads
from mustherd.errors import UserError
from mustherd.experiment.actions import End, Result
from mustherd.experiment.scheduler import Scheduler
from tests import running
from tests.experiment.simulated import defined


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    until = (datetime.now(tz=UTC) + timedelta(minutes=5)).isoformat()
    text = (
        "name: late\nherd: {simulated: {speed: 1}}\nworkload: {qps: 600k}\nknobs: {itr-delay: [50, 100]}\n"
        f"trials: 2\nbudget: {{until: '{until}'}}\n"
    )
    with pytest.raises(
        UserError, match=r"the reservation ends at .*, (3|4) min.* from now, plus a minute to stop, and"
    ):
        api.run(text, into=tmp_path / "never")
    assert not (tmp_path / "never").exists()
    assert not api.plan(text).fits
    assert api.plan(text.replace("speed: 1", "speed: 200")).fits


def test_one_that_is_over_is_said_to_be() -> None:
    text = (
        "name: past\nherd: {simulated: {speed: 1}}\nworkload: {qps: 600k}\nknobs: {itr-delay: [50, 100]}\n"
        "trials: 2\nbudget: {until: '2020-05-04 18:00'}\n"
    )
    said = dict(api.plan(text).rows())["until"]
    assert said.startswith("2020-05-04 18:00")
    assert said.endswith(", which is over or less than a minute away: does not fit")


@pytest.mark.process
def test_start_and_plan_refuse_one_that_is_over_with_its_line(tmp_path: Path) -> None:
    """`start` named no place and advised fewer trials; `plan` ended with 0, so that a script went on."""
    file = tmp_path / "past.yml"
    file.write_text(
        "name: past\nherd: {simulated: {speed: 1}}\nworkload: {qps: 600k}\nknobs: {itr-delay: [50, 100]}\n"
        "trials: 2\nbudget:\n  until: '2020-05-04 18:00'\n"
    )
    said = r"past\.yml:7: budget\.until: the reservation ends at 2020-05-04 18:00.*; fix: a later time, or leave it out"
    for words in (("start", file, "--into", tmp_path / "never"), ("plan", file)):
        code, _, err = running.run("experiment", *words)
        assert code == 2
        assert re.search(said, err), err
    code, out, _ = running.run("experiment", "plan", file, "--json")
    assert (code, json.loads(out)["fits"]) == (2, False)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(("until", "times"), [("", 1), ("budget: {until: '2120-05-04 18:00'}\n", 2)])
def test_plan_reads_a_definition_once_where_there_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], until: str, times: int
) -> None:
    read: list[str] = []

    def counted(text: str, name: str) -> Experiment:
        read.append(name)
        return loads(text, name)

    monkeypatch.setattr(given, "load", lambda file: counted(file.read_text(), str(file)))
    monkeypatch.setattr(given, "loads", counted)
    file = tmp_path / "plain.yml"
    file.write_text(running.definition() + until)
    with pytest.raises(typer.Exit):
        plan(file, json=True)
    assert json.loads(capsys.readouterr().out)["fits"]
    assert read == [str(file)] * times


def test_the_end_says_that_it_was_the_time() -> None:
    experiment = defined(trials=2, repeats=0)
    from mustherd.definition import goal

    scheduler = Scheduler(experiment, goal(experiment), expected=1, now=0.0)
    scheduler.begin()
    *_, end = scheduler.stop((), why="the reservation ends at 18:00")
    assert end == End(Result.STOPPED, "the reservation ends at 18:00")
