"""A daemon's log: what floods it is held back, counted, and told; and how a process ended, in words."""

import logging

import pytest

from mustherd.daemon import how_ended
from mustherd.log_lines import Bounded


def record(text: str, line: int = 1, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord("mustherd.x", level, "x.py", line, "refused: %s", (text,), None)


def test_lines_of_one_kind_are_bounded_and_what_was_held_back_is_told() -> None:
    now = [0.0]
    bounded = Bounded(lambda: now[0])
    passed = sum(bounded.filter(record(f"reason {k}")) for k in range(Bounded.MOST + 50))
    assert passed == Bounded.MOST
    # Another kind, and what is critical, are not held back by it.
    assert bounded.filter(record("y", line=2))
    assert bounded.filter(record("y", level=logging.CRITICAL))
    now[0] = Bounded.PERIOD_S - 1
    assert not bounded.filter(record("z"))
    now[0] = Bounded.PERIOD_S
    next_one = record("z")
    assert bounded.filter(next_one)
    assert next_one.getMessage() == "refused: z (51 more like this were held back)"
    plain = record("z")
    assert bounded.filter(plain)
    assert plain.getMessage() == "refused: z"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-9, "was killed by signal 9 (SIGKILL)"),
        # It has no name.
        (-35, "was killed by signal 35"),
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (None, "ended"),
    ],
)
def test_how_a_process_ended_is_said_in_one_way(code: int | None, said: str) -> None:
    assert how_ended(code) == said
