"""How a machine is reached: what the inventory says of it, then the account's and the system's ssh configuration."""

import getpass
import os
import pwd
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from mustherd.errors import UserError

SYSTEM = Path("/etc/ssh/ssh_config")
KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
"""Where OpenSSH looks unless told otherwise."""
MOST_JUMPS = 8
OWN_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
"""Of those that OpenSSH tries unless told otherwise."""


class SshConfigError(UserError):
    """The configuration of ssh can't be followed; the message names the host, the option and the fix."""


@dataclass(frozen=True)
class Route:
    """Where to connect to, as whom, by which keys, and through what."""

    host: str
    port: int
    user: str
    keys: tuple[Path, ...]
    known_hosts: tuple[Path, ...]
    command: str = ""
    """A program whose input and output is the connection; empty for none."""
    jumps: "tuple[Route, ...]" = ()
    """Hosts to go through, the first of them first."""


class _Raw(paramiko.SSHConfig):
    """Leaves the tokens of a ProxyCommand: the port that it goes to may be the inventory's."""

    TOKENS_BY_CONFIG_KEY = {  # noqa: RUF012 - as the class that it is made from has it
        name: tokens for name, tokens in paramiko.SSHConfig.TOKENS_BY_CONFIG_KEY.items() if name != "proxycommand"
    }


def route(
    host: str, user: str = "", port: int = 22, key: Path | None = None, options: Sequence[str] = (), *, depth: int = 0
) -> Route:
    """The route to a host, of OpenSSH's words in `options` (as ansible_ssh_common_args has them) and its files.

    An option beats a file, the inventory's own account, port and key beat both. Raises SshConfigError.
    """
    if depth > MOST_JUMPS:
        raise SshConfigError(f"{host}: more than {MOST_JUMPS} jumps; fix: does a ProxyJump lead back to itself?")
    given = _words(host, options)
    told: dict[str, object] = {}
    for file in _files(given):
        try:
            for name, value in _Raw.from_path(str(file)).lookup(host).items():
                told.setdefault(name, value)
        except (OSError, paramiko.SSHException, UnicodeDecodeError, ValueError) as error:
            raise SshConfigError(f"{host}: {file} can't be read: {error}; fix: correct it, or ssh_config(5)") from None
    told |= given
    where = str(told.get("hostname") or host)
    number = str(told.get("port", "")) if port == 22 and told.get("port") else str(port)
    if not number.isdecimal() or not 0 < int(number) <= 65535:
        raise SshConfigError(f"{host}: {number!r} is no port; fix: correct Port")
    account = user or str(told.get("user") or "") or getpass.getuser()
    files = told.get("identityfile", ())
    keys = [key] if key else [Path(str(file)).expanduser() for file in ([files] if isinstance(files, str) else files)]  # type: ignore[attr-defined]
    keys += [] if key else _keys_of(account)
    known = str(told.get("userknownhostsfile") or "").split() or list(KNOWN_HOSTS)
    command = str(told.get("proxycommand") or "")
    jump = str(told.get("proxyjump") or "")
    if jump.lower() == "none" or ("proxycommand" in given and "proxyjump" not in given):
        jump = ""
    if command.lower() == "none" or jump:
        command = ""
    return Route(
        host=where,
        port=int(number),
        user=account,
        keys=tuple(file for file in keys if key or file.exists()),
        known_hosts=tuple(Path(file).expanduser() for file in known),
        command=_expanded(command, where, int(number), account, host),
        jumps=_jumps(jump, given, depth),
    )


def _keys_of(account: str) -> list[Path]:
    """For root, who conducts an experiment for an account of this machine: that account's keys, beside its own."""
    if os.geteuid() != 0 or account == "root":
        return []
    try:
        home = Path(pwd.getpwnam(account).pw_dir)
    except KeyError:
        return []
    return [home / ".ssh" / name for name in OWN_KEYS]


def _words(host: str, options: Sequence[str]) -> dict[str, object]:
    """`-o Name=value`, `-J`, `-i`, `-F`, `-p` and `-l` by the names that files have for them; others are left out."""
    found: dict[str, object] = {}
    short = {"-J": "proxyjump", "-i": "identityfile", "-F": "configfile", "-p": "port", "-l": "user"}
    words = list(options)
    while words:
        word = words.pop(0)
        letter, rest = word[:2], word[2:]
        if letter != "-o" and letter not in short:
            continue
        value = rest or (words.pop(0) if words else "")
        if not value:
            raise SshConfigError(f"{host}: {letter} has no value; fix: correct ansible_ssh_common_args")
        if letter == "-o":
            name, separator, text = value.partition("=")
            if not separator:
                name, _, text = value.partition(" ")
            found.setdefault(name.strip().lower(), text.strip().strip('"'))
        else:
            found.setdefault(short[letter], value)
    return found


def _files(given: Mapping[str, object]) -> list[Path]:
    """The files to read: the one that is named (`none` for none), else the account's and the system's."""
    named = str(given.get("configfile", ""))
    if named:
        return [] if named == "none" else [Path(named).expanduser()]
    return [file for file in (Path("~/.ssh/config").expanduser(), SYSTEM) if file.is_file()]


def _jumps(jump: str, given: Mapping[str, object], depth: int) -> tuple[Route, ...]:
    """`[user@]host[:port]`, or several with commas, by the same files; what was given for the host isn't for these."""
    found: list[Route] = []
    options = ["-F", str(given["configfile"])] if given.get("configfile") else []
    if given.get("userknownhostsfile"):
        options += ["-o", f"UserKnownHostsFile={given['userknownhostsfile']}"]
    for hop in filter(None, (part.strip() for part in jump.split(","))):
        account, _, rest = hop.removeprefix("ssh://").rpartition("@")
        name, colon, number = rest.rpartition(":") if not rest.endswith("]") else (rest, "", "")
        if not colon:
            name, number = rest, "22"
        if not number.isdecimal():
            raise SshConfigError(f"{hop}: no host to jump through; fix: write [user@]host[:port] in ProxyJump")
        hop_route = route(name.strip("[]"), account, int(number), options=options, depth=depth + 1)
        found += [*hop_route.jumps, hop_route]
    return tuple(found)


def _expanded(command: str, host: str, port: int, user: str, name: str) -> str:
    """The tokens of ssh_config(5) that a ProxyCommand mostly has."""
    for token, value in (("%h", host), ("%p", str(port)), ("%r", user), ("%n", name)):
        command = command.replace(token, shlex.quote(value))
    return command.replace("%%", "%")
