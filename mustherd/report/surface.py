"""What was measured where in the space of the knobs: a map of two knobs, or a curve of one."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.learn.windows import key_of
from mustherd.report.labels import clean
from mustherd.report.plots import LOG_FROM, MOST_HINTS, Marks, describe, drawable, legend, limit_of, scale, shown
from mustherd.report.svg import BEST, BREAKS, FAINT, MUTED, PAPER, draw
from mustherd.report.view import View
from mustherd.trial import Trial

MOST_BESIDE = 10
"""Columns of a map up to which one metric's stands beside the other's; else below it."""

MOST_CELLS = 16
"""Values of a knob up to which a map has a cell for each; beyond, trials are marks on axes in proportion."""

COLOURS = "cividis"
"""Made to look the same with and without colour blindness (Nunez, Anderton, Renslow 2018)."""

COLOUR_STEPS = 16
"""Colours of a map with very many marks."""

DARK_BELOW = 0.55
"""Luma (ITU-R BT.601) of a cell below which the text on it is white."""

Place = tuple[int, int]


def surface(view: View, name: str = "surface") -> str | None:
    """The picture, None where nothing was varied and measured."""
    trials = [t for t in drawable(view, view.goal.objective) if t.settings and not view.of_default(t)]
    keys = [key for key in view.knob_keys() if len({t.settings[key] for t in trials if key in t.settings}) > 1]
    trials = [t for t in trials if all(key in t.settings for key in keys)]
    if not keys or not trials:
        return None
    if len(keys) == 1:
        return _curve(view, keys[0], trials, name)
    chosen = _matter_most(view, keys, trials)
    x, y = [key for key in keys if key in chosen]
    columns, rows = view.knob_values(x), view.knob_values(y)
    if max(len(columns), len(rows)) <= MOST_CELLS:
        return _Map(view, (x, y), (columns, rows), trials).svg(name)
    return _marks(view, (x, y), trials, name)


def _matter_most(view: View, keys: Sequence[str], trials: Sequence[Trial]) -> list[str]:
    """The two knobs whose values explain most of the objective's variance: the sum of squares between groups."""

    def explained(key: str) -> float:
        groups: dict[int, list[float]] = {}
        for trial in trials:
            groups.setdefault(trial.settings[key], []).append(trial.metrics[view.goal.objective])
        mean = statistics.fmean(v for values in groups.values() for v in values)
        return sum(len(values) * (statistics.fmean(values) - mean) ** 2 for values in groups.values())

    return sorted(keys, key=lambda key: (-explained(key), keys.index(key)))[:2]


def _tick(key: str, value: int, view: View) -> str:
    named = wording.value(key, value, view.knobs)
    return str(value) if named.startswith(str(value)) else clean(named)


def _axis(key: str, view: View) -> str:
    unit = next((k.unit for k in view.knobs if k.name == key.partition("@")[0]), "")
    return clean(f"{key} ({unit})" if unit else key)


def _title(view: View, keys: Sequence[str]) -> str:
    return f"{metrics.of(view.goal.objective).label} over {wording.together(keys)}"


def _best_is(view: View) -> str:
    best = view.winner()
    return f" The best is {wording.settings(best.settings, view.knobs)}." if best else ""


def _mean(group: Sequence[Trial], metric: str) -> float:
    return statistics.fmean(trial.metrics[metric] for trial in group)


def _colours(levels: Sequence[float]) -> tuple[Any, Any]:
    """The scale from the least to the greatest level, and the colours along it."""
    from matplotlib import colormaps  # noqa: PLC0415
    from matplotlib.colors import LogNorm, Normalize  # noqa: PLC0415

    low, high = min(levels), max(levels)
    return (LogNorm if low > 0 and high / low > LOG_FROM else Normalize)(low, high), colormaps[COLOURS]


def _bar(figure: Any, axes: Any, scale_and_colours: tuple[Any, Any], metric: str) -> None:
    """What the colours mean."""
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415

    mappable = ScalarMappable(*scale_and_colours)
    bar = figure.colorbar(mappable, ax=axes, pad=0.015, fraction=0.04, label=metrics.of(metric).title)
    bar.outline.set_visible(False)
    # Drawn, not as an embedded image; its edges close the seams between the steps.
    bar.solids.set(rasterized=False, edgecolor="face", linewidth=0.3)


