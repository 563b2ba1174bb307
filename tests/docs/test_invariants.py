"""Every invariant that the docs promise names the code that holds it and tests that fail without it."""

import re
from pathlib import Path

import pytest

from mustherd.experiment.scheduler import INVARIANTS
from tests.faults.by_hand import NAME, ROW, there

ROOT = Path(__file__).parents[2]
ROWS = ROW.findall((ROOT / "docs/explain/invariants.md").read_text(encoding="utf-8"))


def test_every_invariant_has_its_row() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 18))
    assert set(INVARIANTS) <= {int(number) for number, *_ in ROWS}


@pytest.mark.parametrize(("number", "says", "held_by", "tests"), ROWS)
def test_the_code_and_the_tests_that_a_row_names_are_there(number: str, says: str, held_by: str, tests: str) -> None:
    files = [name for name in re.findall(r"`([^`]+)`", held_by) if "/" in name or name.endswith(".py")]
    assert [name for name in files if not (ROOT / "mustherd" / name).is_file()] == []
    assert files or "`pyproject.toml`" in held_by
    found = re.findall(r"`([^`]+)`", tests)
    assert found
    for name in found:
        assert there(name), name


ATTACKS = ROW.findall((ROOT / "docs/explain/attacks.md").read_text(encoding="utf-8"))


def test_every_attack_has_its_row() -> None:
    assert [int(number) for number, *_ in ATTACKS] == list(range(1, len(ATTACKS) + 1))
    assert len(ATTACKS) >= 20


@pytest.mark.parametrize(("number", "done", "holds", "tests"), ATTACKS)
def test_the_tests_that_stand_for_an_attack_are_there(number: str, done: str, holds: str, tests: str) -> None:
    found = NAME.findall(tests)
    assert found
    for name in found:
        assert there(name), name
