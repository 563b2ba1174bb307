"""Two shepherds with one key, of which now the one, now the other has the address: a muster obeys one at a time.

As a copied machine, or one that was started again elsewhere while the first one still lives.
"""

from pathlib import Path

import pytest

from mustherd.shepherd.events import HerdError
from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import Setting
from mustherd.wire.keys import create, for_member, for_shepherd
from tests.fakes import ORIGINALS, FakeNode
from tests.herding import PATIENCE_S, muster, shepherd
from tests.log_herd import Wire
from tests.waiting import until

pytestmark = pytest.mark.herd

FIRST, SECOND = (Setting("node-0", "dvfs", 1300),), (Setting("node-0", "dvfs", 1500),)


def set_knobs(running: Shepherd, settings: tuple[Setting, ...]) -> str:
    return running.decide("muster-1", settings).result(PATIENCE_S).outcome


def test_a_muster_obeys_the_one_that_has_the_address_and_begins_with_a_node_as_it_was_found(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    create(keys, ["shepherd", "muster-1"])
    node = FakeNode()
    with (
        shepherd(keys=for_shepherd(keys)) as (one, ones),
        shepherd(keys=for_shepherd(keys)) as (two, twos),
    ):
        wire = Wire(ones)
        try:
            with muster(wire.ports, tmp_path / "state", node=node, keys=for_member(keys, "muster-1")):
                until(lambda: one.musters().get("muster-1"))
                assert set_knobs(one, FIRST) == "applied"
                assert node.dvfs.value == 1300
                wire.turn(twos)
                # It is known to the second one by its hello, and is put back when that one's welcome comes. What is
                # decided in between waits for it: there is no moment at which the one acts on what the other left.
                until(lambda: two.musters().get("muster-1"))
                assert set_knobs(two, SECOND) == "applied"
                assert node.dvfs.writes == [1300, ORIGINALS["dvfs"], 1500]
                until(lambda: one.musters()["muster-1"].presence != "alive")
                # What the first one still says is heard by nobody.
                before = list(node.dvfs.writes)
                with pytest.raises(HerdError):
                    set_knobs(one, FIRST)
                assert node.dvfs.writes == before
                assert node.dvfs.value == 1500
                wire.turn(ones)
                until(lambda: one.musters()["muster-1"].presence == "alive")
                assert set_knobs(one, FIRST) == "applied"
                assert node.dvfs.writes == [*before, ORIGINALS["dvfs"], 1300]
        finally:
            wire.close()
        assert node.values == ORIGINALS
