"""Two musters on one machine: who has which knob is said."""

from typing import cast

from mustherd.experiment.owners import owner_of, owners
from mustherd.node.kinds import ITR_DELAY
from mustherd.terms import Facts, KnobInfo, KnobKind
from mustherd.wire.messages import MusterView

DVFS = KnobKind(name="dvfs", unit="MHz")


def view(name: str, host: str, *knobs: KnobInfo) -> MusterView:
    facts = Facts(kind="linux", text={"hostname": host} if host else {})
    return cast(MusterView, type("View", (), {"name": name, "facts": facts, "knobs": knobs}))


CLOCKS = [DVFS.offer(f"core-{k}", low=1200, high=2600) for k in range(2)]
DELAY = ITR_DELAY.offer(low=2, high=400)
SHARED = [view("a", "node1", *CLOCKS), view("b", "node1", DELAY)]
HERD = [*SHARED, view("c", "node2", DELAY), view("t1", ""), view("t2", "")]


def test_who_has_what_of_a_machine_that_is_shared() -> None:
    assert owners(HERD) == {"node1": "a has dvfs of 2 sheep; b has itr-delay"}
    assert owners([view("a", "x", DELAY), view("b", "x")]) == {"x": "a has itr-delay; b has no knob"}
    assert owners(HERD[1:]) == {}


def test_whose_a_knob_is_that_a_muster_has_not() -> None:
    assert owner_of("itr-delay", HERD[0], HERD) == "b"
    assert owner_of("rapl-limit", HERD[0], HERD) == ""
    assert owner_of("dvfs", HERD[2], HERD) == ""
