"""What most questions about rows need: cores merged by time, differences of counters, figures per window."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from mustherd.rowlog.reader import DataError, Log

COUNTERS = ("instructions", "cycles", "ref_cycles", "llc_miss")
"""Running counters of intlog's rows; its descriptors and bytes are per row already."""

COUNTER_BITS = 48
"""Width of a core's performance counters on the CPUs that intlog is for (Intel SDM, volume 3, chapter on performance
monitoring: CPUID.0AH:EAX[23:16] is 48 from Nehalem on)."""

PER_ROW = ("rx_desc", "rx_bytes", "tx_desc", "tx_bytes")


def merged(logs: Iterable[Log], columns: Iterable[str] | None = None) -> pd.DataFrame:
    """Rows of several streams of one trial on one muster, by time; `stream` and `core` say whose each is.

    Rows at the same tick keep the order of the streams. Raises DataError for logs of several musters (their clocks
    have nothing to do with one another), of several trials, or without a timestamp.
    """
    chosen = list(logs)
    names = {(log.muster, log.label) for log in chosen}
    if len(names) > 1:
        raise DataError(f"rows of one trial on one muster can be merged by time, not those of {len(names)} of them")
    asked = None if columns is None else [*dict.fromkeys([*columns, "timestamp"])]
    frames = []
    for log in chosen:
        if not log.files:
            continue
        if "timestamp" not in log.columns:
            raise DataError(f"{log.stream} has no timestamp to merge it by; leave it out")
        frame = log.frame(asked)
        frame.insert(0, "core", log.core)
        frame.insert(0, "stream", log.stream)
        frames.append(frame)
    if not frames:
        return pd.DataFrame()
    clocks = {_clock(frame) for frame in frames}
    if len(clocks) > 1:
        raise DataError("some of these streams have times and some only ticks: read them one by one")
    return pd.concat(frames, ignore_index=True).sort_values(clocks.pop(), kind="stable", ignore_index=True)


def differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Instead of running counters what they counted since the row before of the same stream, wraps included.

    `energy_joules` and `energy_counts` too. A stream's first row has no difference. Rows without counters (0 cycles,
    as the driver's older versions print where less than 1 ms has passed) have none either, and the next row's spans
    them.
    """
    result = frame.copy()
    groups = frame.groupby("stream", sort=False).indices if "stream" in frame else {"": np.arange(len(frame))}
    for name in (*COUNTERS, "energy_joules", "energy_counts"):
        if name not in frame:
            continue
        values = frame[name].to_numpy()
        found = np.full(len(frame), np.nan)
        for places in groups.values():
            own = values[places]
            read = places[np.isfinite(own) if own.dtype.kind == "f" else own > 0]
            if name == "energy_joules":
                found[read[1:]] = np.diff(values[read])
            elif len(read) > 1:
                found[read[1:]] = _steps(values[read].astype(np.uint64), 32 if name == "energy_counts" else None)
        result[name] = found
    return result


def windows(frame: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Figures per window of `seconds` and stream, the windows of all streams counted from the frame's first row.

    `rows`; `covered_seconds`, the part of the window between the stream's first and last row, by which every rate is
    divided, since rows mostly end in the middle of a window; of what is per row its median and its rate
    (`rx_bytes_median`, `rx_bytes_per_second`); of counters their rate; `energy_joules` and `power_watts` of the core's
    package over the window: cores of one package all show the same energy, so don't add them up. What a row counted
    belongs to the row's own window. A window of which nothing is covered has no rates. Raises DataError for a frame
    without times or a length that isn't above 0.
    """
    if not seconds > 0:
        raise DataError(f"a window of {seconds:g} s: it has to be longer than 0")
    if "time_seconds" not in frame:
        raise DataError("these rows have ticks only: the node reported no TSC frequency, so there are no seconds")
    counted = differences(frame)
    times = frame["time_seconds"]
    keys = pd.DataFrame({"window": ((times - times.min()) // seconds).astype(np.int64)}, index=frame.index)
    by = ["window"]
    if "stream" in frame:
        keys["stream"], keys["core"] = frame["stream"], frame["core"]
        by = ["window", "stream", "core"]
    groups = counted.drop(columns=["stream", "core"], errors="ignore").groupby(
        [keys[name] for name in by], sort=True, dropna=False
    )
    result = groups.size().rename("rows").to_frame()
    covered = _covered(result, times - times.min(), frame.get("stream"), seconds)
    result["covered_seconds"] = covered
    for name in PER_ROW:
        if name in counted:
            result[f"{name}_median"] = groups[name].median()
            result[f"{name}_per_second"] = groups[name].sum() / covered
    for name in COUNTERS:
        if name in counted:
            result[f"{name}_per_second"] = groups[name].sum(min_count=1) / covered
    if "energy_joules" in counted:
        result["energy_joules"] = groups["energy_joules"].sum(min_count=1)
        result["power_watts"] = result["energy_joules"] / covered
    result = result.reset_index()
    result.insert(1, "begin_seconds", result["window"] * seconds)
    return result


def _covered(windows: pd.DataFrame, times: pd.Series, streams: pd.Series | None, seconds: float) -> pd.Series:
    """Seconds of each window between its stream's first and last row; NaN instead of 0."""
    begins = windows.index.get_level_values("window") * seconds
    if streams is None:
        first, last = times.min(), times.max()
    else:
        spans = times.groupby(streams, sort=False).agg(["min", "max"])
        names = windows.index.get_level_values("stream")
        first, last = spans["min"].reindex(names).to_numpy(), spans["max"].reindex(names).to_numpy()
    covered = np.minimum(begins + seconds, last) - np.maximum(begins, first)
    return pd.Series(np.where(covered > 0, covered, np.nan), index=windows.index)


def _steps(values: np.ndarray, bits: int | None) -> np.ndarray:
    """Differences of a counter of `bits` (None: 48, or 64 where a value needs them)."""
    if bits is None:
        bits = COUNTER_BITS if int(values.max()) < 1 << COUNTER_BITS else 64
    steps: np.ndarray = values[1:] - values[:-1]
    return steps if bits == 64 else steps & np.uint64((1 << bits) - 1)


def _clock(frame: pd.DataFrame) -> str:
    return "time_seconds" if "time_seconds" in frame else "timestamp_ticks"
