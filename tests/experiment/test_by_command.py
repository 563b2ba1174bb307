"""An experiment on a server of one's own, by files alone: commands, a check, and what the application tells."""

import json
from pathlib import Path

import pytest

from mustherd.store.store import Store
from mustherd.trial import TrialState
from tests import running
from tests.load.command.programs import HERE

pytestmark = [pytest.mark.process, pytest.mark.long]


def test_a_server_a_load_and_a_metric_are_declared_and_come_to_a_verdict(tmp_path: Path) -> None:
    told = tmp_path / "heap"
    told.write_text("5 MB\n")
    server = json.dumps([*HERE, "serve", "{port}", "busy=1", "children=1"])
    load = json.dumps([*HERE, "knock", "{host}", "{port}", "{seconds}", "{qps}"])
    definition = f"""\
name: mine
herd: {{local: {{}}}}
workload:
  server: {{command: {server}, stop: INT, ready: {{text: ^ready}}}}
  load:
    command: {load}
    loop: open
    results: json
    begins: ^begins
    metrics:
      requests: {{at: count}}
      read_p99_us: {{at: latency.p99}}
      queue_length: {{at: queue}}
  checks: [queue_length <= 10]
  qps: 60
  ramp_seconds: 0
  window_seconds: 1
metrics:
  heap_bytes: {{file: {told}, take: max, every_seconds: 0.1}}
knobs: {{server-cores: [1, 2]}}
objective: server_cpu_seconds
constraints: [heap_bytes <= 1e9, queue_length <= 100, read_p99_us <= 10 s]
# How fast a program starts and ends is the machine's business here.
gates: {{window_tolerance: 0.9, achieved_ratio: 0.3}}
search: {{method: grid}}
trials: 2
repeats: 1
confirmation: {{candidates: 1, rounds: 1}}
"""
    code, result, err = running.complete(tmp_path, definition, timeout_s=120)
    assert code in (0, 1), err
    assert result["verdict"] in ("met", "not met", "not certain"), err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
    assert len(finished) >= 3
    for trial in finished:
        assert trial.metrics["heap_bytes"] == 5 * 1024 * 1024
        assert trial.metrics["queue_length"] == 7
        assert 0.02 <= trial.metrics["server_cpu_seconds"] <= 3
