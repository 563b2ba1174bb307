"""Write the table of docs/explain/performance.md from the file that `make bench NAME=all` was printed to."""

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "explain" / "performance.md"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown, with what they were measured on."""
    machine = found["machine"]
    lines = [
        f"{found['began'][:10]}, {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python"
        f" {machine['python']}; load average before each at most {max(found['load_average_before'].values()):.1f}.",
        "",
        "| what | figure | goal | |",
        "| --- | --- | --- | --- |",
    ]
    for row in found["figures"]:
        bound = f"at most {number(row['most'])}" if "most" in row else f"at least {number(row['least'])}"
        met = {True: "met", False: "**missed**", None: "not measured"}[row["met"]]
        figure = "" if row["figure"] is None else f"{number(row['figure'])} {row['unit']}".rstrip()
        lines.append(f"| {row['what']} (`{row['benchmark']}`) | {figure} | {bound} | {met} |")
    return "\n".join(lines)


def number(value: float) -> str:
    """Three digits, with thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def written(page: str, found: dict[str, Any]) -> str:
    """The page with its table made anew."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{table(found)}\n\n{END}{tail}"


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), told), encoding="utf-8")
