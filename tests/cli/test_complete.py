"""What the shell completes, and that a pressed key waits for no numeric library."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.cli import complete
from mustherd.terms import Facts
from mustherd.trial import Trial
from tests.report.conftest import Make, make

__all__ = ["make"]


@pytest.fixture
def here(make: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two experiments in ./experiments, `older` and `newer`, and one that is none."""
    stores = [make(name, trials=list[Trial]()) for name in ("older", "newer")]
    parent = stores[0].folder.parent
    for at, store in enumerate(stores):
        store.set_muster(f"node-of-{store.folder.name}", state="alive", facts=Facts(kind="twin"), knobs=())
        os.utime(store.folder / complete.STORE, (at, at))
    (parent / "none").mkdir()
    monkeypatch.chdir(parent.parent)
    return parent


def test_experiments_come_newest_first(here: Path) -> None:
    assert complete.folders("") == ["experiments/newer", "experiments/older"]
    assert complete.folders("experiments/o") == ["experiments/older"]
    assert complete.folders(f"{here}/o") == [f"{here}/older"]
    assert complete.folders("no/such") == []


def test_musters_are_those_of_the_newest_experiment(here: Path) -> None:
    assert complete.musters("node-") == ["node-of-newer"]
    (here / "newer" / complete.STORE).write_bytes(b"no database")
    assert complete.musters("") == []


def test_nothing_is_there_to_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert complete.folders("") == complete.musters("") == []


def test_names_are_those_of_plugins() -> None:
    assert "itr-delay=" in complete.knob_values("itr")
    assert complete.changes("policy=t") == ["policy=tune"]
    assert complete.changes("search.method=g") == ["search.method=gp", "search.method=grid"]
    assert "knobs.dvfs=" in complete.changes("knobs.")
    assert "optuna-tpe" in complete.names_of("mustherd.searches", "mustherd.peers")("optuna")


@pytest.mark.long
@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("experiment show experiments/n", "experiments/newer"),
        ("log list ", "experiments/newer"),
        ("knob set node-", "node-of-newer"),
        ("knob set node-of-newer dv", "dvfs="),
        ("experiment start --set policy=t", "policy=tune"),
        ("replay x.csv --search gri", "grid"),
        ("load run localhost:1 --generator mut", "mutilate"),
    ],
)
def test_a_shell_is_answered_without_a_numeric_library(here: Path, words: str, expected: str) -> None:
    asked = {"_MUSTHERD_COMPLETE": "complete_bash", "COMP_WORDS": f"mustherd {words}"}
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", Path(sys.executable).with_name("mustherd")],
        env={**os.environ, **asked, "COMP_CWORD": str(len(words.split()) + words.endswith(" "))},
        cwd=here.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert expected in answer.stdout.split(), answer.stdout + answer.stderr[-500:]
    # Pydantic is what typer itself imports for a completion.
    for name in ("numpy", "pandas", "zmq", "matplotlib", "rich.console"):
        assert f" {name}\n" not in answer.stderr, name
