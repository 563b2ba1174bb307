"""The words that all parts share, as typed values: what a knob is, what a reading holds, what a load reports.

This module is the bottom of the house: it imports nothing of ours, and every struct in it may cross the wire.
Values of knobs are integers in the knob's canonical unit (`itr-delay` in us, `dvfs` in MHz), so that they compare
exactly, on the node, in the store and in a search.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec

NODE = "node-0"
"""The sheep that is the node as a whole."""

MAX_VALUE = 2**53 - 1
"""The largest knob value: beyond it JSON readers that use doubles would round."""

MOST_MEASURED = 1e100
"""Beyond it a number is none that was measured: its square is still a number, and so is the sum of many of them."""

GUARD_LIMIT = 0.98
"""Least share of the offered load that is answered, unless a definition says otherwise."""

MAX_PIECES = 4096
"""Pieces of a load curve in one window: with them an order still fits into one message."""


def new_number() -> int:
    """A random number, 1 to MAX_VALUE: whoever takes it as its name is no other's namesake, nor easily guessed."""
    # The module secrets says no more, and loads OpenSSL to say it.
    return int.from_bytes(os.urandom(7)) % MAX_VALUE + 1


class KnobKind(msgspec.Struct, frozen=True, kw_only=True):
    """What a knob is on every machine that has it: how its values are written, and what they do to performance."""

    name: str
    unit: str
    names: dict[int, str] = {}
    """Values that mean something other than a number: {1: "adaptive"}. A definition may write these words."""
    modes: tuple[int, ...] = ()
    """Values that are no amounts, and so have no order towards the others."""
    range_step: Annotated[int, msgspec.Meta(ge=1, le=MAX_VALUE)] = 1
    """The step of a range of values that a definition gives without one."""
    scale: Literal["linear", "log"] = "linear"
    """How equal steps look by their effect."""
    role: Literal["", "delay", "clock"] = ""
    """What it does to performance, where a search can make use of it.

    `delay`, in us: it holds requests back, so any percentile of latency is at least about the delay, energy falls with
    it because fewer interrupts are taken, and the packets that fit into the queues within one delay cap the throughput.
    `clock`, in MHz: power rises with it everywhere, and below some clock the load no longer fits.
    """
    hex_scale: Annotated[int, msgspec.Meta(ge=0, le=MAX_VALUE)] = 0
    """Where hex means the word of a register: how many units one count of its field is; 0: hex is a plain number."""
    hex_shift: Annotated[int, msgspec.Meta(ge=0, le=63)] = 0
    """The bit at which that field begins."""

    def value_of_word(self, word: int) -> int:
        """What a register's word means, in `unit`: 0x1a00 is 2600 MHz. ValueError for a word that is none."""
        count, rest = divmod(word, 1 << self.hex_shift)
        if rest or not 0 < count < 256 or not self.hex_scale:
            raise ValueError(f"{word:#x} is no register word of '{self.name}'")
        return count * self.hex_scale

    def offer(
        self,
        sheep: str = NODE,
        *,
        values: tuple[int, ...] = (),
        low: int = 0,
        high: int = -1,
        step: int = 1,
        names: Mapping[int, str] | None = None,
        settle_seconds: float = 0.0,
        found: tuple[int, int] = (0, -1),
        default: int | None = None,
    ) -> "KnobInfo":
        """The knob on a sheep that allows these values; `names` are those that only this machine has.

        `found` are the first and the last value that may be found and put back beside them.
        """
        kind = {field: getattr(self, field) for field in KnobKind.__struct_fields__}
        info = KnobInfo(
            **kind,
            sheep=sheep,
            values=values,
            low=low,
            high=high,
            step=step,
            settle_seconds=settle_seconds,
            found_low=found[0],
            found_high=found[1],
            default=default,
        )
        return msgspec.structs.replace(
            info,
            names={value: word for value, word in {**self.names, **(names or {})}.items() if info.allows(value)},
            modes=tuple(mode for mode in self.modes if info.allows(mode)),
        )


