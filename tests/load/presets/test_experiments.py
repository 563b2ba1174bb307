"""Servers that people have anyway, each under its own load generator, from one file to a verdict."""

from pathlib import Path

import pytest

from mustherd.store.store import Store
from mustherd.trial import TrialState
from tests import running

pytestmark = [pytest.mark.process, pytest.mark.servers]

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.mark.parametrize(
    ("name", "objective", "latency", "generator"),
    [
        ("redis", "cpu_seconds_per_request", "p99", "redis-benchmark"),
        ("nginx", "cpu_seconds_per_request", "p99", "wrk"),
        ("postgresql", "server_cpu_seconds", "avg", "pgbench"),
        ("http", "server_cpu_seconds", "p99", "builtin"),
    ],
)
def test_one_file_comes_to_a_verdict_on_cpu_seconds(
    tmp_path: Path, name: str, objective: str, latency: str, generator: str
) -> None:
    code, result, err = running.complete(tmp_path, (EXAMPLES / f"{name}.yml").read_text(), timeout_s=120)
    # Whether a quota saves anything is the machine's business; that it was found out is ours.
    assert result["verdict"] in ("met", "not met", "not certain"), err
    assert code in (0, 1), err
    folder = Path(result["folder"])
    with Store.open(folder, read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
    assert len(finished) >= 3
    for trial in finished:
        report = trial.load_report
        assert report is not None
        assert report.generator == generator
        assert report.requests > 100
        assert report.read_us[latency] > 0
        assert trial.metrics["server_cpu_seconds"] > 0
        assert 0 < trial.metrics[objective] < 60
        assert all(reading.held for reading in trial.readings)
    if generator != "builtin":
        assert len(list((folder / "load").glob("*.txt"))) >= len(finished), "what the generator printed is kept"
    assert (folder / "herd" / "muster-1" / "server.log").exists()


@pytest.mark.parametrize("server", ["redis", "nginx", "postgresql"])
def test_each_runs_through_the_contract_of_servers(server: str) -> None:
    from mustherd.load import registry
    from mustherd.plugins import SERVERS, plugin

    found = plugin(SERVERS, server)
    made = registry.server_kind(found)(registry.check(found, {}))
    try:
        made.start()
        assert made.address.port
        assert any(map(str.isdigit, made.version))
        made.pin([0])
        assert made.threads()
    finally:
        made.close()
