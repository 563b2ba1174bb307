"""The benchmark of learning, made short: its parts run, and its checks say what they hold."""

import pytest

from tests.benchmarks.learning import run


@pytest.mark.data
@pytest.mark.process
def test_a_short_benchmark_has_its_checks_and_figures() -> None:
    found = run(seeds=1, loads=(600_000,), parts=("recorded", "planted"))
    checks = found["checks"]
    assert isinstance(checks, list)
    said = {c["must"].split(":")[0]: c for c in checks}
    assert len(checks) == 4
    assert all({"must", "figure", "passed"} == set(c) for c in checks)
    planted = said["a clock without effect (campaign 1) is named at every load, and nothing is at campaign 0"]
    assert planted["passed"] is True
    recorded = found["recorded"]
    assert isinstance(recorded, dict)
    assert recorded["mustherd-gp"]["600000"]["worst"] <= 15
    assert recorded["random"]["600000"]["share"] in (0.0, 1.0)


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(SystemExit, match="no such parts: all"):
        run(seeds=1, parts=("all",))
