"""Values of variables: read in one way by the inventory's check and by templates.

Types, choices and names are those of the roles' meta/argument_specs.yml; ranges and forms are here. What YAML 1.1 makes
of unquoted words is taken for what was meant where that is sure (off, 7), and refused where it is lost (5.10, a MAC).
"""

import difflib
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROLES = ("common", "kernel_ixgbe", "dvfs", "memcached_mutilate", "mustherd")
MOST_CORES = 4096

HERD: Mapping[str, Mapping[str, Any]] = {
    "herd_experiment": {"type": "str"},
    "herd_project": {"type": "str"},
    "herd_site": {"type": "str"},
    "herd_network": {"type": "str"},
    "herd_address": {"type": "str"},
    "herd_mac": {"type": "str"},
    "herd_load_group": {"type": "str"},
    "herd_musters": {"type": "raw"},
    "herd_profile": {"type": "str"},
    "herd_cores": {"type": "int"},
    "herd_reserved_cores": {"type": "cores"},
    "herd_sockets": {"type": "sockets"},
    "herd_memcached_cores": {"type": "cores"},
    "herd_nic_driver": {"type": "str"},
    "herd_dvfs_low_mhz": {"type": "int"},
    "herd_dvfs_high_mhz": {"type": "int"},
    "herd_dvfs_turbo_mhz": {"type": "int"},
    "herd_workplace": {"type": "str"},
}
"""Variables of hosts and of kinds of machine, which are no role's own."""

CORES = {"mustherd_cores": "cores", "memcached_mutilate_cores": "cores", "memcached_mutilate_sockets": "sockets"}
"""Variables of roles that take cores in every way to write them, whatever their type to Ansible."""

PORT = (1, 65535)
RANGES: Mapping[str, tuple[float, float]] = {
    "herd_cores": (0, MOST_CORES),
    "herd_dvfs_low_mhz": (100, 10_000),
    "herd_dvfs_high_mhz": (100, 10_000),
    "herd_dvfs_turbo_mhz": (0, 10_000),
    "kernel_ixgbe_jobs": (0, MOST_CORES),
    "kernel_ixgbe_build_timeout": (60, 7 * 86_400),
    "kernel_ixgbe_free_gib": (0, 10**6),
    "kernel_ixgbe_boot_free_mib": (0, 10**6),
    "kernel_ixgbe_reboot_timeout": (10, 86_400),
    "dvfs_reboot_timeout": (10, 86_400),
    "memcached_mutilate_port": PORT,
    "memcached_mutilate_threads": (0, MOST_CORES),
    "memcached_mutilate_memory_mib": (16, 2**24),
    "memcached_mutilate_connections": (1, 10**6),
    "memcached_mutilate_backlog": (1, 10**6),
    "memcached_mutilate_agent_threads": (1, MOST_CORES),
    "memcached_mutilate_open_files": (1024, 2**20),
    "memcached_mutilate_jobs": (1, MOST_CORES),
    "memcached_mutilate_build_timeout": (60, 7 * 86_400),
    # As mustherd.muster.config has it.
    "mustherd_lease_s": (1, 600),
}

