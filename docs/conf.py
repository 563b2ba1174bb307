"""The docs as a site: `make docs`, from a copy of this folder in build/ with the commands' own reference added.

The pages are read as they stand in the repository; a link to a file beside docs/ becomes the file's name, and one to a
file that isn't there is an error, like every warning.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#]+)(#[^)]*)?\)")

project = "MustHerd"
author = "The MustHerd developers"
release = version = _PROJECT["version"]
extensions = ["myst_parser"]
myst_heading_anchors = 4
root_doc = "index"
html_theme = "furo"
html_extra_path = ["extra"]
exclude_patterns = ["runs", "extra"]
html_title = f"MustHerd {release}"
html_show_sphinx = False
html_show_copyright = False


def _outside(page: str, text: str) -> str:
    """A page's text with links that leave docs/ as names, where there is such a file."""
    docs = _ROOT / "docs"

    def named(link: re.Match[str]) -> str:
        target = (docs / page).parent.joinpath(link[2]).resolve()
        if target.is_relative_to(docs) or not target.exists():
            return link[0]
        return f"{link[1]} (`{target.relative_to(_ROOT)}`)"

    return _LINK.sub(named, text)


def _read(_app: Any, page: str, source: list[str]) -> None:
    source[0] = _outside(f"{page}.md", source[0])


def setup(app: Any) -> None:
    """Sphinx calls it."""
    app.connect("source-read", _read)
