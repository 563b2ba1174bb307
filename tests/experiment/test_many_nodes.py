"""The example's herd of a hundred nodes that differ: all of them on one machine, each measured, each put back."""

import json
import statistics
from pathlib import Path

import pytest

from mustherd.metrics import ENERGY
from mustherd.store.store import Store
from mustherd.trial import TrialKind, TrialState
from tests import running

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "herd-of-100.yml"


@pytest.mark.process
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "musters", [pytest.param(20, marks=pytest.mark.long), pytest.param(100, marks=pytest.mark.night)]
)
def test_every_node_of_a_large_herd_is_measured_and_they_differ(tmp_path: Path, musters: int) -> None:
    folder = tmp_path / "many"
    changes = [f"--set=herd.simulated.musters={musters}", f"--set=trials={2 * musters}"]
    code, out, err = running.run(
        "experiment", "start", EXAMPLE, *changes, "--no-report", "--json", "--into", folder, timeout_s=1100
    )
    assert code in (0, 1), err
    result = json.loads(out)
    assert result["status"] == "done"
    with Store.open(folder, read_only=True) as store:
        trials = store.trials(state=TrialState.FINISHED)
        left = [event.text for event in store.events() if event.kind == "not-as-found"]
    names = {f"muster-{n}" for n in range(1, musters + 1)}
    assert {t.muster for t in trials if t.kind is TrialKind.CONFIRM} == names
    assert len([t for t in trials if t.kind is TrialKind.SEARCH]) == 2 * musters
    assert left == []
    default = [t.metrics[ENERGY] for t in trials if t.kind is TrialKind.CONFIRM and not t.settings]
    # Nodes of one type differ by 3 % (`unlike: 1`), far more than a node's own windows.
    assert statistics.stdev(default) / statistics.fmean(default) > 0.01
