"""Draw docs/pictures/architecture.svg from the layers that import-linter holds: `python docs/make_architecture.py`."""

import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "architecture.svg"
WIDTH, ROOM, FLOOR, GAP = 960, 56, 74, 10

DOES = {
    "__main__": "python -m mustherd",
    "api": "what a program calls: run, resume, plan, open",
    "client": "asks a running shepherd",
    "cli": "verbs: options in, the API called, printed",
    "daemon": "signals, descriptors, its parent",
    "data": "logs and trials, to be read",
    "definition": "the experiment's file, checked",
    "errors": "what a user can cause or fix",
    "experiment": "scheduler, trials, gates, verdict",
    "extras": "what a plain install lacks",
    "fetch": "pages, within a time",
    "files": "replaced whole, durable",
    "goal": "objective and constraints",
    "guard": "files that root trusts or writes",
    "herd": "who is there, what holds: pure",
    "http_server": "for strangers, bounded",
    "keep": "settings that follow traffic, guarded",
    "locks": "one holder of a file",
    "log_lines": "a process's log",
    "learn": "searches, noise, confirmation",
    "load": "what offers requests, and to whom",
    "machine": "open files, processes, memory",
    "meters": "whole machines: BMC, PDU, wall",
    "metrics": "the catalogue of metrics",
    "muster": "the process on a node",
    "node": "knobs, meters, loggers: real and twin",
    "plugins": "entry points by name",
    "policy": "what to try next",
    "programs": "run within a time",
    "provision": "inventories, Ansible",
    "reasons": "the catalogue of reasons",
    "report": "tables, pages, pictures",
    "result": "what a run gives back",
    "rowlog": "log rows: parsed, durable, accounted",
    "sampling": "values over a window",
    "scrape": "/metrics of the daemons",
    "shepherd": "the process in the middle",
    "store": "an experiment on disk",
    "terms": "values that cross the wire",
    "testbed": "hosts to rehearse on",
    "testing": "suites of promises for plug-ins",
    "trial": "settings tried once",
    "unix_time": "a clock that only rises",
    "wire": "messages, sockets, keys",
}
"""What each package or module does; one that is not here stops the drawing."""


def layers() -> list[list[str]]:
    """The floors from the top down, each with its rooms."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    [found] = [c["layers"] for c in contracts if c["type"] == "layers"]
    return [[room.strip(" ()") for room in floor.split("|")] for floor in found]


def draw() -> str:
    """The picture as SVG: the same bytes for the same layers."""
    floors = layers()
    height = FLOOR * len(floors) + 2 * GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" role="img">',
        "<title>The packages of MustHerd; each may import what stands below it</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, rooms in enumerate(floors):
        width = (WIDTH - GAP * (len(rooms) + 1)) / len(rooms)
        y = GAP + FLOOR * number
        for place, room in enumerate(rooms):
            x = GAP + place * (width + GAP)
            middle = x + width / 2
            parts += [
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{ROOM}" rx="6"'
                ' fill="#eef3f7" stroke="#31546b"/>',
                f'<text x="{middle:.0f}" y="{y + 24}" text-anchor="middle" font-size="17" fill="#12303f">'
                f"{escape(room)}</text>",
                f'<text x="{middle:.0f}" y="{y + 43}" text-anchor="middle" font-size="12" fill="#3d5360">'
                f"{escape(DOES[room])}</text>",
            ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
