"""When two definitions are the same, and what differs when they aren't."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from mustherd.definition.errors import Path, dotted
from mustherd.definition.yaml import resolve
from mustherd.errors import shown

if TYPE_CHECKING:
    from mustherd.definition.model import Experiment

MAX_CHANGE = 200
"""Characters that a line of changes shows of a value."""


class _Dumper(yaml.SafeDumper):
    """Writes text so that our own reading of plain words gives it back as text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(resolve(text), str) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


def _number(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    # Plain without a tag; YAML's own form of floats can't be read back everywhere.
    return dumper.represent_scalar("tag:yaml.org,2002:str", json.dumps(value))


def _word(dumper: yaml.SafeDumper, value: bool | None) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", json.dumps(value))


_Dumper.add_representer(str, _text)
_Dumper.add_representer(int, _number)
_Dumper.add_representer(float, _number)
_Dumper.add_representer(bool, _word)
_Dumper.add_representer(type(None), _word)


def content(experiment: Experiment) -> dict[str, Any]:
    """Everything the definition says, defaults included, as JSON types; unset keys are left out."""
    return experiment.model_dump(mode="json", exclude_none=True)


def dump(experiment: Experiment) -> str:
    """The definition as YAML that reads back as the same experiment, every default written out."""
    return to_yaml(content(experiment))


def to_yaml(value: Any) -> str:
    """JSON types as YAML that our own reading gives back as they were."""
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=None, sort_keys=False, allow_unicode=False, width=110)


def digest(experiment: Experiment) -> str:
    """SHA-256 (hex) of what the definition says: the same whatever its layout, comments, units and order of keys."""
    text = json.dumps(content(experiment), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def changes(old: Experiment, new: Experiment) -> list[str]:
    """What differs, a line each, as in `trials: 30 -> 40`; empty for equal digests."""
    return list(_differences(content(old), content(new), ()))


def reread(resolved: Mapping[str, Any], experiment: Experiment) -> list[str]:
    """What `experiment` means otherwise than a version of before resolved it, a line each.

    Only what both versions know is compared: a key that came or went says nothing of an older folder.
    """
    return list(_differences(_common(resolved, now := content(experiment)), _common(now, resolved), ()))


def _common(one: Any, other: Any) -> Any:
    """The part of `one` whose keys `other` has too."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return {key: _common(value, other[key]) for key, value in one.items() if key in other}
    return one


def _differences(old: Any, new: Any, path: Path) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            if key not in old:
                yield f"{dotted((*path, key))}: added, {_said(new[key])}"
            elif key not in new:
                yield f"{dotted((*path, key))}: removed, was {_said(old[key])}"
            else:
                yield from _differences(old[key], new[key], (*path, key))
    elif old != new:
        yield f"{dotted(path)}: {_said(old)} -> {_said(new)}"


def _said(value: Any) -> str:
    return shown(value if isinstance(value, str) else json.dumps(value), MAX_CHANGE)
