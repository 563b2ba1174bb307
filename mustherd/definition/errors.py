"""What is wrong with a definition, and where."""

from difflib import get_close_matches
from typing import Any, NamedTuple

from pydantic_core import PydanticCustomError

from mustherd.errors import MAX_SHOWN, UserError, printable, shown

Path = tuple[str | int, ...]
"""Where a value is in a document: keys of mappings and positions in lists, from the top."""

FINDINGS = "findings"
"""The type of the pydantic errors that carry findings of ours in their context, under the same name."""

ALLOWED_SHOWN = 400
EXCERPT = 100
"""Characters of a file's line that are shown."""


class Finding(NamedTuple):
    """One thing wrong, relative to the part that was looked at; the document's marks give it a line later."""

    path: Path
    problem: str
    allowed: str = ""
    suggestion: str = ""
    at_key: bool = False
    """The key itself is wrong, not its value."""


MOST_OTHERS = 20
"""Further errors that are said; those beyond are counted."""

Others = tuple["DefinitionError", ...]


class DefinitionError(UserError):
    """A definition that can't be used: the first thing wrong in file order, and the others, a line each.

    `line` and `column` count from 1, and are 0 where the file as a whole is meant. `excerpt` is that line of the file.
    `others` are further errors in file order, `more` how many there are.
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
        excerpt: str = "",
        others: "Others" = (),
    ) -> None:
        self.problem = problem
        self.file = file
        self.line = line
        self.column = column
        self.key = key
        self.value = value
        self.allowed = allowed
        self.suggestion = suggestion
        self.excerpt = excerpt
        self.others = others
        self.more = len(others)
        super().__init__(problem)

    def __str__(self) -> str:
        return "\n".join([self.sentence(), *(other.sentence() for other in self.others[:MOST_OTHERS]), *self._beyond()])

    def picture(self) -> str:
        """All errors, each with its line of the file and a caret below the place."""
        return "\n".join(
            [part for error in (self, *self.others[:MOST_OTHERS]) for part in error.with_caret()] + self._beyond()
        )

    def with_caret(self) -> list[str]:
        """Lines: the sentence, and the file's line with a caret where it is known."""
        if not self.excerpt.strip():
            return [self.sentence()]
        # Bounded, and around the place where the line is long.
        first = max(0, self.column - 1 - EXCERPT // 2) if len(self.excerpt) > EXCERPT else 0
        cut = "".join(c if c.isprintable() else " " for c in self.excerpt[first : first + EXCERPT])
        return [self.sentence(), f"    {cut.rstrip()}", f"    {' ' * (max(1, self.column) - 1 - first)}^"]

    def _beyond(self) -> list[str]:
        beyond = self.more - MOST_OTHERS
        return [f"and {beyond} more error{'s' if beyond > 1 else ''}"] if beyond > 0 else []

    def sentence(self) -> str:
        """This error alone, in one line."""
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        parts = [self.problem]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.suggestion:
            parts.append(f"did you mean '{self.suggestion}'?")
        # Whatever said it, a package's options too, may have taken it from the file.
        return printable(": ".join(part for part in (place, self.key, "; ".join(parts)) if part))

    def to_dict(self) -> dict[str, Any]:
        """The error as JSON types, for `--json`."""
        names = ("file", "line", "column", "key", "value", "problem", "allowed", "suggestion", "more")
        own = {name: getattr(self, name) for name in names}
        return {**own, "others": [other.to_dict() for other in self.others]} if self.others else own


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
    asked = word.lower().replace("_", "-")
    names = {k.lower().replace("_", "-"): k for k in reversed(known)}
    if found := get_close_matches(asked, list(names), n=1):
        return names[found[0]]
    return ""


def listed(words: list[str]) -> str:
    """Allowed words as one text of bounded length."""
    return shown(", ".join(words), ALLOWED_SHOWN)


def refusal(findings: list[Finding]) -> PydanticCustomError:
    """The error to raise inside a pydantic validator so that each finding keeps its own place."""
    return PydanticCustomError(FINDINGS, "{count} found", {"count": len(findings), FINDINGS: findings})
