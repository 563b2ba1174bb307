"""Attempts that wait for a muster: for any, or for the one that has to run them. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from mustherd.trial import Trial


@dataclass
class Waiting:
    """Queued attempts by number. Of a number at most one waits."""

    trials: dict[int, Trial] = field(default_factory=dict)
    gone_since: dict[str, float] = field(default_factory=dict)
    """Muster to since when it has been gone, of those that alone may run something that waits."""

    def add(self, trials: Iterable[Trial]) -> None:
        """These wait from now on."""
        self.trials |= {trial.number: trial for trial in trials}

    def take(self, muster: str) -> Trial | None:
        """What waits longest of that which `muster` may run; it waits no more."""
        number = min((n for n, t in self.trials.items() if t.place in ("", muster)), default=None)
        return None if number is None else self.trials.pop(number)

    def strand(self, here: Collection[str], now: float, patience_s: float) -> list[Trial]:
        """What waits for musters that have been gone for more than `patience_s`, while others are `here`; it waits no
        more."""
        gone = {t.place for t in self.trials.values() if t.place and t.place not in here}
        self.gone_since = {muster: self.gone_since.get(muster, now) for muster in gone}
        late = {muster for muster in gone if now - self.gone_since[muster] > patience_s} if here else set()
        return [self.trials.pop(number) for number, t in sorted(self.trials.items()) if t.place in late]
