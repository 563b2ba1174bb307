"""Which pictures an experiment's report has: those that what ran can be seen in, each load by itself."""

from collections.abc import Callable, Iterator

import msgspec

from mustherd.experiment import wording
from mustherd.metrics import Direction
from mustherd.report.effects import effects_plot
from mustherd.report.plots import over_time, trade_off
from mustherd.report.power import power_plot
from mustherd.report.spread import spread_plot
from mustherd.report.story import limit
from mustherd.report.surface import surface
from mustherd.report.svg import INCHES_HALF, INCHES_WIDE
from mustherd.report.timeline import timeline
from mustherd.report.view import View

MOST_LOADS = 6
"""Loads that have pictures of their own; of more, some from the least to the greatest."""


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A section of the report: one picture, or one for each load."""

    id: str
    title: str
    parts: list[tuple[str, str]]
    """What each is of, '' where there is one, and the SVG."""
    caption: str
    beside: bool = True
    """Whether several stand beside one another, and not below."""


def pictures(view: View) -> Iterator[Picture]:
    """In the order of the report."""
    if not view.measured:
        return
    if view.compares:
        yield from _of_search(view)
    elif plot := timeline(view):
        caption = "Every window in its order: the load, what was set, and what was measured."
        yield Picture(id="timeline", title="Window by window", parts=[("", plot)], caption=caption)
    if view.compares and (found := effects_plot(view)):
        plot, said = found
        caption = f"As far as these trials can tell: {said}"
        yield Picture(id="effects", title="What each knob matters", parts=[("", plot)], caption=caption)
    if found := spread_plot(view):
        plot, said = found
        caption = f"Windows of one setting differ: {said}." if said else "Windows of one setting, beside one another."
        yield Picture(id="spread", title="Repeats and nodes", parts=[("", plot)], caption=caption)
    if plot := power_plot(view):
        yield Picture(
            id="power",
            title="Power within a window",
            parts=[("", plot)],
            caption="From the rows that the node logged while it was measured.",
        )


def _of_search(view: View) -> Iterator[Picture]:
    limits = wording.together([limit(c) for c in view.goal.constraints])
    stair = f" The stair is the best setting so far{f' that keeps {limits}' if limits else ''}."
    yield Picture(
        id="time",
        title="Trials over time",
        parts=_each(view, "time", over_time),
        caption=f"Every finished trial by its number.{stair if view.improvements() else ''}{_scales(view)}",
    )
    good = "high" if view.goal.objectives[0].direction is Direction.MORE else "low"
    limited = any(not c.at_least for c in view.goal.limits)
    yield Picture(
        id="trade",
        title="What the limit costs" if view.goal.limits else "What it costs",
        parts=_each(view, "trade", trade_off),
        caption=(
            f"{'Left of the limit and' if limited else 'Left and'} {good} is good; the stair is the best that was"
            " measured at any other limit. A setting at which the load is not reached may look good here: part of the"
            f" requests is never sent.{_scales(view)}"
        ),
    )
    parts = [(name, plot) for name, at in _views(view) if (plot := surface(at, _id("surface", at, view)))]
    if parts:
        yield Picture(
            id="surface",
            title="The knobs",
            parts=parts,
            caption="What was measured at each setting that was tried; the line is around those that keep every limit.",
            beside=False,
        )


def _scales(view: View) -> str:
    return " Each load has scales of its own." if view.loads else ""


def _views(view: View) -> list[tuple[str, View]]:
    """The experiment at each load that has pictures, and what it is called."""
    loads = view.loads
    if not loads:
        return [("", view)]
    if len(loads) > MOST_LOADS:
        loads = tuple(loads[round(i * (len(loads) - 1) / (MOST_LOADS - 1))] for i in range(MOST_LOADS))
    views = [(f"{qps:,.0f} requests a second", view.at(qps)) for qps in loads]
    return [(name, at) for name, at in views if any(at.objective(t) is not None for t in at.trials)]


def _id(name: str, at: View, view: View) -> str:
    return name if at is view else f"{name}-{at.goal.loads[0]:.0f}"


def _each(view: View, name: str, plot: Callable[[View, str, float], str]) -> list[tuple[str, str]]:
    views = _views(view)
    width = INCHES_WIDE if len(views) == 1 else INCHES_HALF
    return [(title, plot(at, _id(name, at, view), width)) for title, at in views]