class KnobInfo(KnobKind, frozen=True, kw_only=True):
    """What a sheep offers to be set, and the values that the node itself allows.

    A value is allowed when it is in `values`, or when `low <= value <= high` and it lies on the grid
    `low + k * step`. A knob without a range has `low > high`.
    """

    sheep: str
    groups: tuple[str, ...] = ()
    """Other names that mean this sheep together with more: `socket-1` of a core."""
    values: tuple[int, ...] = ()
    low: int = 0
    high: int = -1
    step: int = 1
    settle_seconds: float = 0.0
    """How long after a write the node may still be moving to it, on the node's clock."""
    found_low: int = 0
    found_high: int = -1
    """Values from the one to the other may be found on the node and are written back, but nobody may ask for them."""
    default: int | None = None
    """What the machine has when nobody sets anything, as it was recorded before it was prepared; None: what is found
    is all that is known."""

    def is_meant(self, sheep: str) -> bool:
        """Whether `sheep`, of a key such as `dvfs@socket-1`, means this one; empty means every one."""
        return sheep in ("", self.sheep, *self.groups)

    def takes_back(self, value: int) -> bool:
        """Whether `value`, as it was found, may be written back."""
        return self.found_low <= value <= self.found_high or self.allows(value)

    def allows(self, value: int) -> bool:
        """Whether the node accepts `value` (in `unit`)."""
        if value in self.values:
            return True
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def allowed_text(self) -> str:
        """The allowed values as a person would say them."""
        parts = [self.names.get(v, str(v)) for v in self.values]
        if self.low <= self.high:
            step = f" step {self.step}" if self.step != 1 else ""
            parts.append(f"{self.low}..{self.high}{step}")
        return f"{', '.join(parts)} {self.unit}"


Word: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
MAX_TEXT = 2000
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
MAX_WATTS = 1e9
Watts: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=MAX_WATTS)]


LACKS = "no_"
"""What a fact's name begins with that says why the node lacks something."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node is, stored with every experiment: typed what others act on or compare, the rest as text for people.

    None or empty: the node doesn't tell.
    """

    kind: Word
    """The kind of node, called as its table in the muster's configuration: `linux`, `twin`, `process`, ..."""
    cpu: Text = ""
    cores: Annotated[int, msgspec.Meta(ge=1, le=MAX_VALUE)] | None = None
    packages: Annotated[int, msgspec.Meta(ge=1, le=MAX_VALUE)] | None = None
    kernel: Text = ""
    interface: Text = ""
    """The network interface whose interrupts are moderated."""
    nic_driver: Text = ""
    tsc_khz: Annotated[int, msgspec.Meta(ge=1, le=MAX_VALUE)] | None = None
    """What the timestamps of its native logs count."""
    plausible_watts: tuple[Watts, Watts | None] | None = None
    """From what to what its packages can draw; without the second nobody knows the most."""
    loads_itself: bool = False
    """Its load is part of it, and can't come from elsewhere."""
    unmetered: bool = False
    """It has no energy meter; `energy` in its text says why."""
    address: tuple[Text, Annotated[int, msgspec.Meta(ge=1, le=65535)]] | None = None
    """Host and port at which its server can be loaded from elsewhere."""
    text: Annotated[dict[Word, Text], msgspec.Meta(max_length=256)] = {}
    """What else it says of itself, by name. No part of the program reads a value in here, but to tell it."""

    @property
    def missing(self) -> dict[str, str]:
        """Why it lacks knobs, by their names, as far as it says."""
        return {name.removeprefix(LACKS): why for name, why in self.text.items() if name.startswith(LACKS)}

    def rows(self) -> dict[str, str]:
        """Every fact that the node tells, as a person reads it, by name."""
        low, high = self.plausible_watts or (0.0, None)
        host, port = self.address or ("", 0)
        typed = {
            "kind": self.kind,
            "cpu": self.cpu,
            "cores": str(self.cores or ""),
            "packages": str(self.packages or ""),
            "kernel": self.kernel,
            "interface": self.interface,
            "nic_driver": self.nic_driver,
            "tsc_khz": str(self.tsc_khz or ""),
            "plausible_watts": f"{low:.1f}..{'' if high is None else f'{high:.1f}'}" if self.plausible_watts else "",
            "loads_itself": "yes" if self.loads_itself else "",
            "unmetered": "yes" if self.unmetered else "",
            "address": f"{f'[{host}]' if ':' in host else host}:{port}" if self.address else "",
        }
        return {**{name: text for name, text in typed.items() if text}, **self.text}


