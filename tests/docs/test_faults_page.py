"""The page of faults has a row for every attack: of campaigns, by hand, and each reader and port; none is open."""

import re
import xml.etree.ElementTree as ET

import pytest

from tests.faults import attacks, by_hand, came, experiment, table
from tests.faults.by_hand import ROOT, SCRIPTS, numbered, there
from tests.fuzz import run
from tests.fuzz.ports import NAMES

PAGE = (ROOT / "docs/explain/faults.md").read_text(encoding="utf-8")
ROWS = {
    cells[0]: cells[1:]
    for line in PAGE.splitlines()
    if (cells := line.removeprefix("| ").removesuffix(" |").split(" | "))
}
EVERY = (*attacks.ATTACKS, *experiment.ATTACKS)
BY_HAND = numbered()
MANY, SOME = 1_000_000, 50
"""Frames to a port, and inputs to a reader, of which some take a database each."""


@pytest.mark.parametrize("attack", EVERY, ids=lambda attack: attack.kind.name)
def test_what_a_campaign_can_do_has_its_row(attack: came.Attack | experiment.Attack) -> None:
    times, expected, seen, figures, tests = ROWS[attack.kind.name]
    assert int(times) > 0
    assert expected == attack.expected
    assert seen == "as expected"
    assert re.search(r"\d", figures)
    assert re.findall(r"`([^`]+)`", tests) == list(attack.tests)
    assert attack.tests
    assert [name for name in attack.tests if not there(name)] == []


@pytest.mark.parametrize("row", BY_HAND, ids=lambda row: str(row.number))
def test_what_was_done_by_hand_has_its_row(row: by_hand.Numbered) -> None:
    name = f"{row.number} ({', '.join(row.scripts)})" if row.scripts else f"{row.number}"
    done, expected, seen, figures = ROWS[name]
    assert (done, expected, seen) == (row.done, row.holds, "as expected")
    ran = re.match(r"(\d+) tests in [\d.]+ s", figures)
    assert ran is not None
    assert int(ran[1]) >= len(row.tests)


def test_what_a_report_says_of_a_test_of_a_class_is_found() -> None:
    """It was told as one that did not run."""
    row = by_hand.Numbered(1, "done", "holds", ("tests/a/test_b.py::TestC::test_d", "tests/a/test_b.py::test_e"))
    report = ET.fromstring(  # noqa: S314 (our own)
        '<testsuite><testcase classname="tests.a.test_b.TestC" name="test_d[x]" time="1.0" />'
        '<testcase classname="tests.a.test_b" name="test_e" time="0.5"><failure message="why" /></testcase></testsuite>'
    )
    (came,) = by_hand.seen([row], report)
    assert (came.ran, came.seconds) == (2, 1.5)
    assert came.faults == ["tests/a/test_b.py::test_e: failure, why"]


def test_every_script_has_a_row() -> None:
    assert set(SCRIPTS.values()) <= {row.number for row in BY_HAND}
    folder = ROOT.parent / "shared" / "attacks"
    scripts = {re.match(r"[a-z]\d", file.name) for file in folder.glob("*_*")} - {None}
    assert {found[0] for found in scripts if found is not None} <= set(SCRIPTS)


@pytest.mark.parametrize("name", [*run.names(), *NAMES])
def test_every_reader_and_port_has_its_row(name: str) -> None:
    inputs, *_, seen = ROWS[name]
    assert seen == "as expected"
    assert int(inputs.replace(",", "")) >= (MANY if name in NAMES else SOME)


def test_nothing_is_open_and_all_of_it_is_made() -> None:
    assert f"| {table.OPEN} |" not in PAGE
    assert "did not run" not in PAGE
    assert PAGE.startswith(table.INTRODUCTION)
    assert "1000 whole musters" in PAGE
    assert "nothing was wrong with any as a whole" in PAGE
