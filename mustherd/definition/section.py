"""A section of a definition: a mapping of keys, each with its meaning, unit and limits."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def as_tuple(raw: object) -> object:
    """A list as a tuple; anything else as it is, for the type itself to refuse."""
    return tuple(raw) if isinstance(raw, list) else raw


class Section(BaseModel):
    """What all parts of a definition have in common: they don't change, and know no key that isn't theirs."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def key(default: Any, description: str, unit: str = "", allowed: str = "", **limits: Any) -> Any:
    """A key of the file: what it says, its unit and what it may be, for people and for editors."""
    extra: dict[str, Any] = {name: text for name, text in (("x-unit", unit), ("x-allowed", allowed)) if text}
    if default is dict:
        extra["default"] = {}
    kind = "default_factory" if isinstance(default, type) else "default"
    return Field(**{kind: default}, description=description, json_schema_extra=extra or None, **limits)
