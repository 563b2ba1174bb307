"""A plain install does without Ansible and paramiko, and says what to install where they are needed."""

import ast
import importlib.util
import json
import subprocess
import sys
import tomllib
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mustherd import extras
from mustherd.extras import PROVISION, MissingExtraError, need
from mustherd.provision.runner import run
from mustherd.provision.wheelhouse import environment_of, pins

ROOT = Path(__file__).parents[1]
BROUGHT = {"ansible", "ansible_runner", "paramiko"}
OVER_SSH = {"mustherd.load.ssh", "mustherd.load.ssh_config"}


@pytest.fixture
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name in BROUGHT else importlib.util.find_spec(name)

    monkeypatch.setattr(extras, "find_spec", find)


def test_what_is_there_is_not_asked_for() -> None:
    need(PROVISION, *BROUGHT)


@pytest.mark.usefixtures("_plain")
def test_a_playbook_and_an_inventory_say_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"ansible and ansible_runner are not .*pip install 'mustherd\[prov"):
        run("provision.yml", tmp_path, project=tmp_path)


def test_only_modules_for_other_machines_import_what_the_extra_brings() -> None:
    """At their top, that is: whoever imports one of these two has asked first."""
    found = set()
    for path, tree in parsed().items():
        for statement in tree.body:
            names = [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else []
            names += [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []
            if {name.partition(".")[0] for name in names} & BROUGHT or OVER_SSH & set(names):
                found.add(path.relative_to(ROOT / "mustherd").as_posix())
    assert found == {"load/ssh.py", "load/ssh_config.py"}


@cache
def parsed() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "mustherd").rglob("*.py")}


def imported() -> dict[str, set[str]]:
    """The packages of others that the code imports anywhere, each with the modules that do."""
    found: dict[str, set[str]] = {}
    for path, tree in parsed().items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {name.partition(".")[0] for name in names} - {"", "mustherd", *sys.stdlib_module_names}:
                found.setdefault(name, set()).add(path.relative_to(ROOT / "mustherd").as_posix())
    return found


def test_what_the_code_imports_is_declared_and_not_only_brought_by_others() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    declared = {canonicalize_name(Requirement(one).name) for one in wanted}
    brought_by = {**packages_distributions(), "ax": ["ax-platform"], "optuna": ["optuna"], "torch": ["torch"]}
    # Pydantic's own other half, of the very version that it names.
    brought_by["pydantic_core"] = ["pydantic"]
    for name, users in imported().items():
        assert {canonicalize_name(one) for one in brought_by[name]} & declared, f"{name}: {sorted(users)}"


def test_the_lock_has_what_nodes_get() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for wanted in project["optional-dependencies"][PROVISION]:
        assert f"\n{wanted.partition('>')[0]}==" in lock, wanted


WITHOUT = (
    "import sys; sys.modules.update(dict.fromkeys(sys.stdin.read().split())); from mustherd.cli import main; main()"
)


def on_a_musters_node(*words: str) -> "subprocess.CompletedProcess[str]":
    """A command where nothing can be imported but what the roles install on a node that has only a muster."""
    environment = environment_of("{}.{}".format(*sys.version_info), "x86_64")
    got = {line.partition("==")[0] for line in pins(ROOT, environment, whole=False).splitlines() if "==" in line}
    gone = [
        module
        for module, packages in packages_distributions().items()
        if module != "mustherd" and not {canonicalize_name(one) for one in packages} & got
    ]
    assert {"yaml", "numpy", "paramiko"} <= set(gone)
    assert not {"msgspec", "zmq", "typer", "rich"} & set(gone)
    command = [sys.executable, "-c", WITHOUT, *words]
    return subprocess.run(command, input=" ".join(gone), capture_output=True, text=True, check=False)


@pytest.mark.process
def test_a_muster_s_node_has_what_its_doctor_needs() -> None:
    told = on_a_musters_node("herd", "doctor", "--json")
    assert told.returncode in (0, 1), told.stderr
    checks = json.loads(told.stdout)
    table = on_a_musters_node("herd", "doctor")
    assert table.returncode == told.returncode, table.stderr
    assert len(table.stdout.splitlines()) == 1 + len(checks)


@pytest.mark.process
@pytest.mark.parametrize("words", [("experiment", "plan"), ("knob", "list")])
def test_what_only_a_shepherd_s_node_can_do_is_no_fault_elsewhere(words: tuple[str, ...]) -> None:
    told = on_a_musters_node(*words)
    assert told.returncode == 2, told.stderr
    assert "is not installed, which this needs; fix: on a node that has only what a muster needs" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_module_of_ours_that_is_missing_is_a_fault() -> None:
    assert extras.lacking(ModuleNotFoundError("no", name="mustherd.nothing")) == ""
    assert extras.lacking(ModuleNotFoundError("no", name="json.nothing")) == ""
