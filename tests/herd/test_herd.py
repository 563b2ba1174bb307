"""Decisions, leases, links and membership together, through whatever a network and its processes can do."""

import random
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mustherd.herd.timing import BEAT_PERIOD_S, BEAT_WAIT_S, DECISION_GIVE_UP_S, LATE_AFTER_S, LEASE_S
from mustherd.shepherd.events import DecisionLost, HerdError, PresenceChanged
from mustherd.wire import messages as m
from mustherd.wire.shepherd_endpoint import Received
from tests.fakes import ORIGINALS
from tests.herd.simulated import STEP_S, Message, Network, World, setting
from tests.typed import a, some

HEAL_S = DECISION_GIVE_UP_S + LEASE_S + 3.0

networks = st.builds(
    Network,
    loss=st.sampled_from([0.0, 0.1, 0.4]),
    repeat=st.sampled_from([0.0, 0.3]),
    delay_s=st.sampled_from([0.0, 0.05, 0.3]),
)


def anything(world: World, dice: random.Random) -> None:
    """One thing that may happen to a herd."""
    name = dice.choice(list(world.processes))
    process = world.processes[name]
    match dice.choices(
        ["decide", "give back", "restart", "kill", "still", "new shepherd", "silence", "cut", "slow"],
        [8, 2, 1, 1, 2, 1, 1, 1, 1],
    )[0]:
        case "decide":
            world.decide(name, setting(dice.randint(2, 400), dice.randrange(1200, 2601, 100)))
        case "give back":
            world.decide(name, ())
        case "restart":
            world.kill_muster(name)
            world.start_muster(name)
        case "kill":
            world.kill_muster(name)
        case "still" if process.muster is not None:
            world.stand_still(name, dice.choice([0.5, 2.0, 4.0, 20.0]))
        case "new shepherd":
            world.start_shepherd()
        case "silence":
            world.stop_shepherd()
        case "slow":
            process.write_s = dice.choice([0.0, 0.5, 2.0, 5.0])
        case "cut":
            loss, world.network.loss = world.network.loss, 1.0
            world.run(dice.choice([0.5, 1.5, 4.0]))
            world.network.loss = loss
    world.run(dice.choice([0.02, 0.1, 0.5, 1.0, 3.0]))


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), network=networks, musters=st.integers(1, 2), steps=st.integers(5, 25))
def test_promises_hold_through_anything_and_the_herd_comes_right_again(
    seed: int, network: Network, musters: int, steps: int
) -> None:
    world = World(seed, network, musters)
    dice = random.Random(seed)
    world.run(1.0)
    for _ in range(steps):
        anything(world, dice)
    world.network = Network()
    if world.shepherd is None:
        world.start_shepherd()
    for name, process in world.processes.items():
        if process.muster is None:
            world.start_muster(name)
        process.still_until = process.write_s = 0.0
    world.run(HEAL_S)
    world.settled()
    # And it obeys again.
    for name in world.processes:
        future = some(world.decide(name, setting(50, 1500)))
        world.run(1.0)
        assert future.result(0).outcome == "applied"
    world.settled()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), network=networks)
def test_a_node_is_at_its_originals_once_its_shepherd_has_been_silent_for_a_lease(seed: int, network: Network) -> None:
    world = World(seed, network)
    world.run(3.0)
    world.decide("m0", setting(100, 1300))
    world.run(3.0)
    world.stop_shepherd()
    world.run(LEASE_S + 1.5)
    assert world.processes["m0"].node.values == ORIGINALS


def test_a_sound_network_applies_at_once_and_holds() -> None:
    world = World(1, Network())
    world.run(0.2)
    future = some(world.decide("m0", setting(100, 1300)))
    world.run(0.1)
    assert future.result(0).outcome == "applied"
    world.run(60.0)
    assert world.processes["m0"].node.values == {"itr-delay": 100, "dvfs": 1300}
    assert not world.lost("m0")
    assert not [e for e in world.events if isinstance(e, PresenceChanged) and e.change.after != "alive"]


def test_a_muster_whose_knobs_take_seconds_is_not_missed_and_loses_no_lease() -> None:
    world = World(1, Network())
    world.run(0.2)
    process = world.processes["m0"]
    process.write_s = DECISION_GIVE_UP_S / 2 + 1
    future = some(world.decide("m0", setting(100, 1300)))
    world.run(0.1)
    world.run(0.1)
    assert world.now > DECISION_GIVE_UP_S
    assert future.result(0).outcome == "applied"
    assert process.node.values == {"itr-delay": 100, "dvfs": 1300}
    back = some(world.decide("m0", ()))
    world.run(0.1)
    world.run(0.1)
    assert back.result(0).outcome == "restored"
    assert not world.lost("m0")
    assert not [e for e in world.events if isinstance(e, PresenceChanged) and e.change.after != "alive"]


def test_a_decision_that_comes_while_knobs_are_slowly_put_back_is_waited_for() -> None:
    world = World(1, Network())
    world.run(0.2)
    process = world.processes["m0"]
    world.decide("m0", setting(100, 1300))
    world.run(0.5)
    asked: list[Future[m.Applied]] = []
    process.write_s = DECISION_GIVE_UP_S
    write = some(process.node.itr.on_write)

    def put_back(value: int) -> None:
        world.network.loss = 0.0
        process.write_s, rest_s = 1.0, process.write_s
        write(value)
        process.write_s = rest_s
        if not asked:
            asked.append(some(world.decide("m0", setting(102, 1400))))
        write(value)
        process.write_s = 0.0

    process.node.itr.on_write = process.node.dvfs.on_write = put_back
    world.network.loss = 1.0
    world.run(LEASE_S + 1)
    world.run(3.0)
    assert asked[0].result(0).outcome == "applied"
    assert process.node.values == {"itr-delay": 102, "dvfs": 1400}


