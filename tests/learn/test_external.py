"""Other libraries' searches behind our port, as far as they are installed everywhere."""

import importlib.util

import pytest

from mustherd.learn.registry import check, make
from mustherd.plugins import PEERS, SEARCHES, UnknownPluginError, plugins
from mustherd.testing.search import PROBLEM, measured


def test_the_penalty_proposes_points_of_the_space_and_learns() -> None:
    search = make("penalty", PROBLEM, seed=1, peers=True)
    for _ in range(12):
        point = search.ask()
        assert point is not None
        assert point["itr-delay"] in (1, 2, 50, 100, 200, 350)
        assert point["dvfs"] in range(1200, 1801, 200)
        search.tell([measured(point)])
    assert search.state() == {"reason": ""}


def test_a_peer_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for act in (check, lambda *args, **more: make(*args[:2], **more)):
        with pytest.raises(ValueError, match=r"'optuna-gp': needs optuna and torch: pip install 'mustherd\[peers\]'"):
            act("optuna-gp", PROBLEM, {}, peers=True)


def test_peers_are_for_replays_alone() -> None:
    assert set(plugins(PEERS)) >= {"optuna-gp", "optuna-tpe", "penalty"}
    assert not set(plugins(PEERS)) & set(plugins(SEARCHES))
    with pytest.raises(UnknownPluginError, match="no search 'penalty' is installed; there are: gp, grid"):
        make("penalty", PROBLEM)
