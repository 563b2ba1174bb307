"""CURVE keys: who may talk to whom beyond loopback, and as what.

A key folder holds one pair per member, `NAME.key` (public) and `NAME.key_secret` (mode 0600), and `accepted/`, the
public keys that a shepherd lets in, each with its role. The name of an accepted key is the name of its member: a muster
joins under the name of its key alone.
"""

import ipaddress
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import zmq

from mustherd import files, guard
from mustherd.errors import UserError
from mustherd.wire.members import SHEPHERD, Member, Role, role_of
from mustherd.wire.messages import NAME_PATTERN

ACCEPTED = "accepted"

MOST_BYTES = 64 * 1024
"""A key file's size at most; one takes some hundred bytes."""

_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_ENTRY = re.compile(r"""^\s*(public|secret)-key\s*=\s*["']?([0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40})["']?\s*$""", re.M)
"""A key of 32 bytes as Z85 text (ZeroMQ RFC 32)."""

_ROLE = re.compile(r"""^\s*role\s*=\s*["']?([^"'\n]*)["']?\s*$""", re.M)


class KeysError(UserError):
    """A key is missing, unreadable or too widely readable, or an address needs keys; the message says the fix."""


@dataclass(frozen=True)
class Keys:
    """One process's own pair and the public keys of those it trusts, as Z85 text."""

    public: bytes
    secret: bytes = field(repr=False)
    shepherd: bytes | None = None
    """Connecting side: the only shepherd it talks to."""
    accepted: dict[bytes, Member] | None = None
    """Listening side: public key to member."""
    folder: Path | None = None
    """Listening side: where the accepted keys may be read again."""


def create(
    folder: Path, names: Sequence[str], *, role: Role | None = None, accept: bool = True, durable: bool = True
) -> list[str]:
    """Make a pair for every name that has none, and accept its public key; returns the names that were made.

    `role` is what the keys are for; None: `role_of` their names. An existing pair is never overwritten, and nothing is
    written through a link. `durable`: on disk when this returns. Keys are made before any ZeroMQ context exists (libzmq
    #4241), so call this from a process that does nothing else.
    """
    for name in names:
        if not re.match(NAME_PATTERN, name):
            raise KeysError(f"key name {name!r}: use lower-case letters, digits, '.' and '-', at most 63")
    try:
        guard.own_folder(folder)
        guard.own_folder(folder / ACCEPTED)
        made = []
        for name in names:
            secret = _place(folder / f"{name}.key_secret")
            if not secret.exists():
                pair = zmq.curve_keypair()
                # The public key first: with the secret one the pair is there.
                files.replace(_place(folder / f"{name}.key"), _certificate(pair[0]), durable=durable, mode=0o600)
                files.replace(secret, _certificate(*pair), durable=durable, mode=0o600)
                made.append(name)
            given = role or role_of(name)
            if accept and given is not None:
                public = _load(folder / f"{name}.key").public
                content = _certificate(public, role=given)
                files.replace(folder / ACCEPTED / f"{name}.key", content, durable=durable, mode=0o600)
    except guard.GuardError as error:
        raise KeysError(str(error)) from None
    except OSError as error:
        raise KeysError(f"{folder}: cannot write keys: {error.strerror or error}") from None
    return made


def for_shepherd(folder: Path, name: str = SHEPHERD) -> Keys:
    """The listening side's keys, with everything in `accepted/`."""
    public, secret = _pair(folder, name)
    accepted = accepted_in(folder)
    if not accepted:
        raise KeysError(f"{folder / ACCEPTED}: no accepted keys, so nobody could join; make them: mustherd keys create")
    return Keys(public=public, secret=secret, accepted=accepted, folder=folder)


