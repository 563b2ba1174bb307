"""When the load generator was the bottleneck rather than the server; pure.

What a generator tells of itself lies in its report's counters; a load of which it tells nothing (the twin's) says it
with `saturated` alone.
"""

from typing import Annotated

import msgspec

from mustherd.terms import LoadReport


def _share(description: str) -> msgspec.Meta:
    return msgspec.Meta(ge=0, le=1, description=description)


class SaturationLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that the load generator may show of being the bottleneck itself."""

    busy: Annotated[
        float, _share("Share of the window in which the busiest process of builtin may have something to do.")
    ] = 0.95
    waiting: Annotated[
        float, _share("Share of the window in which a process of builtin may be ready and have no core.")
    ] = 0.5
    unsent: Annotated[
        float, _share("Share of what was due that builtin may leave unsent, though nothing held it back.")
    ] = 0.01
    late: Annotated[
        float,
        _share("Share of the mean latency that may come of builtin's sending late: above it, it measured itself."),
    ] = 0.5
    leader_shortfall: Annotated[
        float, _share("Share of its own load that mutilate's leader may fail to send, beyond what chance explains.")
    ] = 0.02
    leader_in_use: Annotated[
        float,
        _share(
            "Share of the leader's places in flight: where more are in use, its shortfall is taken for the server's."
        ),
    ] = 0.5


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
