"""Rows of many trials and nodes as Dask dataframes: more than a machine's memory, and on as many machines as there are.

Everything here is made of `dask.delayed` calls over the files of logs, so that it runs unchanged in this process's
threads and on a `dask.distributed` cluster whose workers see the same folder. What goes on from one part of a stream to
the next (a counter that wraps, the reading before) is a small state that each part hands to the next one; no part waits
for more than that, and none is kept.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from mustherd.extras import DASK, need
from mustherd.rowlog import frames
from mustherd.rowlog.counters import Unwrapped
from mustherd.rowlog.reader import ROW, DataError, InUnits, Log, UnreadableError, check_size

POINTS = 16
"""Of each file, at which its rows are taken to lie in time when the borders of partitions are chosen."""

MERGED_AT_ONCE = 8
"""Counts of values that are added up in one step."""

Energy = tuple[int | None, int]
"""The last reading of an energy counter, and what it has counted since the stream's first row."""


@dataclass(frozen=True)
class _File:
    """A file of one stream, and what its foot says."""

    part: Log
    """Of the stream, that file alone."""
    rows: int
    first: int
    last: int
    """Timestamps, in ticks."""


@dataclass(frozen=True)
class _Source:
    """Where rows of a partition lie."""

    log: Log
    """Of one file."""
    units: tuple[tuple[str, float], ...]


def dask_frame(logs: Iterable[Log], columns: Sequence[str] | None, *, merged: bool, rows: int) -> Any:
    """See ExperimentFolder.dask. MissingExtraError where Dask isn't installed, DataError for what isn't there."""
    need(DASK, "dask", "distributed")
    from dask import dataframe as dd  # noqa: PLC0415

    check_size(rows)

    chosen, asked = _alike([log for log in logs if log.files], frames.with_time(columns))
    groups: dict[tuple[str, str, str], list[Log]] = {}
    for log in chosen:
        groups.setdefault((log.label, log.muster, "" if merged else log.stream), []).append(log)
    parts: list[Any] = []
    borders: list[float] = []
    for of in groups.values():
        made, edges = _partitions(of, asked, rows)
        parts += made
        borders = edges
    meta = _meta(chosen[0], asked)
    # Clocks of several nodes have nothing to do with one another.
    known = borders if len(groups) == 1 else None
    return dd.from_delayed(parts, meta=meta, divisions=known or (None,) * (len(parts) + 1), verify_meta=False)


def _alike(logs: list[Log], asked: list[str] | None) -> tuple[list[Log], list[str]]:
    """Those of the logs that have all columns of a frame, and these: what is asked for, or what most timed logs have.

    A warning names the streams that are left out. DataError where none is left.
    """
    if not logs:
        raise DataError("there are no rows to read: no log fits, or none has any")
    there = [(log, log.columns) for log in logs]
    timed = [(log, names) for log, names in there if "timestamp" in names]
    if not timed:
        raise DataError(f"{logs[0].stream} has no timestamp, which rows are found by: read it by log.frame()")
    if asked is None:
        counts = Counter(names for _, names in timed)
        asked = list(max((count, len(names), names) for names, count in counts.items())[-1])
    wanted = {*asked} - {ROW}
    kept = [log for log, names in timed if wanted <= {*names}]
    if not kept:
        timed[0][0].checked(asked)
        raise DataError(f"no stream has all of the columns {', '.join(asked)}: ask for fewer")
    lacking = {log.stream: next(n for n in ("timestamp", *asked) if n not in names)
               for log, names in there if not wanted <= {*names}}  # fmt: skip
    if lacking:
        told = ", ".join(f"{stream} (it has no {name})" for stream, name in lacking.items())
        text = f"left out of the frame: {told}; name what you want by stream=, or read these by log.frame()"
        warnings.warn(text, stacklevel=4)
    return kept, asked


def _partitions(logs: list[Log], columns: list[str], rows: int) -> tuple[list[Any], list[float]]:
    """Parts of logs that share a clock, each a span of time, and the times between them."""
    from dask import delayed  # noqa: PLC0415

    feet = {log.stream: [foot for part in log.each_file() if (foot := _foot(part, columns))] for log in logs}
    if not any(feet.values()):
        raise DataError(f"{logs[0].label} {logs[0].muster} {logs[0].stream}: its files have no rows")
    for log in logs:
        if any(foot.first < before.last for before, foot in pairwise(feet[log.stream])):
            raise frames.clock_went_back(log)
    units = {log.stream: log.units for log in logs}
    before = {stream: _energy_before(of, units[stream], columns) for stream, of in feet.items()}
    per_second = {u.get("tsc_khz", 0.0) * 1000 for u in units.values()}
    if len(per_second) > 1:
        raise DataError("some of these streams have times and some only ticks: read them one by one")
    read = delayed(_read, pure=True)
    edges = _edges([foot for of in feet.values() for foot in of], rows)
    parts = []
    for begin, end in pairwise(edges):
        sources, states = [], []
        for stream, of in feet.items():
            for foot, state in zip(of, before[stream], strict=True):
                if foot.first < end and foot.last >= begin:
                    sources.append(_Source(foot.part, tuple(sorted(units[stream].items()))))
                    states.append(state)
        parts.append(read(sources, states, columns, begin, end))
    # The last border is the last row itself, as Dask has it.
    ticks = [*edges[:-1], edges[-1] - 1]
    scale = per_second.pop()
    return parts, [tick / scale if scale else tick for tick in ticks]


