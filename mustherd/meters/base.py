"""What a meter of a whole machine is."""

from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeAlias

import msgspec

from mustherd.sampling import UnreadableError as UnreadableError  # noqa: PLC0414 (what `read` raises)

Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=600.0)]

UNITS: dict[str, tuple[Literal["watts", "joules"], float]] = {
    "W": ("watts", 1.0), "kW": ("watts", 1e3), "mW": ("watts", 1e-3), "uW": ("watts", 1e-6),
    "J": ("joules", 1.0), "kJ": ("joules", 1e3), "mJ": ("joules", 1e-3), "uJ": ("joules", 1e-6),
    "Wh": ("joules", 3600.0), "kWh": ("joules", 3.6e6),
}  # fmt: skip
"""What a meter may count in: power, or energy so far; and the factor to W or J."""

MUSTER = "{muster}"
"""Stands in an option's text for the muster whose machine is measured."""


class Traits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a meter's values are worth; a definition may say it of each meter."""

    period_seconds: Annotated[float, msgspec.Meta(ge=0.05, le=600.0)] = 1.0
    """How often it has a new value."""
    lag_seconds: Seconds = 0.0
    """How old a value is when it is told."""
    resolution: Annotated[float, msgspec.Meta(ge=0.0, le=1e6)] = 1.0
    """Its smallest step, in W or J."""
    accuracy_percent: Annotated[float, msgspec.Meta(ge=0.0, le=50.0)] = 5.0
    """How far off it may be, as its maker says; by so much two meters may differ."""


class WallMeter(Protocol):
    """A meter of one machine; made from its options, with the muster's name in place of `{muster}`."""

    Options: ClassVar[type]
    """Its keys, a struct that inherits Traits; what its values are worth by default is said there."""

    def __init__(self, options: Any) -> None:
        """Touch nothing yet. Raises ValueError for options that can't be."""
        ...

    @property
    def quantity(self) -> Literal["watts", "joules"]:
        """What `read` gives: power at the moment, or energy so far."""
        ...

    def read(self) -> float:
        """W, or J so far. Raises UnreadableError."""
        ...
