"""The kind of node that a table `[process]` of a muster's configuration chooses: a server that it runs by itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mustherd.load.error import LoadError
from mustherd.load.local_server import node
from mustherd.node.node import NodeError
from mustherd.node.server.node import ProcessNode
from mustherd.node.server.process import ServerError
from mustherd.plugins import PluginError


class ProcessKind:
    """Opens such a node; see mustherd.load.local_server for the table's keys."""

    Options = None

    @classmethod
    def open(cls, options: Mapping[str, Any], home: Path) -> ProcessNode:  # noqa: ARG003
        """Start the server. Raises NodeError."""
        try:
            return node(options)
        except (ValueError, LoadError, ServerError, PluginError) as error:
            raise NodeError(str(error)) from None
