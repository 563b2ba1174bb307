"""Other libraries' searches behind our port, as far as they are installed everywhere."""

import pytest

from mustherd.learn import external
from mustherd.testing.search import PROBLEM, measured


def test_the_penalty_proposes_points_of_the_space_and_learns() -> None:
    search = external.make("penalty", PROBLEM, seed=1)
    for _ in range(12):
        point = search.ask()
        assert point is not None
        assert point["itr-delay"] in (1, 2, 50, 100, 200, 350)
        assert point["dvfs"] in range(1200, 1801, 200)
        search.tell([measured(point)])
    assert search.state() == {"reason": ""}


def test_a_peer_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external.importlib.util, "find_spec", lambda name: None)
    assert external.missing("optuna-gp") == ("optuna", "torch")
    with pytest.raises(ValueError, match="needs optuna and torch: pip install optuna torch"):
        external.make("optuna-gp", PROBLEM, seed=1)
