"""`mustherd experiment`: from a definition to a verdict."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="From a definition to a verdict.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def start() -> None:
    """x"""
    import json
    import time

    from mustherd.cli.local_herd import LocalHerd
    from mustherd.lab.store import Store
    from mustherd.lab.verdict import summary
    from mustherd.spec import digest, loads, quickstart
    from mustherd.spec.identity import content

    text = quickstart()
    exp = loads(text, "quickstart")
    folder = Path("/tmp/exps") / f"{exp.name}-{int(time.time())}"
    store = Store.create(folder, name=exp.name, definition=text, resolved=content(exp), digest=digest(exp))
    with LocalHerd(folder, exp, listen="127.0.0.1", ports="0,0,0,0", keys=None) as herd:
        herd.start(exp.herd.simulated.musters)
        code = herd.result()
    print(json.dumps(summary(store), indent=1))
    raise typer.Exit(code)
