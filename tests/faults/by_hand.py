"""make test-attacks: the tests that stand for each attack of docs/explain/attacks.md, run, and their results as JSON.

The page of faults has a row for each. Figures are what tests record (`record_property`), beside how many ran and for
how long.
"""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explain/attacks.md"
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
NAME = re.compile(r"`([^`]+::[^`]+)`")

ALL_TIERS = "long or not long or night or root or memcached or servers"
"""Always true; a tier's tests run where it is named."""
REFERENCE = "measured "
"""What figures that a test records begin with."""

SCRIPTS = {
    "c1": 30, "d1": 35, "d2": 41, "d3": 3, "d4": 25, "e1": 34, "f1": 7, "f2": 19, "h1": 15, "j1": 13, "j2": 13,
    "k1": 9, "k2": 2, "k3": 2, "k4": 31, "k6": 10, "k7": 1, "l1": 4, "n1": 25, "o1": 11, "p1": 32, "r1": 42,
    "s1": 5, "s2": 5, "s4": 6, "s6": 14, "t1": 33, "z1": 36, "z2": 36, "z3": 36,
}  # fmt: skip
"""Scripts that showed an attack first, and the number of the row that has it."""


@dataclass(frozen=True)
class Numbered:
    """A row of the page of attacks."""

    number: int
    done: str
    holds: str
    tests: tuple[str, ...]

    @property
    def scripts(self) -> list[str]:
        return [name for name, number in SCRIPTS.items() if number == self.number]


@dataclass
class Seen:
    """What came of the tests of one row."""

    number: int
    ran: int = 0
    seconds: float = 0.0
    figures: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def numbered(page: str | None = None) -> list[Numbered]:
    """All rows."""
    text = PAGE.read_text(encoding="utf-8") if page is None else page
    return [
        Numbered(int(number), done, holds, tuple(NAME.findall(tests)))
        for number, done, holds, tests in ROW.findall(text)
    ]


def there(test: str) -> bool:
    """Whether a test of that name is there."""
    file, _, name = test.partition("::")
    return name in _tests_in(ROOT / file)


@cache
def _tests_in(path: Path) -> frozenset[str]:
    return frozenset(_names(ast.parse(path.read_text(encoding="utf-8")))) if path.is_file() else frozenset()


def _names(tree: ast.AST, within: str = "") -> Iterator[str]:
    """Tests of a module as pytest names them; a value is one where a class was made by a call."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.ClassDef(name=name):
                yield from _names(node, f"{within}{name}::")
            case ast.FunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
                yield within + name


def seen(rows: Sequence[Numbered], report: ET.Element) -> list[Seen]:
    """What pytest's report says of each row: a test that failed, was left out, or did not run at all is a fault."""
    found: dict[str, list[ET.Element]] = {}
    for case in report.iter("testcase"):
        name = case.get("name", "").partition("[")[0]
        found.setdefault(f"{case.get('classname', '')}.{name}", []).append(case)
    return [_seen(row, found) for row in rows]


def _seen(row: Numbered, found: Mapping[str, Sequence[ET.Element]]) -> Seen:
    came = Seen(row.number)
    for test in row.tests:
        # pytest's report has modules and classes by their dotted names.
        cases = found.get(test.replace(".py::", "::").replace("::", ".").replace("/", "."), ())
        if not cases:
            came.faults.append(f"{test} did not run")
        for case in cases:
            came.ran += 1
            came.seconds += float(case.get("time", "0"))
            for figure in case.iter("property"):
                if (what := figure.get("name", "")).startswith(REFERENCE):
                    came.figures[what.removeprefix(REFERENCE)] = figure.get("value", "")
            for kind in ("failure", "error", "skipped"):
                if (bad := case.find(kind)) is not None:
                    came.faults.append(f"{test}: {kind}, {bad.get('message', '').splitlines()[0][:150]}")
    came.seconds = round(came.seconds, 1)
    return came


def run(rows: Sequence[Numbered], workers: int) -> list[Seen]:
    """Run all tests of these rows, each once."""
    tests = list(dict.fromkeys(test for row in rows for test in row.tests))
    with tempfile.TemporaryDirectory(prefix="by-hand-") as made:
        report = Path(made) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", ALL_TIERS, f"--junitxml={report}"]
        subprocess.run(
            [*command, "-o", "junit_family=xunit1", "-n", str(workers), "--dist", "worksteal", *tests],
            cwd=ROOT,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        return seen(rows, ET.parse(report).getroot())  # noqa: S314 (our own)


def as_json(came: Sequence[Seen]) -> list[dict[str, Any]]:
    """JSON types."""
    return [one.__dict__ for one in came]


def main() -> int:
    """Run them; 1 when one shows a fault."""
    parser = argparse.ArgumentParser(prog="make test-attacks")
    parser.add_argument("--json", type=Path, default=Path("attacks.json"))
    parser.add_argument("--only", type=int, action="append", help="the number of a row; again for more")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    came = run([row for row in numbered() if options.only is None or row.number in options.only], options.workers)
    options.json.write_text(json.dumps(as_json(came), indent=1) + "\n")
    for one in came:
        print(f"{one.number}: {one.ran} tests, {one.seconds:g} s, {'; '.join(one.faults) or 'as expected'}")
    return int(any(one.faults for one in came))


if __name__ == "__main__":
    sys.exit(main())