def test_one_whose_shepherd_ends_while_a_knob_is_written_puts_it_back_after_that() -> None:
    world = World(1, Network())
    world.run(0.2)
    process = world.processes["m0"]
    process.write_s = LEASE_S + 1
    world.decide("m0", setting(100, 1300))
    process.node.dvfs.on_write = lambda _value: world.stop_shepherd()
    world.run(0.1)
    assert process.node.values == ORIGINALS
    assert process.node.itr.writes == [100, 1]
    assert process.node.dvfs.writes == [1300, 2600]


def test_a_muster_that_stood_still_beyond_its_lease_comes_back_restored_and_it_is_noticed() -> None:
    world = World(1, Network(delay_s=0.01))
    world.run(0.2)
    world.decide("m0", setting(100, 1300))
    world.run(0.2)
    waiting = some(world.decide("m0", setting(102, 1300)))
    world.stand_still("m0", 4.0)
    world.run(1.5)
    assert [e.change.after for e in world.events if isinstance(e, PresenceChanged)] == ["alive", "late", "missing"]
    with pytest.raises(HerdError, match="missing"):
        waiting.result(0)
    world.run(3.0)
    assert world.processes["m0"].node.values == ORIGINALS
    world.settled()
    assert [e.change.after for e in world.events if isinstance(e, PresenceChanged)][-1] == "alive"


def test_a_muster_that_was_missing_for_less_than_its_lease_gives_back_what_nobody_wants_any_more() -> None:
    world = World(1, Network(delay_s=0.01))
    world.run(0.2)
    world.decide("m0", setting(100, 1300))
    world.run(0.5)
    world.stand_still("m0", 1.8)
    world.run(4.0)
    assert world.processes["m0"].node.values == ORIGINALS


def test_a_killed_muster_is_restored_by_its_next_life() -> None:
    world = World(1, Network())
    world.run(0.2)
    world.decide("m0", setting(100, 1300))
    world.run(0.2)
    world.kill_muster("m0")
    world.run(0.5)
    assert world.processes["m0"].node.values == {"itr-delay": 100, "dvfs": 1300}
    world.start_muster("m0")
    assert world.processes["m0"].node.values == ORIGINALS
    world.run(1.0)
    world.settled()


def test_a_decision_that_ends_on_the_node_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(1, Network())
    world.run(0.2)
    world.decide("m0", setting(100, 1300))
    world.run(0.5)
    # A shepherd that says by mistake that it wants nothing.
    monkeypatch.setattr(some(world.shepherd)._decisions, "wanted", lambda _name: 0)
    world.run(1.0)
    assert any(isinstance(e, DecisionLost) for e in world.events)


@contextmanager
def heard(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Received]]:
    """What musters say meanwhile, which is kept from the shepherd."""
    kept: list[Received] = []
    transmit = world.transmit

    def keep(to: str, life: int, message: Message) -> None:
        if isinstance(message, Received):
            kept.append(message)
        else:
            transmit(to, life, message)

    with monkeypatch.context() as patch:
        patch.setattr(world, "transmit", keep)
        yield kept


def test_a_beat_that_is_overtaken_by_an_answer_does_not_make_the_answered_decision_look_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(1, Network())
    world.run(0.2)
    with heard(world, monkeypatch) as beats:
        world.run(0.5)
    future = some(world.decide("m0", setting(100, 1300)))
    world.run(0.1)
    assert future.result(0).outcome == "applied"
    for beat in beats:
        assert a(m.MusterBeat, beat.message).in_force == 0
        some(world.shepherd).handle(beat)
    world.run(1.0)
    assert not world.lost("m0")


def test_a_hello_of_a_dead_life_that_nobody_met_keeps_the_living_one_out_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(1, Network())
    with heard(world, monkeypatch) as hello:
        world.run(0.1)
    world.kill_muster("m0")
    world.start_muster("m0")
    world.run(0.5)
    some(world.shepherd).handle(hello[0])
    world.run(7.0)
    future = some(world.decide("m0", setting(100, 1300)))
    world.run(0.5)
    assert future.result(0).outcome == "applied"


class Heard(World):
    """Notes when beats leave, both ways; `deaf` musters get nothing."""

    def __init__(self) -> None:
        self.beats: dict[str, list[float]] = {"shepherd": [], "muster": []}
        self.deaf = False
        super().__init__(1, Network())

    def transmit(self, to: str, life: int, message: Message) -> None:
        inner = message.message if isinstance(message, Received) else message
        if isinstance(inner, m.ShepherdBeat | m.MusterBeat):
            self.beats["shepherd" if isinstance(inner, m.ShepherdBeat) else "muster"].append(self.now)
        if to == "shepherd" or not self.deaf:
            super().transmit(to, life, message)


def test_a_muster_s_beat_answers_the_shepherd_s_and_needs_no_wake_up_of_its_own() -> None:
    world = Heard()
    world.run(20)
    shepherd, muster = world.beats["shepherd"], world.beats["muster"]
    assert len(muster) == pytest.approx(20 / BEAT_PERIOD_S, rel=0.1)
    own = [at for at in muster[2:] if not any(0 <= at - sent <= 2 * STEP_S for sent in shepherd)]
    assert own == []
    # Nobody's beats to answer: it beats on by itself, as often as it takes not to be late.
    world.deaf = True
    before = len(muster)
    world.run(LEASE_S - 1)
    pauses = [after - at for at, after in pairwise(muster[before - 1 :])]
    assert len(pauses) >= 3
    assert max(pauses) <= BEAT_WAIT_S + 2 * STEP_S < LATE_AFTER_S
