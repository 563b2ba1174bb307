"""The flow of log blocks over a channel that loses, repeats and reorders, between lives that end at any moment."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mustherd.herd.flow import Receiver, Sender
from mustherd.herd.timing import FLOW_RESEND_S

WINDOW = 1000


class Flow(RuleBasedStateMachine):
    """Blocks are their own numbers; their sizes follow from them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.shepherd_epoch = 1
        self.window = WINDOW
        self.added = 0
        self.spooled: list[int] = []
        self.sender: Sender[int] = Sender()
        self.receiver = Receiver()
        self.offers: list[tuple[int, int]] = []
        self.blocks: list[tuple[int, int]] = []
        self.credits: list[tuple[int, int, int, int]] = []
        self.disk: list[int] = []
        self.pending: list[int] = []
        self.highest_ack = 0

    @staticmethod
    def size(number: int) -> int:
        return 1 + number * 37 % 400

    def ship(self) -> None:
        due = self.sender.due(self.now)
        for number, block in due:
            assert number == block
            self.blocks.append((self.shepherd_epoch, number))
        flying = range(self.sender.first, due[-1][0] + 1) if due else ()
        if len(flying) > 1:
            assert sum(map(self.size, flying)) <= WINDOW

    def say_where(self) -> None:
        """The receiver's credit."""
        self.credits.append((self.shepherd_epoch, self.receiver.durable, self.receiver.got, self.window))

    @rule(count=st.integers(1, 20))
    def add(self, count: int) -> None:
        for _ in range(count):
            self.added += 1
            self.spooled.append(self.added)
            assert self.sender.add(self.added, self.size(self.added)) == self.added
        self.ship()

    @rule(seconds=st.floats(0.01, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.sender.paused:
            self.offers.append((self.shepherd_epoch, self.sender.first))
        self.ship()

    @rule()
    def channel_full(self) -> None:
        for number, _ in self.sender.due(self.now):
            self.sender.not_sent(number)
            break

    @rule(window=st.sampled_from([0, 1, 300, WINDOW]))
    def set_window(self, window: int) -> None:
        self.window = window

    @precondition(lambda self: self.offers)
    @rule()
    def offer_arrives(self) -> None:
        shepherd_epoch, first = self.offers.pop(0)
        if shepherd_epoch == self.shepherd_epoch:
            self.receiver.begin_at(first)
            self.say_where()

    def arrive(self, block: tuple[int, int]) -> None:
        shepherd_epoch, number = block
        if shepherd_epoch == self.shepherd_epoch:
            if self.receiver.offer(number):
                self.receiver.took(number)
                self.pending.append(number)
            self.say_where()

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

    @precondition(lambda self: self.pending)
    @rule(part=st.floats(0, 1))
    def become_durable(self, part: float) -> None:
        count = max(1, int(len(self.pending) * part))
        self.disk += self.pending[:count]
        del self.pending[:count]
        self.receiver.made_durable(self.disk[-1])
        self.say_where()

    @precondition(lambda self: self.credits)
    @rule(pick=st.integers(0, 10**6))
    def credit_arrives(self, pick: int) -> None:
        shepherd_epoch, ack, got, window = self.credits[pick % len(self.credits)]
        if shepherd_epoch == self.shepherd_epoch:
            for block in self.sender.credit(ack, got, window, self.now):
                assert block in self.disk, "forgotten before it was durable"
                self.spooled.remove(block)
            self.ship()

    @rule()
    def lose_all(self) -> None:
        self.blocks.clear()
        self.credits.clear()
        self.offers.clear()

    @rule()
    def shepherd_dies(self) -> None:
        self.shepherd_epoch += 1
        self.pending.clear()
        self.receiver = Receiver(self.disk[-1] if self.disk else 0)
        self.sender.pause()

    @rule()
    def muster_dies(self) -> None:
        self.shepherd_epoch += 1
        first = self.spooled[0] if self.spooled else self.added + 1
        self.sender = Sender(first - 1)
        for number in self.spooled:
            self.sender.add(number, self.size(number), again=True)
        # The shepherd has met another life: what it has taken of the former one is still on its way to disk.
        self.receiver = Receiver(self.receiver.durable)
        self.pending.clear()

    @invariant()
    def in_order_exactly_once(self) -> None:
        self.sender.validate()
        self.receiver.validate()
        assert self.disk == list(range(1, len(self.disk) + 1))
        assert self.sender.last == self.added

    def teardown(self) -> None:
        self.window = WINDOW
        for _ in range(300):
            if self.sender.paused or not self.sender.kept:
                self.offers.append((self.shepherd_epoch, self.sender.first))
                self.offer_arrives()
            self.wait(FLOW_RESEND_S)
            self.blocks_arrive()
            if self.pending:
                self.become_durable(1.0)
            self.say_where()
            credits, self.credits = self.credits, []
            for shepherd_epoch, ack, got, window in credits:
                if shepherd_epoch == self.shepherd_epoch:
                    self.sender.credit(ack, got, window, self.now)
            if not self.sender.kept:
                break
        assert self.disk == list(range(1, self.added + 1))
        assert self.sender.kept == 0
        assert self.sender.next_due() == float("inf")


Flow.TestCase.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
TestFlow = Flow.TestCase


def credited(sender: Sender[str], now: float = 0.0) -> None:
    sender.credit(sender.first - 1, sender.first - 1, WINDOW, now)


def test_answers_to_blocks_behind_a_lost_one_do_not_put_its_resend_off() -> None:
    sender: Sender[str] = Sender()
    credited(sender)
    now = 0.0
    sender.add("lost", 1)
    sender.due(now)
    for _ in range(20):
        now += FLOW_RESEND_S / 10
        sender.add("next", 1)
        again = [number for number, _ in sender.due(now)]
        if 1 in again:
            return
        sender.credit(0, 0, WINDOW, now)
    raise AssertionError("block 1 was never sent again")


def test_what_is_got_and_not_durable_is_kept_but_not_sent_again() -> None:
    sender: Sender[str] = Sender()
    credited(sender)
    sender.add("a", 1)
    assert sender.due(0.0) == [(1, "a")]
    assert sender.credit(0, 1, WINDOW, 0.0) == []
    assert sender.due(100 * FLOW_RESEND_S) == []
    assert sender.kept == 1
    assert sender.credit(1, 1, WINDOW, 0.0) == ["a"]


def test_nothing_is_sent_before_the_shepherd_has_said_where_to_go_on() -> None:
    sender: Sender[str] = Sender(4)
    sender.add("five", 1, again=True)
    sender.add("six", 1)
    assert sender.due(0.0) == []
    assert sender.credit(5, 5, WINDOW, 0.0) == ["five"]
    assert sender.due(0.0) == [(6, "six")]


def test_a_block_larger_than_the_window_goes_alone_and_a_window_of_nothing_takes_none() -> None:
    sender: Sender[str] = Sender()
    sender.credit(0, 0, 10, 0.0)
    for _ in range(2):
        sender.add("large", 25)
    assert [n for n, _ in sender.due(0.0)] == [1]
    sender.credit(1, 1, 0, 0.0)
    assert sender.due(0.0) == []


def test_a_receiver_that_has_what_was_never_sent_is_found_out_and_takes_nothing() -> None:
    """The spool's disk lost blocks 5 to 9, which had arrived: the next ones are others, whatever their numbers."""
    sender: Sender[str] = Sender(3)
    sender.add("four", 1, again=True)
    sender.add("another five", 1)
    assert not sender.was_sent(9)
    assert not sender.was_sent(5)
    for _ in range(10):
        assert sender.credit(5, 5, WINDOW, 0.0) == []
        sender.add("and others", 1)
    assert sender.due(0.0) == []
    assert sender.was_sent(4)
    assert sender.credit(4, 4, WINDOW, 0.0) == ["four"]
    assert sender.due(0.0)[0] == (5, "another five")
    assert sender.was_sent(5)
