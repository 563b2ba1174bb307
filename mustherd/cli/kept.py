"""What a keeper's folder says of its herd, where it is on this machine."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from mustherd.learn.inference import Estimate


def kept_in(folder: str) -> dict[str, Any] | None:
    """Nodes and savings of the keeper in `folder`, as JSON types; None where there is none, or it can't be read here.

    `percent` and `joules` are [mean, low, high], with null for an end that isn't known yet.
    """
    from mustherd.keep.ledger import Ledger
    from mustherd.keep.store import DATABASE, KeepStore, KeepStoreError

    try:
        if not folder or not (Path(folder) / DATABASE).is_file():
            return None
        with KeepStore(Path(folder), read_only=True) as store:
            ledger = Ledger(math.inf)
            ledger.days[:] = store.days()
            nodes = store.state("nodes", dict[str, Any]) or {}
            newest = store.story(1)
    except (KeepStoreError, PermissionError):
        return None
    saved = ledger.saved()
    return {
        "nodes": nodes,
        "days": len(ledger.days),
        "pairs": saved.pairs,
        "percent": _ends(saved.percent),
        "joules": _ends(saved.joules),
        "used_cpu_s": saved.used_cpu_s,
        "used_joules": saved.used_joules,
        "newest": newest[0].text if newest else "",
    }


def print_kept(kept: dict[str, Any], terminal: "Console") -> None:
    """Print each node's mode, load and settings, and what was saved so far."""
    from mustherd.definition.knobs import value_text
    from mustherd.report.frame import emit, new_table

    table = new_table(terminal, "kept")
    for column in ("muster", "mode", "load", "settings", "why"):
        table.add_column(column)
    for name, node in sorted(kept["nodes"].items()):
        settings = ", ".join(f"{knob} {value_text(knob, value)}" for knob, value in (node["settings"] or {}).items())
        load = "not seen" if not node["load"] else f"{node['load']:,.0f}/s"
        lost = f"{node['lost']} lost" if node["lost"] else ""
        table.add_row(name, node["mode"], load, settings or "as found", node["why"] or lost)
    emit(terminal, table)
    mean, low, high = kept["percent"]
    if kept["pairs"] and low is not None:
        saved = (
            f"saved {mean:.1f} % ({low:.1f} to {high:.1f} %), {kept['joules'][0]:,.0f} J, by {kept['pairs']} controls"
        )
    else:
        saved = f"what is saved isn't known yet: {kept['pairs']} controls so far"
    used = f"{kept['used_cpu_s']:,.1f} CPU s"
    if kept["used_joules"] > 0:
        used += f" and, by its share of the nodes' busy time, {kept['used_joules']:,.1f} J"
    terminal.print(f"{saved}; MustHerd used {used}", markup=False, soft_wrap=True)
    if kept["newest"]:
        terminal.print(f"newest: {kept['newest']}", markup=False, soft_wrap=True)


def _ends(estimate: "Estimate") -> list[float | None]:
    return [value if math.isfinite(value) else None for value in (estimate.mean, estimate.low, estimate.high)]
