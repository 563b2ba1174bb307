"""Pages of the documentation as what they tell a reader to do: files to write, commands to give.

A fence ```console holds commands after `$ `; `exit=N` after it names the exit code to expect. A fence with `file=NAME`
is a file of the reader's folder. `tier=NAME` leaves a fence to that tier's own tests (make test-NAME); `checkout` marks
commands that need one, which who has installed the package alone can't give, and `extra=NAME` those that need an extra
of the package.
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))


class Step(NamedTuple):
    """One thing that a page tells its reader to do."""

    kind: str
    """A file's name, or `$`."""
    text: str
    code: int = 0
    """The exit code that is expected."""
    checkout: bool = False
    """Whether it needs a checkout."""
    extra: str = ""
    """The extra of the package that it needs."""


@dataclass
class Page:
    path: Path
    steps: list[Step] = field(default_factory=list)

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


def read(path: Path, tier: str = "") -> Page:
    """A page's steps: those of no tier, or of one."""
    page = Page(path)
    for fence in FENCE.finditer(path.read_text()):
        info, body = fence["info"], fence["body"]
        its_tier = re.search(r"tier=(\S+)", info)
        if (its_tier[1] if its_tier else "") != tier:
            continue
        name = re.search(r"file=(\S+)", info)
        if name:
            page.steps.append(Step(name[1], body))
        elif info.startswith("console"):
            code, extra = re.search(r"exit=(\d+)", info), re.search(r"extra=(\S+)", info)
            lines = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
            assert lines, f"{path}: a console fence without commands"
            more = ("checkout" in info.split(), extra[1] if extra else "")
            page.steps += [Step("$", line, int(code[1]) if code else 0, *more) for line in lines]
    return page


def take(step: Step, folder: Path, environment: Mapping[str, str], patience_s: float = 120) -> None:
    """Do what a step says, in a folder, and see that it ends as the page says."""
    if step.kind != "$":
        (folder / step.kind).write_text(step.text)
        return
    done = subprocess.run(
        ["bash", "-euc", step.text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=patience_s,
        check=False,
    )
    assert done.returncode == step.code, f"{step.text}\n{done.stdout}\n{done.stderr}"
