"""A plain install does without Ansible and paramiko, and says what to install where they are needed."""

import ast
import importlib.util
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from mustherd import extras
from mustherd.extras import PROVISION, MissingExtraError, need
from mustherd.provision.runner import run

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
    for path in (ROOT / "mustherd").rglob("*.py"):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else []
            names += [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []
            if {name.partition(".")[0] for name in names} & BROUGHT or OVER_SSH & set(names):
                found.add(path.relative_to(ROOT / "mustherd").as_posix())
    assert found == {"load/ssh.py", "load/ssh_config.py"}


def test_the_lock_has_what_nodes_get() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for wanted in project["optional-dependencies"][PROVISION]:
        assert f"\n{wanted.partition('>')[0]}==" in lock, wanted