class _Map:
    """A cell for every combination of two knobs' values."""

    def __init__(
        self, view: View, keys: tuple[str, str], values: tuple[list[int], list[int]], trials: Sequence[Trial]
    ) -> None:
        self.view = view
        self.keys = keys
        self.values = values
        self.cells = {place: self._one_setting(group) for place, group in self._groups(trials).items()}
        self.shown = [m for m in dict.fromkeys((view.goal.objective, limit_of(view)[0])) if self._levels(m)]

    def _levels(self, metric: str) -> dict[Place, float]:
        """What was measured of a metric in each cell that has it in all of its trials."""
        return {
            place: shown(metric, _mean(group, metric))
            for place, group in self.cells.items()
            if all(math.isfinite(trial.metrics.get(metric, math.nan)) for trial in group)
        }

    def _keeps(self, place: Place) -> bool:
        return place in self.cells and self.view.feasible(self.cells[place][0])

    def _place(self, trial: Trial) -> Place:
        column, row = (self.values[i].index(trial.settings[self.keys[i]]) for i in (0, 1))
        return column, row

    def _groups(self, trials: Sequence[Trial]) -> dict[Place, list[Trial]]:
        groups: dict[Place, list[Trial]] = {}
        for trial in trials:
            groups.setdefault(self._place(trial), []).append(trial)
        return groups

    def _one_setting(self, group: Sequence[Trial]) -> list[Trial]:
        """Of the trials in a cell, those of one setting: the best that keeps the limits, else the best."""
        settings: dict[tuple[tuple[str, int], ...], list[Trial]] = {}
        for trial in group:
            settings.setdefault(key_of(trial.settings), []).append(trial)
        objective = self.view.goal.objective
        return min(
            settings.values(),
            key=lambda trials: (
                not self.view.feasible(trials[0]),
                self.view.goal.cost({objective: _mean(trials, objective)}),
            ),
        )

    def _empty(self) -> Iterator[Place]:
        for column in range(len(self.values[0])):
            for row in range(len(self.values[1])):
                if (column, row) not in self.cells:
                    yield column, row

    def svg(self, name: str) -> str:
        others = [
            key
            for key in self.view.knob_keys()
            if key not in self.keys and any(key in group[0].settings for group in self.cells.values())
        ]
        description = (
            f"{wording.together([metrics.of(m).title for m in self.shown])} as measured for {len(self.cells)} of"
            f" {len(self.values[0]) * len(self.values[1])} combinations of {wording.together(self.keys)};"
            f" the line is around those that keep the limits, the others are hatched.{_best_is(self.view)}"
            + (f" Each cell has the best over {wording.together(others)}." if others else "")
        )
        tall = 1.2 + 0.36 * max(4, len(self.values[1]))
        beside = len(self.values[0]) <= MOST_BESIDE
        height = tall if beside else 0.3 + (tall - 0.3) * len(self.shown)
        return draw(name, _title(self.view, self.keys), description, height, self._paint)

    def _paint(self, figure: Any) -> Mapping[str, str]:
        from matplotlib.patches import Patch  # noqa: PLC0415

        beside = len(self.values[0]) <= MOST_BESIDE
        panels = figure.subplots(*((1, len(self.shown)) if beside else (len(self.shown), 1)), squeeze=False).flat
        hints: dict[str, str] = {}
        entries: dict[str, Any] = {}
        for number, (axes, metric) in enumerate(zip(panels, self.shown, strict=True)):
            levels = self._levels(metric)
            colours = _colours(list(levels.values()))
            for place in levels:
                gid = f"c{number}-{place[0]}-{place[1]}"
                hints[gid] = describe(self.cells[place][0], self.view)
                self._cell(axes, place, levels[place], colours, gid)
            for column, row in self._empty():
                [dot] = axes.plot(column, row, marker=".", markersize=2.5, color=MUTED, linestyle="none", zorder=1)
                entries.setdefault("not measured", dot)
            self._region(axes)
            best = self.view.winner()
            if best is not None and all(key in best.settings for key in self.keys):
                self._frame(axes, self._place(best))
                entries["best"] = Patch(facecolor="none", edgecolor=BEST, linewidth=2.2)
            axes.set_xlim(-0.5, len(self.values[0]) - 0.5)
            axes.set_ylim(-0.5, len(self.values[1]) - 0.5)
            for axis, key, ticks in zip((axes.xaxis, axes.yaxis), self.keys, self.values, strict=True):
                axis.set_ticks(range(len(ticks)), [_tick(key, value, self.view) for value in ticks])
                axis.set_label_text(_axis(key, self.view))
            axes.set_title(metrics.of(metric).title)
            axes.grid(visible=False)
            for spine in axes.spines.values():
                spine.set_color(FAINT)
        if not all(self._keeps(place) for place in self.cells):
            entries["breaks a limit"] = Patch(facecolor=PAPER, edgecolor=MUTED, hatch="////", linewidth=0.6)
        legend(figure, [(handle, label) for label, handle in entries.items()])
        return hints

    def _region(self, axes: Any) -> None:
        """A line between the cells that keep every limit and those that don't."""
        for column, row in self.cells:
            if not self._keeps((column, row)):
                continue
            for across, up in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                beside = (column + across, row + up)
                if beside in self.cells and not self._keeps(beside):
                    # The edge's middle is half a cell away, and the edge runs across that way.
                    x, y = column + across / 2, row + up / 2
                    axes.plot(
                        [x - up / 2, x + up / 2], [y - across / 2, y + across / 2], color=BREAKS, linewidth=2.4,
                        solid_capstyle="round", zorder=3,
                    )  # fmt: skip

    def _cell(self, axes: Any, place: Place, level: float, colours: tuple[Any, Any], gid: str) -> None:
        from matplotlib.colors import to_hex  # noqa: PLC0415
        from matplotlib.patches import Rectangle  # noqa: PLC0415

        column, row = place
        norm, colour_of = colours
        red, green, blue, _ = colour_of(norm(level))
        text = "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < DARK_BELOW else "#111111"
        colour = to_hex((red, green, blue))
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, linewidth=0, gid=gid))
        keeps = self._keeps(place)
        if not keeps:
            axes.add_patch(
                Rectangle(corner, 1, 1, facecolor="none", edgecolor=text, hatch="////", linewidth=0, alpha=0.55)
            )
        behind = None if keeps else {"facecolor": colour, "linewidth": 0, "pad": 1.0}
        digits = 4 if len(self.values[0]) <= MOST_BESIDE // 2 else 3
        # The pointer's hint belongs to the cell, not to the text on it.
        axes.text(
            column, row, wording.number(level, digits), ha="center", va="center", fontsize=7.5, color=text, bbox=behind
        )

    def _frame(self, axes: Any, place: Place) -> None:
        from matplotlib.patches import Rectangle  # noqa: PLC0415

        corner = (place[0] - 0.5, place[1] - 0.5)
        for colour, width in ((PAPER, 5.0), (BEST, 2.6)):
            axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor=colour, linewidth=width, zorder=4))