def _foot(part: Log, columns: list[str]) -> _File | None:
    """None of a file without rows."""
    with part.opened(0, columns) as parquet:
        told = parquet.metadata
        if not told.num_rows:
            return None
        place = parquet.schema.names.index("timestamp")
        found = [told.row_group(k).column(place).statistics for k in range(told.num_row_groups)]
        if any(f is None or not f.has_min_max for f in found):
            raise UnreadableError(f"{part.files[0]} can't be read: it doesn't say from when its rows are")
        return _File(part, told.num_rows, min(int(f.min) for f in found), max(int(f.max) for f in found))


def _edges(files: list[_File], rows: int) -> list[int]:
    """Ticks between which about so many rows lie, the last one behind all."""
    points = np.concatenate([np.linspace(f.first, f.last, POINTS) for f in files])
    weights = np.concatenate([np.full(POINTS, f.rows / POINTS) for f in files])
    order = np.argsort(points, kind="stable")
    reached = np.cumsum(weights[order])
    count = max(1, round(reached[-1] / rows))
    inner = points[order][np.searchsorted(reached, reached[-1] * np.arange(1, count) / count)]
    first, last = min(f.first for f in files), max(f.last for f in files)
    return [first, *sorted({int(tick) for tick in inner if first < tick <= last}), last + 1]


def _energy_before(feet: list[_File], units: Mapping[str, float], columns: list[str]) -> list[Any]:
    """For each file of a stream what its energy counter had counted by then."""
    from dask import delayed  # noqa: PLC0415

    if "joules" not in columns or "counts_per_wrap" not in units:
        return [None] * len(feet)
    after, states = delayed(_energy_after, pure=True), []
    state: Any = (None, 0)
    for foot in feet:
        states.append(state)
        state = after(foot.part, int(units["counts_per_wrap"]), state)
    return states


def _energy_after(part: Log, per_wrap: int, before: Energy) -> Energy:
    counter = Unwrapped(per_wrap, *before)
    counter.more(part.table(["joules"]).column("joules").to_numpy().astype(np.uint64))
    return counter.state


def _read(
    sources: list[_Source], states: list[Energy | None], columns: list[str], begin: int, end: int
) -> pd.DataFrame:
    """Rows from one tick to before another, by time."""
    found = []
    for source, state in zip(sources, states, strict=True):
        table = source.log.table(columns)
        ticks = table.column("timestamp").to_numpy()
        frame = InUnits(dict(source.units), state or (None, 0)).frame(table)
        within = slice(*np.searchsorted(ticks, np.array([begin, end], ticks.dtype)))
        found.append(_owned(frame.iloc[within], source.log))
    clock = frames.clock_of(found[0])
    whole = pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]
    if len({source.log.stream for source in sources}) > 1:
        whole = whole.sort_values(clock, kind="stable")
    return whole.set_index(clock)


def _owned(frame: pd.DataFrame, log: Log) -> pd.DataFrame:
    count = len(frame)
    owner = pd.DataFrame(
        {
            "label": pd.array([log.label] * count, "str"),
            "trial": pd.array([log.trial] * count, "Int64"),
            "attempt": pd.array([log.attempt] * count, "Int64"),
            "muster": pd.array([log.muster] * count, "str"),
            "stream": pd.array([log.stream] * count, "str"),
            "core": pd.array([log.core] * count, "Int64"),
        },
        index=frame.index,
    )
    return pd.concat([owner, frame], axis=1)


def _meta(log: Log, columns: list[str]) -> pd.DataFrame:
    """No rows, as partitions have them."""
    with log.opened(0, columns) as parquet:
        schema = parquet.schema_arrow
    empty = schema.empty_table().select([name for name in schema.names if name in (ROW, *columns)])
    frame = _owned(InUnits(log.units).frame(empty), log)
    return frame.set_index(frames.clock_of(frame))


