"""Every key that examples and the schema know, with values that belong nowhere: one error that says the place, or none.

The fuzzer meets such a value by chance; here each place gets each of them.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from mustherd.definition import DefinitionError, loads, quickstart
from mustherd.definition.schema import keys

pytestmark = pytest.mark.long

EXAMPLES = [p.read_text(encoding="utf-8") for p in sorted((Path(__file__).parents[2] / "examples").glob("*.yml"))]
ODD: list[object] = [
    None,
    {},
    [],
    0,
    -1,
    True,
    "",
    "x",
    [{}],
    [[]],
    {"name": {}},
    {"name": [], "options": 3},
    {"x": {"y": []}},
    {1: 2},
    float("inf"),
    float("nan"),
    10**30,
]
At = tuple[str | int, ...]


def within(node: Any, at: At = ()) -> Iterator[At]:
    if at:
        yield at
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for part, value in inner:
        yield from within(value, (*at, part))


def places() -> dict[At, str]:
    """Every place of the examples, each in the first file that has it."""
    found: dict[At, str] = {}
    for text in (*EXAMPLES, quickstart()):
        for at in within(yaml.safe_load(text)):
            found.setdefault(at, text)
    return found


def put(root: Any, at: At, value: object) -> None:
    """Let a place of a definition hold a value; what is missing on the way is made."""
    for part in at[:-1]:
        if isinstance(root, dict) and not isinstance(root.get(part), dict | list):
            root[part] = {}
        root = root[part]
    root[at[-1]] = value


@pytest.mark.parametrize(
    "odd", [odd if n % 3 == 1 else pytest.param(odd, marks=pytest.mark.night) for n, odd in enumerate(ODD)], ids=repr
)
def test_it_is_refused_or_read(odd: object) -> None:
    everywhere: dict[At, str] = places()
    for key in keys():
        everywhere.setdefault(tuple(key.name.split(".")), quickstart())
    assert len(everywhere) > 300
    for at, text in everywhere.items():
        root = yaml.safe_load(text)
        put(root, at, odd)
        with suppress(DefinitionError):
            loads(yaml.safe_dump(root), "odd.yml")
