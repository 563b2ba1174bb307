"""A file that declares knobs of this machine for herds on it: the same lines as in a muster's configuration.

    [linux.own.backlog]
    sysctl = "net.core.netdev_max_backlog"
    high = 100_000

    [ranges]
    backlog = {low = 500, high = 20_000}

It is held to the rule for that configuration: nobody but root or who runs this can change it.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mustherd import files, guard
from mustherd.errors import UserError
from mustherd.node.linux.declaration import OwnKnob
from mustherd.node.linux.options import Own, taken
from mustherd.node.ranges import Range
from mustherd.plugins import OptionError, nearest, options_of
from mustherd.terms import KnobInfo

MOST_BYTES = 1 << 20
TABLES = "[linux.own.NAME] and [ranges]"
GUARDED = "knobs of a real machine must be in a file that only root or who runs this can change (chown, chmod go-w)"


class OwnFileError(UserError):
    """The file can't be used; the message names it, the key, the value and what is allowed."""


class OwnFile(msgspec.Struct, frozen=True):
    """The file's content."""

    own: Own = {}
    ranges: dict[str, Range] = {}

    def infos(self) -> Iterator[KnobInfo]:
        """What each knob allows within its range."""
        for name, knob in self.own.items():
            yield self.ranges[name].narrow(knob.info(name))


class _Kind:
    Options = OwnFile


def read(path: Path) -> OwnFile:
    """The knobs that a file declares. Raises OwnFileError, and GuardError where somebody else could have written it."""
    try:
        guard.require(path, {guard.ROOT, os.geteuid()}, whole=True, why=GUARDED)
        content = tomllib.loads(files.content(path, MOST_BYTES).decode("utf-8"))
    except OSError as error:
        raise OwnFileError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise OwnFileError(f"{path}: not TOML: {error}") from None
    linux = content.pop("linux", {})
    ranges = content.pop("ranges", {})
    other = [*content, *(f"linux.{name}" for name in linux if name != "own")] if isinstance(linux, dict) else ["linux"]
    if other:
        raise OwnFileError(f"{path}: {other[0]}: no such table; allowed: {TABLES}")
    try:
        found: OwnFile = options_of(_Kind, {"own": linux.get("own", {}), "ranges": ranges})
    except OptionError as error:
        raise OwnFileError(f"{path}: {'linux.' if error.path[:1] == ('own',) else ''}{error}") from None
    if problem := next(wrong(found.own, found.ranges), ""):
        raise OwnFileError(f"{path}: {problem}")
    unranged = sorted(found.own.keys() - found.ranges.keys())
    # First what is there and shouldn't be: a name that was mistyped leaves its knob without a range as well.
    if unknown := sorted(found.ranges.keys() - found.own.keys()):
        near = nearest(unknown[0], unranged)
        hint = f"; did you mean '{near}'?" if near else ""
        allowed = ", ".join(found.own) or "those of [linux.own.NAME], of which there are none"
        raise OwnFileError(f"{path}: ranges.{unknown[0]}: no knob here has that name; allowed: {allowed}{hint}")
    if unranged:
        raise OwnFileError(f"{path}: ranges: {unranged[0]} needs one, as in {unranged[0]} = {{low = 0, high = 10}}")
    if not found.own:
        raise OwnFileError(f"{path}: it declares no knob; allowed: {TABLES}")
    return found


def wrong(own: Mapping[str, OwnKnob], ranges: Mapping[str, Range]) -> Iterator[str]:
    """What can't be of declared knobs and their ranges, with its key."""
    for name in sorted(taken(own)):
        yield f"linux.own.{name}: there is a knob of that name already; allowed: another name"
    for name, knob in own.items():
        if name in ranges and (problem := ranges[name].beyond(knob.info(name))):
            yield f"ranges.{name}: {problem}"


def table(found: OwnFile, names: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Declarations and ranges of those called `names`, as plain values for another configuration."""
    kept = found.own.keys() & names
    return (
        {name: msgspec.to_builtins(found.own[name]) for name in sorted(kept)},
        {name: msgspec.to_builtins(found.ranges[name]) for name in sorted(kept)},
    )
