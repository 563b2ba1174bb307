"""Settings that were measured more than once: how far windows differ, and nodes from one another."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.learn.windows import Key, key_of
from mustherd.report.labels import clean
from mustherd.report.plots import MOST_HINTS, describe, drawable, legend, limit_of
from mustherd.report.svg import BEST, DEFAULT, INK, KEEPS, MUTED, draw
from mustherd.report.view import View
from mustherd.trial import Trial

MOST_GROUPS = 6
"""Settings that are drawn: the default, the best, then those with the most windows."""

LONGEST_NAME = 44
"""Letters of a row's name beside which there is room for the picture; where one is longer, settings get numbers."""


class Group(msgspec.Struct, frozen=True):
    """Windows of one setting at one load."""

    name: str
    trials: tuple[Trial, ...]
    role: str = ""
    """`default`, `best`, or nothing."""
    at: str = ""
    """At which of several loads."""

    def deviations(self, metric: str) -> dict[str, list[float]]:
        """Muster to each of its windows, in per cent of the mean over musters of their means."""
        values: dict[str, list[float]] = {}
        for trial in self.trials:
            if math.isfinite(trial.metrics.get(metric, math.nan)):
                values.setdefault(trial.muster, []).append(trial.metrics[metric])
        if not values:
            return {}
        middle = statistics.fmean(statistics.fmean(some) for some in values.values())
        return {name: [100 * (v / middle - 1) for v in some] for name, some in values.items()} if middle else {}


def groups_of(view: View) -> list[Group]:
    """Settings with at least three windows at a load, the default first, then the winners, then the most measured."""
    found: dict[tuple[float, Key], list[Trial]] = {}
    for trial in drawable(view, view.goal.objective):
        found.setdefault((trial.qps, key_of(trial.settings)), []).append(trial)
    won = {(t.qps, key_of(t.settings)) for t in view.winners()}
    groups = [(place, trials) for place, trials in found.items() if len(trials) >= 3]
    groups.sort(key=lambda g: (not view.of_default(g[1][0]), g[0] not in won, -len(g[1]), g[1][0].number))
    return [_group(view, trials, place in won) for place, trials in groups]


def _group(view: View, trials: list[Trial], won: bool) -> Group:
    at = f" at {trials[0].qps / 1000:,.0f}k" if view.loads else ""
    if view.of_default(trials[0]):
        return Group(f"default{at}", tuple(trials), "default", at)
    what = wording.settings(trials[0].settings, view.knobs)
    return Group(f"{'best: ' if won else ''}{what}{at}", tuple(trials), "best" if won else "", at)


def short_names(groups: Sequence[Group]) -> tuple[list[str], str]:
    """What rows of the groups are called, and what stands for which settings, where that isn't said in the names."""
    if all(len(group.name) <= LONGEST_NAME for group in groups):
        return [group.name for group in groups], ""
    names = [(group.role or f"setting {n}") + group.at for n, group in enumerate(groups, 1)]
    key = [f"{name} is {g.name.removesuffix(g.at)}" for name, g in zip(names, groups, strict=True) if not g.role]
    return names, "; ".join(key)


def spread_text(groups: list[Group], metric: str) -> str:
    """`energy 0.3 % from window to window, 1.2 % from node to node`; '' where it can't be told."""
    within, between = [], []
    for group in groups:
        nodes = group.deviations(metric)
        for some in nodes.values():
            if len(some) > 1:
                within.append((statistics.variance(some), len(some) - 1))
        if len(nodes) > 1:
            means = [statistics.fmean(some) for some in nodes.values()]
            between.append(max(means) - min(means))
    said = []
    if freedom := sum(n for _, n in within):
        deviation = math.sqrt(math.fsum(v * n for v, n in within) / freedom)
        said.append(f"{wording.number(deviation, 2)} % from window to window (standard deviation)")
    if between:
        said.append(f"{wording.number(statistics.fmean(between), 2)} % from node to node")
    return f"{metrics.of(metric).label} {', '.join(said)}" if said else ""


def spread_plot(view: View) -> tuple[str, str] | None:
    """The picture of repeated settings by node, and what it says in words; None where nothing was repeated."""
    groups = groups_of(view)
    if not groups:
        return None
    objective, other = view.goal.objective, limit_of(view)[0]
    names = [m for m in dict.fromkeys((objective, other)) if any(g.deviations(m) for g in groups)]
    drawn = groups[:MOST_GROUPS]
    musters = sorted({t.muster for g in drawn for t in g.trials})[:MOST_GROUPS]
    rows = [(group, muster) for group in drawn for muster in musters if any(t.muster == muster for t in group.trials)]
    said = "; ".join(text for metric in names if (text := spread_text(groups, metric)))
    called, key = short_names(drawn)
    name_of = {id(group): name for group, name in zip(drawn, called, strict=True)}
    hints: dict[str, str] = {}

    def paint(figure: Any) -> Mapping[str, str]:
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, names, strict=True):
            for place, (group, muster) in enumerate(rows):
                mine = [t for t in group.trials if t.muster == muster and metric in t.metrics]
                values = group.deviations(metric).get(muster, [])
                colour = {"default": DEFAULT, "best": BEST}.get(group.role, KEEPS)
                if sum(len(g.trials) for g in drawn) > MOST_HINTS // 4:
                    axes.plot(
                        values, [-place] * len(values), marker="o", markersize=4, color=colour, alpha=0.75,
                        linestyle="none",
                    )  # fmt: skip
                    mine = []
                for trial, value in zip(mine, values, strict=False):
                    gid = f"s{len(hints)}"
                    axes.plot([value], [-place], marker="o", markersize=4, color=colour, alpha=0.75, gid=gid)
                    hints[gid] = describe(trial, view)
                if values:
                    [mean] = axes.plot(
                        [statistics.fmean(values)], [-place], marker="|", markersize=13, markeredgewidth=2, color=INK,
                        linestyle="none",
                    )  # fmt: skip
            axes.axvline(0, color=MUTED, linewidth=0.8, zorder=0)
            axes.set_xlabel(f"{metrics.of(metric).label}, against the setting's mean (%)")
        names_of_rows = [clean(name_of[id(g)] + (f" · {m}" if len(musters) > 1 else "")) for g, m in rows]
        panels[0].set_yticks([-i for i in range(len(rows))], names_of_rows)
        panels[0].set_ylim(-len(rows) + 0.4, 0.6)
        legend(figure, [(mean, "mean of the node")])
        return hints

    settings = "a repeated setting" if len(drawn) == 1 else f"{len(drawn)} repeated settings"
    description = f"Each window of {settings} by node, in per cent of its mean. {said}."
    said += f". {key[0].upper()}{key[1:]}" if key else ""
    return draw("spread", "Repeats and nodes", description, 1.1 + 0.3 * max(3, len(rows)), paint), said
