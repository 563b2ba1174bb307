"""The wheel, installed in a folder of its own and used in an empty one: what a user without a checkout has."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.process


def pip(*arguments: str) -> None:
    quiet = ("--disable-pip-version-check", "--quiet", "--no-index")
    subprocess.run([sys.executable, "-m", "pip", *arguments[:1], *quiet, *arguments[1:]], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("mustherd-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--target", str(folder), str(wheel))
    return folder


def python(installed: Path, *arguments: str, cwd: Path) -> tuple[int, str, str]:
    """A Python that finds the installed package before this checkout's."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(cwd)}
    answer = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    return answer.returncode, answer.stdout, answer.stderr


def tracked(*places: str) -> Sequence[str]:
    listed = subprocess.run(["git", "ls-files", *places], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split()


def test_the_wheel_has_all_that_provisions_and_nothing_that_a_user_made(wheel: Path) -> None:
    within = {
        name.removeprefix("mustherd/project/")
        for name in zipfile.ZipFile(wheel).namelist()
        if name.startswith("mustherd/project/")
    }
    listed = tracked("ansible.cfg", "examples", "inventory", "playbooks/*.yml", "provision.yml", "pyproject.toml")
    assert within == {*listed, *tracked("requirements.lock", "roles")}


def test_an_inventory_is_made_and_checked_without_a_checkout(installed: Path, tmp_path: Path) -> None:
    code, _, err = python(
        installed,
        "-m",
        "mustherd",
        "herd",
        "inventory",
        "--to",
        "mine",
        "alice@10.77.0.1",
        "alice@10.77.0.2",
        cwd=tmp_path,
    )
    assert code == 0, err
    assert "10.77.0.2" in (tmp_path / "mine/hosts.yml").read_text()
    # A mistake of the user's is found by the play that checks inventories, which contacts no host: roles and playbooks
    # were found, and what was written is in the user's own folder.
    common = tmp_path / "mine/group_vars/all.yml"
    common.write_text(common.read_text() + "herd_network: nonsense\n")
    code, out, err = python(installed, "-m", "mustherd", "herd", "provision", "-i", "mine", "--json", cwd=tmp_path)
    assert code == 3, out + err
    assert any("herd_network" in failure["message"] for failure in json.loads(out)["failures"]), out
    assert (tmp_path / "artifacts").is_dir()
    assert not (installed / "mustherd/project/artifacts").exists()


def test_a_node_gets_what_is_installed_here(installed: Path, tmp_path: Path) -> None:
    show = (
        "import sys; from pathlib import Path; from mustherd.provision.wheelhouse import repacked;"
        "print(repacked(Path(sys.argv[1])))"
    )
    code, out, err = python(installed, "-c", show, str(tmp_path), cwd=tmp_path)
    assert code == 0, err
    again = tmp_path / "again"
    pip("install", "--no-deps", "--target", str(again), out.strip())
    before, after = (
        {
            str(path.relative_to(folder)): path.read_bytes()
            for path in (folder / "mustherd").rglob("*")
            if path.is_file()
        }
        for folder in (installed, again)
    )
    assert {k: v for k, v in before.items() if not k.endswith(".pyc")} == {
        k: v for k, v in after.items() if not k.endswith(".pyc")
    }
    code, out, err = python(again, "-m", "mustherd", "plugins", "list", cwd=tmp_path)
    assert code == 0, err
    assert "itr-delay" in out
