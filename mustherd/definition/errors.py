"""What is wrong with a definition, and where."""

from difflib import get_close_matches
from typing import NamedTuple

from pydantic_core import PydanticCustomError

from mustherd.errors import MAX_SHOWN, UserError, shown

Path = tuple[str | int, ...]
"""Where a value is in a document: keys of mappings and positions in lists, from the top."""

FINDINGS = "findings"
"""The type of the pydantic errors that carry findings of ours in their context, under the same name."""

ALLOWED_SHOWN = 400


class Finding(NamedTuple):
    """One thing wrong, relative to the part that was looked at; the document's marks give it a line later."""

    path: Path
    problem: str
    allowed: str = ""
    suggestion: str = ""
    at_key: bool = False
    """The key itself is wrong, not its value."""


class DefinitionError(UserError):
    """A definition that can't be used: the first thing wrong in file order.

    `line` and `column` count from 1, and are 0 where the file as a whole is meant. `more` counts further errors.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str = "",
        line: int = 0,
        column: int = 0,
        key: str = "",
        value: str = "",
        allowed: str = "",
        suggestion: str = "",
        more: int = 0,
    ) -> None:
        self.problem = problem
        self.file = file
        self.line = line
        self.column = column
        self.key = key
        self.value = value
        self.allowed = allowed
        self.suggestion = suggestion
        self.more = more
        super().__init__(problem)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        parts = [self.problem]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.suggestion:
            parts.append(f"did you mean '{self.suggestion}'?")
        text = ": ".join(part for part in (place, self.key, "; ".join(parts)) if part)
        if self.more:
            text += f" (and {self.more} more error{'s' if self.more > 1 else ''})"
        return text

    def to_dict(self) -> dict[str, str | int]:
        """The error as JSON types, for `--json`."""
        return {
            name: getattr(self, name)
            for name in ("file", "line", "column", "key", "value", "problem", "allowed", "suggestion", "more")
        }


def dotted(path: Path) -> str:
    """A path as a person writes it: knobs.dvfs[3]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{shown(part)}" if text else shown(part)
    return text


def nearest(word: object, known: list[str]) -> str:
    """The known word that `word` was probably meant to be; empty when nothing is near."""
    if not isinstance(word, str) or len(word) > MAX_SHOWN:
        return ""
    found = get_close_matches(word.lower().replace("_", "-"), [k.lower().replace("_", "-") for k in known], n=1)
    return next((k for k in known if found and k.lower().replace("_", "-") == found[0]), "")


def listed(words: list[str]) -> str:
    """Allowed words as one text of bounded length."""
    return shown(", ".join(words), ALLOWED_SHOWN)


def refusal(findings: list[Finding]) -> PydanticCustomError:
    """The error to raise inside a pydantic validator so that each finding keeps its own place."""
    return PydanticCustomError(FINDINGS, "{count} found", {"count": len(findings), FINDINGS: findings})
