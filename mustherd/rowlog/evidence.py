"""What the rows of a window say of the window: how long it was, what energy was used, at what clock the cores ran."""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

from mustherd.rowlog.counters import COUNTER_BITS, unwrapped
from mustherd.rowlog.parquet import METADATA, safe_name

TICKS = "timestamp"
"""Counts at `tsc_khz`."""
SECONDS = ("time_seconds", "node_seconds")
"""Columns that are seconds already."""
COUNTS, JOULES = "joules", "energy_joules"
CYCLES, REFERENCE = "cycles", "ref_cycles"

WANTED = (TICKS, *SECONDS, COUNTS, JOULES, CYCLES, REFERENCE)


class StreamEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One stream's rows in one window; None: the stream doesn't tell."""

    stream: str
    rows: int
    first_s: float
    last_s: float
    """On the stream's own clock, by what the node says that it counts."""
    longest_gap_s: float
    """Between two rows."""
    joules: float | None = None
    """From the first to the last row that has a count."""
    joules_s: float = 0.0
    """Seconds between these two."""
    clock_share: float | None = None
    """The clock at which the core ran while it was busy, as a multiple of the one at which its TSC counts."""


def evidence_of(stream: str, columns: Mapping[str, np.ndarray], units: Mapping[str, float]) -> StreamEvidence | None:
    """What some rows of one stream, in order, say; None where there are too few, or they have no time.

    `units` as a log's file has them: tsc_khz, joules_per_count, counts_per_wrap.
    """
    times = _times(columns, units)
    if times is None or len(times) < 2:
        return None
    joules, joules_s = _energy(columns, units, times)
    return StreamEvidence(
        stream=stream,
        rows=len(times),
        first_s=float(times[0]),
        last_s=float(times[-1]),
        longest_gap_s=float(np.max(np.diff(times))),
        joules=joules,
        joules_s=joules_s,
        clock_share=_clock(columns),
    )


def evidence(logs: Path, label: str, muster: str) -> list[StreamEvidence]:
    """What each stream of a window says; `logs` is the folder of mustherd.rowlog.parquet."""
    found = []
    for folder in sorted((logs / f"trial={safe_name(label)}" / f"muster={safe_name(muster)}").glob("stream=*")):
        parts: list[dict[str, np.ndarray]] = []
        units: dict[str, float] = {}
        for file in sorted(folder.glob("*.parquet")):
            schema = pq.read_schema(file)
            units = json.loads((schema.metadata or {}).get(METADATA, b"{}"))
            table = pq.ParquetFile(file).read(columns=[name for name in WANTED if name in schema.names])
            parts.append({name: table.column(name).to_numpy() for name in table.column_names})
        if not parts or any(part.keys() != parts[0].keys() for part in parts):
            continue
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        said = evidence_of(folder.name.removeprefix("stream="), columns, units)
        found += [said] if said is not None else []
    return found


def _times(columns: Mapping[str, np.ndarray], units: Mapping[str, float]) -> np.ndarray | None:
    if TICKS in columns and "tsc_khz" in units:
        ticks = columns[TICKS]
        # From the first one on, so that doubles keep what matters of 64 bits.
        return (ticks - ticks[0]).astype(np.float64) / (units["tsc_khz"] * 1000) if len(ticks) else None
    return next((columns[name] for name in SECONDS if name in columns), None)


def _energy(
    columns: Mapping[str, np.ndarray], units: Mapping[str, float], times: np.ndarray
) -> tuple[float | None, float]:
    if COUNTS in columns and {"joules_per_count", "counts_per_wrap"} <= units.keys():
        used = unwrapped(columns[COUNTS], int(units["counts_per_wrap"])) * units["joules_per_count"]
    elif JOULES in columns:
        used = columns[JOULES]
    else:
        return None, 0.0
    read = np.flatnonzero(np.isfinite(used))
    if len(read) < 2:
        return None, 0.0
    return float(used[read[-1]] - used[read[0]]), float(times[read[-1]] - times[read[0]])


def _clock(columns: Mapping[str, np.ndarray]) -> float | None:
    if not {CYCLES, REFERENCE} <= columns.keys():
        return None
    ran, counted = (_counted(columns[name]) for name in (CYCLES, REFERENCE))
    return ran / counted if ran > 0 and counted > 0 else None


def _counted(values: np.ndarray) -> float:
    """What a running counter counted from its first reading to its last; 0 and NaN are no readings."""
    read = values[values > 0]
    if len(read) < 2:
        return 0.0
    if read.dtype.kind == "f":
        return float(read[-1] - read[0])
    bits = COUNTER_BITS if int(read.max()) < 1 << COUNTER_BITS else 64
    return float((int(read[-1]) - int(read[0])) % (1 << bits))
