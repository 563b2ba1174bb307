"""Canaries: a better setting is promoted, an equal one hardly ever, one that breaks the limit never."""

import math
import random

from mustherd.keep.beliefs import Block
from mustherd.keep.book import Choice
from mustherd.keep.options import Options
from mustherd.keep.retune import Outcome, Retune
from mustherd.learn.windows import Key, key_of

OPTIONS = Options(limit=100.0)
KEPT = key_of({"clock": 1})
CANDIDATES = [Choice(settings={"clock": n}, key=key_of({"clock": n}), cell=0) for n in (2, 3)]


def foretell(_key: Key, load: float) -> tuple[float, float]:
    return 100.0 * load, 50.0


def outcome(factors: dict[int, float], latency: dict[int, float], draw: random.Random, noise: float = 0.01) -> Outcome:
    """Blocks of a canary and a control under a load and a weather that wander, until it is decided."""
    retune = Retune(OPTIONS, ["a"], ["a", "b"], CANDIDATES, 10, KEPT)
    number = 10
    while True:
        load, weather = draw.uniform(0.9, 1.1), math.exp(draw.gauss(0, 0.03))
        arm = retune.arm("a", number)
        clock = 1 if arm is None else arm.settings["clock"]
        for node, at in (("a", clock), ("b", 1)):
            power = 100 * load * weather * factors.get(at, 1.0) * math.exp(draw.gauss(0, noise))
            retune.add(
                Block(
                    node=node,
                    number=number,
                    key=key_of({"clock": at}),
                    load=load,
                    power=power,
                    latency=latency.get(at, 50.0) * math.exp(draw.gauss(0, 0.02)),
                    power_off=math.log(power / (100 * load)),
                    latency_off=0.0,
                    at_s=number * 60.0,
                )
            )
        number += 1
        found = retune.judge(number, foretell)
        if found is not None:
            return found


def test_what_saves_is_promoted_though_load_and_weather_wander() -> None:
    for seed in range(5):
        found = outcome({3: 0.9}, {}, random.Random(seed))
        assert found.promoted is not None
        assert found.promoted.settings == {"clock": 3}
        assert 6 < found.saving_percent < 14


def test_what_saves_nothing_is_promoted_no_oftener_than_the_level_says() -> None:
    promoted = sum(outcome({}, {}, random.Random(seed)).promoted is not None for seed in range(200))
    assert promoted <= 8


def test_what_breaks_the_limit_is_not_promoted_whatever_it_saves() -> None:
    found = outcome({2: 0.7, 3: 0.7}, {2: 120.0, 3: 99.0}, random.Random(1))
    assert found.promoted is None
    assert found.text.count("may break the limit") == 2


def test_a_candidate_that_broke_the_limit_on_a_canary_is_out() -> None:
    retune = Retune(OPTIONS, ["a"], ["a"], CANDIDATES, 10, KEPT)
    for candidate in CANDIDATES:
        retune.broke("a", candidate.key)
    found = retune.judge(11, foretell)
    assert found is not None
    assert found.promoted is None
    assert found.text.count("broke the limit") == 2
