"""How memcached's servers are laid out on a node: one or several over all pinned cores, or one per socket."""

import runpy
from pathlib import Path
from typing import Any

VALUES = runpy.run_path(str(Path(__file__).resolve().parents[2] / "common/filter_plugins/mustherd_values.py"))


def plan(  # noqa: PLR0917
    instances: int, port: int, pinned: Any, sockets: Any, threads: int, processors: int, shared: bool = False
) -> list[dict[str, Any]]:
    """One entry per server: unit, port, cores (as systemd writes them, empty for all), NUMA node, threads."""
    cores, sockets = set(VALUES["cores"](pinned)), VALUES["sockets"](sockets)
    if int(instances) == 1 or shared:
        places: list[tuple[set[int], int | None]] = [(cores, None)] * int(instances)
    else:
        if len(sockets) < int(instances):
            raise ValueError(f"{instances} servers need as many sockets, herd_sockets names {len(sockets)}")
        places = [
            (set(socket) & cores if cores else set(socket), node)
            for node, socket in enumerate(sockets[: int(instances)])
        ]
    return [
        {
            "unit": f"mustherd-memcached-{number}.service",
            "port": int(port) + number,
            "cores": " ".join(map(str, sorted(own))),
            "node": node,
            "threads": int(threads) or len(own) or int(processors),
        }
        for number, (own, node) in enumerate(places)
    ]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"memcached_mutilate_plan": plan}
