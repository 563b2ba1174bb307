"""Whatever stands in the file: an experiment or one error comes out, and nothing else."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mustherd.definition import DefinitionError, Experiment, digest, dump, load, loads, plan, problem, quickstart
from mustherd.definition.check import WATCHING
from mustherd.definition.schema import keys
from mustherd.plugins import OptionError

EXAMPLES = [p.read_text(encoding="utf-8") for p in sorted((Path(__file__).parents[2] / "examples").glob("*.yml"))]
KEYS = sorted(
    {part for key in keys() for part in key.name.split(".")} | {"itr-delay", "dvfs", "low", "high", "step", "default"}
)
WORDS = [
    "adaptive",
    "off",
    "2.6 GHz",
    "0x1a00",
    "read_p99_us <= 500",
    "one-shot",
    "grid",
    "gp",
    "etc",
    "c6220",
    "600k",
    "tune",
]
NOISE = [
    "\t",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "!!map ",
    "|\n",
    "? ",
    "'",
    '"',
    "\\",
    "#",
    "---\n",
    "%",
    "\x00",
    "\ufeff",
]

T = TypeVar("T")

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 3000)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([*KEYS, *WORDS])
)
names = st.sampled_from(KEYS) | st.text(max_size=10)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5), max_leaves=20
)


def outcome(read: Callable[[], T]) -> T | DefinitionError:
    try:
        return read()
    except DefinitionError as error:
        return error


def check(text: str) -> None:
    """The text's outcome, with all that can be done to it when it is an experiment."""
    experiment = outcome(lambda: loads(text, "fuzz.yml"))
    if isinstance(experiment, DefinitionError):
        assert all(line.isprintable() for line in experiment.picture().split("\n"))
        assert str(experiment).encode()
        return
    assert isinstance(experiment, Experiment)
    again = loads(dump(experiment), "dump.yml")
    assert again == experiment
    assert digest(again) == digest(experiment)
    assert problem(experiment).space.dimensions or experiment.policy.name in WATCHING
    # What a load takes it says itself; commands and the API ask it before they plan, and say the place.
    with suppress(OptionError):
        planned = outcome(lambda: plan(experiment))
        if isinstance(planned, DefinitionError):
            assert str(planned).startswith("fuzz.yml:"), planned
            assert "workload." in str(planned), planned
        else:
            assert planned.rows()


@given(st.binary(max_size=300))
@example(b"\xff\xfea\x00")
@example(b"\xef\xbb\xbf")
def test_bytes(tmp_path_factory: Any, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yml"
    path.write_bytes(raw)
    assert str(outcome(lambda: load(path)))


@given(st.text(max_size=300) | st.lists(st.sampled_from([*KEYS, *WORDS, *NOISE, "\n", "  "]), max_size=60).map("".join))
def test_text(text: str) -> None:
    check(text)


@given(trees)
def test_structures(tree: object) -> None:
    check(yaml.dump(tree))


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=25)
def test_a_part_of_an_example_replaced(text: str, data: st.DataObject) -> None:
    root: Any = yaml.load(text, yaml.BaseLoader)  # noqa: S506
    place: Any = root
    while True:
        within = list(place) if isinstance(place, dict) else list(range(len(place)))
        part = data.draw(st.sampled_from(within))
        if not isinstance(place[part], dict | list) or not place[part] or data.draw(st.booleans()):
            break
        place = place[part]
    match data.draw(st.integers(0, 3)):
        case 0:
            place[part] = data.draw(trees)
        case 1:
            place[part] = data.draw(scalars)
        case 2:
            del place[part]
        case _ if isinstance(place, dict):
            place[data.draw(names)] = place.pop(part)
    check(yaml.dump(root).replace("'", data.draw(st.sampled_from(["", "'"]))))


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=50)
def test_some_characters_of_an_example_replaced(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    new = data.draw(st.sampled_from([*NOISE, *WORDS, *KEYS]) | st.text(max_size=5))
    check(text[:start] + new + text[end:])


def test_a_sign_that_no_terminal_has_is_shown_as_an_escape() -> None:
    [text] = [text for text in EXAMPLES if "mutilate: {depth" in text and "sweep-clock" in text]
    check(text.replace("{depth", "{\ud7fcdepth"))


def test_the_fuzzer_reaches_experiments() -> None:
    for text in (*EXAMPLES, quickstart()):
        check(text)
