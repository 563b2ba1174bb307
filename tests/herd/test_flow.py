"""The flow of log blocks over a channel that loses, repeats and reorders: nothing lost, nothing twice."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mustherd.herd.flow import WINDOW_BLOCKS, Receiver, Sender
from mustherd.herd.timing import FLOW_RESEND_S

KEPT = 100


class Flow(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.sender: Sender[int] = Sender(max_blocks=KEPT)
        self.receiver = Receiver()
        self.blocks: list[tuple[int, int]] = []
        self.credits: list[tuple[int, int]] = []
        self.accepted: list[int] = []
        self.taken: list[int] = []
        self.body = 0
        self.highest_allowed = WINDOW_BLOCKS

    def ship(self) -> None:
        for number, block in self.sender.due(self.now):
            assert number <= self.highest_allowed
            self.blocks.append((number, block))

    @rule(count=st.integers(1, 40))
    def add(self, count: int) -> None:
        for _ in range(count):
            self.body += 1
            kept = self.sender.kept
            number = self.sender.add(self.body)
            assert (number is None) == (kept >= KEPT)
            if number is not None:
                self.accepted.append(self.body)
        self.ship()

    @rule(seconds=st.floats(0.01, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.ship()

    @rule()
    def channel_full(self) -> None:
        for number, _ in self.sender.due(self.now):
            self.sender.not_sent(number)
            break

    def arrive(self, block: tuple[int, int]) -> None:
        if self.receiver.offer(block[0]):
            self.taken.append(block[1])
            self.receiver.took(block[0])
        self.credits.append((self.receiver.taken, self.receiver.until))

    @precondition(lambda self: self.blocks)
    @rule(pick=st.integers(0, 10**6), repeat=st.booleans())
    def block_arrives(self, pick: int, repeat: bool) -> None:
        block = self.blocks[pick % len(self.blocks)]
        if not repeat:
            self.blocks.remove(block)
        self.arrive(block)

    @rule()
    def blocks_arrive(self) -> None:
        blocks, self.blocks = self.blocks, []
        for block in blocks:
            self.arrive(block)

    @precondition(lambda self: self.credits)
    @rule(pick=st.integers(0, 10**6))
    def credit_arrives(self, pick: int) -> None:
        ack, until = self.credits[pick % len(self.credits)]
        self.highest_allowed = max(self.highest_allowed, until)
        self.sender.credit(ack, until, self.now)
        self.ship()

    @rule()
    def lose_all(self) -> None:
        self.blocks.clear()
        self.credits.clear()

    @invariant()
    def in_order_exactly_once(self) -> None:
        assert self.taken == self.accepted[: len(self.taken)]
        assert self.sender.kept <= KEPT
        assert self.sender.last == len(self.accepted)

    def teardown(self) -> None:
        for _ in range(12):
            self.wait(FLOW_RESEND_S)
            self.blocks_arrive()
            credits, self.credits = self.credits, []
            for ack, until in credits:
                self.highest_allowed = max(self.highest_allowed, until)
                self.sender.credit(ack, until, self.now)
        assert self.taken == self.accepted
        assert self.sender.kept == 0
        assert self.sender.next_due() == float("inf")


Flow.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestFlow = Flow.TestCase


def test_answers_to_blocks_behind_a_lost_one_do_not_put_its_resend_off():
    sender: Sender[str] = Sender()
    now = 0.0
    sender.add("lost")
    sender.due(now)
    for _ in range(20):
        now += FLOW_RESEND_S / 10
        sender.add("next")
        again = [number for number, _ in sender.due(now)]
        if 1 in again:
            return
        sender.credit(0, WINDOW_BLOCKS, now)
    raise AssertionError("block 1 was never sent again")
