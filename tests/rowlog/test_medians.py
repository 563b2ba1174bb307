"""Received bytes of a window, from its rows on disk."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mustherd.rowlog.medians import median_rx_bytes


def write(logs: Path, stream: str, **columns: list[int]) -> None:
    folder = logs / "trial=0001-1" / "muster=muster-1" / f"stream={stream}"
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "000000000001.parquet")


def test_the_median_is_over_all_cores_and_over_rows_with_counters(tmp_path: Path) -> None:
    write(tmp_path, "core-0", rx_bytes=[5, 9000, 100], joules=[0, 7, 7])
    write(tmp_path, "core-1", rx_bytes=[200, 300], joules=[7, 7])
    write(tmp_path, "power", watts=[50, 60])
    assert median_rx_bytes(tmp_path, "0001-1", "muster-1") == 250


def test_without_such_rows_there_is_none(tmp_path: Path) -> None:
    assert median_rx_bytes(tmp_path, "0001-1", "muster-1") is None
    write(tmp_path, "power", watts=[50, 60])
    assert median_rx_bytes(tmp_path, "0001-1", "muster-1") is None