_WORD, _PATH, _ACCOUNT = r"[A-Za-z0-9][A-Za-z0-9._-]*", r"/[A-Za-z0-9._/@+-]*", r"[A-Za-z_][A-Za-z0-9_.-]{0,31}"
_MAC = r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}"
_SUM = r"(?i:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}|sha384:[0-9a-f]{96}|sha1:[0-9a-f]{40}|sha\d+:https?://\S+)"
_CORE_LIST = r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*"
FORMS: Mapping[str, tuple[str, str]] = {
    "herd_mac": (_MAC, "a MAC address in quotes, like '3c:fd:fe:00:00:02'"),
    "herd_profile": (_WORD, "a name"),
    "herd_nic_driver": (rf"(?:{_WORD})?", "a driver's name, or '' for none"),
    "kernel_ixgbe_mac": (rf"(?:{_MAC})?", "a MAC address in quotes, like '3c:fd:fe:00:00:02'"),
    "kernel_ixgbe_interface": (r"(?:[^\s/]{1,15})?", "an interface's name, of at most 15 characters"),
    "kernel_ixgbe_version": (r"\d+(?:\.\d+){1,2}(?:-rc\d+)?", "a kernel's version in quotes, like '5.15.89'"),
    "kernel_ixgbe_localversion": (r"[A-Za-z0-9._+~-]{0,60}", "what may be part of a release, like -herd"),
    "kernel_ixgbe_url": (r"(?:https?|ftp|file)://\S+", "an address like https://..."),
    "kernel_ixgbe_checksum": (_SUM, "algorithm:digest, such as sha256: and 64 digits"),
    "kernel_ixgbe_affinity": (
        rf"all|local|remote|leave|one:\d+|list:{_CORE_LIST}",
        "all, local, remote, one:CORE, list:CORES or leave",
    ),
    "kernel_ixgbe_kind": (_WORD, "a name"),
    "kernel_ixgbe_source_dir": (_PATH, "an absolute path"),
    "kernel_ixgbe_driver_repository": (r"(?!-)\S+", "a repository's address"),
    "kernel_ixgbe_driver_revision": (r"(?!-)[A-Za-z0-9._/-]+", "a revision of the repository, in quotes"),
    "kernel_ixgbe_driver_path": (r"(?!/)[A-Za-z0-9._/@+-]+", "a folder of the repository"),
    "kernel_ixgbe_driver_destination": (r"(?!/)[A-Za-z0-9._/@+-]+", "a folder of the kernel's tree"),
    "kernel_ixgbe_driver_folder": (r"(?!/)[A-Za-z0-9._/@+-]+", "a folder of the kernel's tree"),
    "kernel_ixgbe_driver_module": (r"[A-Za-z0-9_]+", "a module's name"),
    "kernel_ixgbe_address": (r"\d+(?:\.\d+){3}/\d+", "an address with its prefix, like 10.10.1.2/24"),
    "dvfs_governor": (r"[a-z_]*", "a governor's name, or '' to leave it"),
    "memcached_mutilate_version": (r"\d+\.\d+\.\d+\S*", "a version like 1.6.38"),
    "memcached_mutilate_url": (r"(?:https?|ftp|file)://\S+", "an address like https://..."),
    "memcached_mutilate_checksum": (_SUM, "algorithm:digest, such as sha256: and 64 digits"),
    "memcached_mutilate_address": (r"[0-9a-fA-F.:]+", "an address that the node has"),
    "memcached_mutilate_repository": (r"(?!-)\S+", "a repository's address"),
    "memcached_mutilate_revision": (r"(?!-)[A-Za-z0-9._/-]+", "a revision of the repository, in quotes"),
    "memcached_mutilate_user": (_ACCOUNT, "an account's name"),
    "memcached_mutilate_source_dir": (_PATH, "an absolute path"),
    "mustherd_prefix": (_PATH, "an absolute path"),
    "mustherd_etc": (_PATH, "an absolute path"),
    "mustherd_state": (_PATH, "an absolute path"),
    "mustherd_user": (_ACCOUNT, "an account's name"),
    "mustherd_shepherd": (r"[0-9a-fA-F.:]+", "the shepherd's address"),
    "mustherd_memory_max": (r"\d+[KMGT]?|infinity", "an amount as systemd takes it, like 512M"),
    "mustherd_cpu_quota": (r"\d+%", "a percentage of one CPU, like 100%"),
    "common_mesh_user": (_ACCOUNT, "an account's name"),
}
ELEMENTS: Mapping[str, tuple[str, str]] = {
    "common_packages": (r"[a-z0-9][a-z0-9+.-]*(?::\w+)?(?:=\S+)?", "a package's name"),
    "kernel_ixgbe_packages": (r"[a-z0-9][a-z0-9+.-]*(?::\w+)?(?:=\S+)?", "a package's name"),
    "kernel_ixgbe_make_arguments": (r"[^\s'\"$`;|&<>]+", "an argument of make without spaces"),
    "dvfs_kernel_arguments": (r"[^\s'\"$`\\]+", "one argument of the kernel's command line"),
    "mustherd_groups": (_WORD, "a group's name"),
}