def _marks(view: View, keys: tuple[str, str], trials: Sequence[Trial], name: str) -> str:
    objective, other = view.goal.objective, limit_of(view)[0]
    shown_metrics = [objective, *([other] if len(drawable(view, objective, other)) > 1 else [])]

    def paint(figure: Any) -> Mapping[str, str]:
        panels = figure.subplots(1, len(shown_metrics), squeeze=False, sharey=True)[0]
        hints: dict[str, str] = {}
        used: dict[str, Any] = {}
        for axes, metric in zip(panels, shown_metrics, strict=True):
            have = [t for t in trials if math.isfinite(t.metrics.get(metric, math.nan))]
            _cloud(view, axes, keys, metric, have, hints=hints, used=used)
            axes.set_xlabel(_axis(keys[0], view))
            axes.set_title(metrics.of(metric).title)
            axes.margins(0.07, 0.1)
        panels[0].set_ylabel(_axis(keys[1], view))
        legend(figure, [(mark, label) for label, mark in used.items()])
        return hints

    description = (
        f"{wording.together([metrics.of(m).title for m in shown_metrics])} of {len(trials)} trials by"
        f" {wording.together(keys)}, darker is less.{_best_is(view)}"
    )
    return draw(name, _title(view, keys), description, 4.4, paint)


