"""A twin's knobs beside delay and clock: what uncore, idle states and the kernel's deferral do to its constants; pure.

These effects are not fitted: no sweep of them is on record. They have the form that physics and the kernel's
documentation give, and sizes from published measurements; each constant says which. A policy can be tried against their
direction and rough size, and against nothing finer.
"""

from collections.abc import Mapping

import msgspec

from mustherd.node.kinds import FREE, GRO_FLUSH_TIMEOUT, IDLE_LATENCY, NAPI_DEFER, POLLING, UNCORE_MAX
from mustherd.node.twin.profiles import Profile

UNCORE_DYNAMIC = 0.6
"""Share of the uncore's power that goes with the square of its clock; with it the lowest clock saves the 10 to 25 % of
a server's power that is known of Xeons at low load."""

UNCORE_MEMORY = 0.5
"""Share of the time that requests wait for memory which goes with the uncore's period: mesh and last-level cache."""

POLLING_POWER = 0.7
"""Of a busy core's power that one uses which polls for work."""


def under(profile: Profile, settings: Mapping[str, int]) -> Profile:
    """The profile that a machine has whose further knobs are set so; delay and clock are left out of it."""
    found = _uncore(profile, settings.get(UNCORE_MAX.name, 0))
    found = _idle(found, settings.get(IDLE_LATENCY.name, FREE))
    if settings.get(NAPI_DEFER.name, 0) and settings.get(GRO_FLUSH_TIMEOUT.name, 0):
        # With both, a queue that was found empty is polled again by a timer, and its interrupt stays off meanwhile.
        found = msgspec.structs.replace(found, least_interval_us=float(settings[GRO_FLUSH_TIMEOUT.name]))
    return found


def _uncore(profile: Profile, mhz: int) -> Profile:
    highest = profile.uncore_mhz[1]
    if not 0 < mhz < highest:
        return profile
    saved = profile.power.uncore * UNCORE_DYNAMIC * (1 - (mhz / highest) ** 2)
    longer = 1 + UNCORE_MEMORY * (highest / mhz - 1)
    return msgspec.structs.replace(
        profile,
        power=msgspec.structs.replace(profile.power, base=max(0.0, profile.power.base - saved)),
        service=msgspec.structs.replace(profile.service, memory_us=profile.service.memory_us * longer),
        loop=msgspec.structs.replace(profile.loop, memory_us=profile.loop.memory_us * longer),
    )


def _idle(profile: Profile, bound_us: int) -> Profile:
    """Cores that may not sleep so deep save less and wake sooner."""
    deepest = max(profile.idle_us, default=0)
    if bound_us == FREE or deepest == 0 or deepest <= bound_us < POLLING:
        return profile
    depth = 0.0 if bound_us == POLLING else bound_us / deepest
    power = msgspec.structs.replace(
        profile.power, sleep=profile.power.sleep * depth, shallow=profile.power.shallow * depth
    )
    if bound_us == POLLING:
        power = msgspec.structs.replace(
            power,
            linear=power.linear + POLLING_POWER * power.busy_linear,
            busy_linear=(1 - POLLING_POWER) * power.busy_linear,
        )
    latency = msgspec.structs.replace(profile.latency, interval_share=profile.latency.interval_share * depth)
    return msgspec.structs.replace(profile, power=power, latency=latency)
