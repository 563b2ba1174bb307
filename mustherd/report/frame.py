"""What every table has: its style, and how it is printed. A muster's node has no more than this, so nothing else comes
with it.
"""

import io

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from mustherd.report.labels import clean

PIPED_WIDTH = 1000
"""Columns that a table may take where nobody looks at a window: nothing is cut or wrapped."""


def is_plain(console: Console) -> bool:
    """Whether the output goes to a file or another program."""
    return not console.is_terminal


def emit(console: Console, *parts: RenderableType) -> None:
    """Print `parts`; piped text is neither cut nor wrapped and has no trailing blanks."""
    if not is_plain(console):
        console.print(*parts, sep="\n")
        return
    wide = Console(file=io.StringIO(), width=PIPED_WIDTH, color_system=None, highlight=False, markup=False)
    with wide.capture() as captured:
        wide.print(*parts, sep="\n")
    for line in captured.get().splitlines():
        console.file.write(line.rstrip() + "\n")


def new_table(console: Console, caption: str = "") -> Table:
    """An empty table in the style of the house."""
    if is_plain(console):
        return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    return Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        title=Text(clean(caption)) if caption else None,
        title_justify="left",
        title_style="bold",
    )
