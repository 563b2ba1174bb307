"""An experiment on a real memcached of this machine."""

from pathlib import Path

import pytest

from mustherd.lab.store import Store
from mustherd.lab.trial import Kind, State
from tests import running

pytestmark = [pytest.mark.process, pytest.mark.memcached]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "local.yml"


def test_the_example_runs_to_a_verdict(tmp_path: Path) -> None:
    code, result, err = running.complete(tmp_path, EXAMPLE.read_text(), timeout_s=280)
    # What the machine does beside it decides whether the saving is certain; that it is measured is what counts here.
    assert code in (0, 1), err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = store.trials(state=State.FINISHED)
    assert sum(t.kind is Kind.SEARCH for t in finished) >= 5
    for trial in finished:
        assert trial.metrics["server_cpu_seconds"] > 0
        assert trial.metrics["cpu_seconds_per_request"] > 0
        assert trial.load is not None
        assert trial.load.generator == "builtin"
        assert all(reading.held for reading in trial.readings)
