"""Power within a window, from the rows that the node logged meanwhile."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mustherd.experiment import wording
from mustherd.report.labels import clean
from mustherd.report.plots import legend
from mustherd.report.svg import BEST, DEFAULT, KEEPS, draw
from mustherd.report.table import number_of
from mustherd.report.view import View
from mustherd.trial import Trial, label_of

SECONDS = 1.0
"""Rows that come oftener are put together."""

Points = list[tuple[float, float]]


def power_plot(view: View) -> str | None:
    """Watts over a window of the default and of the best, of other policies of the first and the hungriest window.

    None where no rows tell of energy.
    """
    if not view.logged:
        return None
    drawn = [(name, trial, points) for name, trial in _chosen(view) if len(points := power_of(view, trial)) > 2]
    if not drawn:
        return None

    def paint(figure: Any) -> Mapping[str, str]:
        axes = figure.subplots()
        entries = []
        styles = zip((DEFAULT, BEST, KEEPS), ("dashed", "solid", "dotted"), strict=True)
        for (name, trial, points), (colour, style) in zip(drawn, styles, strict=False):
            [line] = axes.plot([x for x, _ in points], [y for _, y in points], color=colour, linestyle=style)
            entries.append((line, clean(f"{name}, trial {number_of(trial)}")))
        axes.set_xlabel("seconds since the window opened")
        axes.set_ylabel("power (W)")
        axes.margins(0.02, 0.3)
        legend(figure, entries)
        return {}

    said = "; ".join(f"{name}: {_span([y for _, y in points])} W" for name, _, points in drawn)
    return draw("power", "Power within a window", f"Power second by second. {said}.", 2.7, paint)


def _span(watts: list[float]) -> str:
    low, high = (wording.number(value, 3) for value in (min(watts), max(watts)))
    return low if low == high else f"{low} to {high}"


def _chosen(view: View) -> list[tuple[str, Trial]]:
    logged = [t for t in view.finished if label_of(t.number, t.attempt) in view.logged]
    if not logged:
        return []
    if not view.compares:
        most = max(logged, key=lambda t: t.metrics.get("power_watts", 0.0))
        return [("first window", logged[0]), *([("hungriest window", most)] if most is not logged[0] else [])]
    won = view.winners()[:1]
    at = won[0].qps if won else logged[0].qps
    default = [t for t in logged if view.of_default(t) and t.qps == at][-1:]
    best = [t for t in logged if won and t.settings == won[0].settings and t.qps == at][-1:]
    return [*(("default", t) for t in default), *(("best", t) for t in best)]


def power_of(view: View, trial: Trial) -> Points:
    """Seconds since the window opened and watts, of the package counters in the trial's rows; [] where there are none.

    A folder whose rows are damaged has none either: the report tells of that where it tells of rows.
    """
    from mustherd.errors import UserError  # noqa: PLC0415
    from mustherd.rowlog.folder import ExperimentFolder  # noqa: PLC0415

    try:
        logs = ExperimentFolder(Path(view.folder)).logs(label=label_of(trial.number, trial.attempt))
        for log in logs:
            units = log.units
            packages = [name for name in log.columns if name.startswith("package_") and name.endswith("_counts")]
            if "node_seconds" in log.columns and packages and "joules_per_count" in units:
                return _of_packages(log.table(["node_seconds", *packages]), packages, units)
        for log in logs:
            if {"timestamp", "joules"} <= set(log.columns) and {"tsc_khz", "joules_per_count"} <= set(log.units):
                return _of_rows(log.frame(["timestamp", "joules"]))
    except (UserError, OSError):
        return []
    return []


def _of_packages(table: Any, packages: list[str], units: Mapping[str, float]) -> Points:
    times = [float(at) for at in table["node_seconds"].to_pylist()]
    wraps = units.get("counts_per_wrap", 2.0**32)
    columns = [[float(count) for count in table[name].to_pylist()] for name in packages]
    points: Points = []
    for i in range(1, len(times)):
        took = times[i] - times[i - 1]
        if took > 0:
            counts = sum((column[i] - column[i - 1]) % wraps for column in columns)
            points.append((times[i] - times[0], counts * units["joules_per_count"] / took))
    return points


def _of_rows(frame: Any) -> Points:
    """Rows of an interrupt log: its counter read oftener than is worth drawing."""
    points: Points = []
    times, joules = frame["time_seconds"].to_numpy(), frame["energy_joules"].to_numpy()
    last = 0
    for i in range(1, len(times)):
        if times[i] - times[last] >= SECONDS:
            points.append((float(times[i] - times[0]), float((joules[i] - joules[last]) / (times[i] - times[last]))))
            last = i
    return points
