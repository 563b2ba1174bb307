"""What went into a log comes out of it: byte for byte as text, in units as frames, and nothing assumed."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import mustherd.data
from mustherd.cli.app import app
from mustherd.data import DataError, differences, differences_of, merged, merged_frames, windows
from mustherd.goal import Goal
from mustherd.node.intlog import COLUMNS
from mustherd.rowlog.counters import unwrapped
from mustherd.rowlog.writer import LogWriter
from mustherd.store.store import Store
from mustherd.terms import Facts, Zone
from mustherd.trial import Trial, TrialKind
from mustherd.wire import messages as m
from tests.log_herd import TSC_KHZ, render, rows
from tests.wire.test_codec import HELLO

CORES = (0, 3)
COUNT = 5_000
JOULES_PER_COUNT = 2**-16
LABEL = "0007-1"


def hello(**more: object) -> m.Hello:
    return m.Hello(**{**{f: getattr(HELLO, f) for f in HELLO.__struct_fields__}, "muster": "m0", **more})


def write(
    folder: Path,
    texts: dict[int, bytes],
    columns: tuple[str, ...] = COLUMNS,
    *,
    units: bool = True,
    label: str = LABEL,
    spool: int = 99,
) -> None:
    zone = Zone(name="package-0", kind="package", package=0, joules_per_count=JOULES_PER_COUNT, counts_per_wrap=2**32)
    with LogWriter(folder) as writer:
        writer.met(hello(facts=Facts(kind="twin", tsc_khz=TSC_KHZ if units else None), zones=(zone,) if units else ()))
        for number, (core, text) in enumerate(texts.items(), start=1):
            block = m.Block(
                muster_epoch=1,
                shepherd_epoch=1,
                spool=spool,
                seq=number,
                label=label,
                stream=f"ixgbe-log-core-{core}",
                form="text",
                columns=columns,
            )
            writer.put("m0", block, memoryview(text))
        assert writer.flush("m0", spool, len(texts), 20.0)


@pytest.fixture(scope="module")
def texts() -> dict[int, bytes]:
    return {core: render(rows(COUNT, core)) for core in CORES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, texts: dict[int, bytes]) -> Path:
    folder = tmp_path_factory.mktemp("data") / "exp"
    with Store.create(folder, name="exp", definition="name: exp\n", resolved={}, digest="d", goal=Goal()) as store:
        trial = store.add(Trial(number=7, kind=TrialKind.SEARCH, settings={"itr-delay": 100, "dvfs": 1900}))
        trial = store.start(trial, "m0")
        trial.state, trial.metrics = type(trial.state)("finished"), {"energy_joules": 12.5}
        store.finish(trial)
    write(folder, texts)
    return folder


def command(*words: object) -> "tuple[int, str, str]":
    done = CliRunner().invoke(app, [str(w) for w in words])
    return done.exit_code, done.stdout, str(done.exception or "")


def test_trials_are_a_frame_with_units_in_its_names(folder: Path) -> None:
    trials = mustherd.data.open(folder).trials()
    [row] = trials.to_dict("records")
    assert row["trial"] == 7
    assert (row["itr_delay_us"], row["dvfs_mhz"], row["energy_joules"]) == (100, 1900, 12.5)
    assert str(trials["started_at"].dtype).endswith("UTC]")


def test_logs_of_a_trial_are_those_of_its_attempt_that_counts(tmp_path: Path, texts: dict[int, bytes]) -> None:
    """A window that is measured again leaves rows of both; merged as one, they would be twice the load."""
    for spool, label in enumerate(("0007-1", "0007-2", "0008-1"), start=1):
        write(tmp_path, texts, label=label, spool=spool)
    opened = mustherd.data.open(tmp_path)
    assert {log.label for log in opened.logs(trial=7)} == {"0007-2"}
    assert {log.label for log in opened.logs(trial=7, attempt=1)} == {"0007-1"}
    assert {log.label for log in opened.logs(trial=7, label="0007-1")} == {"0007-1"}
    assert len(merged(opened.logs(trial=7))) == len(CORES) * COUNT
    assert {log.label for log in opened.logs()} == {"0007-1", "0007-2", "0008-1"}
    code, printed, _ = command("log", "list", tmp_path, "--trial", 7, "--json")
    assert code == 0
    assert {row["label"] for row in json.loads(printed)} == {"0007-1", "0007-2"}


def test_logs_are_found_by_trial_muster_and_core(folder: Path) -> None:
    opened = mustherd.data.open(folder)
    assert [log.core for log in opened.logs(trial=7)] == list(CORES)
    assert opened.logs(trial=8) == opened.logs(muster="m1") == ()
    [log] = opened.logs(core=3)
    assert (log.trial, log.attempt, log.rows, log.columns) == (7, 1, COUNT, COLUMNS)
    assert opened.accounts()["produced"].tolist() == [COUNT, COUNT]


def test_rows_come_as_arrow_a_batch_at_a_time(folder: Path) -> None:
    [log] = mustherd.data.open(folder).logs(core=0)
    sizes = [len(batch) for batch in log.batches(["rx_bytes"], rows=1_000)]
    assert sizes == [1_000] * 5
    assert log.table(["timestamp", "i"]).column_names == ["row", "i", "timestamp"]
    assert log.dataset().count_rows() == COUNT
    with pytest.raises(DataError, match="no column 'rx_byte'; it has row, i, rx_desc"):
        log.table(["rx_byte"])


def test_a_frame_is_in_the_units_that_the_node_reported(folder: Path) -> None:
    source = rows(COUNT, 0)
    [log] = mustherd.data.open(folder).logs(core=0)
    frame = log.frame()
    assert "timestamp" not in frame
    assert "joules" not in frame
    np.testing.assert_allclose(frame["time_seconds"], source[:, 16] / (TSC_KHZ * 1000), rtol=1e-15)
    np.testing.assert_allclose(frame["energy_joules"], (source[:, 15] - source[0, 15]) * JOULES_PER_COUNT, rtol=1e-12)
    np.testing.assert_array_equal(frame["rx_bytes"], source[:, 2])


def test_without_units_nothing_is_called_seconds_or_joules(tmp_path: Path, texts: dict[int, bytes]) -> None:
    write(tmp_path, texts, units=False)
    log = mustherd.data.open(tmp_path).logs()[0]
    assert log.units == {}
    assert {"timestamp_ticks", "energy_counts"} <= set(log.frame())
    both = merged(mustherd.data.open(tmp_path).logs())
    assert both["timestamp_ticks"].is_monotonic_increasing
    with pytest.raises(DataError, match="reported no TSC frequency"):
        windows(both, 1.0)


def test_cores_are_merged_by_time(folder: Path) -> None:
    both = merged(mustherd.data.open(folder).logs(), ["rx_bytes"])
    assert len(both) == 2 * COUNT
    assert both["time_seconds"].is_monotonic_increasing
    assert set(both["core"]) == set(CORES)
    for core in CORES:
        assert both[both["core"] == core]["row"].is_monotonic_increasing
    assert merged([]).empty


def test_different_trials_are_not_merged(folder: Path, texts: dict[int, bytes], tmp_path: Path) -> None:
    write(tmp_path, texts, label="0008-1")
    logs = [*mustherd.data.open(folder).logs(), *mustherd.data.open(tmp_path).logs()]
    with pytest.raises(DataError, match="not those of 2"):
        merged(logs)


def test_counters_that_wrap_give_their_differences(tmp_path: Path) -> None:
    table = rows(6, 0)
    table[:, 6] = [2**48 - 30, 2**48 - 10, 5, 0, 40, 41]  # cycles: 48 bits, row 3 without counters
    table[:, 15] = [2**32 - 100, 2**32 - 50, 10, 0, 20, 30]
    lines = b"".join(b" ".join(b"%d" % n for n in row) + b"\n" for row in table.tolist())
    write(tmp_path, {0: lines})
    [log] = mustherd.data.open(tmp_path).logs()
    counted = differences(log.frame())
    expected = [np.nan, 20, 15, np.nan, 35, 1]
    np.testing.assert_array_equal(counted["cycles"], expected)
    np.testing.assert_array_equal(counted["energy_joules"] / JOULES_PER_COUNT, [np.nan, 50, 60, np.nan, 10, 10])


def test_a_year_of_wraps_is_followed() -> None:
    steps = np.full(1000, 3 * 2**30)
    counts = np.cumsum(steps) % 2**32
    counts = np.where(counts == 0, 1, counts)  # a reading of 0 counts as none
    assert unwrapped(counts.astype(np.uint64), 2**32)[-1] == pytest.approx(3 * 2**30 * 999, abs=2)


def test_windows_give_medians_rates_and_energy(folder: Path) -> None:
    source = rows(COUNT, 3)
    [log] = mustherd.data.open(folder).logs(core=3)
    found = windows(log.frame(), 0.5)
    seconds = (source[:, 16] - source[0, 16]) / (TSC_KHZ * 1000)
    inside = seconds < 0.5
    first = found.iloc[0]
    assert first["rows"] == inside.sum()
    assert first["rx_bytes_median"] == np.median(source[inside, 2])
    assert first["rx_bytes_per_second"] == pytest.approx(source[inside, 2].sum() / 0.5)
    joules = np.diff(source[inside, 15]).sum() * JOULES_PER_COUNT
    assert first["energy_joules"] == pytest.approx(joules)
    assert first["power_watts"] == pytest.approx(joules / 0.5)
    assert found["rows"].sum() == COUNT
    both = windows(merged(mustherd.data.open(folder).logs()), 0.5)
    assert set(both["core"]) == set(CORES)
    with pytest.raises(DataError, match="longer than 0"):
        windows(log.frame(), 0)


def test_rates_are_those_of_the_time_that_rows_cover() -> None:
    def steady(stream: str, first: int, last: int) -> pd.DataFrame:
        n = np.arange(first, last)
        return pd.DataFrame(
            {"stream": stream, "core": 0, "time_seconds": n * 1e-3, "energy_joules": n * 0.02, "rx_bytes": 100}
        )

    frame = pd.concat([steady("a", 0, 2101), steady("b", 700, 3350), steady("c", 2000, 2001)], ignore_index=True)
    found = windows(frame, 1.0)
    assert found["covered_seconds"].round(3).tolist()[:6] == [1.0, 0.3, 1.0, 1.0, 0.1, 1.0]
    assert found.loc[found["stream"] != "c", "power_watts"].to_numpy() == pytest.approx(20.0, rel=0.01)
    assert found.loc[found["stream"] != "c", "rx_bytes_per_second"].to_numpy() == pytest.approx(1e5, rel=0.01)
    alone = found.loc[found["stream"] == "c"].iloc[0]
    assert alone["rows"] == 1
    assert math.isnan(alone["rx_bytes_per_second"])


def test_export_gives_the_drivers_text_byte_for_byte(folder: Path, texts: dict[int, bytes], tmp_path: Path) -> None:
    code, out, _ = command("log", "export", folder, "--format", "intlog", "--into", tmp_path, "--json")
    assert code == 0
    assert [w["rows"] for w in json.loads(out)] == [COUNT, COUNT]
    for core, text in texts.items():
        assert (tmp_path / LABEL / "m0" / f"ixgbe-log-core-{core}").read_bytes() == text
    code, _, error = command("log", "export", folder, "--format", "intlog", "--into", tmp_path)
    assert code
    assert "is there already" in error


def test_export_to_other_formats(folder: Path, tmp_path: Path) -> None:
    for form in ("csv", "parquet"):
        code, out, _ = command(
            "log", "export", folder, "--format", form, "--into", tmp_path, "--stream", "*-core-3", "--trial", 7
        )
        assert code == 0
        assert out.count("\n") == 1
    source = rows(COUNT, 3)
    csv = pd.read_csv(tmp_path / LABEL / "m0" / "ixgbe-log-core-3.csv")
    assert list(csv) == ["row", *COLUMNS]
    np.testing.assert_array_equal(csv[list(COLUMNS)], source)
    table = pq.read_table(tmp_path / LABEL / "m0" / "ixgbe-log-core-3.parquet")
    np.testing.assert_array_equal(table.column("timestamp"), source[:, 16])
    assert b"tsc_khz" in table.schema.metadata[b"mustherd"]


def test_columns_that_were_not_kept_cannot_be_intlogs_text(tmp_path: Path) -> None:
    write(tmp_path, {0: b"0 60 1000\n1 61 1010\n"}, ("i", "rx_bytes", "timestamp"))
    code, _, error = command("log", "export", tmp_path, "--format", "intlog", "--into", tmp_path / "out")
    assert code
    assert "columns c0, c1" in error
    assert "use csv or parquet" in error


def test_the_list_shows_where_rows_went(tmp_path: Path) -> None:
    write(tmp_path, {0: b"0 60 1000\nnonsense\n4 61 1010\n"}, ("i", "rx_bytes", "timestamp"))
    code, out, _ = command("log", "list", tmp_path, "--json")
    assert code == 0
    [row] = json.loads(out)
    assert (row["produced"], row["written"], row["malformed"], row["lost"]) == (5, 2, 1, 2)
    assert (row["lost_why"], row["malformed_why"]) == ("gap 2", "not-a-number 1")
    code, out, _ = command("log", "list", tmp_path)
    assert "gap 2" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["log", "list", "/nowhere"], "/nowhere is no experiment's folder"),
        (["log", "export", "FOLDER", "--format", "xml", "--into", "OUT"], "give one of intlog, csv, parquet"),
        (["log", "export", "FOLDER", "--format", "csv", "--into", "OUT", "--trial", "99"], "holds no rows that fit"),
        (["log", "export", "FOLDER", "--format", "csv", "--into", "/proc/none"], "/proc/none"),
        (["log", "start", "m0", "--label", "../x"], "label"),
    ],
)
@pytest.mark.process
def test_bad_input_gets_one_line(folder: Path, tmp_path: Path, words: list[str], says: str) -> None:
    words = [{"FOLDER": str(folder), "OUT": str(tmp_path / "out")}.get(w, w) for w in words]
    done = subprocess.run(
        [Path(sys.executable).with_name("mustherd"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert says in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_parts_are_what_the_whole_is(folder: Path) -> None:
    logs = mustherd.data.open(folder).logs()
    for log in logs:
        pd.testing.assert_frame_equal(pd.concat(log.frames(rows=700), ignore_index=True), log.frame())
    whole, parts = merged(logs), list(merged_frames(logs, rows=900))
    # As many at a time as are asked for, of two streams that keep pace.
    assert len(parts) > 2 * COUNT / 1000
    assert max(map(len, parts)) < 1000
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    counted = pd.concat(differences_of(parts), ignore_index=True)
    pd.testing.assert_frame_equal(counted, differences(whole))
    assert counted["cycles"].isna().sum() == len(CORES)


def test_parts_end_in_the_middle_of_a_wrap(tmp_path: Path) -> None:
    table = rows(6, 0)
    table[:, 6] = [2**48 - 30, 2**48 - 10, 5, 0, 40, 41]
    table[:, 15] = [2**32 - 100, 2**32 - 50, 10, 0, 20, 30]
    lines = b"".join(b" ".join(b"%d" % n for n in row) + b"\n" for row in table.tolist())
    write(tmp_path, {0: lines})
    [log] = mustherd.data.open(tmp_path).logs()
    for size in (1, 2, 3, 4, 6):
        counted = pd.concat(differences_of(log.frames(rows=size)), ignore_index=True)
        np.testing.assert_array_equal(counted["cycles"], [np.nan, 20, 15, np.nan, 35, 1])
        np.testing.assert_array_equal(counted["energy_joules"] / JOULES_PER_COUNT, [np.nan, 50, 60, np.nan, 10, 10])


IN_BOUNDS = """
import sys, threading, psutil
import mustherd.data
logs = mustherd.data.open(sys.argv[1]).logs()
own, most, over = psutil.Process(), [0], threading.Event()
def watch():
    while not over.wait(0.002):
        most[0] = max(most[0], own.memory_info().rss)
for _ in zip(range(3), mustherd.data.differences_of(mustherd.data.merged_frames(logs))):
    pass
before = own.memory_info().rss
threading.Thread(target=watch).start()
rows = sum(map(len, mustherd.data.differences_of(mustherd.data.merged_frames(logs))))
over.set()
print(rows, (most[0] - before) // 2**20)
"""


@pytest.mark.long
@pytest.mark.process
def test_rows_beyond_memory_are_read_within_bounds(tmp_path: Path) -> None:
    for number in range(10):
        write(tmp_path, {core: render(rows(60_000, core, start=number * 60_000)) for core in CORES}, spool=number + 1)
    asked = [sys.executable, "-c", IN_BOUNDS, str(tmp_path)]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    count, grown_mb = map(int, told)
    assert count == 2 * 10 * 60_000
    # As a whole these rows are 180 MB before anything is done with them.
    assert grown_mb < 90
