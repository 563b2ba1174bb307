"""What a muster's configuration may say about its machine."""

from collections.abc import Collection
from typing import Annotated, Literal

import msgspec

from mustherd.node.kinds import GOVERNOR
from mustherd.node.linux.declaration import OwnKnob

Own = dict[Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,62}$")], OwnKnob]
Cpu = Annotated[int, msgspec.Meta(ge=0, lt=8192)]


def taken(own: Collection[str]) -> set[str]:
    """Names of declared knobs that are names of other knobs, of ours or of an installed package, or mean one."""
    if not own:
        return set()
    from mustherd.node.catalog import knob_names  # noqa: PLC0415 - to read what is installed takes 1.4 MB of memory

    return {*own} & {*knob_names(), GOVERNOR}


class Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State that the node was prepared to be in: reported beside what is found, checked by the doctor, never set."""

    governor: str = ""
    smt: Literal["", "on", "off"] = ""
    turbo: Literal["", "on", "off"] = ""


class LinuxOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table [linux] of a muster's configuration."""

    root: str = "/"
    """Folder below which sys, proc and dev lie; another one than / is a rehearsal on recorded files."""
    interface: str = ""
    """The measured NIC: an interface's name (enp3s0f0), its driver (ixgbe), its MAC or IP address, or a network
    (10.10.1.0/24) that it has an address in. Empty: the only physical interface with interrupt moderation."""
    dvfs: Literal["auto", "msr", "cpufreq", "none"] = "auto"
    """What sets the clock: IA32_PERF_CTL, cpufreq, or what the machine offers."""
    dvfs_sheep: Literal["node", "core"] = "node"
    """Whose the clock is: the node's, or each core's (`dvfs@core-3`, `dvfs@socket-1`, `dvfs` for all of them)."""
    itr_sheep: Literal["node", "queue"] = "node"
    """Whose the interrupt delay is: the node's, or each queue's (`itr-delay@queue-2`), where the driver has it."""
    napi_sheep: Literal["node", "queue"] = "node"
    """Whose gro-flush-timeout, napi-defer and irq-suspend are: the node's, or each queue's (`napi-defer@queue-2`),
    where kernel (Linux 6.13) and driver tell whose NAPI is whose."""
    idle_latency: Literal["auto", "cpus", "system"] = "auto"
    """What bounds idle states: each CPU's own file, or /dev/cpu_dma_latency held open for all of them."""
    idle_sheep: Literal["node", "core"] = "node"
    """Whose the bound is: the node's, or each core's (`idle-latency@core-3`, `idle-latency@socket-1`)."""
    meter: Literal["auto", "powercap", "msr", "perf", "hwmon", "none"] = "auto"
    nic_log: Literal["auto", "on", "off"] = "auto"
    """Sample the NIC's traffic, interrupts and counters in every window; auto: where there is no intlog driver."""
    knobs: tuple[str, ...] = ()
    """Knobs of other packages, by name: code of theirs is loaded for these alone. Each needs a range, as any knob."""
    cgroup: Annotated[str, msgspec.Meta(pattern=r"^$|^(?!\.)[A-Za-z0-9_@:.-]+(/(?!\.)[A-Za-z0-9_@:.-]+)*$")] = ""
    """A control group, as in system.slice/memcached.service, whose CPUs and time on them are knobs."""
    own: Own = {}
    """Knobs that are declared here, by name. Each needs a range, as any knob."""
    reserved: tuple[Cpu, ...] = ()
    """CPUs that are left alone for the system; the muster itself keeps to them."""
    idle_seconds: Annotated[float, msgspec.Meta(ge=0.0, le=10.0)] = 1.0
    """For how long the idle power is measured at start; 0: not at all."""
    declared: Declared = Declared()
