"""The node that a muster's configuration means: a table called by its kind, as `[linux]`, `[twin]` or a package's."""

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from mustherd.guard import ROOT
from mustherd.muster.config import Config, ConfigError
from mustherd.muster.journal import Journal
from mustherd.node.clock import Clock
from mustherd.node.energy import EnergyMeter
from mustherd.node.knob import Knob
from mustherd.node.logger import NativeLogger, TextLogger
from mustherd.node.node import Node, NodeError, NodeKind
from mustherd.terms import Facts, KnobInfo

BUILT_IN = {
    "linux": "mustherd.node.linux.node:LinuxNode",
    "process": "mustherd.load.process:ProcessKind",
    "twin": "mustherd.node.twin.node:TwinNode",
}
"""Our kinds as the entry points have them (a test holds them equal): to read those takes 1.4 MB of memory."""

HARMLESS = ("process", "twin")
"""Kinds of ours that touch nothing of the machine but what they started themselves, and what was named to them."""


def kind_of(config: Config, file: Path) -> str:
    """Which kind of node a configuration asks for. ConfigError unless it is one, and one that is installed."""
    for name in config.nodes:
        if name not in BUILT_IN and name not in _known():
            from mustherd.plugins import nearest  # noqa: PLC0415

            near = nearest(name, [*_known(), *(field for field in Config.__struct_fields__ if field != "nodes")])
            hint = f"; did you mean {near!r}?" if near else ""
            raise ConfigError(
                f"{file}: {name}: neither a table of a muster nor a kind of node; installed are"
                f" {', '.join(_known())}{hint}"
            )
    if len(config.nodes) != 1:
        tables = [f"[{name}]" for name in config.nodes or _known()]
        problem = f"{' and '.join(tables)} are more than one node" if config.nodes else "no node"
        allowed = "one table" if config.nodes else f"a table {', '.join(tables[:-1])} or {tables[-1]}"
        raise ConfigError(f"{file}: top level: {problem}: {allowed} is needed")
    return next(iter(config.nodes))


def open_node(config: Config, file: Path) -> Node:
    """The node that a configuration means. Raises ConfigError, and PluginError for a package that can't be used.

    Code of other packages is loaded, and knobs that the configuration declares are made, only where nobody but root and
    who runs this can have written it.
    """
    name = kind_of(config, file)
    table = config.nodes[name]
    if name not in BUILT_IN or table.get("knobs") or table.get("own"):
        from mustherd.muster import privileges  # noqa: PLC0415

        privileges.require_guarded(file, {ROOT, os.geteuid()})
    kind = _load(name)
    options, home = _options(kind, config, file, name), Path(config.state)
    try:
        return kind.open(options, home) if name in BUILT_IN else _opened(kind, options, home, name)
    except NodeError as error:
        raise ConfigError(f"{file}: {name}: {error}") from None


def _opened(kind: NodeKind, options: Any, home: Path, name: str) -> Node:
    """A package's node, once it is known to be one; one that isn't is closed.

    Raises NodeError, and PluginError for whatever else comes of it.
    """
    from mustherd.plugins import NODES, PluginError, blaming, plugin  # noqa: PLC0415

    found = plugin(NODES, name)
    node: Any = None
    try:
        with blaming(f"{found.title} can't be opened", NodeError, PluginError):
            node = kind.open(options, home)
            odd = _odd(node)
        if odd:
            raise PluginError(f"{found.title} ({found.target}) opens {odd}")
    except (NodeError, PluginError):
        # What is wrong with it is told already; one that is no node may have nothing to close.
        with contextlib.suppress(Exception, SystemExit):
            node.close()
        raise
    made: Node = node
    return made


def _odd(node: Any) -> str:
    """What a package's node is instead of a node, or has in the place of its parts; "" where all is well."""
    from mustherd.errors import repr_of  # noqa: PLC0415
    from mustherd.plugins import lacking  # noqa: PLC0415

    if absent := lacking(node, Node):
        return f"{repr_of(node)}, which lacks {', '.join(absent)}: see mustherd.node.node.Node"
    if not isinstance(node.facts, Facts):
        return f"a node with facts {repr_of(node.facts)}, which are no mustherd.terms.Facts"
    parts: list[tuple[str, object, type]] = [("clock", node.clock, Clock)]
    if node.meter is not None:
        parts.append(("meter", node.meter, EnergyMeter))
    lists: dict[str, type] = {"knobs": Knob, "loggers": NativeLogger, "text_loggers": TextLogger}
    for part, wanted in lists.items():
        several = getattr(node, part)
        # What can be gone through but once is used up by this look.
        if isinstance(several, Iterator) or not isinstance(several, Iterable):
            return f"a node with {part} {repr_of(several)}; allowed: a tuple or a list"
        parts += [(part, each, wanted) for each in several]
    for part, each, wanted in parts:
        if absent := lacking(each, wanted):
            return f"a node with {part} {repr_of(each)}, which lacks {', '.join(absent)}"
    for knob in node.knobs:
        if not isinstance(knob.info, KnobInfo):
            return f"a node with a knob whose info is {repr_of(knob.info)}, which is no mustherd.terms.KnobInfo"
    return ""


def own_knobs(config: Config, node: Node, journal: Journal) -> list[Knob]:
    """The knobs that a muster may set, and those that it has left changed."""
    changed = journal.originals()
    return [k for k in node.knobs if k.info.name in config.ranges or (k.info.sheep, k.info.name) in changed]


def check(config: Config, file: Path) -> None:
    """Whether a configuration could be acted on, as far as that can be told without a look at the machine.

    Raises ConfigError. Code of other packages is not loaded.
    """
    name = kind_of(config, file)
    if name in BUILT_IN:
        _options(_load(name), config, file, name)


def _load(name: str) -> NodeKind:
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        ours: NodeKind = getattr(import_module(module), attribute)
        return ours
    from mustherd.plugins import NODES, keeps, plugin  # noqa: PLC0415

    found = plugin(NODES, name)
    kind = found.load()
    keeps(found, kind, NodeKind)
    made: NodeKind = kind
    return made


def _options(kind: NodeKind, config: Config, file: Path, name: str) -> Any:
    """A node's table as its kind's `Options`. ConfigError with file, key, what is wrong and what is allowed."""
    from mustherd.plugins import OptionError, options_of  # noqa: PLC0415

    table, at = config.nodes[name], f"{file}: {name}"
    if kind.Options is None:
        return table
    try:
        found = options_of(kind, table)
    except OptionError as error:
        raise ConfigError(f"{at}.{error}" if error.path else f"{at}: {error}") from None
    if name == "linux" and found.own:
        from mustherd.node.linux.own_file import wrong  # noqa: PLC0415

        if problem := next(wrong(found.own, config.ranges), ""):
            raise ConfigError(f"{file}: {problem}")
    return found


def _known() -> Collection[str]:
    """Kinds of nodes that are installed."""
    from mustherd.plugins import NODES, plugins  # noqa: PLC0415

    return sorted({*BUILT_IN, *plugins(NODES)})
