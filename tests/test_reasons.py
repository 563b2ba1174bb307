"""The catalogue is the one place that spells a reason code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd import reasons
from mustherd.reasons import Fault, Reason

PACKAGE = Path(reasons.__file__).parent
ELSEWHERE = {PACKAGE / "reasons.py", PACKAGE / "store/migration.py"}
"""Where codes may be spelt: the catalogue, and what reads the folders of versions that had other codes."""


def spelt(tree: ast.AST) -> Iterator[str]:
    """Where a module spells a reason code, gives an attempt one as text, or looks at the letters of one.

    The kind of an event, which `event` is called with, is another word.
    """
    kinds = [
        call.args[0]
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "event"
    ]
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if text in set(Reason) and node not in kinds:
                yield f"{node.lineno}: {text}"
            case ast.Call(keywords=keywords) if "state" in {k.arg for k in keywords}:
                yield from (
                    f"{k.value.lineno}: {ast.unparse(k)}"
                    for k in keywords
                    if k.arg == "reason" and isinstance(k.value, ast.JoinedStr)
                )
            case ast.Call(func=ast.Attribute(value=whose, attr="startswith" | "partition" | "removeprefix")):
                if ast.unparse(whose).rpartition(".")[2] == "reason":
                    yield f"{node.lineno}: {ast.unparse(node)}"


def test_no_module_spells_a_reason_code_itself() -> None:
    files = [file for file in PACKAGE.rglob("*.py") if file not in ELSEWHERE]
    assert len(files) > 100
    found = {str(file): list(spelt(ast.parse(file.read_text(encoding="utf-8")))) for file in files}
    assert {file: lines for file, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('reason = "knob-not-held"', 1),
        ('if reason in ("no-answer", "run-ended"): pass', 2),
        ('msgspec.structs.replace(trial, state=state, reason=f"muster-{presence}")', 1),
        ('trial.reason.startswith("muster-")', 1),
        ('store.event("muster-restarted", "said")', 0),
        ('Reason.KNOB_NOT_HELD == "knob"', 0),
        ('f"{count} trials"', 0),
    ],
)
def test_the_search_for_spelt_codes_finds_them(source: str, count: int) -> None:
    assert len(list(spelt(ast.parse(source)))) == count


def test_a_code_is_its_text_and_no_other_word_of_the_program() -> None:
    for reason in Reason:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", reason), reason
        assert reasons.of(str(reason)) is reason
        assert reason.name == reason.upper().replace("-", "_")


def test_a_code_of_another_version_is_one_that_counts_and_ends() -> None:
    assert reasons.of("from-the-future") is Reason.UNKNOWN_CODE
    assert reasons.of("") is Reason.UNKNOWN_CODE
    # Counted, or a trial that always ends with it would be run for ever.
    assert Reason.UNKNOWN_CODE.fault.counts


def test_what_the_muster_the_shepherd_or_an_operator_did_is_not_held_against_the_trial() -> None:
    assert {fault for fault in Fault if fault.counts} == {Fault.TRIAL, Fault.LOAD}
    assert not Reason.MUSTER_MISSING.fault.counts
    assert not Reason.SHEPHERD_DIED.fault.counts
    assert not Reason.RUN_ENDED.fault.counts
    # The gate on heartbeats is about the trial, whatever its name begins with.
    assert Reason.MUSTER_LATE.fault.counts


def test_every_sentence_is_one() -> None:
    for reason in Reason:
        assert re.fullmatch(r"[A-Z].*[^.]\.", reason.sentence), reason
    assert len({reason.sentence for reason in Reason}) == len(Reason)
