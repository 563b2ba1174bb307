"""What an experiment was measured with: builds, drivers, firmware, variables, the definition's commit.

It is gathered at the start of every run and kept in the folder's journal, part by part: the program, the definition,
the inventory, each muster's node, each muster's load. A part is written down again only where it differs from what was
kept of it, and what differs is named.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from mustherd.store.records import Event
from mustherd.store.store import Store
from mustherd.terms import Facts

KEPT, CHANGED = "provenance", "provenance-changed"
"""Kinds of the journal's lines."""

PROGRAM, DEFINITION, INVENTORY = "program", "definition", "inventory"
ROW_PARSER = "row_parser"
"""Of the program: what parses log rows where the shepherd runs, c or arrow."""
"""Parts that are no muster's."""

LOAD_OF = "load of "
"""Before a muster's name: who loads it, and what it is that is loaded."""

NODE = (
    "kind", "cpu", "cores", "packages", "cpu_model", "microcode", "product", "bios", "kernel", "kernel_build",
    "kernel_command_line", "frequency_driver", "idle_driver", "smt", "turbo", "reserved_cpus",
    "interface", "nic_driver", "nic_driver_version", "nic_driver_build", "nic_firmware", "nic_bus", "link_mbps",
    "energy", "server", "server_build",
)  # fmt: skip
"""Facts that say which machine it is and what runs on it; the others are what it happens to be at."""

MOST_NAMED = 8
"""Differences that a sentence names; the others are counted."""

Part = Mapping[str, str]
Provenance = dict[str, dict[str, str]]
"""Part to name to what was found."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not what it was."""

    part: str
    name: str
    before: str
    """Empty where it was not there."""
    now: str

    def text(self) -> str:
        """In words."""
        return f"{self.part}: {self.name} is {self.now or 'gone'}, was {self.before or 'not there'}"


def of_node(facts: Facts) -> dict[str, str]:
    """What identifies a muster's node."""
    told = facts.rows()
    return {name: told[name] for name in NODE if name in told}


def keep(store: Store, parts: Mapping[str, Part]) -> list[Difference]:
    """Write down each part that isn't what was kept of it; gives what differs. StoreError."""
    before = kept_in(store)
    differing: list[Difference] = []
    for part, found in parts.items():
        kept = before.get(part)
        if kept == found:
            continue
        changed = [] if kept is None else differences({part: kept}, {part: found})
        text = f"kept of {part}: {_short(found)}" if kept is None else f"not as before: {said(changed)}"
        store.event(KEPT if kept is None else CHANGED, text, {"part": part, "found": dict(found)})
        differing += changed
    return differing


def kept_in(store: Store) -> Provenance:
    """What was kept last of each part, as far as it can be read. StoreError."""
    return read(store.events(kinds=(KEPT, CHANGED), left_out=[]))


def read(events: Iterable[Event]) -> Provenance:
    """What was kept last of each part."""
    found: Provenance = {}
    for event in events:
        match event.data:
            case {"part": str(part), "found": dict(told)} if event.kind in (KEPT, CHANGED):
                found[part] = {str(name): str(text) for name, text in told.items()}
    return found


def changes(events: Iterable[Event]) -> list[str]:
    """What changed from one run to another of the same experiment, a sentence each, oldest first."""
    return [event.text for event in events if event.kind == CHANGED]


def differences(before: Mapping[str, Part], now: Mapping[str, Part]) -> list[Difference]:
    """What differs between two, in parts that both have."""
    return [
        Difference(part=part, name=name, before=before[part].get(name, ""), now=found.get(name, ""))
        for part, found in now.items()
        if part in before
        for name in dict.fromkeys((*before[part], *found))
        if before[part].get(name, "") != found.get(name, "")
    ]


def between_days(before: Mapping[str, Part], now: Mapping[str, Part]) -> list[Difference]:
    """What differs between an experiment and another day of it, whose definition was made from the first one's."""
    return differences({part: found for part, found in before.items() if part != DEFINITION}, now)


def said(differing: Sequence[Difference]) -> str:
    """Differences in a sentence."""
    more = len(differing) - MOST_NAMED
    parts = [one.text() for one in differing[:MOST_NAMED]]
    return "; ".join([*parts, f"and {more} more"] if more > 0 else parts)


def table(of: Sequence[Provenance], differs: Callable[[Sequence[str]], bool] | None = None) -> dict[str, list[str]]:
    """Several beside one another: `PART: NAME` to what each has, '' where it has none. `differs` chooses rows."""
    keys = dict.fromkeys((part, name) for one in of for part, found in one.items() for name in found)
    rows = {f"{part}: {name}": [one.get(part, {}).get(name, "") for one in of] for part, name in keys}
    return {key: row for key, row in rows.items() if differs is None or differs(row)}


def not_alike(row: Sequence[str]) -> bool:
    """Whether the values of a row of `table` differ."""
    return len(set(row)) > 1


def _short(found: Part) -> str:
    shown = ", ".join(f"{name} {text}" for name, text in list(found.items())[:4])
    return (shown[:200] or "nothing is known") + (", ..." if len(found) > 4 else "")
