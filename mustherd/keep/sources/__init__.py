"""Sources of signals by kind, and how those that a keeper's file names are made."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mustherd.errors import UserError
from mustherd.keep.source import Source
from mustherd.keep.sources import application, memcached
from mustherd.wire.messages import MusterView

Musters = Callable[[], Mapping[str, MusterView]]
"""Who is in the herd now."""

KINDS: dict[str, tuple[type[msgspec.Struct], Callable[[Any, Musters], Source]]] = {
    "application": (application.ApplicationOptions, application.ApplicationSource),
    "memcached": (memcached.CountersOptions, memcached.CountersSource),
    "memcached-probe": (memcached.ProbeOptions, memcached.ProbeSource),
}
"""Each with what it takes and what makes it."""


class SourceConfigError(UserError):
    """A source in a keeper's file can't be made; the message says which and why."""

    exit_code = 3


def make(given: Sequence[Mapping[str, Any]], musters: Musters) -> list[Source]:
    """The sources that a keeper's file names. Raises SourceConfigError."""
    made: list[Source] = []
    for index, one in enumerate(given):
        rest = dict(one)
        name = rest.pop("kind", None)
        if name not in KINDS:
            raise SourceConfigError(f"sources[{index}]: unknown kind {name!r}; allowed: {', '.join(sorted(KINDS))}")
        options, factory = KINDS[name]
        try:
            made.append(factory(msgspec.convert(rest, options), musters))
        except (msgspec.ValidationError, ValueError) as error:
            raise SourceConfigError(f"sources[{index}] ({name}): {error}") from None
    return made
