"""Knobs by name: those of this project and those that other packages add (`mustherd.knobs`).

A plug-in is a class of knobs with a `kind`, which says how its values are written. That needs no node: a definition is
read with it before there is a herd.
"""

from collections.abc import Iterable
from typing import Any

from mustherd.node.kinds import SHARED
from mustherd.plugins import KNOBS, PluginError, plugin, plugins, shared
from mustherd.terms import KnobKind


def knob_class(name: str) -> Any:
    """The class of the knob called `name`. Raises PluginError."""
    found = plugin(KNOBS, name)
    made = found.load()
    kind = getattr(made, "kind", None)
    if not isinstance(kind, KnobKind):
        raise PluginError(f"{found.title} ({found.target}) has no `kind`, a KnobKind that describes it")
    if kind.name != name:
        raise PluginError(f"{found.title} ({found.target}) describes {kind.name!r} instead of itself")
    return made


def knob_kind(name: str) -> KnobKind | None:
    """What the knob called `name` is; None where no package says so. Raises PluginError for a broken package, and for a
    name that several have."""
    if name in SHARED:
        return SHARED[name]
    if name not in plugins(KNOBS):
        if why := shared(KNOBS, name):
            raise PluginError(why)
        return None
    kind: KnobKind = knob_class(name).kind
    return kind


def packages_knobs(keys: Iterable[str]) -> dict[str, Any]:
    """Classes of those knobs that other packages add, of those that a definition's `keys` name, by name.

    Raises PluginError for a broken package.
    """
    there = plugins(KNOBS)
    names = dict.fromkeys(key.partition("@")[0] for key in keys)
    return {name: knob_class(name) for name in names if name in there and not there[name].is_ours}


def knob_names() -> list[str]:
    """Every knob that an installed package describes."""
    return list(plugins(KNOBS))