def _step(share: float) -> int:
    """Which of COLOUR_STEPS a place on the scale of colours belongs to."""
    return min(COLOUR_STEPS - 1, int(share * COLOUR_STEPS))


def _cloud(
    view: View,
    axes: Any,
    keys: tuple[str, str],
    metric: str,
    trials: Sequence[Trial],
    *,
    hints: dict[str, str],
    used: dict[str, Any],
) -> None:
    """A mark for each trial on axes in proportion, coloured by a metric."""
    from matplotlib.colors import to_hex  # noqa: PLC0415

    levels = [shown(metric, t.metrics[metric]) for t in trials]
    norm, colour_of = _colours(levels)
    for keeps, marker, edge in ((True, "o", MUTED), (False, "X", BREAKS)):
        some = [(t, level) for t, level in zip(trials, levels, strict=True) if view.feasible(t) is keeps]
        label = "keeps the limits" if keeps else "breaks a limit"
        places = [tuple(trial.settings[key] for key in keys) for trial, _ in some]
        if len(trials) > MOST_HINTS:
            # Marks of about one colour are one path: a fraction of the time and the bytes.
            steps = [_step(share) for share in norm([level for _, level in some])] if some else []
            for step in sorted(set(steps)):
                here = [at for at, its in zip(places, steps, strict=True) if its == step]
                [used[label]] = axes.plot(
                    *zip(*here, strict=True), marker=marker, markersize=8.5, linestyle="none", zorder=3,
                    markerfacecolor=to_hex(colour_of((step + 0.5) / COLOUR_STEPS)), markeredgecolor=edge,
                    markeredgewidth=0.8,
                )  # fmt: skip
            continue
        for (trial, level), at in zip(some, places, strict=True):
            gid = f"m{len(hints)}"
            hints[gid] = describe(trial, view)
            [mark] = axes.plot(
                *at, marker=marker, markersize=8.5, markerfacecolor=to_hex(colour_of(norm(level))),
                markeredgecolor=edge, markeredgewidth=0.8, linestyle="none", gid=gid, zorder=3,
            )  # fmt: skip
            used.setdefault(label, mark)
    best = view.winner()
    if best is not None and all(key in best.settings for key in keys):
        [used["best"]] = axes.plot(
            best.settings[keys[0]], best.settings[keys[1]], marker="o", markersize=15, markerfacecolor="none",
            markeredgecolor=BEST, markeredgewidth=2.4, linestyle="none", zorder=4,
        )  # fmt: skip
    _bar(axes.figure, axes, (norm, colour_of), metric)


def _at(trial: Trial, *, key: str, metric: str) -> tuple[float, float]:
    return trial.settings[key], shown(metric, trial.metrics[metric])


def _curve(view: View, key: str, trials: Sequence[Trial], name: str) -> str:
    objective = view.goal.objective
    other, constraint = limit_of(view)

    def paint(figure: Any) -> Mapping[str, str]:
        panels = figure.subplots(1, 2)
        marks = Marks(view)
        for axes, metric in zip(panels, (objective, other), strict=True):
            measured = {trial.number for trial in drawable(view, metric)}
            have = [t for t in trials if t.number in measured]
            groups: dict[int, list[Trial]] = {}
            for trial in have:
                groups.setdefault(trial.settings[key], []).append(trial)
            marks.put_all(axes, have, partial(_at, key=key, metric=metric))
            line = [(value, shown(metric, _mean(groups[value], metric))) for value in sorted(groups)]
            axes.plot([x for x, _ in line], [y for _, y in line], color=FAINT, linewidth=1.4, zorder=1)
            axes.set_xlabel(_axis(key, view))
            axes.set_ylabel(metrics.of(metric).title)
            scale(axes, "y", [y for _, y in line])
        best = view.winner()
        if best is not None and key in best.settings:
            marks.put(panels[0], best, (best.settings[key], shown(objective, best.metrics[objective])), "best")
        if constraint is not None:
            panels[1].axhline(shown(other, constraint.limit), color=BREAKS, linewidth=1.1, linestyle=(0, (5, 3)))
        marks.legend(figure)
        return marks.hints

    description = (
        f"{metrics.of(objective).title} and {metrics.of(other).title} of {len(trials)} trials by {key}.{_best_is(view)}"
    )
    return draw(name, _title(view, [key]), description, 3.4, paint)
