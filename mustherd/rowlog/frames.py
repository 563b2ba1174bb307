"""What most questions about rows need: cores merged by time, differences of counters, figures per window."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mustherd.rowlog.counters import COUNTER_BITS
from mustherd.rowlog.reader import BATCH_ROWS, DataError, Log, check_size, names_in

COUNTERS = ("instructions", "cycles", "ref_cycles", "llc_miss")
"""Running counters of intlog's rows; its descriptors and bytes are per row already."""

OWNERS = ("label", "muster", "stream")
"""Whose rows are whose, where they are of several."""

PER_ROW = ("rx_desc", "rx_bytes", "tx_desc", "tx_bytes")


def merged(logs: Iterable[Log], columns: Iterable[str] | None = None) -> pd.DataFrame:
    """Rows of several streams of one trial on one muster, by time; `stream` and `core` say whose each is.

    Rows at the same tick keep the order of the streams. Raises DataError for logs of several musters (their clocks
    have nothing to do with one another), of several trials, without a timestamp, or whose clock went back.
    """
    asked = with_time(columns)
    chosen = _together(logs)
    frames = [_named(log, log.frame(asked)) for log in chosen]
    if not frames:
        return pd.DataFrame()
    clock = _one_clock(frames)
    for log, frame in zip(chosen, frames, strict=True):
        if not frame[clock].is_monotonic_increasing:
            raise clock_went_back(log)
    return pd.concat(frames, ignore_index=True).sort_values(clock, kind="stable", ignore_index=True)


