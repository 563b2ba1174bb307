"""Unix time that nobody sets back."""

import time
from pathlib import Path

import pytest

from mustherd import unix_time

MUSTHERD = Path(unix_time.__file__).parent


def test_it_is_the_clock_s_and_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    before = unix_time.now()
    assert before == pytest.approx(time.time(), abs=5)
    monkeypatch.setattr(time, "time", lambda: before + 86_400)
    assert 0 <= unix_time.now() - before < 60


@pytest.mark.parametrize("part", ["store", "keep"])
def test_what_is_stored_has_its_times_from_it(part: str) -> None:
    by_the_clock = [path.name for path in (MUSTHERD / part).glob("*.py") if "time.time," in path.read_text("utf-8")]
    assert by_the_clock == []
