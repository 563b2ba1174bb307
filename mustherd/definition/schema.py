"""The definition's JSON schema: for editors, for the reference, and for saying what is allowed."""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from mustherd.definition.check import WATCHING
from mustherd.definition.errors import Path
from mustherd.definition.model import Experiment
from mustherd.definition.units import number_text
from mustherd.plugins import KNOBS, plugins

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


class Key(NamedTuple):
    """A key of the file, as a reference lists it."""

    name: str
    """From the top, with dots."""
    required: bool
    default: Any
    unit: str
    allowed: str
    meaning: str


def json_schema() -> Schema:
    """The schema of the experiment file, with what each key means; draft 2020-12."""
    schema = Experiment.model_json_schema()
    # What is installed, for an editor to offer; a herd may have others, and a knob may be said of some cores alone.
    knobs, values = schema["properties"]["knobs"], {"$ref": "#/$defs/KnobValues"}
    schema["$defs"]["KnobValues"] = knobs["additionalProperties"]
    knobs |= {"properties": dict.fromkeys(sorted(plugins(KNOBS)), values), "additionalProperties": values}
    # A policy that sets nothing needs none.
    knobs.pop("minProperties")
    schema["required"].remove("knobs")
    named = {"type": "object", "properties": {"name": {"enum": [*WATCHING]}}, "required": ["name"]}
    watching = {"properties": {"policy": {"anyOf": [{"enum": [*WATCHING]}, named]}}, "required": ["policy"]}
    schema["anyOf"] = [{"properties": {"knobs": {"minProperties": 1}}, "required": ["knobs"]}, watching]
    return {"$schema": DIALECT, **schema, "title": "MustHerd experiment"}


def keys() -> Iterator[Key]:
    """Every key, outer ones before what they hold."""
    yield from _keys(_schema(), "")


def keys_of(path: Path) -> list[str]:
    """The keys that the mapping at `path` may hold; empty where they are free or it is no mapping."""
    return list(_at(path).get("properties", {}))


def unit_of(path: Path) -> str:
    """The unit of the value at `path`; empty where it has none."""
    unit: str = _at(path).get("x-unit", "")
    return unit


def allowed(path: Path) -> str:
    """What the value at `path` may be, in words; empty where there is nothing to say."""
    return _allowed(_at(path))


@cache
def _schema() -> Schema:
    return Experiment.model_json_schema()


def _resolved(schema: Schema) -> Schema:
    """A schema with its reference followed and, of `X or null` and `text or X`, the part with the most to say."""
    if "$ref" in schema:
        found: Schema = _schema()["$defs"][schema["$ref"].rpartition("/")[2]]
        return {**_resolved(found), **{k: v for k, v in schema.items() if k != "$ref"}}
    parts = [part for part in schema.get("anyOf", ()) if part.get("type") != "null"]
    if not parts:
        return schema
    richest = next((p for p in parts if "$ref" in p), parts[0])
    return {**_resolved(richest), **{k: v for k, v in schema.items() if k != "anyOf"}}


def _at(path: Path) -> Schema:
    schema = _schema()
    for part in path:
        inner = schema.get("properties", {}).get(part) if isinstance(part, str) else schema.get("items")
        if inner is None:
            return {}
        schema = _resolved(inner)
    return schema


def _allowed(schema: Schema) -> str:
    if "x-allowed" in schema:
        return str(schema["x-allowed"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = {"integer": "a whole number", "number": "a number", "string": "text", "object": "a mapping"}
    if schema.get("type") == "boolean":
        return "true, false"
    words = kind.get(str(schema.get("type", "")), "")
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high = schema.get("maximum")
    if above is not None and high is not None:
        return f"{words} above {number_text(above)}, up to {number_text(high)}"
    if low is not None and high is not None:
        return f"{words} in {number_text(low)}..{number_text(high)}"
    if "properties" in schema:
        return "a mapping with " + ", ".join(schema["properties"])
    return words


def _keys(schema: Schema, above: str) -> Iterator[Key]:
    required = schema.get("required", ())
    for name, raw in schema.get("properties", {}).items():
        part = _resolved(raw)
        yield Key(
            name=above + name,
            required=name in required,
            default=raw.get("default"),
            unit=part.get("x-unit", ""),
            allowed=_allowed(part),
            meaning=raw.get("description", part.get("description", "")),
        )
        yield from _keys(part, f"{above}{name}.")
