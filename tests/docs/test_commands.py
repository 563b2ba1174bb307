"""Every command that a document shows is run, in the document's order, as a reader would.

A fence ```console holds commands after `$ `; `exit=N` after it names the exit code to expect. A fence with `file=NAME`
is a file of the document's own folder. `make` targets are what CI itself runs, so .ci/run must name them. `tier=NAME`
leaves a fence to that tier's own tests (make test-NAME).
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass
class Page:
    path: Path
    steps: list[tuple[str, str, int]] = field(default_factory=list)
    """(kind, text, exit code): kind is a file's name or `$`."""


def read(path: Path, tier: str = "") -> Page:
    page = Page(path)
    for fence in FENCE.finditer(path.read_text()):
        info, body = fence["info"], fence["body"]
        its_tier = re.search(r"tier=(\S+)", info)
        if (its_tier[1] if its_tier else "") != tier:
            continue
        name = re.search(r"file=(\S+)", info)
        if name:
            page.steps.append((name[1], body, 0))
        elif info.startswith("console"):
            code = re.search(r"exit=(\d+)", info)
            lines = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
            assert lines, f"{path}: a console fence without commands"
            page.steps += [("$", line, int(code[1]) if code else 0) for line in lines]
    return page


DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
PAGES = [page for path in DOCUMENTS if (page := read(path)).steps]
TIERS = {"testbed": ["docs/how-to/rehearse.md", "docs/how-to/reservation.md"]}
"""Pages with fences for a tier, which that tier's tests name."""


FIRST = ("README.md", "CONTRIBUTING.md")
"""Pages that `make test` runs; the others are run by `make test-long`."""


def named(page: Page) -> str:
    return str(page.path.relative_to(ROOT))


@pytest.mark.process
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=named(page), marks=[] if named(page) in FIRST else [pytest.mark.long]) for page in PAGES],
)
def test_a_page_does_what_it_shows(page: Page, tmp_path: Path) -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    makefile = (ROOT / "Makefile").read_text()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    # A reader stands in the repository's root, but what is written must not go there.
    for name in ("ansible.cfg", "provision.yml", "playbooks", "roles", "inventory"):
        (tmp_path / name).symlink_to(ROOT / name)
    for kind, text, code in page.steps:
        if kind != "$":
            (tmp_path / kind).write_text(text)
            continue
        if text.startswith("make "):
            target = text.split()[1]
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{text}: there is no such target"
            used = re.search(rf"\bmake {target}\b", ci) or re.search(
                rf"^(test|unit):.*\n.*\b{target}\b", makefile, re.MULTILINE
            )
            assert used or target == "setup", f"{text}: neither CI nor `make test` runs it"
            continue
        done = subprocess.run(
            ["bash", "-euc", text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{text}\n{done.stdout}\n{done.stderr}"


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
