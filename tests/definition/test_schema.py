import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mustherd.definition import json_schema, loads
from mustherd.definition.schema import keys
from tests.definition.make import BASE
from tests.definition.test_read import WRONG
from tests.docs.reference import FOLDER

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yml"))
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
CHECKED = {
    *("type", "enum", "const", "anyOf", "$ref", "properties", "additionalProperties", "required", "items"),
    *("minItems", "maxItems", "minProperties", "minimum", "maximum", "exclusiveMinimum"),
    *("pattern", "minLength", "maxLength"),
}
SAID = {"$schema", "$defs", "title", "description", "default", "examples", "x-unit", "x-allowed"}
NOT_THE_SCHEMA_S = re.compile(
    "name of a knob|unknown knob|does not allow|inventory|simulated|no obj|contradicts|already has|gates.achieved|"
    "no updates|no reads|initial points|settings'|no value for|not among|takes no settings|not below|unknown metric|"
    "key 'qps' is needed"
)
"""Rules between keys, and names that depend on the herd: a schema can't say them."""


def valid(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether `value` keeps `schema`, for the words of JSON schema in CHECKED."""
    assert set(schema) <= CHECKED | SAID, schema
    if "$ref" in schema and not valid(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root):
        return False
    if "anyOf" in schema and not any(valid(value, part, root) for part in schema["anyOf"]):
        return False
    if "type" in schema and not (
        isinstance(value, TYPES[schema["type"]]) and isinstance(value, bool) == (schema["type"] == "boolean")
    ):
        return False
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return False
    match value:
        case dict():
            known, other = schema.get("properties", {}), schema.get("additionalProperties", True)
            inner = [(v, known.get(k, other)) for k, v in value.items()]
            return (
                set(schema.get("required", ())) <= set(value)
                and len(value) >= schema.get("minProperties", 0)
                and all(part if isinstance(part, bool) else valid(v, part, root) for v, part in inner)
            )
        case list():
            fits = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9)
            return fits and all(valid(v, schema.get("items", {}), root) for v in value)
        case str():
            fits = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9)
            return fits and bool(re.search(schema.get("pattern", ""), value))
        case bool():
            return True
        case int() | float():
            low, high = schema.get("minimum", value), schema.get("maximum", value)
            return bool(low <= value <= high and value > schema.get("exclusiveMinimum", value - 1))
    return True


@pytest.mark.parametrize(("policy", "kept"), [("nop", True), ({"name": "stats"}, True), ("tune", False), (None, False)])
@pytest.mark.parametrize("knobs", [None, {}])
def test_knobs_may_be_left_out_where_the_policy_sets_none(policy: object, knobs: object, kept: bool) -> None:
    schema, changes = json_schema(), {"policy": policy, "knobs": knobs}
    raw = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    assert valid(raw, schema, schema) is kept


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_the_examples_keep_the_schema(path: Path) -> None:
    schema = json_schema()
    assert valid(yaml.safe_load(path.read_text(encoding="utf-8")), schema, schema)


@pytest.mark.parametrize("wrong", WRONG, ids=[f"{w[1]} {w[2]}" for w in WRONG])
def test_the_schema_finds_what_a_schema_can_find(wrong: tuple[dict[str, object], str, str, str]) -> None:
    changes, place, said, _ = wrong
    schema = json_schema()
    definition = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    assert valid(BASE, schema, schema)
    if not NOT_THE_SCHEMA_S.search(said) and not place.startswith("workload.curve"):
        assert not valid(definition, schema, schema)


def test_the_schema_is_json_and_one_s_own() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    schema["properties"].clear()
    assert json_schema()["properties"]


def test_every_key_says_what_it_means() -> None:
    found = {key.name: key for key in keys()}
    assert all(key.meaning.endswith(".") for key in found.values())
    assert all(key.allowed for key in found.values())
    needed = {name for name, key in found.items() if key.required and not name.startswith("workload.curve.")}
    assert needed == {"name", "herd", "workload", "knobs"}


def test_what_the_reference_shows_is_so() -> None:
    text = (FOLDER / "experiment.md").read_text(encoding="utf-8")
    [definition] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(loads(definition).knobs["itr-delay"]) == 201


def test_an_editor_is_offered_knobs_and_metrics() -> None:
    schema = json_schema()
    knobs = schema["properties"]["knobs"]["properties"]
    assert {"itr-delay", "dvfs", "rapl-limit"} <= set(knobs)
    assert {"energy_joules", "achieved_qps"} <= set(schema["properties"]["objective"]["enum"])
    assert valid({"dvfs": ["1.2 GHz"], "another": [1]}, schema["properties"]["knobs"], schema)
    assert not valid({"dvfs": [[1]]}, schema["properties"]["knobs"], schema)