def accepted_in(folder: Path) -> dict[bytes, Member]:
    """Public key to member of all that is in `accepted/`; none where there is no such folder.

    Raises KeysError, also where it can't be read just now: a process without a descriptor left must not take that for
    a folder without keys, and so turn everybody out.
    """
    place = folder / ACCEPTED
    try:
        guard.require(place)
        names = os.listdir(place)  # noqa: PTH208 - iterdir and glob differ between Pythons in what they do with an error
    except guard.GuardError as error:
        raise KeysError(str(error)) from None
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise KeysError(f"{place} can't be read: {error.strerror}") from None
    found: dict[bytes, Member] = {}
    for file in sorted(place / name for name in names if name.endswith(".key")):
        key = _load(file)
        if key.role not in (None, *Role):
            raise KeysError(f"{file}: role {key.role!r}: a key is for {', '.join(Role)}")
        # One that says nothing has the least that there is: version 0.1 wrote no roles.
        found[key.public] = Member(file.stem, Role(key.role or Role.MUSTER))
    return found


def signature(folder: Path) -> object:
    """A value that differs when an accepted key came, went or changed: cheap, to be looked at often."""
    try:
        entries = sorted((entry.name, entry.stat()) for entry in os.scandir(folder / ACCEPTED))
    except OSError:
        return None
    return [(name, found.st_ino, found.st_mtime_ns, found.st_size) for name, found in entries]


def for_member(folder: Path, name: str, shepherd: str = SHEPHERD) -> Keys:
    """A connecting side's keys: its own pair and the shepherd's public key."""
    public, secret = _pair(folder, name)
    return Keys(public=public, secret=secret, shepherd=_load(folder / f"{shepherd}.key").public)


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
    key = _load(file, private=True)
    if key.secret is None:
        raise KeysError(f"{file}: holds no secret key")
    return key.public, key.secret


def _place(file: Path) -> Path:
    """Where a key may be written. Raises KeysError for what is no file, a link first of all."""
    try:
        found = file.lstat()
    except FileNotFoundError:
        return file
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "not a regular file"
        raise KeysError(f"{file}: {kind}, which no key is written to; remove it")
    return file


def _certificate(public: bytes, secret: bytes | None = None, role: Role | None = None) -> str:
    """A key as a file (ZPL, as ZeroMQ's own tools read it)."""
    told = f'metadata\n    role = "{role}"\n' if role is not None else ""
    told += f'curve\n    public-key = "{public.decode()}"\n'
    return told if secret is None else f'{told}    secret-key = "{secret.decode()}"\n'


def _is_key(text: str) -> bool:
    """Whether ZeroMQ takes a text for a key: each five characters of it stand for 32 bits, which they may exceed."""
    digits = [_Z85.find(character) for character in text]
    groups = [digits[at : at + 5] for at in range(0, len(digits), 5)]
    return len(text) == 40 and all(
        min(group) >= 0 and sum(digit * 85**place for place, digit in enumerate(reversed(group))) < 2**32
        for group in groups
    )


class _Loaded(NamedTuple):
    """What a key file holds."""

    public: bytes
    secret: bytes | None
    role: str | None


def _load(file: Path, *, private: bool = False) -> _Loaded:
    """A key file that nobody else can change. Raises KeysError."""
    try:
        guard.require(file)
        text = guard.read(file.resolve(), MOST_BYTES, private=private).decode("ascii", "replace")
    except guard.GuardError as error:
        raise KeysError(str(error)) from None
    except PermissionError as error:
        # It is there, and another one would not be accepted.
        raise KeysError(f"{file}: {error.strerror}; run it with sudo, or as the user whose key it is") from None
    except OSError as error:
        raise KeysError(f"{file}: {error.strerror or error}; make one: mustherd keys create") from None
    found = dict(_ENTRY.findall(text))
    for kind in ("public", "secret"):
        if f"{kind}-key" in text and not _is_key(found.get(kind, "")):
            said = f"its {kind} key is none, which has 40 characters of Z85; was it cut short?"
            raise KeysError(f"{file}: {said} copy it again, or make a new pair: mustherd keys create")
    if "public" not in found:
        raise KeysError(f"{file}: not a key file; make one: mustherd keys create")
    role = _ROLE.search(text)
    secret = found.get("secret")
    return _Loaded(found["public"].encode(), secret.encode() if secret else None, role.group(1) if role else None)
