"""The rounds of a muster's loop: whether there is another one, and what has arrived, in order."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint

Message: TypeAlias = m.Down | m.Credit | m.Decision

HELD_AT_MOST = 1000
"""Messages that are taken in the middle of a round; what comes on top stays with the network."""

ROUND_MOST_S = 1.0
"""Between two rounds of the loop, so that who watches over it needs not wait longer."""


class Rounds:
    """Comes round until it is stopped, or `each_round` gives False.

    Something long within a round, such as a knob's program, calls `meanwhile`: what arrives then is kept, in order.
    """

    def __init__(self, end: MusterEndpoint, each_round: Callable[[], bool]) -> None:
        self._end = end
        self._each_round = each_round
        self._fit, self._stopping = True, False
        self.held: deque[Message] = deque()
        """What has arrived and is still to be handled."""

    def stop(self) -> None:
        """Have no more of them; a signal handler may call it."""
        self._stopping = True
        self._end.wake()

    def go_on(self) -> bool:
        """Whether there is another one."""
        return self._alive() and not self._stopping

    def arrived(self, wait_s: float, *, log_room: bool) -> Iterator[Message]:
        """What has arrived, in order, though more is taken while one is handled."""
        wait_s = 0.0 if self.held else min(wait_s, ROUND_MOST_S)
        for message in self._end.receive(wait_s, log_room=log_room):
            self.held.append(message)
            yield from self.taken()
        yield from self.taken()

    def taken(self) -> Iterator[Message]:
        """What is held, in order."""
        while self.held:
            yield self.held.popleft()

    def decision(self) -> int:
        """The newest decision among what is held; 0: none."""
        return next((one.seq for one in reversed(self.held) if isinstance(one, m.Decision)), 0)

    def meanwhile(self) -> Iterator[Message]:
        """In the middle of one: say that it lives, keep what has arrived for the next, and show it."""
        self._alive()
        if len(self.held) >= HELD_AT_MOST:
            return
        for message in self._end.receive(0.0):
            self.held.append(message)
            yield message
            if len(self.held) >= HELD_AT_MOST:
                return

    def _alive(self) -> bool:
        # Once it may not go on nobody is asked again, or what is wrong would be told ten times a second.
        self._fit = self._fit and self._each_round()
        return self._fit
