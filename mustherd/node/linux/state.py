"""State that a node is prepared to be in and that no decision changes: governor, SMT, turbo."""

import msgspec

from mustherd.node.linux import topology
from mustherd.node.linux.options import Declared
from mustherd.node.linux.tree import Tree, TreeError

SMT = "sys/devices/system/cpu/smt/control"
NO_TURBO = "sys/devices/system/cpu/intel_pstate/no_turbo"
BOOST = "sys/devices/system/cpu/cpufreq/boost"


class PreparedState(msgspec.Struct, frozen=True, kw_only=True):
    """As found; "" where the machine doesn't tell."""

    governor: str
    """Of all CPUs; several are joined by a comma."""
    smt: str
    """`on` or `off`; a CPU without SMT counts as off."""
    turbo: str


def read(tree: Tree) -> PreparedState:
    """Never raises: what can't be read is ""."""
    try:
        governors = {
            tree.peek(f"{topology.CPU}/cpu{cpu}/cpufreq/scaling_governor")[:40] for cpu in topology.online_cpus(tree)
        }
    except TreeError:
        governors = set()
    return PreparedState(governor=",".join(sorted(governors - {""})), smt=_smt(tree), turbo=turbo(tree))


def differences(found: PreparedState, declared: Declared) -> dict[str, tuple[str, str]]:
    """What was declared and isn't so: name to value found and value wanted."""
    return {
        name: (getattr(found, name), wanted)
        for name in ("governor", "smt", "turbo")
        if (wanted := getattr(declared, name)) and getattr(found, name) != wanted
    }


def _smt(tree: Tree) -> str:
    said = tree.peek(SMT)
    if said in ("on", "off"):
        return said
    return "off" if said in ("forceoff", "notsupported", "notimplemented") else ""


def turbo(tree: Tree) -> str:
    """`on` or `off`; "" where there is no switch of the whole machine."""
    off = {"0": "on", "1": "off"}.get(tree.peek(NO_TURBO))
    return off or {"1": "on", "0": "off"}.get(tree.peek(BOOST), "")
