"""What is told of experiments side by side, line by line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mustherd import metrics
from mustherd.report.labels import clean


def told_apart(named: Sequence[tuple[str, str]]) -> list[str]:
    """What experiments are called beside one another, of their names and folders: two of one name by their folders."""
    names = [name for name, _ in named]
    ends = [name if names.count(name) == 1 else Path(folder).name for name, folder in named]
    return [end if ends.count(end) == 1 else folder for end, (_, folder) in zip(ends, named, strict=True)]


def compare_lines(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The names of experiments (the rows of mustherd.report.compare), and what is told of each, line by line."""
    shown = told_apart([(str(row["experiment"]), str(row["folder"])) for row in rows])
    objectives = {str(row["objective"]): metrics.of(str(row["objective"])) for row in rows}
    one = next(iter(objectives.values())) if len(objectives) == 1 else None
    # Where they are after different things, each value says what it is of.
    best = (f"best {one.title}", "best_text_objective") if one else ("best", "best_text_quantity")
    default = ("default", "default_text_objective" if one else "default_text_quantity")
    improvements = {metric.direction.improvement for metric in objectives.values()}
    lines: list[tuple[str, str]] = [
        ("status", "status"), ("verdict", "verdict"), ("best knobs", "best_text"), best, default,
        ("all windows", "total_text"), ("windows within limits", "kept_text"),
        (" or ".join(sorted(improvements, reverse=True)), "saving_text"), ("best read p99 (us)", "p99_text"),
        ("limits", "limits_text"),
        ("found at trial", "found_at_trial"), ("trials finished", "finished"), ("trials in all", "attempts"),
        ("wall time", "wall_text"),
    ]  # fmt: skip
    table = [(name, ["" if row[key] is None else clean(str(row[key])) for row in rows]) for name, key in lines]
    # A search has no sum over its windows, and what follows a load has no best: lines of neither are left out.
    return shown, [(name, cells) for name, cells in table if any(cells)]
