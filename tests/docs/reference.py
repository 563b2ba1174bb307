"""The parts of docs/reference that are made from the code.

`python -m tests.docs.reference` writes them anew between the files' marks.
"""

import json
from pathlib import Path

from mustherd import metrics, reasons
from mustherd.definition.schema import Key, keys
from mustherd.definition.units import number_text
from mustherd.metrics import Use
from tests.docs import python_reference

FOLDER = Path(__file__).parents[2] / "docs/reference"


def key_table() -> str:
    """Every key with its default, unit, what is allowed and what it means."""
    lines = ["| key | default | unit | allowed | meaning |", "| --- | --- | --- | --- | --- |"]
    for key in keys():
        cells = (f"`{key.name}`", _default(key), key.unit, _cell(key.allowed), _cell(key.meaning))
        lines.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join(lines)


def metric_table() -> str:
    """Every metric with its unit and meaning."""
    lines = ["| metric | unit | objective | meaning |", "| --- | --- | --- | --- |"]
    for name, metric in metrics.OURS.items():
        if metric.use is Use.REPORT:
            continue
        sense = metric.direction.sense if metric.use is Use.OBJECTIVE else "no"
        cells = (f"`{name}`", metric.unit or "count", sense, metric.meaning)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES = {
    "experiment.md": {"keys": key_table, "metrics": metric_table},
    "reasons.md": {"reasons": reasons.table},
    "python.md": python_reference.TABLES,
}
"""File to the tables between its marks."""


def filled(file: str) -> str:
    """A file's text with its tables made anew."""
    text = (FOLDER / file).read_text(encoding="utf-8")
    for name, table in TABLES[file].items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        head, _, rest = text.partition(begin)
        tail = rest.partition(end)[2]
        text = head + begin + table() + end + tail
    return text


def _default(key: Key) -> str:
    if key.required:
        return "**needed**"
    if key.allowed.startswith("a mapping with") and key.default is None:
        return ""
    if key.default is None:
        return "none"
    if isinstance(key.default, float):
        return f"`{number_text(key.default)}`"
    return f"`{key.default if isinstance(key.default, str) else json.dumps(key.default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for file in TABLES:
        (FOLDER / file).write_text(filled(file), encoding="utf-8")
