"""The table of the reference's scripts and policies: each has a file or a command here, and each of these is sound."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import mustherd
from mustherd.cli.app import app
from mustherd.definition import load, plan
from mustherd.store.store import Store
from mustherd.trial import TrialState

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/reference.md").read_text()
EXAMPLES = ROOT / "examples"

NAMES = """
cloudlab_run_mcd_ixgbe cloudlab_run_mcd_ixgbe_shep_muster cloudlab_setup_dvfs_control cloudlab_setup_golang
cloudlab_setup_intlog_muster cloudlab_setup_ixgbe_kernel cloudlab_setup_ixgbe_logger cloudlab_setup_memcached
cloudlab_setup_mutilate cloudlab_setup_ssh_conn compute_rapl_joules exps/run_change_experiment exps/run_experiment
exps/run_monloop_change_experiment flush_ixgbe_logs flush_ixgbe_logs_c6220 intel_set_irq_affinity read_rapl
read_rapl_start run_baseline_per_qps run_double_mcd run_mh_script run_multi_itrd run_multi_process run_multi_qps
run_multi_qps_itrd_dvfs_ixgbe_c6220 run_multi_qps_itrd_dvfs_ixgbe_c8220 run_multi_qps_itrd_ixgbe_c6220
run_multi_qps_itrd_ixgbe_c8220 run_oracle_test run_script setup_linux_6.15 cat_ixgbe_logs_c6220 cat_ixgbe_logs_c8220
read_ixgbe_stats
"""
SCRIPTS = NAMES.split()
"""Every script of the reference, as its repository has them."""

POLICIES = ("nop", "intlog", "collect", "stats", "load-pred", "load-pred-bayopt", "bayopt", "bayopt-intlog",
    "latency-predictor", "k8s", "flink")  # fmt: skip

NAMED = sorted(set(re.findall(r"`(reference-[a-z-]+\.yml)`", PAGE)))
COMMANDS = sorted(set(re.findall(r"`(mustherd [^`]+)`", PAGE)))
VALUES = {"INVENTORY": "inventory/cloudlab", "FILE": "x.yml", "FOLDER": "x", "DIR": "y", "MUSTER": "m"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_a_line(script: str) -> None:
    rows = [line for line in PAGE.splitlines() if f"`{script}.sh`" in line.rpartition(" | ")[0]]
    assert len(rows) == 1, script
    assert "`" in rows[0].rpartition(" | ")[2] or "nothing" in rows[0]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_has_a_line(policy: str) -> None:
    rows = [line for line in PAGE.partition("## Policies")[2].splitlines() if f"`{policy}`" in line.split(" | ")[0]]
    assert rows, policy


def test_every_file_of_the_reference_is_in_the_table_and_there() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("reference-*.yml")) == NAMED


@pytest.mark.parametrize("name", NAMED)
def test_every_file_is_sound_and_can_be_planned(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    experiment = mustherd.check(EXAMPLES / name)
    assert experiment.name == name.removesuffix(".yml"), "a file is named after what it is"
    planned = plan(experiment, 1)
    assert planned.search == experiment.trials, "every trial that is written there fits into its space"
    assert planned.rows()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: str) -> None:
    """As far as its last word: which command it is, which options and arguments it takes."""
    words = [VALUES.get(word, word.replace("NAME", "reference-search")) for word in shlex.split(command)[1:]]
    group: Any = typer.main.get_command(app)
    context = group.context_class(group)
    while hasattr(group, "resolve_command"):
        _, group, words = group.resolve_command(context, words)
        context = group.context_class(group, parent=context)
    assert group.make_context(str(group.name), list(words)).params


def test_sweeps_say_what_they_do() -> None:
    """One file each for what the scripts do: repetitions, orders, rests, changes under load, several leaders."""
    search = load(EXAMPLES / "reference-sweep-delay.yml").search
    assert (search.order, search.repetitions) == ("blocked", 3)
    assert load(EXAMPLES / "reference-grid-at-one-load.yml").search.order == "random"
    assert load(EXAMPLES / "reference-sweep-delay.yml").workload.cool_down_seconds == 2
    assert len(load(EXAMPLES / "reference-changing-delay.yml").changes) == 6


TWIN = "herd: {simulated: {profile: c6220, musters: 2, speed: %d, seed: 1}}"
SPEED = {"reference-changing-delay.yml": 40}
"""How many times as fast as a real node a twin is; a knob that is set anew within a window needs its time in there."""
LACKS = (
    # Nobody leads a simulated load: it has no generator's options, no second leader, and the one mix that was measured.
    (re.compile(r"^  (mutilate|load):.*\n(    .*\n)*", re.MULTILINE), ""),
    (re.compile(r"preset: usr"), "preset: etc"),
    # Nor does an application run there: what holds a stream's source back is what its workers leave.
    (re.compile(r"^metrics:\n(  .*\n)*", re.MULTILINE), ""),
)
ONE_OF_A_KIND = {
    f"reference-{kind}.yml" for kind in ("search", "sweep", "changing-delay", "changing-load", "two-servers", "oracle")
}
"""Files that CI has room for: a search, a sweep, knobs and a load that change, several servers, given settings."""
MOST = 8
"""Trials of a file: of the 672 of a sweep, as many as show every part of its plan."""


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [name if name in ONE_OF_A_KIND else pytest.param(name, marks=pytest.mark.night) for name in NAMED]
)
def test_every_file_runs_to_its_end_on_twins(name: str, tmp_path: Path) -> None:
    text = (EXAMPLES / name).read_text()
    text, replaced = re.subn(r"^herd: .*$", TWIN % SPEED.get(name, 400), text, flags=re.MULTILINE)
    assert replaced == 1
    for lacking, instead in LACKS:
        text = lacking.sub(instead, text)
    text = re.sub(r"(?<=^trials: )[0-9]+", lambda found: str(min(int(found[0]), MOST)), text, flags=re.MULTILINE)
    (tmp_path / name).write_text(text)
    told = subprocess.run(
        [sys.executable, "-m", "mustherd", "experiment", "start", name, "--into", "out", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode in (0, 1), told.stdout + told.stderr
    shown = json.loads(told.stdout)
    assert shown["status"] == "done", shown
    assert shown["reason"].startswith(shown["verdict"])
    with Store.open(tmp_path / "out", read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
    # What was disturbed was measured again.
    assert len({trial.number for trial in finished}) >= min(plan(load(tmp_path / name), 2).search, MOST)
    assert (tmp_path / "out/report.html").exists()
