"""What the project means to be as fast as: each figure of a benchmark, and its goal on two quiet cores."""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Found = dict[str, Any]


class Goal(NamedTuple):
    """A figure and its goal."""

    benchmark: str
    what: str
    unit: str
    figure: Callable[[Found], float | None]
    """Takes it from what the benchmark found; None where it isn't there."""
    most: float | None = None
    least: float | None = None

    def met(self, value: float | None) -> bool | None:
        """Whether a figure is at its goal; None: nothing was measured."""
        if value is None:
            return None
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


def _logs(cores: int, figure: str) -> Callable[[Found], float | None]:
    """A figure of the longest run with so many cores' logs."""

    def take(found: Found) -> float | None:
        runs = [run for run in found["runs"] if run["cores"] == cores]
        return max(runs, key=operator.itemgetter("rows"))[figure] if runs else None

    return take


def _all_logs(figure: str) -> Callable[[Found], float | None]:
    """A figure's worst over all runs."""
    return lambda found: max(run[figure] for run in found["runs"])


def _control(musters: int, kind: str, figure: str) -> Callable[[Found], float | None]:
    """A figure of a herd of so many, by what its messages are wrapped in."""
    return lambda found: next((h[figure] for h in found["herds"] if (h["musters"], h["kind"]) == (musters, kind)), None)


def _control_by_bare(musters: int, figure: str) -> Callable[[Found], float | None]:
    """How many times as long as bare ZeroMQ takes in the same run, for as many peers."""
    ours, bare = _control(musters, "plain text", figure), _control(musters, "bare ZeroMQ", figure)

    def take(found: Found) -> float | None:
        took, least = ours(found), bare(found)
        return None if took is None or not least else took / least

    return take


def _at(*path: str) -> Callable[[Found], float | None]:
    """What lies at a path of keys."""

    def take(found: Found) -> float | None:
        try:
            return functools.reduce(operator.getitem, path, found)  # type: ignore[return-value]
        except KeyError:
            return None

    return take


def _off(found: Found) -> float:
    """How far `experiment plan` was off what happened, with whichever number of musters it was furthest off."""
    return max(abs(float(result["off_percent"])) for result in found["musters"].values())


def _suggestion(trials: int) -> Callable[[Found], float | None]:
    return _at("mustherd_gp_with_two_constraints", f"n={trials}", "median_ms")


GOALS = (
    Goal("command_start", "`mustherd --help`", "s", _at("help_s"), most=0.2),
    Goal("muster_footprint", "an idle muster and its guardian, CPU", "% of a core", _at("both_cpu_percent"), most=0.3),
    Goal("muster_footprint", "an idle muster and its guardian, memory", "MB", _at("both_mb"), most=40),
    # The reference took 0.17 ms where bare ZeroMQ took 0.067. A wake-up's cost differs by machine, the ratio less.
    Goal("control_round_trip", "a decision to a muster and back by bare ZeroMQ's", "", _control_by_bare(1, "p50"), 2.5),
    Goal("control_round_trip", "to one of 128 and back, encrypted, 99 %", "ms", _control(128, "curve", "p99"), 100),
    Goal("log_path", "rows of one core's log", "1/s", _logs(1, "rows_per_s"), least=2.2e6),
    Goal("log_path", "rows of sixteen cores' logs", "1/s", _logs(16, "rows_per_s"), least=2.0e6),
    Goal("log_path", "a muster, per million rows", "CPU s", _logs(1, "muster_cpu_s_per_million"), most=0.15),
    Goal("log_path", "a shepherd, per million rows", "CPU s", _logs(1, "shepherd_cpu_s_per_million"), most=0.35),
    Goal("log_path", "a muster that logs, memory at most", "MB", _all_logs("muster_peak_rss_mb"), most=64),
    Goal("log_path", "a row on disk", "bytes", _logs(16, "bytes_per_row"), most=19),
    Goal("log_path", "rows lost", "", _all_logs("rows_lost"), most=0),
    Goal("trial_cost", "a trial after 3,000 by one after 30, CPU", "", _at("shepherd_cpu_3000_to_30"), most=1.2),
    Goal("reading_back", "a report of 3,000 trials", "CPU s", _at("trials", "3000", "report_s"), most=5),
    Goal("reading_back", "its size", "bytes", _at("trials", "3000", "report_bytes"), most=3e6),
    Goal("reading_back", "`show` of 3,000 trials", "CPU s", _at("trials", "3000", "show_s"), most=5),
    Goal("reading_rows", "`Log.table` by plain pyarrow's time", "", _at("table_by_pyarrow"), most=1.3),
    Goal("reading_rows", "`Log.frame` by plain pyarrow's time", "", _at("frame_by_pyarrow"), most=1.3),
    Goal("suggestion_time", "a suggestion after 100 trials", "ms", _suggestion(100), most=100),
    Goal("suggestion_time", "a suggestion after 300 trials", "ms", _suggestion(300), most=100),
    Goal("suggestion_time", "a suggestion after 1,000 trials", "ms", _suggestion(1000), most=100),
    Goal("thousand_musters", "a shepherd with 1,000 idle musters", "% of a core", _at("idle_cpu_percent"), most=20),
    Goal("thousand_musters", "a decision to one of 1,000 and back, 99 %", "ms", _at("one_set_p99_ms"), most=100),
    Goal("thousand_musters", "connections at a time", "", _at("connections"), least=4000),
    Goal("thousand_musters", "all 1,000 back after a shepherd's restart", "s", _at("all_back_s"), most=5),
    Goal("plan_on_testbed", "three musters by one", "times", _at("musters", "3", "times_as_fast"), least=2.5),
    Goal("plan_on_testbed", "off what was planned, at most", "%", _off, most=10),
)  # fmt: skip


ALONE = frozenset({"plan_on_testbed"})
"""Benchmarks that `all` leaves out: they make containers, as root, and take as long as all others together."""


def rows(found: dict[str, Found]) -> Iterator[dict[str, Any]]:
    """Each figure of those benchmarks that ran, against its goal. `found` is by benchmark, as JSON has it."""
    for goal in GOALS:
        if goal.benchmark in found:
            value = goal.figure(found[goal.benchmark])
            bounds = {name: bound for name, bound in (("most", goal.most), ("least", goal.least)) if bound is not None}
            yield {
                "benchmark": goal.benchmark,
                "what": goal.what,
                "unit": goal.unit,
                "figure": value,
                **bounds,
                "met": goal.met(value),
            }
