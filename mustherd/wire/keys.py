"""CURVE keys: who may talk to whom beyond loopback.

A key folder holds one pair per member, `NAME.key` (public) and `NAME.key_secret` (mode 0600), and `accepted/`, the
public keys that a shepherd lets in. The name of an accepted key is the name of the muster that may use it.
"""

import ipaddress
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zmq.auth

from mustherd.errors import UserError
from mustherd.wire.messages import NAME_PATTERN

ACCEPTED = "accepted"


class KeysError(UserError):
    """A key is missing, unreadable or too widely readable, or an address needs keys; the message says the fix."""


@dataclass(frozen=True)
class Keys:
    """One process's own pair and the public keys of those it trusts, as Z85 text."""

    public: bytes
    secret: bytes = field(repr=False)
    shepherd: bytes | None = None
    """Connecting side: the only shepherd it talks to."""
    accepted: dict[bytes, str] | None = None
    """Listening side: public key to member's name."""


def create(folder: Path, names: Sequence[str], *, accept: bool = True) -> list[str]:
    """Make a pair for every name that has none, and accept its public key; returns the names that were made.

    An existing pair is never overwritten. Keys are made before any ZeroMQ context exists (libzmq #4241), so call this
    from a process that does nothing else.
    """
    for name in names:
        if not re.match(NAME_PATTERN, name):
            raise KeysError(f"key name {name!r}: use lower-case letters, digits, '.' and '-', at most 63")
    before = os.umask(0o077)
    try:
        (folder / ACCEPTED).mkdir(parents=True, exist_ok=True)
        made = []
        for name in names:
            public = folder / f"{name}.key"
            if not (folder / f"{name}.key_secret").exists():
                zmq.auth.create_certificates(folder, name)
                made.append(name)
            if accept:
                shutil.copyfile(public, folder / ACCEPTED / public.name)
    except OSError as error:
        raise KeysError(f"{folder}: cannot write keys: {error.strerror or error}") from None
    finally:
        os.umask(before)
    return made


def for_shepherd(folder: Path, name: str = "shepherd") -> Keys:
    """The listening side's keys, with everything in `accepted/`."""
    public, secret = _pair(folder, name)
    accepted: dict[bytes, str] = {}
    for file in sorted((folder / ACCEPTED).glob("*.key")):
        accepted[_load(file)[0]] = file.stem
    if not accepted:
        raise KeysError(f"{folder / ACCEPTED}: no accepted keys, so nobody could join; make them: mustherd keys create")
    return Keys(public=public, secret=secret, accepted=accepted)


def for_member(folder: Path, name: str, shepherd: str = "shepherd") -> Keys:
    """A connecting side's keys: its own pair and the shepherd's public key."""
    public, secret = _pair(folder, name)
    return Keys(public=public, secret=secret, shepherd=_load(folder / f"{shepherd}.key")[0])


def require_for(host: str, keys: Keys | None) -> None:
    """Refuse an address beyond loopback without keys; names are not resolved, only `localhost` counts as loopback."""
    if keys is None and not _is_loopback(host):
        raise KeysError(f"address {host}: beyond loopback only with keys; make them: mustherd keys create")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _pair(folder: Path, name: str) -> tuple[bytes, bytes]:
    file = folder / f"{name}.key_secret"
    public, secret = _load(file)
    mode = file.stat().st_mode & 0o077
    if mode:
        raise KeysError(f"{file}: readable by others (mode {file.stat().st_mode & 0o777:o}); fix: chmod 600 {file}")
    if secret is None:
        raise KeysError(f"{file}: holds no secret key")
    return public, secret


def _load(file: Path) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(file)
    except (OSError, ValueError) as error:
        raise KeysError(f"{file}: not a readable key file ({error}); make one: mustherd keys create") from None
