"""Meters by name: those of this project and those that other packages add (`mustherd.meters`)."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from mustherd.errors import UserError
from mustherd.meters.base import MUSTER, Traits, UnreadableError, WallMeter
from mustherd.plugins import (
    METERS,
    OptionError,
    Plugin,
    PluginError,
    blaming,
    keeps,
    number,
    options_of,
    plugin,
    plugins,
)

KIND = "kind"


def meter_kind(found: Plugin) -> Any:
    """The class that a meter's name stands for. Raises PluginError."""
    kind: Any = found.load()
    options = getattr(kind, "Options", None)
    if not (isinstance(options, type) and issubclass(options, Traits)):
        raise PluginError(f"{found.title} ({found.target}): its `Options` are no mustherd.meters.base.Traits")
    if not callable(getattr(kind, "read", None)):
        keeps(found, kind, WallMeter)
        raise PluginError(f"{found.title} ({found.target}) lacks read: see mustherd.meters.base.WallMeter")
    return kind


def options(given: Mapping[str, object]) -> Traits:
    """A meter's options, as its kind has them. Raises OptionError, PluginError."""
    return make(given, "muster-1")[1]


def of_one_muster(given: Mapping[str, object]) -> bool:
    """Whether a meter is the same whatever the muster is."""
    return MUSTER not in str(dict(given))


def make(given: Mapping[str, object], muster: str) -> tuple[WallMeter, Traits]:
    """The meter of a muster's machine, and what its values are worth. Raises OptionError, PluginError."""
    name = given.get(KIND)
    if not isinstance(name, str):
        raise OptionError("which kind of meter is it?", (KIND,), allowed=", ".join(sorted(plugins(METERS))))
    found = plugin(METERS, name)
    kind = meter_kind(found)
    told = _with(options_of(kind, {key: value for key, value in given.items() if key != KIND}), muster)
    try:
        with blaming(f"{found.title} can't be made", (ValueError, UserError), PluginError):
            meter: WallMeter = kind(told)
    except ValueError as error:
        raise OptionError(str(error)) from None
    return (meter if found.is_ours else _Guarded(found, meter)), told


class _Guarded(WallMeter):
    """A meter of another package: whatever it raises is said, and what it gives is an amount."""

    Options = Traits

    def __init__(self, found: Plugin, meter: Any) -> None:
        self._title, self._meter = found.title, meter
        with blaming(f"{self._title} can't say its quantity", PluginError, PluginError):
            told = meter.quantity
        if told not in ("watts", "joules"):
            raise PluginError(f"{self._title}: its quantity is {told!r:.60}; allowed: watts, joules")
        self._quantity: Literal["watts", "joules"] = told

    @property
    def quantity(self) -> Literal["watts", "joules"]:
        return self._quantity

    def read(self) -> float:
        with blaming(self._title, UnreadableError, UnreadableError):
            amount = number(self._meter.read())
        if not math.isfinite(amount) or amount < 0:
            raise UnreadableError(f"{self._title} reads {amount:g}, which is no amount")
        return amount


def _with(told: Traits, muster: str) -> Any:
    """Options with the muster's name in every text."""
    return msgspec.structs.replace(
        told, **{name: _named(getattr(told, name), muster) for name in told.__struct_fields__}
    )


def _named(value: Any, muster: str) -> Any:
    if isinstance(value, str):
        return value.replace(MUSTER, muster)
    return tuple(_named(each, muster) for each in value) if isinstance(value, tuple) else value
