"""What a node's environment is made of, worked out from what is installed and locked here."""

import re
import shutil
from pathlib import Path

import pytest

from mustherd.provision.wheelhouse import MUSTER, WheelhouseError, closure, environment_of, locked, make, source_digest

PROJECT = Path(__file__).parents[2]
LOCK = (PROJECT / "requirements.lock").read_text()


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_what_a_muster_needs_is_locked_with_hashes(python: str) -> None:
    environment = environment_of(python, "x86_64")
    names = closure(MUSTER, environment)
    assert {"msgspec", "pyzmq", "typer"} <= set(names)
    assert not {"numpy", "pandas", "ansible-core", "paramiko"} & set(names)
    pins = locked(LOCK, names, environment)
    assert len(re.findall(r"^[a-z0-9._-]+==", pins, flags=re.MULTILINE)) == len(names)
    assert pins.count("--hash=sha256:") >= len(names)
    assert "#" not in pins


def test_of_two_pins_the_one_for_the_nodes_python_is_taken() -> None:
    lock = """a==1 ; python_version < "3.12" \\
    --hash=sha256:11
    # via b
a==2 ; python_version >= "3.12" \\
    --hash=sha256:22
"""
    assert "a==1" in locked(lock, ["a"], environment_of("3.11", "x86_64"))
    assert "a==2" in locked(lock, ["a"], environment_of("3.13", "x86_64"))


def test_what_is_not_locked_or_not_installed_is_named() -> None:
    environment = environment_of("3.11", "x86_64")
    with pytest.raises(WheelhouseError, match="does not pin nothing-such"):
        locked(LOCK, ["nothing-such"], environment)
    with pytest.raises(WheelhouseError, match="nothing-such is not installed"):
        closure(["nothing-such"], environment)


def test_the_digest_follows_the_sources(tmp_path: Path) -> None:
    (tmp_path / "mustherd").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "mustherd/a.py").write_text("a = 1\n")
    first = source_digest(tmp_path)
    assert source_digest(tmp_path) == first
    (tmp_path / "mustherd/a.py").write_text("a = 2\n")
    assert source_digest(tmp_path) != first


def test_an_archive_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    (project / "mustherd").mkdir(parents=True)
    shutil.copy(PROJECT / "pyproject.toml", project)
    shutil.copy(PROJECT / "requirements.lock", project)
    calls: list[str] = []

    def pip(*arguments: str, more: object = None) -> None:
        calls.append(arguments[0])

    monkeypatch.setattr("mustherd.provision.wheelhouse._pip", pip)
    first = make(project, tmp_path / "to", "3.11", "x86_64", whole=False)
    again = make(project, tmp_path / "to", "3.11", "x86_64", whole=False)
    assert calls == ["wheel", "download"]
    assert (first["made"], again["made"]) == (True, False)
    assert first["archive"] == again["archive"]
    other = make(project, tmp_path / "to", "3.12", "x86_64", whole=False)
    assert other["id"] != first["id"]
