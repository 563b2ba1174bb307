"""The zones of /sys/class/powercap that count a package's energy or limit its power.

`intel-rapl:N` are packages (or dies of one), `intel-rapl:N:M` parts of them, and `psys` the whole board, packages
included. Left out, because they count the same energy again: `intel-rapl-mmio:*`, the packages by another way.
"""

import re

import msgspec

from mustherd.node.linux.tree import Tree, TreeError

POWERCAP = "sys/class/powercap"
PSYS = "psys"

_PACKAGE = re.compile(r"package-([0-9]{1,4})(?:-die-([0-9]{1,4}))?")


class PowerZone(msgspec.Struct, frozen=True, kw_only=True):
    """One zone's folder; `kind` is package, core, dram or psys."""

    name: str
    kind: str
    package: int
    path: str


def zones(tree: Tree) -> tuple[PowerZone, ...]:
    """Packages first, then their parts, then the board; of two zones of the same name the first."""
    listed = tree.listed(POWERCAP)
    packages: dict[str, PowerZone] = {}
    parts: dict[str, PowerZone] = {}
    boards: dict[str, PowerZone] = {}
    for folder in listed:
        if not re.fullmatch(r"intel-rapl:[0-9]+", folder):
            continue
        path = f"{POWERCAP}/{folder}"
        try:
            name = tree.text(f"{path}/name")
        except TreeError:
            continue
        found = _PACKAGE.fullmatch(name)
        if name == PSYS:
            boards.setdefault(name, PowerZone(name=name, kind=PSYS, package=0, path=path))
        if not found:
            continue
        package = int(found[1])
        packages.setdefault(name, PowerZone(name=name, kind="package", package=package, path=path))
        for inner in listed:
            if not re.fullmatch(rf"{re.escape(folder)}:[0-9]+", inner):
                continue
            kind = tree.peek(f"{POWERCAP}/{inner}/name")
            if kind in ("core", "dram"):
                called = name.replace("package", kind)
                parts.setdefault(called, PowerZone(name=called, kind=kind, package=package, path=f"{POWERCAP}/{inner}"))
    return (*packages.values(), *parts.values(), *boards.values()) if packages else ()


def package_zones(tree: Tree) -> tuple[PowerZone, ...]:
    """The zones of packages alone."""
    return tuple(zone for zone in zones(tree) if zone.kind == "package")
