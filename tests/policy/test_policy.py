"""Policies: where they are found, what they must be, and one from a package of its own."""

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mustherd.definition import DefinitionError, Experiment, check_policy, loads, problem
from mustherd.policy import base as policies
from mustherd.policy.base import Policy, PolicyError, installed, make
from mustherd.policy.nop import Nop
from mustherd.policy.tune import Tune
from tests import running

ROOT = Path(__file__).resolve().parents[2]


def experiment(policy: str = "tune", method: str = "random") -> Experiment:
    return loads(running.definition(method=method) + f"policy: {policy}\n", "test.yml")


def test_the_projects_own_policies_are_installed() -> None:
    assert {"nop", "tune"} <= set(installed())


@pytest.mark.parametrize("name", ["nop", "tune"])
def test_a_policy_keeps_the_interface(name: str) -> None:
    defined = experiment(name)
    policy = make(defined, problem(defined))
    try:
        assert isinstance(policy, Policy)
        assert isinstance(policy, Nop if name == "nop" else Tune)
        point = policy.propose([])
        assert point is not None
        assert set(point) <= set(defined.knobs)
        policy.observe([])
    finally:
        policy.close()


def test_tune_says_why_it_is_over() -> None:
    text = running.definition(method="one-shot").replace(
        "method: one-shot,", "method: one-shot, settings: {itr-delay: 300, dvfs: 1200},"
    )
    defined = loads(text.replace("trials: 6", "trials: 1"), "test.yml")
    policy = make(defined, problem(defined))
    try:
        assert policy.propose([]) == {"itr-delay": 300, "dvfs": 1200}
        assert policy.propose([{"itr-delay": 300, "dvfs": 1200}]) is None
        assert policy.why_enough()
    finally:
        policy.close()


def test_an_unknown_policy_has_its_line() -> None:
    with pytest.raises(DefinitionError, match=r"unknown policy 'tuna'.*did you mean 'tune'"):
        check_policy(experiment("tuna"), sorted(installed()))


def test_a_package_cannot_take_a_built_ins_place(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        EntryPoint("tune", "mustherd.policy.tune:Tune", policies.GROUP),
        EntryPoint("tune", "stranger:Tune", policies.GROUP),
    ]
    for order in (found, found[::-1]):
        monkeypatch.setattr(policies, "entry_points", lambda group, order=order: order)
        assert installed()["tune"].value == "mustherd.policy.tune:Tune"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:Policy", "could not be made"),
        ("collections:OrderedDict", "could not be made"),
        ("tests.policy.test_policy:Half", "lacks part of the interface"),
    ],
)
def test_a_broken_package_is_named(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    monkeypatch.setattr(policies, "entry_points", lambda group: [EntryPoint("bad", value, group)])
    defined = experiment("bad")
    with pytest.raises(PolicyError, match=message) as caught:
        make(defined, problem(defined))
    assert value in str(caught.value)


class Half:
    """Not a policy: it can't be told anything."""

    def __init__(self, *_: object) -> None:
        pass

    def propose(self, pending: object) -> None:
        pass


def test_the_example_is_the_one_that_the_documentation_shows() -> None:
    code = (Path(__file__).parent / "example_package" / "colder.py").read_text()
    page = (ROOT / "docs" / "how-to" / "policy.md").read_text()
    assert f"```python file=colder.py\n{code.split(chr(10), 2)[2]}```" in page


@pytest.mark.process
def test_a_package_adds_a_policy(tmp_path: Path) -> None:
    site = tmp_path / "site"
    package = tmp_path / "package"
    package.mkdir()
    for name in ("pyproject.toml", "colder.py"):
        (package / name).write_text((Path(__file__).parent / "example_package" / name).read_text())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(package)], check=True, capture_output=True)
    text = running.definition(trials=20, musters=1) + "policy: colder\n"
    text = text.replace("  itr-delay: [2, 20, 50, 100, 150, 200, 250, 300, 350, 400]\n", "")
    spec = tmp_path / "colder.yml"
    spec.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mustherd", "experiment", "start", str(spec), "--into", str(tmp_path / "x"), "--json"],
        env={**os.environ, "PYTHONPATH": f"{site}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["best"]["knobs"]["dvfs"] < 2800
    assert result["saving_percent"] > 5
