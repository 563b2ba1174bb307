"""Manual pages are what the commands' own help says, whole, and plain roff."""

import re
import runpy
from typing import Any

import typer

from mustherd.cli.app import app
from tests.docs.pages import ROOT

MADE = runpy.run_path(str(ROOT / "docs" / "make_man.py"))
PAGES: dict[str, str] = MADE["pages"]()
COMMAND: Any = typer.main.get_command(app)


def test_they_are_as_the_commands_are_now() -> None:
    written = {path.name: path.read_text() for path in (ROOT / "docs" / "man").iterdir()}
    assert written == PAGES, "write them again: python docs/make_man.py"


def test_every_verb_has_its_place_and_every_option_its_meaning() -> None:
    for noun, command in COMMAND.commands.items():
        page = PAGES[f"mustherd-{noun}.1"].replace("\\-", "-")
        for name, verb in getattr(command, "commands", {noun: command}).items():
            part = page if verb is command else page.split(f".SS mustherd {noun} {name}")[1].split("\n.SS ")[0]
            for param in verb.params:
                assert param.hidden or param.opts[0] in part or param.param_type_name == "argument", (name, param.opts)
    assert "mustherd-experiment(1)" in PAGES["mustherd.1"].replace("\\-", "-")
    assert "70 a fault of mustherd" in PAGES["mustherd.1"]


def test_no_line_is_a_request_by_chance() -> None:
    for page in PAGES.values():
        for line in page.splitlines():
            assert re.match(r"\.(TH|SH|SS|TP|B|PP)( |$)|[^.']", line), line
            assert "\\" not in re.sub(r"\\(-|&|e|\(ga|\(aq)", "", line), line