TRUE, FALSE = ("yes", "on", "true", "1", "y", "t"), ("no", "off", "false", "0", "n", "f")


class BadValueError(ValueError):
    """What is allowed instead."""


def cores(value: Any) -> list[int]:
    """The cores that `0-6,8-14`, one number or a list of these mean; none for an empty one. Raises BadValueError."""
    if value is None or value == "":
        return []
    if isinstance(value, bool):
        raise BadValueError(f"{value!r} is not a core or a range of cores")
    if isinstance(value, int):
        parts = [str(value)]
    elif isinstance(value, (list, tuple)):
        return sorted({core for part in value for core in cores(part)})
    else:
        parts = str(value).split(",")
    found: set[int] = set()
    for part in parts:
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part, re.ASCII)
        if not match:
            raise BadValueError(f"{part.strip()!r} is not a core or a range of cores")
        low, high = int(match[1]), int(match[2] or match[1])
        if high < low or high >= MOST_CORES:
            raise BadValueError(f"{part.strip()!r} is not a range from low to high")
        found.update(range(low, high + 1))
    return sorted(found)


def sockets(value: Any) -> list[list[int]]:
    """The cores of each socket; one that is not in a list is the only one. Raises ValueError."""
    if value is None or value == "":
        return []
    return [cores(socket) for socket in (value if isinstance(value, (list, tuple)) else [value])]


