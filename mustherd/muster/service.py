"""Putting a muster together from its configuration, and running it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mustherd.daemon import notify
from mustherd.muster.config import Config, ConfigError, load
from mustherd.muster.guardian import Guardian
from mustherd.muster.journal import Journal
from mustherd.muster.muster import Muster
from mustherd.muster.pasture import Pasture
from mustherd.node.node import Node
from mustherd.wire.endpoints import MusterEndpoint
from mustherd.wire.keys import for_member

log = logging.getLogger(__name__)

UNRESTORED = 3
"""Exit code when a knob could not be put back."""

UNGUARDED = 4
"""Exit code when the guardian was killed and the muster stopped for that, the node put back."""

GUARDIAN_S = 10.0
"""How long a former life's guardian may take to put the node back before this one gives up."""


def serve(file: Path, ready: Callable[[Callable[[], None]], object]) -> int:
    """Run the muster that `file` describes until it is stopped; gives the exit code.

    `ready` gets the function that stops it, to hang it on signals. A guardian puts the node back when this process no
    longer can. Raises ConfigError, JournalError, KeysError.
    """
    config = load(file)
    if config.linux is not None:
        config = _retire(file)
    node = open_node(config, file)
    # The guardian of a former life may still be putting the node back.
    journal = Journal(Path(config.state), patience_s=GUARDIAN_S)
    keys = for_member(Path(config.keys), config.muster) if config.keys else None
    guardian = Guardian(node.knobs, journal, config.lease_s, close=node.close)
    guardian.start()
    try:
        pasture = Pasture(node.knobs, config.ranges, journal)
        pasture.on_step = guardian.alive
        end = MusterEndpoint(config.muster, config.shepherd, config.ports.ports(), keys, config.groups)
        muster = Muster(config, node, pasture, end, each_round=lambda: _round(guardian))
        ready(muster.stop)
        notify("READY=1")
        try:
            muster.run()
        finally:
            node.close()
    finally:
        lost = guardian.gone()
        if journal.closed or not len(journal):
            guardian.dismiss()
    return UNRESTORED if muster.unrestored else UNGUARDED if lost else 0


def _round(guardian: Guardian) -> bool:
    """What is due whenever the muster comes round; False when it must not go on."""
    guardian.alive()
    notify("WATCHDOG=1")
    if not guardian.gone():
        return True
    log.error("the guardian is gone, which would put the node back if this muster were killed: it stops")
    return False


def open_node(config: Config, file: Path) -> Node:
    """The node that a configuration means. Raises ConfigError."""
    if config.linux is not None:
        return _open_linux(config.linux, file)
    if config.process is not None:
        return _open_process(config.process, file)
    if config.twin is None:
        raise ConfigError(f"{file}: top level: no node: a table [linux], [process] or [twin] is needed")
    from mustherd.node.twin.faults import TwinOptions  # noqa: PLC0415
    from mustherd.node.twin.node import TwinNode  # noqa: PLC0415

    try:
        options = msgspec.convert(config.twin, TwinOptions)
        return TwinNode(options, state_file=Path(config.state) / "registers.json")
    except (msgspec.ValidationError, ValueError, OSError) as error:
        raise ConfigError(f"{file}: twin: {error}") from None


def _open_linux(table: dict[str, Any], file: Path) -> Node:
    from mustherd.node.linux import LinuxNode, LinuxOptions, NodeError  # noqa: PLC0415

    try:
        return LinuxNode(msgspec.convert(table, LinuxOptions))
    except (msgspec.ValidationError, NodeError) as error:
        raise ConfigError(f"{file}: linux: {error}") from None


def _open_process(table: dict[str, Any], file: Path) -> Node:
    from mustherd.load.errors import LoadError  # noqa: PLC0415
    from mustherd.load.local_server import node  # noqa: PLC0415
    from mustherd.node.server.process import ServerError  # noqa: PLC0415
    from mustherd.plugins import PluginError  # noqa: PLC0415

    try:
        return node(table)
    except (msgspec.ValidationError, ValueError, LoadError, ServerError, PluginError) as error:
        raise ConfigError(f"{file}: process: {error}") from None


def _retire(file: Path) -> Config:
    """Give up what isn't needed on a real machine, and read the configuration once more, now that it is known safe."""
    from mustherd.muster import privileges  # noqa: PLC0415

    privileges.require_guarded(file)
    config = load(file)
    try:
        reserved = (config.linux or {}).get("reserved")
        if reserved:
            privileges.stay_on(msgspec.convert(reserved, set[int]))
        privileges.keep()
    except (privileges.PrivilegeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file}: {error}") from None
    return config
