"""A simulated node's interrupt logs, from the definition to what is read back, agree with what its trials measured."""

from pathlib import Path

import numpy as np
import pytest

import mustherd.data
from mustherd.data import differences, merged
from tests import running

pytestmark = pytest.mark.process

WINDOW_S = 5.0
DEFINITION = f"""
name: logged
herd: {{simulated: {{musters: 2, speed: 100, intlog_cores: 16}}}}
workload: {{qps: 400000, ramp_seconds: 1, window_seconds: {WINDOW_S:g}}}
knobs: {{itr-delay: [50, 200], dvfs: [1900 MHz]}}
constraints: [read_p99_us <= 500]
search: {{method: grid}}
trials: 2
repeats: 1
"""


def test_energy_requests_and_time_of_every_trial_are_in_its_rows(tmp_path: Path) -> None:
    code, result, err = running.complete(tmp_path, DEFINITION)
    assert code == 0, err
    experiment = mustherd.data.open(result["folder"])
    attempts = experiment.trials()
    # On a busy machine an attempt may be spoilt and made again.
    trials = attempts[attempts.state == "finished"].set_index("trial")
    assert sorted(trials.index) == sorted(set(attempts.trial)), "each number finishes, once"
    assert len(trials) >= 4
    for number, trial in trials.iterrows():
        found = experiment.logs(trial=number, attempt=trial.attempt)
        by_core = {log.core: log for log in found if log.core is not None}
        logs = [by_core[core] for core in range(16)]
        assert len(by_core) == 16
        for log in logs:
            account = log.account
            assert account.written == account.produced > 4000
            assert (account.lost, account.malformed, account.repeated) == ({}, {}, 0)
        frames = {core: log.frame() for core, log in by_core.items()}
        # One core of either package: they share the power evenly.
        spent = sum(frames[core].energy_joules.iloc[-1] for core in (3, 12))
        longest = max(float(np.diff(frame.time_seconds).max()) for frame in frames.values())
        assert spent == pytest.approx(trial.energy_joules, abs=trial.power_watts * 2 * longest)
        assert trial.energy_joules - spent > 0, "rows lie within the window"
        for frame in frames.values():
            assert np.ptp(frame.time_seconds) == pytest.approx(WINDOW_S, abs=3 * longest)
        requests = sum(frame.rx_desc.sum() for frame in frames.values())
        assert requests / WINDOW_S == pytest.approx(trial.achieved_qps, rel=0.01)
        received = merged(logs, ["rx_bytes"])
        assert received.time_seconds.is_monotonic_increasing
        assert received.rx_bytes.median() == pytest.approx(trial.rx_bytes_per_row, rel=1e-6)
        busy = differences(frames[0]).ref_cycles.sum() / 2.6e9 / np.ptp(frames[0].time_seconds)
        assert 0.05 < busy < 1
