"""What is wrong with a call is said at once, before anything is made or started."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import mustherd

WHOLE: dict[str, Any] = {
    "name": "small",
    "herd": {"simulated": {"speed": 2000}},
    "workload": {"qps": "600k"},
    "knobs": {"itr-delay": [50, 200]},
}


def experiment(**changes: Any) -> mustherd.Experiment:
    return mustherd.Experiment(**{**WHOLE, **changes})


INVENTORY: dict[str, Any] = {"herd": {"inventory": "there"}}


@pytest.mark.parametrize("given", [WHOLE, [1], 3, b"name: small\n", object(), 1.5, True])
@pytest.mark.parametrize("call", [mustherd.check, mustherd.plan, mustherd.run])
def test_what_is_no_definition_is_told_what_one_is(call: Callable[[Any], object], given: object) -> None:
    kind = type(given).__name__
    article = "an" if kind in ("int", "object") else "a"
    with pytest.raises(
        mustherd.DefinitionError, match=rf"^{article} {kind} is no definition; allowed: a file, .*Experiment"
    ):
        call(given)


def test_a_mapping_is_told_how_it_becomes_a_definition() -> None:
    with pytest.raises(mustherd.DefinitionError, match=r"did you mean 'Experiment\(\*\*\.\.\.\)'"):
        mustherd.check(WHOLE)  # type: ignore[arg-type]


def test_a_range_that_is_too_long_is_told_how_long_one_may_be() -> None:
    with pytest.raises(mustherd.DefinitionError, match=r"^knobs.itr-delay: a range of 150000 values; allowed: 10000"):
        experiment(knobs={"itr-delay": range(0, 300_000, 2)})


def test_an_empty_text_is_no_file() -> None:
    with pytest.raises(mustherd.DefinitionError, match="the definition:1: the file is empty"):
        mustherd.check("")


@pytest.mark.parametrize("qps", [float("nan"), numpy.float64("nan"), [200_000, float("nan")]])
def test_a_load_that_is_no_number_is_not_called_large(qps: object) -> None:
    with pytest.raises(mustherd.DefinitionError, match=r"qps(\[1\])?: nan is no number; allowed: a number above 0"):
        experiment(workload={"qps": qps})


@pytest.mark.parametrize("musters", [0, -1, 1025, "two", 2.0, True])
def test_a_number_of_musters_is_one(tmp_path: Path, musters: Any) -> None:
    said = rf"musters: {musters!r} is no number of musters; allowed: a whole number in 1\.\.1024"
    with pytest.raises(mustherd.UserError, match=said):
        mustherd.plan(experiment(**INVENTORY), musters=musters)
    with pytest.raises(mustherd.UserError, match=said):
        mustherd.run(experiment(**INVENTORY), into=tmp_path / "x", musters=musters)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("herd", "where"), [({"simulated": {}}, "herd.simulated.musters has it"), ({"local": {}}, "")])
def test_a_definition_that_says_how_many_musters_is_not_told_again(herd: dict[str, Any], where: str) -> None:
    one = {"knobs": {"server-cores": [1]}} if "local" in herd else {}
    with pytest.raises(mustherd.UserError, match=f"musters: 2 is for the herd of an inventory; .*{where}"):
        mustherd.plan(experiment(herd=herd, **one), musters=2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"on_event": 3}, "on_event: 3 can't be called; allowed: a function, or None"),
        ({"watch": "x"}, "watch: 'x' can't be called"),
        ({"stop": True}, "stop: True can't be waited for; allowed: a threading.Event"),
    ],
)
def test_what_cannot_be_called_is_told_before_anything_is_made(
    tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        mustherd.run(experiment(), into=tmp_path / "x", **wrong)
    with pytest.raises(TypeError, match=said):
        mustherd.resume(tmp_path / "x", **wrong)
    assert not (tmp_path / "x").exists()


def test_a_folder_without_a_name_is_none() -> None:
    with pytest.raises(mustherd.UserError, match="the new experiment's folder has no name"):
        mustherd.run(experiment(), into="")


def test_a_folder_that_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    # At the call, not when the first event is asked for.
    with pytest.raises(mustherd.UserError, match="does not exist"):
        mustherd.watch(tmp_path / "x")


def test_measurements_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(mustherd.UserError, match="No such file"):
        mustherd.replay(tmp_path / "x")
