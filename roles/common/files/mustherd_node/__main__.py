#!/usr/bin/python3
"""Settings of a node that its kernel forgets at every boot, set from a unit and put back when asked.

    mustherd-node plan smt=off turbo=off governor=userspace      what would change, one line each; changes nothing
    mustherd-node apply smt=off turbo=off governor=userspace     the same, done; the first original of each file is kept
    mustherd-node restore [smt turbo pstate governor affinity]   the originals back
    mustherd-node way [pstate=passive]                           what sets one clock here: userspace, bounds or none
    mustherd-node plan|apply affinity=all|local|remote|one:CORE|list:CORES [xps=on] --driver ixgbe
    mustherd-node nic PORT                                       the port's interface
    mustherd-node plan-port|port PORT                            its interface, MAC and PCI address, as JSON
    mustherd-node plan-up|up PORT --address A/PREFIX             link up, with the address
    mustherd-node stats --driver ixgbe [PORT]                    every core's file of the instrumented driver is there

PORT is --driver ixgbe and what else is known: --mac M, --pci P, --interface I, --address A. The port of the default
route and that of the login are never taken, unless the address is on it already. Where several are left, those that are
down are brought up to see which has a carrier, and down again; a plan brings up none. What stays unsure is refused.

Settings: smt=on|off, turbo=on|off, pstate=active|passive, governor=NAME, clock=nominal (one clock for every CPU that
has the userspace governor), bounds=nominal (the same by both bounds, for a driver without that governor).

Exit code 0, or 1 with one line on stderr that says what is wrong and the fix. Only the standard library: it runs on a
bare node's Python.
"""

from __future__ import annotations  # an old node's Python reads these types as text

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .clocks import way
from .node import Node, RefusedError, UndecidedError
from .ports import find_port, port, stats, up
from .settings import ORDER, SETTINGS, apply, restore, targets

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = ("plan", "apply", "plan-restore", "restore", "way", "nic", "plan-port", "port", "plan-up", "up", "stats")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; gives the exit code."""
    parser = argparse.ArgumentParser(prog="mustherd-node", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--driver", default="ixgbe")
    parser.add_argument("--interface")
    parser.add_argument("--mac")
    parser.add_argument("--pci")
    parser.add_argument("--address")
    parser.add_argument("--login", help="this node's address of the login; that of the ssh session unless given")
    parser.add_argument("--wait", type=float, default=12.0, help="seconds that a link may take to get a carrier")
    parser.add_argument("--root", default="/")
    parser.add_argument("--found", type=Path, default=Path("/var/lib/mustherd-node/found.json"))
    options = parser.parse_args(arguments)
    node = Node(options.root)
    try:
        for line in run(node, options):
            print(line)  # noqa: T201
    except RefusedError as refused:
        print(refused, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def run(node: Node, options: argparse.Namespace) -> list[str]:
    """The lines that a verb prints."""
    settings = dict(setting.partition("=")[::2] for setting in options.settings)
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise RefusedError(f"no setting is called {', '.join(unknown)}. Fix: use {', '.join(ORDER)}")
    options.affinity = settings.get("affinity", "all")
    options.dry = options.verb.startswith("plan") or options.verb in ("nic", "stats")
    if options.verb == "plan":
        try:
            return [
                f"{name}: /{path.relative_to(node.root)}: {old} -> {wanted}"
                for name, path, wanted, old in targets(node, settings, options)
            ]
        except UndecidedError as undecided:
            return [f"affinity: {undecided}"]
    if options.verb == "apply":
        return apply(node, settings, options)
    if options.verb in ("restore", "plan-restore"):
        return restore(node, list(settings), options, dry=options.dry)
    if options.verb == "way":
        return [way(node, settings)]
    if options.verb == "nic":
        return [find_port(node, options)]
    if options.verb in ("port", "plan-port"):
        return port(node, options)
    if options.verb in ("up", "plan-up"):
        if not options.address:
            raise RefusedError("up needs --address")
        return up(node, options)
    return stats(node, options)


if __name__ == "__main__":
    sys.exit(main())
