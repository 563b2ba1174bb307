"""What is said of a node that could not be put back."""

from mustherd.experiment.herd_notes import left_of, left_text
from mustherd.muster.pasture import Pasture
from mustherd.terms import UNTOLD, Setting
from mustherd.wire.messages import Applied
from tests.fakes import FakeNode, MemoryJournal
from tests.herding import RANGES


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
