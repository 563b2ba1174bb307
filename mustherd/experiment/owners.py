"""Musters that share a machine: who has which of its knobs. Pure.

A knob has one owner on its machine, which is whoever claimed it first (mustherd.muster.claims); what is said here is
what came of that.
"""

from collections.abc import Iterable

from mustherd.wire.messages import MusterView

OWNERS = "knob-owners"
"""The kind of the journal's lines."""


def shared(views: Iterable[MusterView]) -> dict[str, list[MusterView]]:
    """Machines with more than one muster, by name; a simulated node is a machine of its own."""
    machines: dict[str, list[MusterView]] = {}
    for view in views:
        if host := view.facts.text.get("hostname", ""):
            machines.setdefault(host, []).append(view)
    return {host: here for host, here in machines.items() if len(here) > 1}


def owners(views: Iterable[MusterView]) -> dict[str, str]:
    """Of each machine that several musters share, who has what, in a sentence."""
    return {host: "; ".join(map(_has, here)) for host, here in sorted(shared(views).items())}


def owner_of(knob: str, view: MusterView, views: Iterable[MusterView]) -> str:
    """The other muster on the machine of `view` that has a knob which `view` hasn't; '' where none has."""
    for here in shared(views).values():
        if view.name in [other.name for other in here]:
            return next((other.name for other in here if any(k.name == knob for k in other.knobs)), "")
    return ""


def _has(view: MusterView) -> str:
    knobs: dict[str, list[str]] = {}
    for info in view.knobs:
        knobs.setdefault(info.name, []).append(info.sheep)
    named = [name if len(sheep) == 1 else f"{name} of {len(sheep)} sheep" for name, sheep in sorted(knobs.items())]
    return f"{view.name} has {', '.join(named) or 'no knob'}"
