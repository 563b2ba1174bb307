"""`mustherd herd doctor -i`: all nodes of an inventory side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mustherd.cli.printing import console, ends_with, print_json

if TYPE_CHECKING:
    from mustherd.definition import Experiment
    from mustherd.provision.doctor import Examined


def examine_herd(inventory: Path, definition: Path | None, *, json: bool) -> None:
    """Print what the nodes' own doctors find, a column each; ends with exit code 1 when something is wrong."""
    from mustherd import api
    from mustherd.node.linux.doctor import Status
    from mustherd.provision.doctor import examine

    nodes = examine(inventory, _needs(api.check(definition)) if definition is not None else {})
    wrong = any(node.error or any(c.status is Status.WRONG for c in node.checks) for node in nodes)
    with ends_with(int(wrong)):
        _print(nodes, json=json)


def _print(nodes: "Sequence[Examined]", *, json: bool) -> None:
    import msgspec
    from rich.text import Text

    from mustherd.node.linux.doctor import Status
    from mustherd.provision.doctor import rows
    from mustherd.report.frame import emit, new_table

    if json:
        print_json({node.node: {"error": node.error, "checks": msgspec.to_builtins(node.checks)} for node in nodes})
        return
    terminal = console()
    styles = {Status.OK: "green", Status.WRONG: "red", Status.UNKNOWN: "yellow"}
    table = new_table(terminal)
    for column in ("check", "wanted", *(node.node for node in nodes)):
        table.add_column(column)
    for name, found in rows(nodes):
        cells = []
        for node in nodes:
            check = found.get(node.node)
            cells.append(Text(f"{check.status}: {check.found}", style=styles[check.status]) if check else Text(""))
        table.add_row(name, next(iter(found.values())).wanted, *cells)
    emit(terminal, table)
    for node in nodes:
        if node.error:
            terminal.print(f"{node.node}: {node.error}", markup=False, style="red")


def _needs(experiment: "Experiment") -> dict[str, Any]:
    """What a definition needs of its nodes, as keys of Wanted."""
    from mustherd.definition import goal

    knobs = {key.partition("@")[0] for key in (*experiment.knobs, *experiment.baseline.settings)}
    energy = any("joules" in metric or "watts" in metric for metric in goal(experiment).metrics)
    return {"itr_delay": "itr-delay" in knobs, "dvfs": "dvfs" in knobs, "energy": energy}
