"""What savings are measured against, in every form that a definition may give it."""

from typing import Any

import pytest

from mustherd.definition import loads
from mustherd.definition.digest import digest, dump
from mustherd.node.kinds import CONSERVATIVE, GOVERNORS, ONDEMAND, PERFORMANCE, POWERSAVE, SCHEDUTIL
from tests.definition.make import made, refused


@pytest.mark.parametrize(
    ("written", "settings", "every"),
    [
        ("default", {}, 10),
        ({"settings": "default", "every": 3}, {}, 3),
        ({"every": 3}, {}, 3),
        ({"governor": "performance", "itr-delay": "adaptive"}, {"dvfs": PERFORMANCE, "itr-delay": 1}, 10),
        ({"dvfs": "ondemand"}, {"dvfs": ONDEMAND}, 10),
        ({"settings": {"governor": "powersave"}, "every": 5}, {"dvfs": POWERSAVE}, 5),
        ({"governor": "schedutil", "every": 5}, {"dvfs": SCHEDUTIL}, 5),
        ({"governor@node-0": "conservative"}, {"dvfs@node-0": CONSERVATIVE}, 10),
        ({"dvfs": "2.6 GHz"}, {"dvfs": 2600}, 10),
    ],
)
def test_its_forms(written: Any, settings: dict[str, int], every: int) -> None:
    found = made(baseline=written)
    assert (found.baseline.settings, found.baseline.every) == (settings, every)
    again = loads(dump(found), "again.yml")
    assert digest(again) == digest(found)


@pytest.mark.parametrize("word", GOVERNORS.values())
def test_every_governor_is_a_value_to_search_too(word: str) -> None:
    [value] = made(knobs={"dvfs": [word]}).knobs["dvfs"]
    assert GOVERNORS[value] == word


def test_it_may_set_what_is_not_searched() -> None:
    assert made(knobs={"itr-delay": [2, 50]}, baseline={"governor": "performance"}).baseline.settings == {
        "dvfs": PERFORMANCE
    }


@pytest.mark.parametrize(
    ("written", "problem", "suggestion"),
    [
        ("defualt", "unknown settings 'defualt'", "did you mean 'default'?"),
        ("performance", "unknown settings 'performance'", "did you mean '{governor: performance}'?"),
        ({"governor": "performence"}, "performence", "performance"),
        ({"governor": 2600}, "is no governor", ""),
        ({"governor": "free"}, "is no governor", ""),
        ({"governor": "performance", "dvfs": 2600}, "'dvfs' are one knob", ""),
        ({"evry": 5}, "evry", "every"),
        ({"itr-dely": 5}, "itr-dely", ""),
        ({"governor": "performance", "evry": 3}, "evry", ""),
        ([1], "", ""),
        (5, "", ""),
    ],
)
def test_what_it_cannot_be(written: Any, problem: str, suggestion: str) -> None:
    error = refused(baseline=written)
    assert problem in str(error)
    assert suggestion in str(error)


def test_on_a_local_server_the_kernels_governors_are_no_knob() -> None:
    error = refused(herd={"local": {}}, knobs={"memcached-threads": [1]}, baseline={"governor": "performance"})
    assert "unknown knob 'dvfs'" in str(error)
    ok = made(herd={"local": {}}, knobs={"memcached-threads": [1]}, baseline={"cpu-quota": "50 %"})
    assert ok.baseline.settings == {"cpu-quota": 50}
