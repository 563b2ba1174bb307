"""The wheel in an empty folder, on each Python that is here: every command of the pages that needs no checkout.

The oldest Python gets it by pip, the others by uv: what is installed is the newest that the package allows.
"""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import DOCUMENTS, ROOT, Page, read, take
from tests.newcomer import installing

pytestmark = [pytest.mark.newcomer, pytest.mark.timeout(900)]

PAGES = [page for page in map(read, DOCUMENTS[2:]) if any(step.kind == "$" for step in page.steps)]
"""Those below docs/: README and CONTRIBUTING are for a checkout."""

Installed = Callable[[str, str], Mapping[str, str]]
"""A version of Python and an extra, or none, to the environment in which it is used."""


def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run have in common, and no other run."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "newcomer"


@cache
def pythons() -> dict[str, Path]:
    return installing.interpreters()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each page on each Python; they are looked for where these tests are to run."""
    if {"version", "page"} <= set(metafunc.fixturenames):
        versions = pythons() if "newcomer" in metafunc.config.option.markexpr else ()
        cases = [
            pytest.param(version, page, id=f"{version}-{page}", marks=pytest.mark.xdist_group(version))
            for version in versions
            for page in PAGES
        ]
        metafunc.parametrize(("version", "page"), cases)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made: dict[tuple[str, str], Mapping[str, str]] = {}
    common = shared(tmp_path_factory)

    def get(version: str, extra: str) -> Mapping[str, str]:
        if (version, extra) not in made:
            folder = tmp_path_factory.mktemp("installed")
            by_uv = None if version == min(pythons()) else installing.uv(common / "uv")
            wheel = installing.build(common / "wheel")
            extras = f"[{extra}]" if extra else ""
            has = installing.install(pythons()[version], wheel, folder / "venv", uv=by_uv, extras=extras)
            made[version, extra] = {**has, "HOME": str(folder)}
        return made[version, extra]

    return get


def test_a_page_does_what_it_shows(installed: Installed, version: str, page: Page, tmp_path: Path) -> None:
    for step in page.steps:
        if not step.checkout:
            take(step, tmp_path, installed(version, step.extra), patience_s=600)
    for store in tmp_path.rglob("store.sqlite"):
        told = subprocess.run(
            ["mustherd", "experiment", "show", store.parent, "--json"],
            env=installed(version, ""), cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        shown = json.loads(told.stdout)
        assert shown["status"] == "done", store.parent
        assert shown["trials"]["finished"] > 0, store.parent


def test_commands_left_out_name_what_a_checkout_alone_has() -> None:
    left_out = [step.text for page in PAGES for step in page.steps if step.checkout]
    assert left_out
    assert all("inventory/cloudlab" in text for text in left_out), left_out


def test_two_builds_are_the_same_bytes(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    first, second = installing.build(shared(tmp_path_factory) / "wheel"), installing.build(tmp_path)
    assert installing.digest(first) == installing.digest(second)
    archives = [next(wheel.parent.glob("*.tar.gz")) for wheel in (first, second)]
    assert installing.digest(archives[0]) == installing.digest(archives[1])


PLAIN = """
import mustherd
from importlib.util import find_spec
print(mustherd.__file__, *map(find_spec, ("ansible", "ansible_runner", "paramiko")))
"""


def test_it_is_plain_and_runs_from_no_checkout(installed: Installed, tmp_path: Path) -> None:
    version = max(pythons())
    told = subprocess.run(
        ["python", "-c", PLAIN],
        env=installed(version, ""), cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    where, *found = told.stdout.split()
    assert not Path(where).is_relative_to(ROOT)
    assert found == ["None"] * 3, "a plain install has Ansible or paramiko"


def test_its_manual_is_where_man_looks_beside_its_command(installed: Installed) -> None:
    commands = Path(installed(max(pythons()), "")["PATH"].partition(os.pathsep)[0])
    assert {page.name for page in (ROOT / "docs/man").iterdir()} == {
        page.name for page in (commands.parent / "share/man/man1").glob("mustherd*")
    }
