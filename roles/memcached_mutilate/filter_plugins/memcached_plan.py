"""How memcached's servers are laid out on a node: one over all pinned cores, or one per socket."""

from collections.abc import Sequence
from typing import Any


def _cores(text: str) -> set[int]:
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in str(text).split(","))):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return found


def plan(  # noqa: PLR0917
    instances: int, port: int, pinned: str, sockets: Sequence[str], threads: int, processors: int
) -> list[dict[str, Any]]:
    """One entry per server: unit, port, cores (as systemd writes them, empty for all), NUMA node, threads."""
    cores = _cores(pinned)
    if int(instances) == 1:
        places: list[tuple[set[int], int | None]] = [(cores, None)]
    else:
        if len(sockets) < int(instances):
            raise ValueError(f"{instances} servers need as many sockets, herd_sockets names {len(sockets)}")
        places = [
            ((_cores(text) & cores) if cores else _cores(text), node)
            for node, text in enumerate(sockets[: int(instances)])
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
