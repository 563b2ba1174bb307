"""What a keeper is told once: its limit, its times and its shares."""

from typing import Annotated

import msgspec
from msgspec import Meta

from mustherd.learn.base import Settings

Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in seconds; shares from 0 to 1."""

    limit: Positive
    """Of the latency signal, in its unit."""
    margin: Share = 0.06
    """What a setting has to leave free of the limit by what is foretold."""
    headroom: Share = 0.05
    """Settings have to hold at so much more than the load that is believed: what a server answers can't tell that more
    was asked of it, where the settings themselves hold it back."""
    frame_s: Positive = 0.5
    """Between two readings of a signal."""
    age_s: Positive = 2.0
    """A load or latency signal that is older is lost: the node goes to its safe settings. With a frame it should be
    less than the lease of three seconds, so that nothing is unguarded for longer."""
    safe: Settings | None = None
    """Settings that hold at any load, which need no guard; None: the node as it was found."""
    baseline: Settings | None = None
    """What savings are measured against; None: the node as it was found."""
    settle_s: Positive = 2.0
    """After a change nothing is changed again, nor believed of power and drift, for so long."""
    first_settle_s: Positive = 5.0
    """The same after the first change of a node as it was found: some drivers reset their adapter for it."""
    jump: Annotated[float, Meta(gt=1)] = 1.3
    """A load that has risen by more at once may be on its way to anything: safe settings first."""
    hold_s: Positive = 30.0
    """At safe settings after a limit was broken; doubles each time up to the bar's longest."""
    bar_s: Positive = 600.0
    """How long a setting that broke the limit is barred for that load; doubles each time."""
    longest_bar_s: Positive = 86_400.0
    changed: Share = 0.5
    """Share of the herd that may be changed within a settle time, at least one node; going to safety is exempt."""
    explored: Share = 0.25
    """The share of the herd that may try settings at a time, at least one node."""
    controls: Share = 0.01
    """The share of each node's time at the baseline."""
    per_request: bool = False
    """Hold controls against what a request takes, for what rises with the load as CPU seconds do; then the load may
    differ more around a control."""
    block_s: Positive = 60.0
    """What drift, canaries and controls are judged by: means over so long at settings that have settled."""
    half_life_s: Positive = 7 * 86_400.0
    """What was learnt so long ago counts half."""
    least_saving: Annotated[float, Meta(ge=0)] = 1.0
    """Per cent of power below which a change isn't worth it."""
    retune: bool = True
    """Try settings on canaries when something has drifted."""
    day_s: Positive = 86_400.0
    """Of the ledger."""
