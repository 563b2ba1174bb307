"""A package's modules as one file, which is copied to a node, or given to its Python, in one step."""

import re
from pathlib import Path
from typing import Any

OWN = re.compile(r"^( *)from \.(\w+) import (?:\([^)]*\)|.*)$", re.MULTILINE)
"""An import of another of the modules, the only form that they may have: all are one namespace in the file."""
FUTURE = re.compile(r"^from __future__ import .*\n", re.MULTILINE)


def program(folder: str) -> str:
    """`__main__.py` and the modules that it needs, each behind those that it imports; the same text at each call.

    Read as text, not parsed: a run asks for it several times for each node.
    """
    parts: dict[str, str] = {}

    def take(module: str) -> str:
        text = Path(folder, f"{module}.py").read_text(encoding="utf-8")
        for _, other in OWN.findall(text):
            if other not in parts:
                parts[other] = ""  # its place is behind what it imports
                body = take(other)
                del parts[other]
                parts[other] = FUTURE.sub("", body)
        # A block of imports must not become empty.
        return OWN.sub(lambda found: f"{found[1]}pass" if found[1] else "", text)

    main = take("__main__")
    begins = FUTURE.search(main)
    head = main[: begins.end()] if begins else ""
    return re.sub(r"\n{4,}", "\n\n\n", "\n\n".join([head, *parts.values(), main[len(head) :]]))


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"mustherd_program": program}
