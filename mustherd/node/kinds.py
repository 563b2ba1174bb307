"""Knobs that more than one kind of node has, so that each is described once. Any other knob's class has its own."""

from mustherd.terms import KnobKind

OFF, ADAPTIVE = 0, 1
"""Values of `itr-delay` that are modes: no moderation, and the driver's own dynamic one."""

ITR_DELAY = KnobKind(
    name="itr-delay",
    unit="us",
    names={OFF: "off", ADAPTIVE: "adaptive"},
    modes=(OFF, ADAPTIVE),
    # ixgbe keeps the delay in steps of 2 us.
    range_step=2,
    scale="log",
    role="delay",
)

FREE = 0
"""The value of `dvfs` that leaves the machine's whole range to its driver."""

GOVERNOR = "governor"
"""What a definition may call `dvfs` where it names one of these words: `{governor: performance}`."""

PERFORMANCE, POWERSAVE, ONDEMAND, CONSERVATIVE, SCHEDUTIL = 1, 2, 3, 4, 5

GOVERNORS = {
    PERFORMANCE: "performance",
    POWERSAVE: "powersave",
    ONDEMAND: "ondemand",
    CONSERVATIVE: "conservative",
    SCHEDUTIL: "schedutil",
}
"""Values of `dvfs`, below any clock, that hand the clock to one of the kernel's governors."""

ANY_MHZ = 10**9
"""A tolerance within which any clock lies: something else than the knob's value decides about it."""

DVFS = KnobKind(
    name="dvfs",
    unit="MHz",
    names={FREE: "free", **GOVERNORS},
    modes=(FREE, *GOVERNORS),
    range_step=100,
    role="clock",
    # MSR 0x199 holds the ratio to 100 MHz in bits 15:8, on every Intel CPU since Sandy Bridge.
    hex_scale=100,
    hex_shift=8,
)

UNCORE_MAX = KnobKind(name="uncore-max", unit="MHz", range_step=100)

POLLING = 1_000_000
"""The value of `idle-latency` that allows no idle state: an idle CPU polls. Beyond any latency, so that it is no
amount."""

IDLE_LATENCY = KnobKind(name="idle-latency", unit="us", names={FREE: "free", POLLING: "polling"}, modes=(FREE, POLLING))

GRO_FLUSH_TIMEOUT = KnobKind(name="gro-flush-timeout", unit="us", names={0: "off"}, scale="log", role="delay")

NAPI_DEFER = KnobKind(name="napi-defer", unit="polls", names={0: "off"}, scale="log")

SHARED = {kind.name: kind for kind in (ITR_DELAY, DVFS, UNCORE_MAX, IDLE_LATENCY, GRO_FLUSH_TIMEOUT, NAPI_DEFER)}
"""All of them by name: a definition is read without the classes that set them, and what these import."""
