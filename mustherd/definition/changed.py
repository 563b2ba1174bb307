"""A definition with some of its values said otherwise, as `--set` does: checked like any other, the file left alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from mustherd.definition.errors import DefinitionError
from mustherd.definition.given import read
from mustherd.definition.model import Experiment
from mustherd.definition.yaml import MAX_DEPTH, Plain, Source, parse
from mustherd.errors import shown

GIVEN = "--set"
"""What errors call a change."""


def changed(definition: FilePath | str | None, changes: Sequence[str]) -> Experiment:
    """The experiment of a file, of a text of several lines, or the quickstart, with each `KEY=VALUE` in its place.

    KEY is from the top, with dots (`search.seed`); VALUE is read as the file's are, so a list or `600k` is one too.
    Raises DefinitionError: for the file as it is first, with its lines, then for what the changes make of it.
    """
    file = "quickstart.yml" if definition is None else str(definition)
    if "\n" in file:
        file = "the definition"
    text, _ = read(definition, file)
    plain: dict[str, Any] = dict(parse(text, file).plain())  # type: ignore[arg-type]  # read refuses all but a mapping
    for change in changes:
        path, value = _parted(change)
        plain = _put(plain, path, value)
    return Experiment.model_validate(plain, context=Source(file))


def _parted(change: str) -> tuple[list[str], Plain]:
    key, equals, value = change.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise DefinitionError(f"'{change}' changes nothing", file=GIVEN, allowed="KEY=VALUE, as in search.seed=3")
    if len(path) > MAX_DEPTH:
        raise DefinitionError(f"'{shown(key)}' is nested too deeply", file=GIVEN, allowed=f"{MAX_DEPTH} levels")
    return path, parse(value, f"{GIVEN} {key}").plain() if value.strip() else None


def _put(inside: Mapping[str, Any], path: Sequence[str], value: Plain) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {**inside, first: value}
    below = inside.get(first)
    # A word where a mapping would be is the word's short form for one: what is set says the rest.
    return {**inside, first: _put(below if isinstance(below, Mapping) else {}, rest, value)}
