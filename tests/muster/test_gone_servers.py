"""A server that ends with its muster leaves nothing to put back."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mustherd.muster.guardian import Guardian
from mustherd.muster.journal import Journal
from mustherd.node.server.knobs import ServerCores, ServerThreads
from mustherd.node.server.process import ServerError
from mustherd.terms import NODE
from tests.typed import some


class EndedServer:
    """A server that has ended with its muster."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        def fail(*_: object) -> None:
            raise ServerError("it does not run")

        return fail


def test_what_ended_with_the_muster_is_not_told_as_left_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ended: Any = EndedServer()
    knobs = (ServerThreads(ended, 2, lambda: None), ServerCores(ended, (0, 1)))
    with contextlib.closing(Journal(tmp_path)) as journal:
        for knob in knobs:
            journal.record({(NODE, knob.info.name): 1})
        made = Guardian(knobs, journal, 3.0, close=lambda: None)
        made._shared.keep(journal.originals())
        made._put_back("its muster was killed")
        assert journal.originals() == {}
        word = some(journal.take_word())
    assert [(reading.held, reading.error) for reading in word.readings] == [(True, "")] * 2
    assert not [r for r in caplog.records if r.levelname == "ERROR"]