def differences(frame: Any) -> Any:
    """What mustherd.data.differences gives, of a Dask dataframe whose partitions follow one another."""
    from dask import dataframe as dd  # noqa: PLC0415
    from dask import delayed  # noqa: PLC0415

    last, count = delayed(_last, pure=True), delayed(_counted, pure=True)
    before: Any = {}
    parts = []
    for part in frame.to_delayed():
        parts.append(count(part, before))
        before = last(part, before)
    meta = frames.differences(frame._meta)
    return dd.from_delayed(parts, meta=meta, divisions=frame.divisions, verify_meta=False)


def _last(part: pd.DataFrame, before: dict[tuple[str, str], float | int]) -> dict[tuple[str, str], float | int]:
    """The newest reading of each counter, without what lies between."""
    counted = frames.Differences(before)
    counted.note(part)
    return counted.last


def _counted(part: pd.DataFrame, before: dict[tuple[str, str], float | int]) -> pd.DataFrame:
    return frames.Differences(before).more(part)


def windows(frame: Any, seconds: float) -> Any:
    """What mustherd.data.windows gives, of a Dask dataframe of one trial on one muster, as one partition."""
    from dask import dataframe as dd  # noqa: PLC0415
    from dask import delayed  # noqa: PLC0415

    if not seconds > 0:
        raise DataError(f"a window of {seconds:g} s: it has to be longer than 0")
    if frame.index.name != "time_seconds":
        raise DataError("these rows have ticks only: the node reported no TSC frequency, so there are no seconds")
    if not frame.known_divisions:
        raise DataError("these rows are not in the order of time: read one trial of one muster, dask(..., merged=True)")
    counted = differences(frame)
    origin = float(frame.divisions[0])
    numbers = [int((float(edge) - origin) // seconds) for edge in frame.divisions]
    begins = sorted({*numbers[:-1]})
    figures = delayed(_figures, pure=True)
    parts = counted.to_delayed()
    found = []
    for begin, end in pairwise([*begins, numbers[-1] + 1]):
        # A window that two partitions share is taken out of both.
        own = [part for part, (a, b) in zip(parts, pairwise(numbers), strict=True) if a < end and b >= begin]
        found.append(figures(own, origin, seconds, begin, end))
    whole = delayed(frames.finished, pure=True)(found, seconds)
    meta = frames.finished([_figures([counted._meta], origin, seconds, 0, 1)], seconds)
    return dd.from_delayed([whole], meta=meta, verify_meta=False)


def _figures(parts: list[pd.DataFrame], origin: float, seconds: float, begin: int, end: int) -> pd.DataFrame:
    """Figures of windows from one number to before another."""
    own = []
    for part in parts:
        numbers = np.floor_divide(part.index.to_numpy(np.float64) - origin, seconds)
        own.append(part[(numbers >= begin) & (numbers < end)])
    counted = pd.concat(own).reset_index()
    return frames.figures(counted, counted["time_seconds"] - origin, seconds)


def medians(frame: Any, columns: Sequence[str], by: Sequence[str]) -> Any:
    """What mustherd.data.medians gives, of a Dask dataframe: exact, by counting values, as one partition."""
    from dask import dataframe as dd  # noqa: PLC0415
    from dask import delayed  # noqa: PLC0415

    counts, add = delayed(_counts, pure=True), delayed(_added, pure=True)
    found = [counts(part, list(columns), list(by)) for part in frame.to_delayed()]
    while len(found) > 1:
        found = [add(found[k : k + MERGED_AT_ONCE]) for k in range(0, len(found), MERGED_AT_ONCE)]
    meta = frames.medians(frame._meta, columns, by)
    middle = delayed(_middle, pure=True)(found[0], list(columns), list(by))
    return dd.from_delayed([middle], meta=meta, verify_meta=False)


def _counts(part: pd.DataFrame, columns: list[str], by: list[str]) -> dict[str, pd.Series]:
    return {name: part.groupby([*by, name], observed=True).size() for name in columns}


def _added(some: list[dict[str, pd.Series]]) -> dict[str, pd.Series]:
    joined = {name: pd.concat([counts[name] for counts in some]) for name in some[0]}
    return {name: of.groupby(level=list(range(of.index.nlevels))).sum() for name, of in joined.items()}


def _middle(counts: dict[str, pd.Series], columns: list[str], by: list[str]) -> pd.DataFrame:
    """The middle value of each group, or the mean of both."""
    return pd.DataFrame({name: counts[name].groupby(level=by).apply(_middle_of) for name in columns}).reset_index()


def _middle_of(counts: pd.Series) -> float:
    values, reached = counts.index.get_level_values(-1).to_numpy(), counts.cumsum().to_numpy()
    total = int(reached[-1])
    below, above = (values[np.searchsorted(reached, place, side="right")] for place in ((total - 1) // 2, total // 2))
    return (float(below) + float(above)) / 2
