"""The program `mustherd`: its nouns, and how errors end."""

import os
import sys
from typing import Annotated

import typer

from mustherd import __version__
from mustherd.cli import experiment, herd, keys, knob, load, log, muster, plugins, replay, shepherd, testbed
from mustherd.errors import UserError

INTERRUPTED = 130
"""What a shell expects of a program that Ctrl-C ended: 128 + SIGINT."""

app = typer.Typer(
    name="mustherd",
    help="Run a herd of servers on the least energy that still meets its latency limit.",
    epilog="Exit codes: 0 done, 1 the verdict is 'not met', 2 a usage or definition error, 3 the herd failed.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(experiment.app, name="experiment")
app.add_typer(herd.app, name="herd")
app.add_typer(knob.app, name="knob")
app.add_typer(load.app, name="load")
app.add_typer(log.app, name="log")
app.add_typer(muster.app, name="muster")
app.add_typer(shepherd.app, name="shepherd")
app.add_typer(keys.app, name="keys")
app.add_typer(testbed.app, name="testbed")
app.add_typer(plugins.app, name="plugins")
app.command("replay")(replay.replay)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mustherd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every error that a user can cause is one message and an exit code."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read us has seen enough; the interpreter's own flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except UserError as error:
        typer.echo(f"mustherd: {error.picture()}", err=True)
        sys.exit(error.exit_code)
