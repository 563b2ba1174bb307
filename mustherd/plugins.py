"""Plug-ins: what this project and other packages offer by name, one entry-point group for each kind.

A package adds a plug-in by one line of its `pyproject.toml`, such as

    [project.entry-points."mustherd.policies"]
    colder = "colder:Colder"

Nothing is imported before its name is asked for.
"""

import functools
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mustherd.errors import UserError

POLICIES = "mustherd.policies"
SEARCHES = "mustherd.searches"
KNOBS = "mustherd.knobs"
NODES = "mustherd.nodes"
LOADS = "mustherd.loads"
METRICS = "mustherd.metrics"
GROUPS = (POLICIES, SEARCHES, KNOBS, NODES, LOADS, METRICS)

OURS = "mustherd"


class PluginError(UserError):
    """A plug-in can't be had; the message names it, its package and what there is instead."""

    exit_code = 3


@dataclass(frozen=True)
class Plugin:
    """One plug-in, not yet imported."""

    group: str
    name: str
    target: str
    """Where it is, as `module:attribute`."""
    package: str
    version: str
    entry: EntryPoint

    def load(self) -> Any:
        """The object itself. Raises PluginError where its package can't be imported or lacks it."""
        try:
            return self.entry.load()
        except Exception as error:
            raise PluginError(
                f"{self.group}: {self.name} of {self.package} {self.version} ({self.target}) can't be loaded:"
                f" {type(error).__name__}: {error}"
            ) from error


@functools.cache
def plugins(group: str) -> dict[str, Plugin]:
    """The plug-ins of a group by name, sorted; of two with one name ours wins, so no package can take its place."""
    found: dict[str, Plugin] = {}
    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist is not None else entry.value.partition(".")[0]
        version = entry.dist.version if entry.dist is not None else ""
        if entry.name not in found or package == OURS:
            found[entry.name] = Plugin(group, entry.name, entry.value, package, version, entry)
    return dict(sorted(found.items()))


def plugin(group: str, name: str) -> Plugin:
    """The plug-in called `name`. Raises PluginError that lists what is installed."""
    there = plugins(group)
    if name not in there:
        near = get_close_matches(name, there, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PluginError(f"{group}: no {name!r} is installed; there are: {', '.join(there) or 'none'}{hint}")
    return there[name]
