"""A definition built in Python: its values as those of a file, with their order in the place of lines."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mustherd.definition.errors import DefinitionError, Path, dotted
from mustherd.definition.yaml import MAX_DEPTH, MAX_NODES, Spot, YamlNode


def marked(raw: Mapping[Any, Any]) -> YamlNode:
    """The keywords of a definition as a document. Raises DefinitionError where they are nested without end.

    Lists are Python's sequences and whatever has `tolist`, as numpy's and pandas' values have; text is text and paths.
    """
    return _node(raw, itertools.count(1), ())


def _node(raw: Any, order: Iterator[int], path: Path) -> YamlNode:
    if len(path) > MAX_DEPTH:
        raise DefinitionError("nested too deeply", key=dotted(path[:4]), allowed=f"{MAX_DEPTH} levels")
    value = _plain(raw)
    # Line 0: no file has it. The columns put what is wrong into the order in which it was given.
    spot = Spot(0, next(order))
    if isinstance(value, Mapping):
        keys, content = {}, {}
        for key, inner in value.items():
            name = str(key)
            keys[name] = Spot(0, next(order))
            content[name] = _node(inner, order, (*path, name))
        return YamlNode(spot, content, keys=keys)
    if isinstance(value, list | tuple):
        return YamlNode(spot, [_node(inner, order, (*path, index)) for index, inner in enumerate(value)])
    return YamlNode(spot, value, value if isinstance(value, str) else repr(value))


def _plain(raw: Any) -> Any:
    """`raw` as a file could hold it; what a file could not hold stays as it is, for the key's own check to refuse."""
    if isinstance(raw, os.PathLike):
        return os.fspath(raw)
    if hasattr(raw, "tolist"):
        return raw.tolist()
    if isinstance(raw, Sequence) and not isinstance(raw, str | bytes | bytearray | list | tuple):
        return list(raw) if len(raw) <= MAX_NODES else raw
    return raw
