"""A muster's own configuration on its node: a TOML file that the shepherd can neither read nor widen."""

import re
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import msgspec

from mustherd import files
from mustherd.errors import UserError, shown
from mustherd.herd.timing import LEASE_S
from mustherd.node.ranges import Range
from mustherd.wire.messages import Name
from mustherd.wire.ports import Ports

MOST_BYTES = 1 << 20


class ConfigError(UserError):
    """The configuration can't be used; the message names the file, the key, the value and what is allowed."""


class LogsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of the node's text streams (intlog's and the like)."""

    streams: tuple[str, ...] = ("*",)
    """Shell patterns of the streams that are read; none: no stream is."""
    every: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    """Keep one row in so many."""
    columns: tuple[str, ...] = ()
    """Keep these columns and the row's number; none: all. `rx_bytes` and `timestamp` are what load prediction needs."""
    spool: str = ""
    """Folder for rows that the shepherd hasn't safe yet; empty: in the state folder."""
    spool_mib: Annotated[int, msgspec.Meta(ge=16, le=1_048_576)] = 1024
    """Its size at most; beyond it the sources are not read until the shepherd has taken some."""

    def takes(self, stream: str) -> bool:
        """Whether that stream is read."""
        return any(fnmatchcase(stream, pattern) for pattern in self.streams)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file's content."""

    muster: Name
    shepherd: str = "127.0.0.1"
    ports: Ports = Ports()
    """The shepherd's; 0 is none to connect to."""
    keys: str = ""
    """Key folder; needed for any shepherd beyond loopback."""
    state: str
    """Folder for the journal of original values; must survive a crash. One that is not absolute is beside the file."""
    groups: tuple[Name, ...] = ()
    lease_s: Annotated[float, msgspec.Meta(ge=1.0, le=600.0)] = LEASE_S
    ranges: dict[str, Range] = {}
    """Knob name to what may be set; a knob that isn't named is never touched."""
    logs: LogsTable = LogsTable()
    metrics: str = ""
    """Where a Prometheus may ask, as `9101` (on loopback) or `10.10.1.2:9101`; empty: nowhere."""
    nodes: dict[str, dict[str, Any]] = {}
    """Every other table, by name; there must be one, and its name is a kind of node (mustherd.muster.nodes): `linux`,
    this machine (mustherd.node.linux.options); `twin`, a simulated one (mustherd.node.twin.faults); `process`, a server
    that the muster runs itself (mustherd.load.local_server); or a kind that another package adds."""


def _converted(content: dict[str, Any]) -> Config:
    """Tables that aren't the muster's own are put together, as those of nodes."""
    own = set(Config.__struct_fields__) - {"nodes"}
    nodes = {name: table for name, table in content.items() if name not in own and isinstance(table, dict)}
    rest = {name: value for name, value in content.items() if name not in nodes}
    return msgspec.convert({**rest, "nodes": nodes}, Config)


_WORDS = {
    "`object`": "a table", "`array`": "a list", "`str`": "a text", "`int`": "a whole number", "`float`": "a number",
    "`bool`": "true or false",
}  # fmt: skip
"""A type as msgspec calls it, and as a person who writes TOML does."""


def _in_words(what: str) -> str:
    return re.sub(r"`\w+`", lambda found: _WORDS.get(found[0], found[0]), what)


def _found(content: Any, key: str) -> list[str]:
    """The value that is wrong, as text; nothing where `key` names none, or a whole table."""
    for name, index in re.findall(r"([\w-]+)|\[(\d+)\]", key):
        if index and isinstance(content, list) and int(index) < len(content):
            content = content[int(index)]
        elif name and isinstance(content, dict) and name in content:
            content = content[name]
        else:
            return []
    return [] if isinstance(content, dict) else [shown(content)]


def load(path: Path) -> Config:
    """Read a muster's configuration; raises ConfigError."""
    try:
        text = files.content(path, MOST_BYTES).decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the muster's configuration: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot read the muster's configuration: {error}") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    try:
        config = _converted(content)
    except msgspec.ValidationError as error:
        # msgspec says "... - at `$.ranges.dvfs`"; a person reads the path first.
        what, _, where = str(error).partition(" - at ")
        key = re.sub(r"^\$\.?", "", where.strip("`")) or "top level"
        raise ConfigError(": ".join([str(path), key, *_found(content, key), _in_words(what)])) from None
    for name, port in msgspec.structs.asdict(config.ports).items():
        if port < 1:
            raise ConfigError(f"{path}: ports.{name}: {port} is no port to connect to: expected >= 1")
    return msgspec.structs.replace(config, state=str(path.absolute().parent / config.state))
