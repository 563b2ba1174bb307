"""When the load generator was the bottleneck rather than the server; pure.

What a generator tells of itself lies in its report's counters; a load of which it tells nothing (the twin's) says it
with `saturated` alone.
"""

import msgspec

from mustherd.terms import LoadReport


class SaturationLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a generator may show of being too slow; shares from 0 to 1."""

    busy: float = 0.95
    """Of the window in which the built-in generator's busiest process had something to do: no room to be on time."""
    waiting: float = 0.5
    """Of the window in which one of its processes was ready to run and had no core: others kept it from its work."""
    unsent: float = 0.01
    """Of its requests due that are left unsent at the window's end, though nothing held them back."""
    late: float = 0.5
    """Of its mean latency that comes of sending late: above it, it measured itself."""
    leader_shortfall: float = 0.02
    """Of its load that mutilate's leader failed to send, beyond chance, while its connections had room."""
    leader_in_use: float = 0.5
    """Of the leader's places in flight; where more were in use, a shortfall is the server's and not the leader's."""


DEFAULT = SaturationLimits()

BUSY, WAITING, UNSENT, LATE = (
    "generator_busy",
    "generator_wait_share",
    "generator_unsent_share",
    "generator_late_share",
)
LEADER_SHORTFALL, LEADER_IN_USE = "leader_shortfall", "leader_slots_in_use"


def why(report: LoadReport, limits: SaturationLimits = DEFAULT) -> str:
    """What shows that the generator was the bottleneck, value and limit, in a phrase; '' where it wasn't."""
    told = report.counters
    for counter, most, what in (
        (BUSY, limits.busy, "a process of it was busy for {} of the window"),
        (WAITING, limits.waiting, "a process of it waited for a core for {} of the window"),
        (UNSENT, limits.unsent, "{} of what was due was left unsent"),
        (LATE, limits.late, "{} of the mean latency came of sending late"),
    ):
        if told.get(counter, 0.0) > most:
            return f"{what.format(f'{told[counter]:.1%}')}, allowed {most:.1%}"
    short = told.get(LEADER_SHORTFALL, 0.0)
    if short > limits.leader_shortfall and told.get(LEADER_IN_USE, 0.0) < limits.leader_in_use:
        return (
            f"the leader sent {short:.1%} less than it was asked to, allowed {limits.leader_shortfall:.1%},"
            f" with {told[LEADER_IN_USE]:.1%} of its places in flight in use"
        )
    if report.saturated and not {BUSY, LEADER_SHORTFALL} & told.keys():
        return "it says so itself"
    return ""
