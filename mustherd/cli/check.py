"""`mustherd experiment check`, and the options by which a run says otherwise than its inventory."""

from pathlib import Path
from typing import Annotated

import typer

from mustherd.cli.changed import Name, Seed, Set, asked, words
from mustherd.cli.printing import Progress, console, ends_with, print_json
from mustherd.wire.members import MAX_MUSTERS

Listen = Annotated[
    str | None, typer.Option(help="Address the shepherd listens on; without it the inventory's, else loopback.")
]
Keys = Annotated[Path | None, typer.Option(help="Key folder; without it where the inventory's roles put them.")]
Musters = Annotated[
    int | None,
    typer.Option(min=1, max=MAX_MUSTERS, help="How many musters to wait for; without it all of the inventory's."),
]


def check(
    definition: Annotated[Path, typer.Argument(metavar="FILE.yml", help="The definition.")],
    listen: Listen = None,
    keys: Keys = None,
    musters: Musters = None,
    sets: Set = None,
    seed: Seed = None,
    name: Name = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Try every link that an experiment needs, without load: keys, ports, logins, builds, servers, musters, knobs.

    Knobs are read and written back to the same values. `start` does the same first. Exit code 1 when a link is wrong.
    """
    import msgspec

    from mustherd import api
    from mustherd.experiment.links import Link, said

    terminal = console()
    wanted = asked(definition, words(sets, seed, name)) or definition
    progress = Progress()

    def tell(link: Link) -> None:
        if not json:
            style = {"ok": "green", "wrong": "red"}.get(link.state, "yellow")
            line = f"{link.state}: {said(link)}"
            progress.tell(lambda: terminal.print(line, markup=False, style=style, soft_wrap=True))

    tried = api.links(wanted, listen=listen, keys=keys, musters=musters, tell=tell)
    with ends_with(1 if any(link.state == "wrong" for link in tried) else 0):
        progress.end()
        if json:
            print_json([msgspec.to_builtins(link) for link in tried])
        elif not tried:
            terminal.print("ok: the definition is sound, and its herd needs no link beyond this machine")
