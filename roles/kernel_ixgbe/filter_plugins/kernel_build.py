"""Which host leads a build that several share, what they use, and the boot menu's entries."""

import re
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

VALUES = runpy.run_path(str(Path(__file__).resolve().parents[2] / "common/filter_plugins/mustherd_values.py"))
switch = VALUES["switch"]
cause = runpy.run_path(str(Path(__file__).resolve().parents[2] / "common/files/mustherd_build.py"))["cause"]


def sharers(hosts: Sequence[str], hostvars: Mapping[str, Any], name: str) -> list[str]:
    """Hosts that are due for the same build in the same place as `name`, in the order of `hosts`; the first leads."""
    place = hostvars[name]["kernel_ixgbe_job"]["place"]
    return [host for host in hosts if (job := hostvars[host].get("kernel_ixgbe_job")) and job["place"] == place]


def differences(hosts: Sequence[str], hostvars: Mapping[str, Any]) -> list[str]:
    """What hosts that share a build want differently, one line for each variable."""
    wants = {host: hostvars[host]["kernel_ixgbe_job"]["wants"] for host in hosts}
    first = hosts[0]
    lines = []
    for key, value in wants[first].items():
        other = next((host for host in hosts if wants[host].get(key) != value), None)
        if other is not None:
            lines.append(f"{key} on {first} is {value}, on {other} {wants[other].get(key)}")
    return lines


def modules_in_use(texts: Sequence[str]) -> str:
    """One list in lsmod's format of what several lists in that format, or in that of /proc/modules, name."""
    names = {line.split()[0] for text in texts for line in text.splitlines() if line.strip()} - {"Module"}
    return "".join(["Module Size Used by\n", *(f"{name} 0 0\n" for name in sorted(names))])


ENTRY = re.compile(r"^\s*(?P<kind>menuentry|submenu)\s.*?\$menuentry_id_option\s+'(?P<id>[^']+)'.*\{\s*$")
KERNEL = re.compile(r"^\s*linux(?:16|efi)?\s+\S*/(?:vmlinuz|kernel)-(?P<release>\S+)")


def _entries(menu: str) -> list[tuple[str, str]]:
    """(path of ids as GRUB_DEFAULT takes it, release) of every entry of a grub.cfg, in its order."""
    found: list[tuple[str, str]] = []
    path: list[str] = []
    depth: list[int] = []
    level = 0
    for line in menu.splitlines():
        entry = ENTRY.match(line)
        if entry:
            path.append(entry["id"])
            depth.append(level)
        kernel = KERNEL.match(line)
        if kernel and path:
            found.append((">".join(path), kernel["release"]))
        level += len(re.findall(r"(?:^|\s)\{|\{\s*$", line)) - len(re.findall(r"^\s*\}", line))
        while depth and level <= depth[-1]:
            depth.pop()
            path.pop()
    return found


def boot_entry(menu: str, release: str) -> str:
    """The entry that boots `release` and nothing else, as GRUB_DEFAULT takes it; empty where there is none.

    The entry at the top boots whichever kernel is newest, so one that names the release is preferred.
    """
    entries = [path for path, booted in _entries(menu) if booted == release and "-recovery-" not in path]
    return next((path for path in entries if f"gnulinux-{release}-" in path), "")


def boot_top(menu: str) -> str:
    """The release that the first entry boots: the default, unless something says otherwise; empty for none."""
    return next((release for _, release in _entries(menu)), "")


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {
            "kernel_ixgbe_sharers": sharers,
            "kernel_ixgbe_differences": differences,
            "kernel_ixgbe_modules_in_use": modules_in_use,
            "kernel_ixgbe_boot_entry": boot_entry,
            "kernel_ixgbe_boot_top": boot_top,
            "kernel_ixgbe_cause": cause,
            "kernel_ixgbe_switch": switch,
        }
