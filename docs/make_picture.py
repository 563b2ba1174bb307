"""Draw docs/pictures/quickstart.svg, the README's picture, from a finished quickstart: make picture."""

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from mustherd.report.frame import emit
from mustherd.report.table import trials_table, verdict_panel
from mustherd.report.view import View
from mustherd.store.store import Store

TRIALS = 14
"""Trials shown: the last ones, with the confirmation among them."""


def draw(folder: Path, target: Path) -> None:
    """Draw the end of the experiment in a folder, as a terminal shows it."""
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True, highlight=False)
    with Store.open(folder, read_only=True) as store:
        view = View.of(store)
        emit(console, trials_table(view, console, view.latest(TRIALS)), verdict_panel(view, console))
    svg = console.export_svg(title="mustherd experiment start", unique_id="quickstart")
    # The page that shows the picture fetches no fonts for it.
    target.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(__file__).parent / "pictures" / "quickstart.svg")
