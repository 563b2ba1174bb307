"""What the network cards received in a window, from its log rows: what a load is guessed from."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mustherd.rowlog.parquet import safe_name

RX_BYTES, JOULES = "rx_bytes", "joules"


def median_rx_bytes(logs: Path, label: str, muster: str) -> float | None:
    """Median of received bytes per row over all of a window's streams that have them; None where none has.

    `logs` is the folder of mustherd.rowlog.parquet. Older drivers log every interrupt and fill in counters once in a
    millisecond: where there are such rows, the others don't count.
    """
    found = []
    for file in sorted((logs / f"trial={safe_name(label)}" / f"muster={safe_name(muster)}").glob("stream=*/*.parquet")):
        if RX_BYTES not in (names := pq.read_schema(file).names):
            continue
        wanted = [name for name in (RX_BYTES, JOULES) if name in names]
        table = pq.ParquetFile(file).read(columns=wanted)
        received = table.column(RX_BYTES).to_numpy()
        found.append(received[table.column(JOULES).to_numpy() > 0] if JOULES in wanted else received)
    every = np.concatenate(found) if found else np.empty(0)
    return float(np.median(every)) if len(every) else None
