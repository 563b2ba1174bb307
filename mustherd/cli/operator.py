"""The options by which a command finds a running shepherd, and where this node's own is, as the roles left it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mustherd.client import HerdClient

INSTALLED = Path("/etc/mustherd/operator.toml")
"""On the shepherd's node: `shepherd`, where it listens for operators, and `keys`, the folder of root's key."""

MOST_BYTES = 4096

Shepherd = Annotated[
    str | None,
    typer.Option(help="Where the shepherd listens for operators: HOST or HOST:PORT; else this node's, or loopback."),
]
Keys = Annotated[
    Path | None,
    typer.Option(help="Key folder, with the operator's; needed beyond loopback. Else the one of this node's shepherd."),
]


def client(shepherd: str | None, keys: Path | None) -> "HerdClient":
    """An operator of the shepherd that was named, or of this node's own. UserError."""
    from mustherd.client import HerdClient

    return HerdClient(*found(shepherd, keys))


def found(shepherd: str | None, keys: Path | None) -> tuple[str, Path | None]:
    """What was given, and for what wasn't what the roles have left on the shepherd's node; else loopback.

    UserError where that can't be told, since it is for root alone, and nobody listens on loopback.
    """
    from mustherd.shepherd.operate import LOCAL, address

    installed = None
    try:
        installed = _installed()
    except PermissionError:
        _require_local(shepherd)
    if installed is None:
        return shepherd or LOCAL, keys
    at, own = installed
    if shepherd is not None and address(shepherd) != address(at):
        return shepherd, keys
    if shepherd is None or keys is None:
        import logging

        log = logging.getLogger(__name__)
        log.info("shepherd %s, keys in %s, as %s says", shepherd or at, keys or own or "no folder", INSTALLED)
    return shepherd or at, keys or own


def _installed() -> tuple[str, Path | None] | None:
    """Where this node's shepherd listens and the folder of keys; None where the roles left none. PermissionError."""
    import msgspec

    from mustherd import guard
    from mustherd.errors import UserError

    class Installed(msgspec.Struct, forbid_unknown_fields=True):
        shepherd: str
        keys: str = ""

    try:
        guard.require(INSTALLED)
        told = msgspec.toml.decode(guard.read(INSTALLED, MOST_BYTES), type=Installed)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{INSTALLED}: {error}; fix: provision the node again, or give --shepherd and --keys") from None
    return told.shepherd, Path(told.keys) if told.keys else None


def _require_local(shepherd: str | None) -> None:
    """UserError where no shepherd was named and none listens on loopback either."""
    from mustherd.errors import UserError
    from mustherd.experiment.way import listens
    from mustherd.shepherd.operate import LOCAL
    from mustherd.wire.ports import Ports

    if shepherd is None and not listens(LOCAL, Ports().coordinate):
        raise UserError(
            f"no shepherd listens on {LOCAL}, and what this node has of a herd ({INSTALLED.parent}) is for root alone:"
            " with sudo, or give --shepherd and --keys"
        )
