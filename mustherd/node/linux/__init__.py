"""A Linux machine as a node: its knobs, energy counters and facts.

Everything below /sys, /proc and /dev is reached through a `tree.Tree`, whose root is a parameter, and everything that
the kernel answers over ethtool through the protocol `ethtool.Ethtool`; nothing else in here touches the machine.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mustherd.node.linux.node import LinuxNode
    from mustherd.node.linux.options import LinuxOptions
    from mustherd.node.node import NodeError

__all__ = ["LinuxNode", "LinuxOptions", "NodeError"]

_HOME = {
    "LinuxNode": "mustherd.node.linux.node",
    "LinuxOptions": "mustherd.node.linux.options",
    "NodeError": "mustherd.node.node",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # The node imports every other module of this package: who wants one of them need not have them all.
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_HOME[name]), name)
        return found