def switch(value: object) -> object:
    """`on` or `off` where YAML made a truth value of it, as of `off` without quotes; anything else as it is."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def number(value: Any) -> int:
    """A whole number, also one in quotes. Raises ValueError."""
    if isinstance(value, bool) or not (
        isinstance(value, int) or re.fullmatch(r"-?\d{1,18}", str(value).strip(), re.ASCII)
    ):
        raise BadValueError("a whole number")
    return int(value)


def truth(value: Any) -> bool:
    """What a switch of a role says. Raises ValueError."""
    word = str(value).strip().lower()
    if word not in (*TRUE, *FALSE):
        raise BadValueError("true or false")
    return word in TRUE


@cache
def specification() -> dict[str, Mapping[str, Any]]:
    """Every variable there is, with its type and choices."""
    known = dict(HERD)
    for role in ROLES:
        file = Path(__file__).resolve().parents[2] / role / "meta/argument_specs.yml"
        known.update(yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"])
    for name, kind in CORES.items():
        known[name] = {**known[name], "type": kind}
    return known


def is_ours(name: str) -> bool:
    """Whether a variable belongs to a role or to the herd."""
    return name.startswith(tuple(f"{prefix}_" for prefix in (*ROLES, "herd")))


def unknown(name: str) -> str:
    """The fix for a name that no role has."""
    near = difflib.get_close_matches(name, specification(), 1, 0.75)
    return f"write {near[0]}" if near else "take it out; the roles' README files list their variables"


def wrong(name: str, value: Any) -> str:
    """What is allowed where `value` is not; empty where it is."""
    option = specification()[name]
    if value is None:
        return "a value; write '' for an empty one, or take the line out"
    try:
        _typed(name, option, value)
    except BadValueError as error:
        return str(error)
    return ""


def _typed(name: str, option: Mapping[str, Any], value: Any) -> None:
    """Raises BadValueError with what is allowed."""
    kind = option.get("type", "str")
    TYPES[kind](name, option, value)


def _int(name: str, option: Mapping[str, Any], value: Any) -> None:
    found = number(value)
    choices = option.get("choices")
    if choices and found not in choices:
        raise BadValueError(" or ".join(map(str, choices)))
    _bounded(name, found)


def _float(name: str, _option: Mapping[str, Any], value: Any) -> None:
    try:
        found = float("" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        raise BadValueError("a number") from None
    _bounded(name, found)


def _bounded(name: str, found: float) -> None:
    low, high = RANGES.get(name, (float("-inf"), float("inf")))
    if not low <= found <= high:
        raise BadValueError(f"{low:g} to {high:g}")


def _bool(_name: str, _option: Mapping[str, Any], value: Any) -> None:
    truth(value)


def _str(name: str, option: Mapping[str, Any], value: Any) -> None:
    choices = option.get("choices")
    if choices:
        value = switch(value)
        if value not in choices:
            raise BadValueError(" or ".join(map(str, choices)))
        return
    pattern, form = FORMS.get(name, (r"", ""))
    if isinstance(value, bool) or not isinstance(value, (str, int)) or (isinstance(value, int) and "quotes" in form):
        # A version 5.10 is the number 5.1 by now, and a MAC may have become a number of seconds.
        raise BadValueError(form if "quotes" in form else f"{form or 'a text'}, in quotes")
    text = str(value)
    if not text.isprintable():
        raise BadValueError("one line of text")
    if pattern and not re.fullmatch(pattern, text, re.ASCII):
        raise BadValueError(form)


def _list(name: str, option: Mapping[str, Any], value: Any) -> None:
    if not isinstance(value, (list, tuple)):
        raise BadValueError("a list, like [a, b]")
    pattern, form = ELEMENTS.get(name, (r"", ""))
    for element in value:
        if option.get("elements") == "int":
            number(element)
        elif not isinstance(element, str) or not element.isprintable():
            raise BadValueError(f"a list of texts{', each ' + form if form else ''}")
        elif pattern and not re.fullmatch(pattern, element, re.ASCII):
            raise BadValueError(f"in each place {form}")


def _dict(name: str, _option: Mapping[str, Any], value: Any) -> None:
    if not isinstance(value, Mapping):
        raise BadValueError("a mapping, like {name: value}")
    if name in DEEPER:
        DEEPER[name](value)


def _ports(value: Mapping[str, Any]) -> None:
    names = ("pulse", "log", "control", "coordinate")
    form = f"a port of its own for each of {', '.join(names)}"
    try:
        found = [number(value[name]) for name in names]
    except (KeyError, BadValueError):
        raise BadValueError(form) from None
    if (
        set(value) != set(names)
        or len(set(found)) != len(found)
        or not all(PORT[0] <= port <= PORT[1] for port in found)
    ):
        raise BadValueError(form)


def _ranges(value: Mapping[str, Any]) -> None:
    for knob, limits in value.items():
        form = f"for {knob} some of values (a list), low and high, whole numbers with low <= high, and modes"
        if not isinstance(limits, Mapping) or not set(limits) <= {"values", "low", "high", "modes"} or not limits:
            raise BadValueError(form)
        values = limits.get("values", [])
        if not isinstance(values, (list, tuple)):
            raise BadValueError(form)
        try:
            truth(limits.get("modes", False))
            numbers = [number(one) for one in (*values, limits.get("low", 0), limits.get("high", 2**31))]
        except BadValueError:
            raise BadValueError(form) from None
        if min(numbers) < 0 or numbers[-2] > numbers[-1]:
            raise BadValueError(form)


def _cores(_name: str, _option: Mapping[str, Any], value: Any) -> None:
    try:
        cores(value)
    except BadValueError as error:
        raise BadValueError(f"cores like 7, '0-6,8-14' or [7, 15]: {error}") from None


def _sockets(_name: str, _option: Mapping[str, Any], value: Any) -> None:
    try:
        found = sockets(value)
    except BadValueError as error:
        raise BadValueError(f"the cores of each socket, like ['0-7', '8-15']: {error}") from None
    together = [core for socket in found for core in socket]
    if len(set(together)) != len(together):
        raise BadValueError("the cores of each socket, none of them twice")


def _raw(_name: str, _option: Mapping[str, Any], _value: Any) -> None:
    """Checked elsewhere."""


TYPES: Mapping[str, Callable[[str, Mapping[str, Any], Any], None]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "str": _str,
    "path": _str,
    "list": _list,
    "dict": _dict,
    "cores": _cores,
    "sockets": _sockets,
    "raw": _raw,
}
DEEPER: Mapping[str, Callable[[Mapping[str, Any]], None]] = {"mustherd_ports": _ports, "mustherd_ranges": _ranges}


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"mustherd_cores": cores, "mustherd_sockets": sockets}
