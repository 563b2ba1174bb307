"""A definition as a Python user gives it: a file, its text, one that was built, or none for the quickstart."""

import os
from collections.abc import Mapping
from pathlib import Path

from mustherd.definition.errors import DefinitionError
from mustherd.definition.model import Experiment
from mustherd.definition.read import load, loads, quickstart


def read(definition: Experiment | str | os.PathLike[str] | None, name: str) -> tuple[str, Experiment]:
    """A definition's text and meaning; `name` is what a built one is called in errors. Raises DefinitionError."""
    if definition is None:
        text = quickstart()
        return text, loads(text, "quickstart.yml")
    if isinstance(definition, Experiment):
        text = definition.to_yaml()
        # Read again, since a copy with other values was never checked; the one that was given knows where it was built.
        again = loads(text, name)
        return text, definition if definition == again else again
    if isinstance(definition, str) and ("\n" in definition or not definition):
        return definition, loads(definition, "the definition")
    given: object = definition  # whatever it is declared to be
    if not isinstance(given, str | os.PathLike):
        allowed = "a file, its text of more than one line, or mustherd.Experiment(...)"
        built = "Experiment(**...)" if isinstance(given, Mapping) else ""
        kind = type(given).__name__
        what = f"an {kind}" if kind.startswith(tuple("aeio")) else f"a {kind}"
        raise DefinitionError(f"{what} is no definition", allowed=allowed, suggestion=built)
    file = Path(definition)
    experiment = load(file)
    return file.read_text(encoding="utf-8"), experiment
