"""What stands in braces in the arguments of a command; pure."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

_BRACES = re.compile(r"\{\{|\}\}|\{([a-z_]+)\}")

_OPEN = re.compile(r"\{([a-z_]+)")


def filled(argv: Sequence[str], values: Mapping[str, object]) -> list[str]:
    """The arguments with their words replaced. ValueError for a word that means nothing here."""
    return [_BRACES.sub(lambda found: _meant(found, values), argument) for argument in argv]


def check(argv: Sequence[str], known: Iterable[str]) -> None:
    """Raise ValueError for a command that has no program, or a word that is not among the known ones."""
    if not argv or not argv[0]:
        raise ValueError("a command needs a program")
    if any("\0" in argument for argument in argv):
        raise ValueError("an argument holds a byte 0")
    known = tuple(known)
    check_braces(argv)
    filled(argv, dict.fromkeys(known, ""))
    for argument in argv:
        for word in _OPEN.findall(_BRACES.sub("", argument)):
            if word in known:
                raise ValueError(f"{argument!r} opens {{{word} and doesn't close it")


def check_braces(texts: Iterable[str]) -> None:
    """Raise ValueError for a text that would lose braces of its own, as JSON written as it is would: its `}}`."""
    for text in texts:
        alone = _BRACES.sub("", text)
        if alone.count("{") != alone.count("}") and any(not found[1] for found in _BRACES.finditer(text)):
            raise ValueError(
                f"{text[:100]!r} doubles some of its own braces and not others; two stand for one: double all of them"
            )


def pattern(text: str) -> "re.Pattern[str]":
    """A regular expression. ValueError for a text that is none."""
    try:
        return re.compile(text, re.MULTILINE)
    except re.error as error:
        raise ValueError(f"{text!r} is no pattern: {error}") from None


def used(argvs: Iterable[Sequence[str]]) -> set[str]:
    """The words that commands hold."""
    return {word for argv in argvs for argument in argv for word in _BRACES.findall(argument) if word}


def _meant(found: "re.Match[str]", values: Mapping[str, object]) -> str:
    word = found[1]
    if word is None:
        return found[0][0]
    if word not in values:
        near = difflib.get_close_matches(word, list(values), 1)
        hint = f"; did you mean {{{near[0]}}}?" if near else ""
        known = ", ".join(f"{{{name}}}" for name in values)
        raise ValueError(f"{{{word}}} means nothing here: there are {known}; braces of one's own are doubled{hint}")
    return str(values[word])
