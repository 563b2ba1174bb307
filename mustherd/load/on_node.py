"""The load `twin`: a simulated node's own, which no other machine offers."""

from collections.abc import Sequence
from typing import ClassVar

from mustherd.load.base import LoadTraits
from mustherd.load.error import LoadError
from mustherd.node.node import Node, RunningLoad
from mustherd.reasons import Reason
from mustherd.terms import Load


class NodeLoads:
    """The loads of a node that loads itself, as a source of them."""

    traits: ClassVar[LoadTraits] = LoadTraits(servers=("memcached",), open_loop=True, follows_curves=True, on_node=True)

    def __init__(self, node: Node) -> None:
        self._node = node

    def prepare(self) -> None:
        pass

    def start(self, load: Load, seed: int) -> RunningLoad:
        running = self._node.start_load(load, seed)
        if running is None:
            raise LoadError(Reason.NO_LOAD, "the node offers no load to itself")
        return running

    def stop(self) -> None:
        self._node.stop_load()

    def check(self) -> Sequence[str]:
        return ()
