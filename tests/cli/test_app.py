"""The program: what a command builds of it says what the whole would."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mustherd.cli.app import app, needed
from mustherd.errors import UserError
from tests.report.conftest import Make, make

__all__ = ["make"]

RUNNER = CliRunner()


@pytest.mark.parametrize(
    "words",
    [[], ["--help"], ["experiment", "--help"], ["experiment", "start", "--help"], ["herd"], ["replay", "--help"],
     ["experimant"], ["experiment", "strat"], ["--version"], ["--no-such"]],
)  # fmt: skip
def test_help_and_errors_are_those_of_the_whole(words: Sequence[str]) -> None:
    some, whole = RUNNER.invoke(needed(words), words), RUNNER.invoke(app, words)
    assert some.output == whole.output
    assert some.exit_code == whole.exit_code


def test_a_command_builds_its_noun_alone_and_leaves_the_whole_as_it_is() -> None:
    before = [(group.name, group.typer_instance) for group in app.registered_groups]
    few = {group.name: group.typer_instance for group in needed(["knob", "list"]).registered_groups}
    assert [name for name, one in before if few[name] is one] == ["knob"]
    assert [(group.name, group.typer_instance) for group in app.registered_groups] == before


def test_words_before_a_noun_are_no_reason_to_lose_it() -> None:
    assert needed(["--show-completion", "experiment"]) is app


def loaded_by(*words: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    code = (
        "import sys; from mustherd.cli import main\nimport atexit\natexit.register(lambda: print(*sys.modules))\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.process
def test_a_plan_as_json_imports_no_numeric_library_and_no_table() -> None:
    loaded = loaded_by("experiment", "plan", "--json")
    assert "mustherd.learn.inference" in loaded
    assert not loaded & {"numpy", "scipy", "pandas", "zmq", "rich.console", "http.client", "mustherd.store.store"}


@pytest.mark.process
def test_help_imports_little() -> None:
    loaded = loaded_by("--help")
    assert not loaded & {"msgspec", "numpy", "pydantic", "zmq", "logging", "ctypes", "socket", "json", "yaml"}


@pytest.mark.process
@pytest.mark.parametrize(("encoding", "said"), [("ascii", b"12 +- 3 us \\u2605 r\\xe9sum\\xe9\n"), ("utf-8", None)])
def test_signs_that_the_output_lacks_are_spelt_out(encoding: str, said: bytes | None) -> None:
    text = "12 ± 3 us ★ résumé"
    code = f"from mustherd.cli.printing import spell_out; spell_out(); print({text!r})"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout == (said or f"{text}\n".encode())


def test_a_list_of_no_experiments_says_so(tmp_path: Path) -> None:
    there = RUNNER.invoke(app, ["experiment", "list", str(tmp_path)])
    assert (there.exit_code, there.stderr) == (
        0,
        f"no experiment in {tmp_path}: start one, mustherd experiment start\n",
    )
    missing = RUNNER.invoke(app, ["experiment", "list", str(tmp_path / "no")])
    assert isinstance(missing.exception, UserError)
    assert "does not exist" in str(missing.exception)


def test_logs_that_nobody_has_are_told_and_none_go_into_the_experiment(make: Make, tmp_path: Path) -> None:
    folder = str(make().folder)
    done = RUNNER.invoke(app, ["log", "list", folder, "--trial", "999"])
    assert (done.exit_code, done.stderr) == (0, f"{folder} has no stream that fits\n")
    done = RUNNER.invoke(app, ["log", "export", folder, "--format", "csv", "--into", f"{folder}/logs/.."])
    assert done.exit_code == 2
    assert "is the experiment's own folder" in done.stderr


def test_a_report_goes_where_it_is_told_to(make: Make, tmp_path: Path) -> None:
    folder = str(make().folder)
    done = RUNNER.invoke(app, ["experiment", "report", folder, "--to", str(tmp_path)])
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == f"the report can't be written to {tmp_path}: Is a directory"
