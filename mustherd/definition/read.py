"""Reading a definition: text in, an experiment or one error out."""

from importlib import resources
from pathlib import Path as FilePath

from mustherd.definition.errors import DefinitionError, Finding, listed
from mustherd.definition.model import Experiment
from mustherd.definition.schema import keys_of
from mustherd.definition.yaml import MAX_BYTES, Source, decode, parse
from mustherd.errors import kind_of, shown


def load(path: FilePath | str) -> Experiment:
    """The experiment that a file defines. Raises DefinitionError, for whatever may be wrong with the file."""
    file = shown(path, 1024)
    try:
        with FilePath(path).open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DefinitionError(f"the file can't be read: {reason}", file=file) from None
    return loads(decode(raw, file), file)


def loads(text: str, file_name: str = "experiment.yml") -> Experiment:
    """The experiment that `text` defines; `file_name` is what errors call it. Raises DefinitionError."""
    root = parse(text, file_name)
    source = Source(file_name, root, text)
    plain = root.plain()
    if not isinstance(plain, dict):
        found = "the file is empty" if plain is None else f"should be a mapping of keys, found {kind_of(plain)}"
        raise source.error([Finding((), found, listed(keys_of(())))])
    return Experiment.model_validate(plain, context=source)


def quickstart() -> str:
    """The text of the experiment that runs when no file is given."""
    return resources.files("mustherd.definition").joinpath("quickstart.yml").read_text(encoding="utf-8")
