"""The wheel in an empty folder, on each Python that is here: every command of the pages that needs no checkout.

The oldest Python gets it by pip, the others by uv, and so does each the environment with an extra: what is installed is
the newest that the package allows.
"""

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import date
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
        versions = [*pythons()] if "newcomer" in metafunc.config.option.markexpr else []
        turn = date.today().toordinal() if os.environ.get("EACH") == "once" else None
        cases = [
            pytest.param(version, page, id=f"{version}-{page}", marks=pytest.mark.xdist_group(version))
            for version, page in pairs(versions, PAGES, turn)
        ]
        metafunc.parametrize(("version", "page"), cases)


def pairs(versions: Sequence[str], pages: Sequence[Page], turn: int | None) -> list[tuple[str, Page]]:
    """Every page on every version; in a turn each but the tutorial on one of them, another than in the turn before."""
    return [
        (version, page)
        for place, page in enumerate(pages)
        for number, version in enumerate(versions)
        if turn is None or page.path.stem == "tutorial" or (place + turn) % len(versions) == number
    ]


def test_turns_bring_every_page_to_every_python() -> None:
    versions = ("a", "b", "c")
    turns = [{(v, str(page)) for v, page in pairs(versions, PAGES, turn)} for turn in range(len(versions))]
    assert set().union(*turns) == {(v, str(page)) for v in versions for page in PAGES}
    assert all(len(turn) == len(versions) + len(PAGES) - 1 for turn in turns)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made: dict[tuple[str, str], Mapping[str, str]] = {}
    common = shared(tmp_path_factory)

    def get(version: str, extra: str) -> Mapping[str, str]:
        if (version, extra) not in made:
            folder = tmp_path_factory.mktemp("installed")
            # pip takes a minute of processor time for an environment; once is enough to see that it can.
            by_pip = version == min(pythons()) and not extra
            by_uv = None if by_pip else installing.uv(common / "uv")
            wheel = installing.build(common / "wheel")
            extras = f"[{extra}]" if extra else ""
            has = installing.install(pythons()[version], wheel, folder / "venv", uv=by_uv, extras=extras)
            made[version, extra] = {**has, "HOME": str(folder)}
        return made[version, extra]

    return get


HOW_IT_STANDS = """
import json, sys, mustherd
views = [mustherd.open(folder).view() for folder in sys.argv[1:]]
print(json.dumps([(view.status, view.counts["finished"]) for view in views]))
"""


def test_a_page_does_what_it_shows(installed: Installed, version: str, page: Page, tmp_path: Path) -> None:
    for step in page.steps:
        if not step.checkout:
            take(step, tmp_path, installed(version, step.extra), patience_s=600)
    if folders := [store.parent for store in tmp_path.rglob("store.sqlite")]:
        told = subprocess.run(
            ["python", "-c", HOW_IT_STANDS, *folders],
            env=installed(version, ""), cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for folder, (status, finished) in zip(folders, json.loads(told.stdout), strict=True):
            assert status == "done", folder
            assert finished > 0, folder


def test_commands_left_out_name_what_a_checkout_alone_has() -> None:
    left_out = [step.text for page in PAGES for step in page.steps if step.checkout]
    assert left_out
    assert all("inventory/cloudlab" in text for text in left_out), left_out


def test_a_checkout_is_set_up_by_uv_where_it_is_there_and_by_pip_where_that_fails(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """What pip does then is not waited for: it is CI's own way."""
    uv = installing.uv(shared(tmp_path_factory) / "uv")
    made = tmp_path / "made"
    done = subprocess.run(
        ["make", "--no-print-directory", "setup", f"VENV={made}", f"UV={uv}"],
        cwd=ROOT, env=installing.plain(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"setting up {made} with Python 3" in done.stdout
    assert " by uv " in done.stdout
    said = subprocess.run([made / "bin/mustherd", "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("mustherd ")
    again = ["make", "--no-print-directory", "setup", f"VENV={made}", f"UV={uv}"]
    assert "setting up" not in subprocess.run(again, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    shown = subprocess.run([*again, "UV=/bin/false", "-n", "-B"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "uv could not; pip does it" in shown.stdout
    assert f"{made}/bin/pip install" in shown.stdout


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
