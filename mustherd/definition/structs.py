"""Structs of other parts as sections of a definition: their fields are the keys, and are described nowhere else."""

import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from mustherd.definition.errors import Finding, refusal
from mustherd.definition.section import Section, as_tuple
from mustherd.plugins import OptionError

_LIMITS = ("gt", "ge", "lt", "le", "pattern", "min_length", "max_length")
"""What a field's Meta may limit, which pydantic calls by the same names."""


class Keys:
    """Marks a struct of msgspec as what a section is read into: `Annotated[TwinFaults, Keys()]`.

    Each field's Meta says what the key means (`description`), its limits, and by `extra_json_schema` its `x-unit` and
    `x-allowed`. What the struct refuses when it is made (mustherd.plugins.OptionError, another ValueError) is placed as
    any other mistake.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def read(raw: object, inner: Any) -> Any:
            return raw if isinstance(raw, source) else _made(source, inner(raw))

        return core_schema.no_info_wrap_validator_function(
            read,
            handler.generate_schema(_section(source)),
            serialization=core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins),
        )

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        inner: Any = core
        return handler(inner["schema"])


def _made(struct: type[Any], section: Section) -> Any:
    try:
        return struct(**{name: getattr(section, name) for name in type(section).model_fields})
    except OptionError as error:
        raise refusal([Finding(error.path, error.problem, error.allowed, error.suggestion, error.unknown)]) from None
    except ValueError as error:
        raise refusal([Finding((), str(error))]) from None


@cache
def _section(struct: type[Any]) -> type[Section]:
    """The keys of a struct as a model."""
    hints = typing.get_type_hints(struct, include_extras=True)
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        made = field.default_factory is not msgspec.NODEFAULT
        default = {"default_factory": field.default_factory} if made else {"default": field.default}
        if isinstance(field.default, msgspec.Struct):
            default = {"default_factory": lambda default=field.default: default}
        kind, described = _field(hints[field.name])
        if made:
            described.setdefault("json_schema_extra", {})["default"] = field.default_factory()
        fields[field.name] = (kind, Field(**default, **described))
    return create_model(struct.__name__, __base__=Section, __doc__=struct.__doc__, **fields)


def _field(hint: Any) -> tuple[Any, dict[str, Any]]:
    """A field's type as pydantic has it, and what its Meta says of it."""
    kind, *notes = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
    described: dict[str, Any] = {}
    for note in notes:
        if isinstance(note, msgspec.Meta):
            described |= {name: value for name in _LIMITS if (value := getattr(note, name)) is not None}
            if note.description:
                described["description"] = note.description
            if note.extra_json_schema:
                described["json_schema_extra"] = dict(note.extra_json_schema)
    return _kind(kind), described


def _kind(kind: Any) -> Any:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return Annotated[kind, Keys()]
    if origin is tuple:
        return Annotated[tuple[_element(parts[0]), ...], BeforeValidator(as_tuple)]  # type: ignore[misc]
    if origin in (dict, Mapping):
        return dict[parts[0], _element(parts[1])]  # type: ignore[misc,valid-type]
    return kind


def _element(hint: Any) -> Any:
    kind, described = _field(hint)
    return Annotated[kind, Field(**described)] if described else kind
