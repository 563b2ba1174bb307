"""Which attack comes when: decided by a seed alone, so that a campaign that failed can be had again."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What can be drawn for an attack: where it hits, for how long, and how."""

    name: str
    targets: Sequence[str] = ("",)
    seconds: tuple[float, float] = (0.0, 0.0)
    ways: Sequence[str] = ("",)


@dataclass(frozen=True)
class Event:
    """One attack as it was drawn."""

    number: int
    attack: str
    target: str
    seconds: float
    way: str

    def __str__(self) -> str:
        words = [self.attack, self.way, self.target, f"for {self.seconds:.1f} s" if self.seconds else ""]
        return f"{self.number}: {' '.join(word for word in words if word)}"


def schedule(seed: int, kinds: Sequence[Kind]) -> Iterator[Event]:
    """Events without end; of every so many each kind comes once, so that a short campaign has all of them.

    Equal seeds and kinds give equal events, whatever comes of them.
    """
    r = random.Random(seed)
    number = 0
    while kinds:
        deck = list(kinds)
        r.shuffle(deck)
        for kind in deck:
            number += 1
            yield Event(
                number=number,
                attack=kind.name,
                target=r.choice(list(kind.targets)),
                seconds=round(r.uniform(*kind.seconds), 2),
                way=r.choice(list(kind.ways)),
            )
