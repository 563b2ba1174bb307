"""An experiment that is left alone: what is said at once, how signals end it, who is told at the end."""

import contextlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from mustherd.api import ExperimentFailedError
from mustherd.cli import notify
from mustherd.cli.app import app
from mustherd.cli.conduct import _tell_the_end, ended_by_signals
from mustherd.cli.notify import run_notice, words_of
from mustherd.daemon import EndedError
from mustherd.report.live import standing
from mustherd.report.view import View
from mustherd.result import Result
from tests.experiment import physics
from tests.report.conftest import Make, make
from tests.waiting import until

__all__ = ["make"]

SLOW = """name: slow
herd: {simulated: {profile: c6220, speed: 30}}
workload: {preset: etc, qps: 400k, ramp_seconds: 2, window_seconds: 20}
knobs: {itr-delay: [100, 300], dvfs: [1300 MHz, 2600 MHz]}
constraints: [read_p99_us <= 500]
trials: 100
search: {method: random, stop: false}
"""

TOLD = """import os, sys
open(sys.argv[1], "w").write("|".join([*sys.argv[2:], os.environ["MUSTHERD_STATUS"]]))
"""


@pytest.mark.long
@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_ctrl_c_does_and_somebody_is_told(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "slow.yml").write_text(SLOW)
    (tmp_path / "tell me.py").write_text(TOLD)
    notify = f"{sys.executable} 'tell me.py' told.txt"
    command = [sys.executable, "-m", "mustherd", "experiment", "start", "slow.yml", "--into", "a b", "--notify", notify]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as process:
        lines: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        reader.start()
        until(lambda: any(line.startswith("[1/") for line in lines), 200)
        process.send_signal(number)
        assert process.wait(200) == 4
        reader.join()
    said = "".join(lines)
    folder = tmp_path / "a b"
    assert lines[0] == f"folder: {folder}\n", said
    assert lines[1].startswith("plan: "), said
    assert lines[2].startswith("phase: "), said
    assert "stopping: nodes are put back" in said
    result = Result(folder)
    assert (result.status, result.detail) == ("stopped", "it was told to end by SIGTERM")
    assert (tmp_path / "told.txt").read_text() == f"stopped|{folder}|stopped"
    assert (folder / "report.html").exists()


@pytest.mark.long
@pytest.mark.process
def test_ctrl_c_again_and_again_ends_it_as_one_does(tmp_path: Path) -> None:
    """It ended by the signal in five of five runs: nothing told, and no JSON for the program that had asked."""
    (tmp_path / "slow.yml").write_text(SLOW)
    command = [sys.executable, "-m", "mustherd", "experiment", "start", "slow.yml", "--into", "x", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        until(lambda: process.stderr.readline().startswith("[1/"), 200)  # type: ignore[union-attr]
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.08)
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["status"] == "stopped"
        drain.join()
    assert process.returncode == 4


def test_signals_are_heeded_only_within_and_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(EndedError), ended_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("command", ["'open", "", "  ", "no-such-program --now", "/dev/null"])
def test_a_command_that_is_none_is_told_before_anything_begins(command: str) -> None:
    with pytest.raises(typer.BadParameter):
        words_of(command)


@pytest.mark.process
def test_no_shell_reads_the_command(make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = Result(make().folder)
    script = tmp_path / "tell.py"
    script.write_text(TOLD)
    run_notice(words_of(f"{sys.executable} {script} '{tmp_path}/told' '$(touch {tmp_path}/shell); rm -r x'"), result)
    assert (tmp_path / "told").read_text() == f"$(touch {tmp_path}/shell); rm -r x|met|{result.folder}|done"
    assert not (tmp_path / "shell").exists()
    run_notice(["/no/such/program"], result)
    assert "mustherd: --notify: " in capfd.readouterr().err


ENDLESS = """
import os, subprocess, sys
helper = subprocess.Popen(["sleep", "1000"])
open(sys.argv[1], "w").write(str(helper.pid))
while True:
    os.write(2, b"x" * 9999 + b"\\n")
"""


@pytest.mark.process
def test_a_command_that_never_ends_is_ended_with_what_it_started(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "PATIENCE_S", 0.5)
    (tmp_path / "endless.py").write_text(ENDLESS)
    run_notice([sys.executable, str(tmp_path / "endless.py"), str(tmp_path / "helper")], Result(make().folder))
    said = capfd.readouterr().err
    assert f"mustherd: --notify: {sys.executable} took longer than 0.5 s and was ended with what it started" in said
    assert len(said) < 1000
    helper = Path("/proc") / (tmp_path / "helper").read_text()
    until(lambda: not helper.exists() or ") Z " in (helper / "stat").read_text())


@pytest.mark.process
def test_a_command_that_fails_is_told_with_what_it_said(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    result = Result(make().folder)
    run_notice(["sh", "-c", "echo no such channel >&2; exit 3"], result)
    assert "mustherd: --notify: sh ended with 3: no such channel\n" in capfd.readouterr().err
    run_notice(["sh", "-c", "sleep 5 & exit 0"], result)
    assert capfd.readouterr().err == ""


def test_how_it_stands_in_a_line(make: Make) -> None:
    first, second = standing(View.of(make(done=False)), "running")
    assert first.startswith("toy: running, 46 of 46 trials")
    assert second.startswith(
        "best so far: itr-delay 250 us, dvfs 1600 MHz  1823 J, 43.4 % less energy than the default"
    )
    assert standing(View.of(make("none", trials=[], done=False)), "failed") == [
        "none: failed, 0 of 46 trials (no trials yet)"
    ]


MODULE = """import os, signal
os.kill(os.getpid(), signal.{name})
for _ in range(10_000):
    pass
WHOLE = True
"""


@pytest.mark.parametrize(("name", "raised"), [("SIGTERM", EndedError), ("SIGINT", KeyboardInterrupt)])
def test_a_signal_in_the_middle_of_an_import_ends_it_when_the_module_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, raised: type[BaseException]
) -> None:
    """As one that came while scipy imported numpy, which no report could import any more then."""
    module = f"told_by_{name.lower()}"
    (tmp_path / f"{module}.py").write_text(MODULE.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)

    def load_and_wait() -> None:
        importlib.import_module(module)
        threading.Event().wait(30)

    with pytest.raises(raised), ended_by_signals():
        load_and_wait()
    assert sys.modules[module].WHOLE
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("killed_by", [0, 9])
def test_why_it_failed_is_one_line_in_a_pipe_as_it_was_said(make: Make, killed_by: int) -> None:
    result = Result(make("x").folder)
    reason = "3 trials in a row failed: nothing fits '[/a-z]+': " + "and so on " * 20
    pipe = io.StringIO()
    _tell_the_end(result, ExperimentFailedError(reason, result, signal=killed_by), Console(file=pipe, width=80), None)
    assert reason in pipe.getvalue()


@pytest.mark.parametrize(("status", "line"), [("failed", 0), ("stopped", -1)])
def test_one_that_failed_is_shown_as_that_first(make: Make, status: Literal["failed", "stopped"], line: int) -> None:
    """It began with its trials and 'not met', and why it failed was below all that."""
    store = make("x", trials=physics.experiment()[:3], done=False)
    store.set_status(status, "a node was lost")
    shown = CliRunner().invoke(app, ["experiment", "show", str(store.folder)])
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[line] == f"{status}: a node was lost"
    assert shown.stdout.count("a node was lost") == 1
