"""An experiment on a real memcached of this machine."""

from pathlib import Path

import pytest

from mustherd.lab.store import Store
from mustherd.lab.trial import Kind, State
from tests import running

pytestmark = [pytest.mark.process, pytest.mark.memcached]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "local.yml"


def test_the_example_measures_a_real_server(tmp_path: Path) -> None:
    # A light load and few trials: what is looked at is that it measures, not what a busy machine makes of the numbers.
    text = EXAMPLE.read_text()
    for before, after in (
        ("qps: 15000", "qps: 2000"),
        ("trials: 10", "trials: 3"),
        ("repeats: 3", "repeats: 0\ngates: {attempts: 20}"),
        ("initial: 5", "initial: 3"),
        ("<= 20000", "<= 1000000"),
        ("every: 5", "every: 3"),
    ):
        assert before in text
        text = text.replace(before, after)
    code, result, err = running.complete(tmp_path, text, timeout_s=250)
    assert code in (0, 1), err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = store.trials(state=State.FINISHED)
    assert [t.kind for t in finished].count(Kind.SEARCH) == 3
    for trial in finished:
        assert trial.metrics["server_cpu_seconds"] > 0
        assert trial.metrics["cpu_seconds_per_request"] > 0
        assert trial.load is not None
        assert trial.load.generator == "builtin"
        assert all(reading.held for reading in trial.readings)
