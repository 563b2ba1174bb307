"""What is told of experiments side by side, line by line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mustherd import metrics
from mustherd.report.labels import clean


def compare_lines(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The names of experiments (the rows of mustherd.report.compare), and what is told of each, line by line."""
    names = [str(row["experiment"]) for row in rows]
    # Two of one name are told apart by their folders.
    shown = [
        name if names.count(name) == 1 else Path(str(row["folder"])).name for name, row in zip(names, rows, strict=True)
    ]
    objective = next((str(row["objective"]) for row in rows), "energy_joules")
    lines: list[tuple[str, str]] = [
        ("status", "status"), ("verdict", "verdict"), ("best knobs", "best_text"),
        (f"best {metrics.of(objective).title}", "best_text_objective"), ("default", "default_text_objective"),
        (f"all windows, {metrics.of(objective).title}", "total_text"), ("windows within limits", "kept_text"),
        (metrics.of(objective).direction.improvement, "saving_text"), ("best read p99 (us)", "p99_text"),
        ("limits", "limits_text"),
        ("found at trial", "found_at_trial"), ("trials finished", "finished"), ("trials in all", "attempts"),
        ("wall time", "wall_text"),
    ]  # fmt: skip
    table = [(name, ["" if row[key] is None else clean(str(row[key])) for row in rows]) for name, key in lines]
    # A search has no sum over its windows, and what follows a load has no best: lines of neither are left out.
    return shown, [(name, cells) for name, cells in table if any(cells)]
