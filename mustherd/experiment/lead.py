"""Which setting is ahead, and of what it is ahead: what every page, table and line calls it. Pure."""

from enum import Enum

from mustherd.experiment.verdict import Side, Verdict


class Lead(Enum):
    """How the best setting stands; each value is what it is called while more may come, and once all is measured."""

    NOTHING = ("no setting is measured yet", "no setting was measured")
    """Nothing but the default was measured, if that."""
    DEFAULT = ("no better setting than the default so far", "no better setting than the default")
    """The default itself, or nothing that may be named beside it."""
    NO_BETTER = ("nothing beats the default so far, next to it is", "nothing beats the default, next to it is")
    """A setting keeps the limits, and is no better than the default."""
    CLOSEST = ("no better setting so far, the closest is", "no better setting, the closest is")
    """A setting misses a limit, or saves too little to be announced."""
    ALONE = ("best so far, not compared with the default yet", "best, not compared with the default")
    """A setting keeps the limits, and was not measured beside the default."""
    BEST = ("best so far", "best, not certain")
    """A setting looks better than the default."""
    ANNOUNCED = ("best so far", "announced")
    """A setting is better than the default for certain."""

    @property
    def is_ahead(self) -> bool:
        """Whether a setting may be called the best."""
        return self in (Lead.ALONE, Lead.BEST, Lead.ANNOUNCED)

    @property
    def column(self) -> str:
        """What the setting beside the default is called in a table."""
        return "closest" if self in (Lead.NO_BETTER, Lead.CLOSEST) else "best"

    def called(self, *, decided: bool) -> str:
        """What stands before the setting, or alone where there is none; `decided`: whether the verdict is stored."""
        return self.value[decided]


def lead_of(found: Verdict, *, tried: bool) -> Lead:
    """How the best setting of a verdict at one load stands; `tried`: whether any but the default was measured."""
    best, saving = found.best, found.saving_percent
    if best is None:
        if found.closest is not None:
            return Lead.CLOSEST
        return Lead.DEFAULT if tried else Lead.NOTHING
    if saving is None:
        return Lead.DEFAULT if _is_default(best, found.default) else Lead.ALONE
    if saving <= 0:
        return Lead.NO_BETTER
    return Lead.ANNOUNCED if found.verdict == "met" else Lead.BEST


def _is_default(best: Side, default: Side | None) -> bool:
    """Whether the best are the default's settings; a default that was left as found has the values that were found."""
    return default is not None and best.knobs.items() <= default.knobs.items()
