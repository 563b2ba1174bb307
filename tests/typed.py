"""Saying to the type checker, and checking, what a test knows about a value."""

from typing import TypeVar

T = TypeVar("T")


def some(value: T | None) -> T:
    """A value that is there."""
    assert value is not None
    return value


def a(kind: type[T], value: object) -> T:
    """A value of that kind."""
    assert isinstance(value, kind), f"{value!r} is no {kind.__name__}"
    return value