class Setting(msgspec.Struct, frozen=True):
    """A value for one knob of one sheep, in the knob's canonical unit."""

    sheep: str
    knob: str
    value: int


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a setting: three values that are never taken for one another.

    `asked` is what the decision said, `applied` what the register or driver holds, `running` what the hardware
    does (None where the machine cannot tell). `held` is the knob's own verdict on the three.
    """

    sheep: str
    knob: str
    asked: int | None
    applied: int | None
    running: int | None
    held: bool
    error: str = ""


LEFT = "the node is NOT as it was found: "
"""What a muster begins with that could not put back a node, and what it could not."""

UNTOLD = "the node is as it was found, and its journal doesn't know: "
"""What one begins with that could, and could not write so."""


def not_as_found(readings: Iterable[Reading]) -> str:
    """Of knobs that were to be put back, those that could not be: what each was found at, and what it is at now."""
    return "; ".join(
        f"{r.knob} on {r.sheep} was found at {r.asked} and is at {'?' if r.applied is None else r.applied} ({r.error})"
        if r.asked is not None
        else f"{r.knob} on {r.sheep} {r.error}"
        for r in readings
        if r.error and not r.held
    )


def what_is_left(readings: Iterable[Reading], untold: str = "") -> str:
    """What putting a node back could not do, "" where it could do all: a knob that isn't back, or, as `untold` says, a
    journal that can't be written, which still holds what has been put back."""
    if what := not_as_found(readings):
        return LEFT + what
    return UNTOLD + untold if untold else ""


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """One energy counter of a node."""

    name: str
    kind: str
    """`package`, `core`, `dram` or `psys`: packages add up to a node's energy; core is a part of them, memory (dram)
    beside them, and psys the whole board, packages included."""
    package: int
    joules_per_count: float
    counts_per_wrap: int
    named_joules_per_count: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """The unit that the processor itself names for the counter (MSR 0x606), where the count came by another way; 0:
    nobody could ask it."""


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """Energy of one zone over a window, wraps included."""

    zone: str
    kind: str
    joules: float


Rate: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
"""Requests per second; the bounds keep out what is not a number."""
Stretch: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
"""Seconds of a piece of a load curve: within a window that anybody would wait for."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The load to offer: memcached requests in the mix of a preset."""

    qps: Rate
    preset: str = "etc"
    update_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.25
    outstanding: int = 256
    """Requests that the agents keep in flight at most; beyond it the load is closed-loop."""
    curve: Annotated[tuple[tuple[Stretch, Rate, Rate], ...], msgspec.Meta(max_length=MAX_PIECES)] = ()
    """The load from the window's start on, as straight pieces (seconds, qps, qps at its end), whose mean is `qps`. Its
    first value holds before, its last one after. None: `qps` all the time."""


PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
"""Percentiles of a load's latency by name: the share of requests that took no longer. Rising."""


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator did and saw between `t0_s` and `t1_s` of the node's clock."""

    generator: str
    t0_s: float
    t1_s: float
    offered_qps: float
    achieved_qps: float
    requests: int
    misses: int
    samples: int
    """Requests whose latency was measured: what the percentiles rest on."""
    read_us: dict[str, float]
    """Latency of reads: avg and PERCENTILES."""
    update_us: dict[str, float]
    saturated: bool = False
    """The generator itself was the bottleneck."""
    counters: dict[str, float] = {}
    """What else was counted over the same window, each present only where somebody could count it.

    Of the server: server_cpu_seconds, get_hits, get_misses, cmd_get, cmd_set, curr_connections (at t1). Of the
    generator: see mustherd.load.generator.
    """
    metrics: dict[str, float] = {}
    """What else it measured, each under the name of a metric of its own and in the unit that the name ends in."""


MUSTER_CPU = "muster_cpu_seconds"
"""CPU time of a muster and its guardian over a window: what MustHerd itself takes of the server that it tunes."""


def defaults_of(knobs: Sequence[KnobInfo]) -> dict[str, int]:
    """What a node has when nobody sets anything, by knob key, of those knobs for which that was recorded.

    A value that all sheep of a knob share stands under the knob's name.
    """
    found: dict[str, dict[str, int | None]] = {}
    for info in knobs:
        found.setdefault(info.name, {})[info.sheep] = info.default
    defaults: dict[str, int] = {}
    for name, by_sheep in sorted(found.items()):
        values = set(by_sheep.values())
        if len(values) == 1 and (one := values.pop()) is not None:
            defaults[name] = one
        else:
            defaults |= {f"{name}@{sheep}": value for sheep, value in by_sheep.items() if value is not None}
    return defaults


def settings_of(values: Mapping[str, int], knobs: Sequence[KnobInfo]) -> tuple[Setting, ...]:
    """Spell a trial's values out for every sheep that has the knob.

    A key is a knob's name, which means every sheep that offers it, `knob@sheep`, or `knob@group`. Sorted, so that equal
    trials give equal decisions. KeyError names a key that no sheep offers.
    """
    settings: list[Setting] = []
    for key, value in values.items():
        name, _, sheep = key.partition("@")
        found = [k for k in knobs if k.name == name and k.is_meant(sheep)]
        if not found:
            raise KeyError(key)
        settings.extend(Setting(k.sheep, k.name, value) for k in found)
    return tuple(sorted(settings, key=lambda s: (s.sheep, s.knob)))
