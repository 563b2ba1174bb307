"""Settings: planned, made with their originals kept, and put back."""

from __future__ import annotations  # an old node's Python reads these types as text

import json
import os
import sys
from typing import TYPE_CHECKING

from .clocks import bounds, clock, governor, pstate, smt, turbo
from .node import ManagedError, RefusedError, same
from .queues import affinity, xps

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .node import Node, Plan

    Found = dict[str, dict[str, str]]
    """What was there before the first change: setting to file to text."""

ORDER = ("smt", "pstate", "turbo", "governor", "clock", "bounds", "affinity", "xps")
"""Threads go first, since they decide which CPUs are left; the frequency driver before what it offers."""

UNSUPPORTED = "<unsupported>"
"""What scaling_setspeed says under any other governor."""

MANAGED = "managed"
"""Where the interrupts that the kernel places itself are remembered, beside the originals."""

SETTINGS = {
    "smt": smt,
    "turbo": turbo,
    "pstate": pstate,
    "governor": governor,
    "clock": clock,
    "bounds": bounds,
    "affinity": affinity,
    "xps": xps,
}


def targets(node: Node, settings: Mapping[str, str], options: argparse.Namespace) -> list[tuple[str, Path, str, str]]:
    """(setting, file, wanted) of everything that differs from what is wanted."""
    differing = []
    planned: Plan = []
    managed = load_found(options.found).get(MANAGED, {})
    for name in ORDER:
        if name not in settings:
            continue
        for path, wanted in SETTINGS[name](node, settings[name], options, planned):
            old = node.read(path)
            if old is None:
                raise RefusedError(f"{path}: cannot be read. Fix: run as root on the node itself")
            if not same(path, old, wanted) and managed.get("/" + str(path.relative_to(node.root))) != wanted:
                differing.append((name, path, wanted, old))
                planned.append((path, wanted))
    return differing


def load_found(file: Path) -> Found:
    """What was kept, nothing before the first change."""
    try:
        found: Found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RefusedError(f"{file}: cannot read what was found ({error}). Fix: look at it by hand") from None
    return found


def save_found(file: Path, found: Found) -> None:
    """Keep it, on disk before anything is written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with part.open("w", encoding="utf-8") as handle:
        json.dump(found, handle, indent=1, sort_keys=True)
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(file)


def apply(node: Node, settings: Mapping[str, str], options: argparse.Namespace) -> list[str]:
    """Setting by setting, since one decides what the next finds; originals are on disk before anything is written."""
    lines = []
    for name in ORDER:
        if name not in settings:
            continue
        for _, path, wanted, old in targets(node, {name: settings[name]}, options):
            found = load_found(options.found)
            place = "/" + str(path.relative_to(node.root))
            # A clock under a governor that was not there before is nothing to put back: the governor is.
            ours = name == "clock" and place.replace("scaling_setspeed", "scaling_governor") in found.get(
                "governor", {}
            )
            if not ours and place not in found.setdefault(name, {}):
                found[name][place] = old
                save_found(options.found, found)
            try:
                node.write(path, wanted)
            except ManagedError:
                # Remembered, so that what can't be done is not planned again; there is nothing to put back.
                del found[name][place]
                found.setdefault(MANAGED, {})[place] = wanted
                save_found(options.found, found)
                print(f"{place}: stays at {old}: the kernel places this interrupt itself", file=sys.stderr)  # noqa: T201
                continue
            now = node.read(path)
            if now is None or not same(path, now, wanted):
                raise RefusedError(f"{path}: wrote {wanted!r}, reads {now!r}. Fix: see what else sets it")
            lines.append(f"{name}: {place}: {old} -> {wanted}")
    return lines


def restore(node: Node, names: Sequence[str], options: argparse.Namespace, dry: bool) -> list[str]:
    """Put settings back, the last one set first; what was done, one line each."""
    found = load_found(options.found)
    lines = []
    for name in [name for name in reversed(ORDER) if name in (names or ORDER) and name in found]:
        for place, old in sorted(found[name].items()):
            path = node.root / place.lstrip("/")
            now = node.read(path)
            # A file that is gone belongs to a CPU or a card that is not there: it comes back as the kernel makes it.
            if now not in (None, UNSUPPORTED) and not same(path, now, old):
                if not dry:
                    node.write(path, old)
                lines.append(f"{name}: {place}: {now} -> {old}")
        if not dry:
            del found[name]
            if name == "affinity":
                found.pop(MANAGED, None)
            save_found(options.found, found)
    return lines
