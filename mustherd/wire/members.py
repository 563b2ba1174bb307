"""Members of a herd and what each may do."""

from dataclasses import dataclass
from enum import StrEnum

SHEPHERD = "shepherd"
"""The name of the key that a shepherd listens with."""

MAX_MUSTERS = 1024
"""Of a herd: bounds what strangers can make a shepherd remember, and how many trials run at the same time."""


class Role(StrEnum):
    """What a key is for. Whatever isn't named here it may not do."""

    MUSTER = "muster"
    """Join the herd under its own name, and hear what is decided for that name."""
    OPERATOR = "operator"
    """Ask, set knobs of any muster by hand, start and stop logs, stop an experiment."""
    OBSERVER = "observer"
    """Ask who is in the herd and how it is."""


@dataclass(frozen=True)
class Member:
    """Whose key it is."""

    name: str
    role: Role


def role_of(name: str) -> Role | None:
    """What a key is for when nobody says so: `operator` and `observer` are that, all others are musters.

    None: the shepherd's own, which opens nothing.
    """
    if name == SHEPHERD:
        return None
    return Role(name) if name in (Role.OPERATOR, Role.OBSERVER) else Role.MUSTER
