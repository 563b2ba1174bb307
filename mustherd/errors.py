"""The root of every error that a user can cause or fix, and how an error shows the value that is wrong."""

UNWRITTEN = 74
"""Exit code where a file can't be written (sysexits.h)."""

MAX_SHOWN = 80
"""Characters of a user's value that a message repeats."""

MAX_ERROR = 2000
"""Characters of what an error of another package's says."""


class UserError(Exception):
    """Its message is the whole story: what, where, what is allowed. A command prints it and ends with `exit_code`."""

    exit_code: int = 2
    """2: the request was wrong and nothing was changed; 3: the herd failed."""

    def picture(self) -> str:
        """The message as a terminal shows it."""
        return str(self)


def shown(text: object, limit: int = MAX_SHOWN) -> str:
    """`text` fit for one line of a terminal: escaped where it isn't printable, cut where it is long."""
    whole = str(text)
    return printable(whole[:limit]) + ("..." if len(whole) > limit else "")


def text_of(error: BaseException) -> str:
    """What an error of anybody's code says: a package's may be without an end, or break when it is asked."""
    try:
        text = str(error)
    except Exception as second:
        return f"(it breaks when it is asked what it says: {type(second).__name__})"
    return text if len(text) <= MAX_ERROR else f"{text[:MAX_ERROR]}..."


def printable(text: str) -> str:
    """`text` in one line that a terminal takes: what it would obey, or has no sign for, as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def repr_of(value: object) -> str:
    """A value of anybody's code in one line: its text may be without an end, or break when it is asked for."""
    try:
        return shown(repr(value))
    except Exception as error:
        return f"a {type(value).__name__} that breaks when it is shown ({type(error).__name__})"


def kind_of(raw: object) -> str:
    """What a value of a document is, in a person's words."""
    if raw is None:
        return "nothing"
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, dict):
        return "a mapping"
    if isinstance(raw, list | tuple):
        return "a list"
    return f"'{shown(raw)}'"


def no_text(raw: object) -> str:
    """What a value is that should be text: in YAML and TOML a number, or true, is text only in quotes."""
    if not isinstance(raw, bool | int | float):
        return kind_of(raw)
    what = kind_of(raw) if isinstance(raw, bool) else f"the number {shown(raw)}"
    return f"{what}; in quotes it is text"
