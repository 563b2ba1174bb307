"""Every command that a document shows is run, in the document's order, as a reader of a checkout would (pages.py).

`make` targets are what CI itself runs, so .ci/run must name them.
"""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCUMENTS, ROOT, Page, read, take

PAGES = [page for path in DOCUMENTS if (page := read(path)).steps]
TIERS = {"testbed": ["docs/how-to/rehearse.md", "docs/how-to/reservation.md"]}
"""Pages with fences for a tier, which that tier's tests name."""


FIRST = ("README.md", "CONTRIBUTING.md")
"""Pages for a checkout, which `make test` runs. The others are for what is installed too: CI runs those from the wheel,
on each Python (make test-newcomer), and from a checkout by night."""


@pytest.mark.process
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=str(page), marks=[] if str(page) in FIRST else [pytest.mark.night]) for page in PAGES],
)
def test_a_page_does_what_it_shows(page: Page, tmp_path: Path) -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    makefile = (ROOT / "Makefile").read_text()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    # A reader stands in the repository's root, but what is written must not go there.
    for name in ("ansible.cfg", "provision.yml", "playbooks", "roles", "inventory"):
        (tmp_path / name).symlink_to(ROOT / name)
    for step in page.steps:
        if step.kind == "$" and step.text.startswith("make "):
            target = step.text.split()[1]
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{step.text}: there is no such target"
            used = re.search(rf"\bmake {target}\b", ci) or re.search(
                rf"^(test|unit):.*\n.*\b{target}\b", makefile, re.MULTILINE
            )
            assert used or target == "setup", f"{step.text}: neither CI nor `make test` runs it"
        else:
            take(step, tmp_path, environment)


def test_every_fence_is_somebodys() -> None:
    named = {
        info[1] for path in DOCUMENTS for info in re.finditer(r"^```console.*\btier=(\S+)", path.read_text(), re.M)
    }
    assert named == set(TIERS)
    for tier, pages in TIERS.items():
        assert [str(path.relative_to(ROOT)) for path in DOCUMENTS if read(path, tier).steps] == pages


def test_links_between_documents_lead_somewhere() -> None:
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path}: {target} doesn't exist"


def test_every_dependency_has_its_line() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    text = (ROOT / "docs" / "dependencies.md").read_text()
    for requirement in [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]:
        name = re.split(r"[<>=~!\[ ]", requirement)[0]
        assert name in text, f"{name} has no line in docs/dependencies.md"


def test_the_picture_of_the_house_is_that_of_its_layers() -> None:
    import runpy

    made = runpy.run_path(str(ROOT / "docs" / "make_architecture.py"))
    assert made["PICTURE"].read_text() == made["draw"](), "draw it again: python docs/make_architecture.py"
