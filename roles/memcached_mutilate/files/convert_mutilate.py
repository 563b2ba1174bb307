"""Make mutilate's sources fit today's tools: convert_mutilate.py FOLDER [plan]; prints the files that it changed.

Its SConstruct is written for Python 2, and SCons 4 runs on Python 3. Its Generator.cc hands a null string to strtok_r
when a distribution has no parameters, which today's C library does not forgive.
"""

import re
import sys
from pathlib import Path


def sconstruct(text: str) -> str:
    """Python 2's print statements as calls, and a redirection that only bash knows as every shell writes it."""

    def call(match: re.Match[str]) -> str:
        end = ', end=" "' if match["comma"] else ""
        return f"{match['before']}print({match['what']}{end})"

    statement = re.compile(
        r"^(?P<before>[^#\n]*?)\bprint[ \t]+(?P<what>[^(\s][^\n]*?)[ \t]*(?P<comma>,?)[ \t]*$", re.MULTILINE
    )
    return statement.sub(call, text).replace("&> /dev/null", "> /dev/null 2>&1")


def generator(text: str) -> str:
    """No parameters: no further words, instead of a null string taken apart."""
    call = re.compile(r"(char \*s[123] = )(strtok_r\((?:a_ptr|NULL), \",\", &saveptr\));")
    return call.sub(r"\1a_ptr ? \2 : NULL;", text)


CONVERSIONS = {"SConstruct": sconstruct, "Generator.cc": generator}


def main(folder: str, dry: bool) -> None:
    """Convert what is not converted yet."""
    for name, convert in CONVERSIONS.items():
        path = Path(folder) / name
        old = path.read_text(encoding="utf-8")
        new = convert(old)
        if new != old:
            if not dry:
                path.write_text(new, encoding="utf-8")
            print(name)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], dry="plan" in sys.argv[2:])
