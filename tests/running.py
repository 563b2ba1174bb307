"""Experiments as a user runs them: the command, its processes, and what they leave behind."""

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mustherd.cli.app import main
from mustherd.cli.verbose import OURS
from mustherd.definition import loads
from mustherd.node.twin.model import exhaustive_optimum, predict
from mustherd.node.twin.profiles import profile
from tests.waiting import until

DEFINITION = """\
name: test
herd:
  simulated: {{profile: c6220, musters: {musters}, speed: {speed}, seed: {seed}{more}}}
workload: {{preset: etc, qps: 600000, ramp_seconds: 5, window_seconds: 30}}
knobs:
  itr-delay: [2, 20, 50, 100, 150, 200, 250, 300, 350, 400]
  dvfs: [1200 MHz, 1400 MHz, 1700 MHz, 1900 MHz, 2100 MHz, 2300 MHz, 2500 MHz, 2600 MHz, 2800 MHz]
constraints: [read_p99_us <= 500]
search: {{method: {method}, seed: {seed}}}
trials: {trials}
repeats: {repeats}
baseline: {{every: 10}}
"""


def definition(
    *,
    musters: int = 2,
    speed: float = 2000,
    seed: int = 1,
    more: str = "",
    method: str = "random",
    trials: int = 6,
    repeats: int = 1,
) -> str:
    """A definition on simulated nodes."""
    return DEFINITION.format(
        musters=musters, speed=speed, seed=seed, more=more, method=method, trials=trials, repeats=repeats
    )


@dataclass
class Run:
    """A command of ours under way."""

    process: "subprocess.Popen[str]"
    folder: Path

    @property
    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, *words: str) -> psutil.Process | None:
        """The child whose command line holds all words."""
        for child in self.children:
            try:
                line = child.cmdline()
            except psutil.NoSuchProcess:
                continue
            if all(any(word in part for part in line) for word in words):
                return child
        return None

    def kill_shepherd(self, after_s: float) -> None:
        """Kill the shepherd some time after it has started, unless all is over by then."""
        shepherd = until(lambda: self.child("shepherd") or self.process.poll() is not None)
        if isinstance(shepherd, psutil.Process):
            time.sleep(after_s)
            with contextlib.suppress(psutil.NoSuchProcess):
                shepherd.kill()

    def finish(self, timeout_s: float = 120) -> tuple[int, str, str]:
        """Wait; gives exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, out, err


PYTHONPATH = str(Path(__file__).resolve().parent.parent)
"""Where the command finds modules besides what is installed."""

begun: list[Run] = []
"""Every command started by the test that runs; tests/conftest.py ends what a failed one leaves behind."""


def begin(*arguments: str | Path, folder: Path, cwd: Path | None = None) -> Run:
    """Start `mustherd ARGUMENTS`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mustherd", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )
    begun.append(Run(process, folder))
    return begun[-1]


def run(*arguments: str | Path, cwd: Path | None = None, timeout_s: float = 120) -> tuple[int, str, str]:
    """Run `mustherd ARGUMENTS` to its end."""
    return begin(*arguments, folder=Path(), cwd=cwd).finish(timeout_s)


@contextlib.contextmanager
def logging_as_before() -> Iterator[None]:
    """What a command asked with --verbose sets, in this process, is set for as long as this block alone."""
    root, ours, raises = logging.getLogger(), logging.getLogger(OURS), logging.raiseExceptions
    handlers, level = root.handlers[:], ours.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        ours.setLevel(level)
        logging.raiseExceptions = raises


def here(*arguments: str | Path, cwd: Path | None = None) -> tuple[int, str, str]:
    """`run` in this process, for commands that end soon and start nothing: a process of Python takes half a second."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["mustherd", *map(str, arguments)]
    try:
        with (
            logging_as_before(),
            contextlib.chdir(cwd or Path()),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv = argv
    assert isinstance(code, int)
    return code, out.getvalue(), err.getvalue()


def start(tmp_path: Path, text: str, *more: str, name: str = "x") -> Run:
    """Start an experiment with that definition in a folder of its own; it writes no report."""
    spec = tmp_path / f"{name}.yml"
    spec.write_text(text)
    folder = tmp_path / name
    return begin("experiment", "start", spec, "--into", folder, "--json", "--no-report", *more, folder=folder)


def complete(tmp_path: Path, text: str, name: str = "x", timeout_s: float = 120) -> tuple[int, dict[str, Any], str]:
    """Run an experiment to its end; gives exit code, result and stderr."""
    code, out, err = start(tmp_path, text, name=name).finish(timeout_s)
    assert out, err
    return code, json.loads(out), err


def end_all() -> None:
    """End what was begun and still runs, by the pids that we started."""
    while begun:
        run = begun.pop()
        if run.process.poll() is None:
            children = run.children
            run.process.kill()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        with contextlib.suppress(ValueError):
            run.process.communicate()


def kill(process: psutil.Process, sign: signal.Signals = signal.SIGKILL) -> None:
    """Signal one process that we started, by its pid."""
    os.kill(process.pid, sign)


def true_saving_percent(text: str) -> float:
    """What the noise-free optimum of a definition's space saves against the default, by exhaustive search."""
    experiment = loads(text, "test.yml")
    load, c6220 = experiment.workload.load(), profile("c6220")
    best = exhaustive_optimum(
        c6220, load, {key: list(space) for key, space in experiment.knobs.items()}, experiment.constraints[0].limit
    )
    assert best is not None
    default = predict(c6220, 1, 2800, load)
    return 100 * (1 - best.prediction.power_watts / default.power_watts)
