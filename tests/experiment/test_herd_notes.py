"""What is said of a node that could not be put back."""

from pathlib import Path

import pytest

from mustherd.experiment import left_behind
from mustherd.experiment.herd_notes import left_of, left_text
from mustherd.muster.pasture import Pasture
from mustherd.muster.restore import Restoration
from mustherd.terms import UNTOLD, Setting
from mustherd.wire.messages import Applied
from tests.fakes import FakeNode, MemoryJournal
from tests.herding import RANGES
from tests.report.conftest import Make, make

__all__ = ["make"]


def test_what_is_back_and_still_in_its_journal_is_left(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of an experiment said that all was put back, and the next start would do so once more."""
    store = make("x", trials=[], done=False)
    config = store.folder / left_behind.HERD / "muster-1" / left_behind.CONFIG
    config.parent.mkdir(parents=True)
    config.write_text(f'muster = "muster-1"\nstate = "{tmp_path}"\n[twin]\n')
    monkeypatch.setattr(left_behind, "left_changed", lambda *_, **__: {("node-0", "dvfs"): 2600})
    monkeypatch.setattr(left_behind, "restore", lambda _: Restoration(readings=(), untold="full"))
    said = "the node of muster muster-1 is as it was found, and its journal doesn't know: full"
    assert left_behind.put_back(store) == said
    assert [event.text for event in store.events()][-1] == said


def test_what_a_muster_left_is_said_without_saying_twice_that_it_is_left() -> None:
    """'the node of muster muster-1 is NOT as it was found: the node is NOT as it was found: dvfs ...' was told."""
    node = FakeNode()
    pasture = Pasture(node.knobs, RANGES, MemoryJournal())
    pasture.apply([Setting("node-0", "dvfs", 1300)])
    node.dvfs.deaf = True
    readings = pasture.restore()
    detail = pasture.left(readings)
    assert detail.startswith("the node is NOT as it was found: dvfs on node-0 was found at ")
    left = left_of(Applied(seq=1, outcome="failed", readings=readings, detail=detail))
    said = "the node of muster muster-1 is NOT as it was found: dvfs on node-0 was found at "
    assert left_text("muster-1", left).startswith(said)
    # Nor of one that is back that it isn't.
    assert left_text("muster-1", f"{UNTOLD}full") == (
        "the node of muster muster-1 is as it was found, and its journal doesn't know: full"
    )
