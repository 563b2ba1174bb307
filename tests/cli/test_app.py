"""The program: what a command builds of it says what the whole would."""

import subprocess
import sys
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from mustherd.cli.app import app, needed

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


@pytest.mark.process
def test_help_imports_little() -> None:
    code = (
        "import sys; from mustherd.cli import main\nimport atexit\natexit.register(lambda: print(*sys.modules))\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"msgspec", "numpy", "pydantic", "zmq", "logging", "ctypes", "socket", "json", "yaml"}
