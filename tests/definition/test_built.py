"""A definition built in Python: the same as one read from YAML, with the same errors."""

import html
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.definition import DefinitionError, Experiment, digest, load, loads
from mustherd.errors import UserError
from tests.definition.make import BASE, made, refused

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yml"))


def built(**changes: Any) -> Experiment:
    return Experiment(**{**BASE, **changes})


def fault_of(**changes: Any) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        built(**changes)
    return caught.value


def test_built_in_python_equals_read_from_yaml() -> None:
    experiment = Experiment(
        name="mine",
        herd={"simulated": {"musters": 2}},
        workload={"qps": "400k"},
        knobs={"itr-delay": [50, "adaptive", {"low": 100, "high": 200}], "dvfs": {"low": "1.2 GHz", "high": 2600}},
        constraints=["read_p99_us <= 0.5 ms"],
        search={"method": "random"},
    )
    read = loads(
        """\
name: mine
herd: {simulated: {musters: 2}}
workload: {qps: 400000}
knobs:
  dvfs: {low: 1200, high: 2600, step: 100}
  itr-delay: [50, 1, {low: 100, high: 200}]
constraints: [read_p99_us <= 500]
search: {method: random}
"""
    )
    assert experiment == read
    assert digest(experiment) == digest(read)


@pytest.mark.parametrize(
    "wrong",
    [
        {"knobs": {"itr-dely": [20]}},
        {"knobs": {"itr-delay": [20, "soon"]}},
        {"trials": 0},
        {"trials": "many"},
        {"constraints": ["read_p99_us < 500"]},
        {"objective": "speed"},
        {"search": {"method": "magic"}},
        {"herd": {"simulated": {"musters": 2}, "local": {}}},
        {"herd": {"simulated": {"mustres": 2}}},
        {"extra": 1},
        {"baseline": {"settings": {"dvfs": 3000}}},
    ],
    ids=str,
)
def test_what_is_wrong_is_said_as_for_a_file(wrong: dict[str, Any]) -> None:
    mine, of_file = fault_of(**wrong), refused(**wrong)
    assert (mine.key, mine.value, mine.problem, mine.allowed, mine.suggestion, mine.more) == (
        of_file.key, of_file.value, of_file.problem, of_file.allowed, of_file.suggestion, of_file.more,
    )  # fmt: skip
    assert (mine.file, mine.line) == ("", 0)
    assert str(mine).splitlines() == [re.sub(r"^test.yml:\d+: ", "", line) for line in str(of_file).splitlines()]


def test_what_is_left_out_is_said() -> None:
    with pytest.raises(UserError, match="herd: the key 'herd' is needed"):
        Experiment(name="x")


@pytest.mark.process
def test_an_error_has_no_tail_of_the_checker_s() -> None:
    code = "from mustherd.definition import Experiment; Experiment(name='x y')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.count("Traceback") == 1
    said = done.stderr.strip().splitlines()
    [at] = [k for k, line in enumerate(said) if line.startswith("mustherd.definition.errors.DefinitionError: herd: ")]
    assert all(re.match(r"[A-Za-z.]+: ", line) for line in said[at:]), "errors of ours alone, a line each"


def test_values_of_python_s_own_kinds_are_taken(tmp_path: Path) -> None:
    import numpy as np

    experiment = built(
        knobs={"itr-delay": range(20, 60, 20), "dvfs": np.arange(1200, 1500, 100)},
        trials=np.int64(4),
        workload={"qps": np.float64(4e5), "window_seconds": np.float32(10)},
        budget={"minutes": 5},
    )
    assert experiment == made(
        knobs={"itr-delay": [20, 40], "dvfs": [1200, 1300, 1400]},
        trials=4,
        workload={"qps": 400000, "window_seconds": 10},
        budget={"minutes": 5},
    )
    assert built(herd={"inventory": tmp_path}).herd.inventory == str(tmp_path)


@pytest.mark.parametrize("values", [range(10**9), iter([20]), {20}, object(), b"20"], ids=lambda v: type(v).__name__)
def test_values_that_are_no_list_are_refused(values: object) -> None:
    assert fault_of(knobs={"itr-delay": values}).key == "knobs.itr-delay"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_it_goes_to_yaml_and_back(path: Path) -> None:
    experiment = load(path)
    text = experiment.to_yaml()
    assert digest(loads(text)) == digest(experiment)
    # What was left to its default is not written out.
    assert len(text.splitlines()) < 60
    assert loads(text).to_yaml() == text
    assert html.unescape(experiment._repr_html_()) == f"<pre>{text}</pre>"


LISTS = st.lists(st.integers(2, 500).map(lambda n: 2 * n), min_size=1, max_size=5, unique=True)


@given(
    delays=LISTS,
    text=st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20),
    limit=st.floats(0.1, 1e6),
    trials=st.integers(1, 9999),
)
def test_any_goes_to_yaml_and_back(delays: list[int], text: str, limit: float, trials: int) -> None:
    experiment = built(
        knobs={"itr-delay": delays},
        constraints=[f"read_p99_us <= {limit!r}"],
        trials=trials,
        policy={"name": "tune", "options": {"said": text, "more": [text, {text: limit}]}},
    )
    assert digest(loads(experiment.to_yaml())) == digest(experiment)


def test_a_part_may_be_given_as_it_is() -> None:
    whole = built()
    assert Experiment(name="base", herd=whole.herd, workload=whole.workload, knobs=whole.knobs) == whole
