"""Policies of the reference on simulated herds of real processes: logs for ever, statistics, training data."""

from pathlib import Path

import pytest

import mustherd
import mustherd.data
from mustherd.store.store import Store

pytestmark = [pytest.mark.long, pytest.mark.process]

HERD = "herd: {simulated: {profile: c6220, musters: 2, speed: 500, intlog_cores: 1}}"
MIB = 1024 * 1024


def run(tmp_path: Path, name: str, text: str) -> Path:
    (tmp_path / f"{name}.yml").write_text(f"name: {name}\n{HERD}\nrepeats: 0\n{text}")
    mustherd.run(tmp_path / f"{name}.yml", into=tmp_path / name)
    return tmp_path / name


def test_collect_keeps_the_newest_rows_within_its_bound(tmp_path: Path) -> None:
    folder = run(
        tmp_path,
        "collected",
        "workload: {qps: 400k, ramp_seconds: 1, window_seconds: 120}\nknobs: {itr-delay: [adaptive]}\n"
        "policy: {name: collect, options: {keep_mib: 1}}\ntrials: 12\n",
    )
    files = list((folder / "logs").rglob("*.parquet"))
    # One file alone may be larger: the newest stays.
    assert len(files) == 1 or 0 < sum(file.stat().st_size for file in files) <= MIB
    found = mustherd.data.open(folder)
    trials = found.trials()
    assert set(trials[trials.state == "finished"].trial) == set(range(1, 13))
    logs = [log for log in found.logs() if log.core is not None]
    assert sum(log.account.rotated for log in logs) > 0, "12 windows of 120 s fit into 1 MiB"
    assert all(log.account.written == log.account.produced for log in logs)
    newest = max(trials.trial)
    assert [len(log.frame()) for log in found.logs(trial=newest) if log.core is not None] == [
        log.rows for log in found.logs(trial=newest) if log.core is not None
    ]


def test_stats_ends_when_the_herd_is_known_well_enough(tmp_path: Path) -> None:
    folder = run(
        tmp_path,
        "known",
        "workload: {qps: [200k, 400k], ramp_seconds: 1, window_seconds: 10}\nknobs: {itr-delay: [adaptive]}\n"
        "policy: {name: stats, options: {percent: {power_watts: 3, read_p99_us: 5}}}\ntrials: 60\n",
    )
    trials = mustherd.data.open(folder).trials()
    assert 6 <= len(trials) < 60
    with Store.open(folder, read_only=True) as store:
        said = " ".join(str(event) for event in store.events())
    assert "windows at 200,000 requests a second: power_watts" in said
    assert "windows at 400,000 requests a second: power_watts" in said


def test_p99_is_predicted_from_rows_alone(tmp_path: Path) -> None:
    folder = run(
        tmp_path,
        "random",
        "workload: {qps: [200k, 400k, 800k], ramp_seconds: 1, window_seconds: 10}\n"
        "knobs: {itr-delay: [2, 100, 200, 300, 400], dvfs: [1200 MHz, 1600 MHz, 2000 MHz, 2600 MHz]}\n"
        "policy: latency-predictor\ntrials: 40\n",
    )
    frame = mustherd.data.training(mustherd.data.open(folder))
    assert len(frame) == 40
    assert frame.itr_delay_us.nunique() == 5
    assert frame.dvfs_mhz.nunique() == 4
    assert frame.offered_qps.nunique() == 3
    frame.to_parquet(tmp_path / "training.parquet")
    model = mustherd.data.fit(frame)
    assert (model.trained_on, model.held_out) == (30, 10)
    assert all(name.startswith("log_") for name in model.columns)
    assert model.median_error < model.guessing_error / 2
    assert model.median_error < 0.25
    assert len(model.predict(frame)) == 40