def merged_frames(
    logs: Iterable[Log], columns: Iterable[str] | None = None, rows: int = BATCH_ROWS
) -> Iterator[pd.DataFrame]:
    """What `merged` gives, about so many rows at a time: memory stays bounded whatever their number."""
    check_size(rows)
    asked = with_time(columns)
    chosen = _together(logs)
    if not chosen:
        return
    each = max(1, rows // len(chosen))
    sources = [(log, _forward(log, log.frames(asked, each))) for log in chosen]
    waiting: list[pd.DataFrame | None] = [_next(*source) for source in sources]
    clock = _one_clock([frame for frame in waiting if frame is not None])
    while there := [frame for frame in waiting if frame is not None]:
        # Up to where every stream that goes on has shown its rows.
        until = min(float(frame[clock].iloc[-1]) for frame in there)
        out = []
        for place, frame in enumerate(waiting):
            if frame is None:
                continue
            end = int(np.searchsorted(frame[clock].to_numpy(), until, side="right"))
            out.append(frame.iloc[:end])
            waiting[place] = frame.iloc[end:] if end < len(frame) else _next(*sources[place])
        yield pd.concat(out, ignore_index=True).sort_values(clock, kind="stable", ignore_index=True)


def with_time(columns: Iterable[str] | None) -> list[str] | None:
    """Columns, and the one that rows are found by; None: all."""
    return None if columns is None else [*dict.fromkeys([*names_in(columns), "timestamp"])]


def _together(logs: Iterable[Log]) -> list[Log]:
    """Those that have rows. DataError where they have no clock in common."""
    chosen = list(logs)
    names = {(log.muster, log.label) for log in chosen}
    if len(names) > 1:
        raise DataError(f"rows of one trial on one muster can be merged by time, not those of {len(names)} of them")
    chosen = [log for log in chosen if log.files]
    for log in chosen:
        if "timestamp" not in log.columns:
            raise DataError(f"{log.stream} has no timestamp to merge it by; leave it out")
    return chosen


def clock_went_back(log: Log) -> DataError:
    """Of a log that is asked for by time."""
    return DataError(
        f"{log.label} {log.muster} {log.stream}: its clock went back, as a restart of the node has it, so its rows "
        "have no order by time: read it by log.frame()"
    )


def _forward(log: Log, frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Frames as they come. DataError where time doesn't go on."""
    last = None
    for frame in frames:
        if len(frame):
            times = frame[clock_of(frame)]
            if not times.is_monotonic_increasing or (last is not None and times.iloc[0] < last):
                raise clock_went_back(log)
            last = times.iloc[-1]
        yield frame


def _next(log: Log, frames: Iterator[pd.DataFrame]) -> pd.DataFrame | None:
    found = next((frame for frame in frames if len(frame)), None)
    return None if found is None else _named(log, found)


def _named(log: Log, frame: pd.DataFrame) -> pd.DataFrame:
    """With whose rows they are."""
    frame.insert(0, "core", log.core)
    frame.insert(0, "stream", log.stream)
    return frame


def clock_of(frame: pd.DataFrame) -> str:
    """The column that says when a row is from."""
    return "time_seconds" if "time_seconds" in frame else "timestamp_ticks"


def _one_clock(frames: Iterable[pd.DataFrame]) -> str:
    clocks = {clock_of(frame) for frame in frames}
    if len(clocks) > 1:
        raise DataError("some of these streams have times and some only ticks: read them one by one")
    return clocks.pop() if clocks else "time_seconds"


def differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Instead of running counters what they counted since the row before of the same stream, wraps included.

    `energy_joules` and `energy_counts` too. A stream's first row has no difference. Rows without counters (0 cycles,
    as the driver's older versions print where less than 1 ms has passed) have none either, and the next row's spans
    them. Where the clock goes back, as a restart of the node has it, counters begin anew, and nothing is counted from
    the row before: for that the frame needs its time. Of a Dask dataframe it gives one.
    """
    if not isinstance(frame, pd.DataFrame):
        return _clustered().differences(frame)
    return Differences().more(frame)


def differences_of(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The differences of rows that come a part at a time, as from `merged_frames`, over the ends of the parts."""
    counted = Differences()
    for frame in frames:
        yield counted.more(frame)


class Differences:
    """What `differences` gives, of rows that come a part at a time."""

    def __init__(self, last: Mapping[tuple[str, str], float | int] | None = None) -> None:
        """`last` is what `last` of the rows before says."""
        self.last: dict[tuple[str, str], float | int] = dict(last or {})
        """By stream and counter: its newest reading."""

    def note(self, frame: pd.DataFrame) -> None:
        """Only remember what the next rows' last readings are."""
        for name, owner, known, read in _readings(frame):
            self.last[owner, name] = known[-1].item()
            if (times := _times(frame)) is not None:
                self.last[owner, f"{name} at"] = times[read[-1]].item()

    def more(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Of the next rows."""
        columns = {name: np.full(len(frame), np.nan) for name in _counters_in(frame)}
        times = _times(frame)
        for name, owner, known, read in _readings(frame):
            before = self.last.get((owner, name))
            kind = known.dtype
            told = known if before is None else np.concatenate([np.array([before], kind), known])
            if name == "energy_joules":
                steps = np.diff(told)
            elif len(told) > 1:
                steps = _steps(told, 32 if name == "energy_counts" else None)
            else:
                steps = told[:0]
            into = read[1:] if before is None else read
            columns[name][into] = steps
            self.last[owner, name] = known[-1].item()
            if times is None:
                continue
            when, then = times[read], self.last.get((owner, f"{name} at"))
            if before is not None and then is not None and when[0] < then:
                columns[name][read[0]] = np.nan
            columns[name][read[1:][when[1:] < when[:-1]]] = np.nan
            self.last[owner, f"{name} at"] = when[-1].item()
        return frame.assign(**columns)


def _times(frame: pd.DataFrame) -> np.ndarray | None:
    clock = clock_of(frame)
    return frame[clock].to_numpy() if clock in frame else None


def _counters_in(frame: pd.DataFrame) -> list[str]:
    return [name for name in (*COUNTERS, "energy_joules", "energy_counts") if name in frame]


def _readings(frame: pd.DataFrame) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Of each counter and stream that has any: the readings, and in which rows they are."""
    by = [name for name in OWNERS if name in frame]
    groups = frame.groupby(by, sort=False, observed=True).indices if by else {"": np.arange(len(frame))}
    for name in _counters_in(frame):
        values = frame[name].to_numpy()
        for owner, places in groups.items():
            own = values[places]
            read = places[np.isfinite(own) if own.dtype.kind == "f" else own > 0]
            if len(read):
                kind = np.float64 if name == "energy_joules" else np.uint64
                yield name, " ".join(owner) if isinstance(owner, tuple) else str(owner), values[read].astype(kind), read


def windows(frame: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Figures per window of `seconds` and stream, the windows of all streams counted from the frame's first row.

    `rows`; `covered_seconds`, the part of the window between the stream's first and last row, by which every rate is
    divided, since rows mostly end in the middle of a window; of what is per row its median and its rate
    (`rx_bytes_median`, `rx_bytes_per_second`); of counters their rate; `energy_joules` and `power_watts` of the core's
    package over the window: cores of one package all show the same energy, so don't add them up. What a row counted
    belongs to the row's own window. A window of which nothing is covered has no rates. Raises DataError for a frame
    without times or a length that isn't above 0. Of a Dask dataframe of one trial on one muster, merged, it gives one.
    """
    if not isinstance(frame, pd.DataFrame):
        return _clustered().windows(frame, seconds)
    if not seconds > 0:
        raise DataError(f"a window of {seconds:g} s: it has to be longer than 0")
    if "time_seconds" not in frame:
        raise DataError("these rows have ticks only: the node reported no TSC frequency, so there are no seconds")
    times = frame["time_seconds"]
    return finished([figures(differences(frame), times - times.min(), seconds)], seconds)


def figures(counted: pd.DataFrame, times: pd.Series, seconds: float) -> pd.DataFrame:
    """Of whole windows what `finished` makes rates of; `times` in seconds since the first window began."""
    keys = pd.DataFrame({"window": (times // seconds).astype(np.int64)}, index=counted.index)
    by = ["window"]
    if "stream" in counted:
        keys["stream"], keys["core"] = counted["stream"], counted["core"]
        by = ["window", "stream", "core"]
    groups = counted.drop(columns=["stream", "core"], errors="ignore").groupby(
        [keys[name] for name in by], sort=True, dropna=False, observed=True
    )
    result = groups.size().rename("rows").to_frame()
    spans = times.groupby([keys[name] for name in by], sort=True, dropna=False, observed=True)
    result["first"], result["last"] = spans.min(), spans.max()
    for name in PER_ROW:
        if name in counted:
            result[f"{name}_median"] = groups[name].median()
            result[name] = groups[name].sum()
    for name in (*COUNTERS, "energy_joules"):
        if name in counted:
            result[name] = groups[name].sum(min_count=1)
    return result.reset_index()


def finished(parts: list[pd.DataFrame], seconds: float) -> pd.DataFrame:
    """Rates of figures that each are of windows of their own, in order."""
    found = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    begins = found["window"] * seconds
    if "stream" in found:
        of = found.groupby("stream", sort=False, observed=True)
        first, last = of["first"].transform("min"), of["last"].transform("max")
    else:
        first, last = found["first"].min(), found["last"].max()
    covered = np.minimum(begins + seconds, last) - np.maximum(begins, first)
    covered = covered.where(covered > 0)
    result = found[[name for name in ("window", "stream", "core", "rows") if name in found]].copy()
    result["covered_seconds"] = covered
    for name in PER_ROW:
        if name in found:
            result[f"{name}_median"] = found[f"{name}_median"]
            result[f"{name}_per_second"] = found[name] / covered
    for name in COUNTERS:
        if name in found:
            result[f"{name}_per_second"] = found[name] / covered
    if "energy_joules" in found:
        result["energy_joules"] = found["energy_joules"]
        result["power_watts"] = result["energy_joules"] / covered
    result.insert(1, "begin_seconds", begins)
    return result


def medians(frame: pd.DataFrame, columns: Sequence[str], by: Sequence[str] = ("stream",)) -> pd.DataFrame:
    """The median of each column over the rows of each group, exact; of a Dask dataframe it gives one."""
    if not isinstance(frame, pd.DataFrame):
        return _clustered().medians(frame, columns, by)
    if missing := [name for name in (*columns, *by) if name not in frame]:
        raise DataError(f"these rows have no column {missing[0]!r}; they have {', '.join(map(str, frame.columns))}")
    return frame.groupby(list(by), observed=True)[list(columns)].median().reset_index()


def _clustered() -> Any:
    """What does the same to Dask dataframes; Dask is only there where somebody has one."""
    from mustherd.rowlog import clustered  # noqa: PLC0415

    return clustered


def _steps(values: np.ndarray, bits: int | None) -> np.ndarray:
    """Differences of a counter of `bits` (None: 48, or 64 where a value needs them)."""
    if bits is None:
        bits = COUNTER_BITS if int(values.max()) < 1 << COUNTER_BITS else 64
    steps: np.ndarray = values[1:] - values[:-1]
    return steps if bits == 64 else steps & np.uint64((1 << bits) - 1)
