"""The program `mustherd`: its nouns, and how errors end."""

import contextlib
import copy
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from mustherd import __version__
from mustherd.cli import experiment, herd, keys, knob, load, log, muster, plugins, replay, shepherd, testbed, twin
from mustherd.cli.printing import keep_for_json, open_for_json, spell_out
from mustherd.cli.verbose import on_every_verb
from mustherd.daemon import hush, keep_descriptors, keep_others_out
from mustherd.errors import UNWRITTEN, UserError
from mustherd.extras import lacking
from mustherd.machine import given_out

FAULT = 70
"""A fault of ours, as sysexits.h numbers it."""
WRONG_REQUEST = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""The root of Typer's errors of usage, in the Click that it has of its own, or in Click itself before Typer had one."""
INTERRUPTED = 130
"""What a shell expects of a program that Ctrl-C ended: 128 + SIGINT."""

app = typer.Typer(
    name="mustherd",
    help="Run a herd of servers on the least energy that still meets its latency limit.",
    epilog="Exit codes: 0 done, 1 the verdict is 'not met', 2 a usage or definition error and nothing was changed, 3"
    " the herd failed, or a node could not be put back, 4 stopped, 70 a fault of mustherd, 74 a file or the output"
    " can't be written, or the machine gives no more files, processes or memory, 130 interrupted.",
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
app.add_typer(twin.app, name="twin")
app.command("replay")(replay.replay)
on_every_verb(app)


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


def needed(words: Sequence[str]) -> typer.Typer:
    """The program with the verbs of that noun alone which a command names; help of the whole names nouns alone.

    Typer makes every option of every verb anew for each command, which takes a third of the time of `--help`.
    """
    if "_MUSTHERD_COMPLETE" in os.environ or (len(words) > 1 and words[0].startswith("-")):
        return app
    few = copy.copy(app)
    few.registered_groups = [copy.copy(group) for group in app.registered_groups]
    for group in few.registered_groups:
        if group.name not in words[:1] and group.typer_instance is not None:
            group.typer_instance = typer.Typer(help=group.typer_instance.info.help)
    return few


def main() -> None:
    """Run the command line; every error that a user can cause is one message and an exit code."""
    keep_descriptors()
    keep_others_out()
    spell_out()
    keep_for_json(sys.argv[1:])
    code = _code()
    # What an output still holds and can't take would make the interpreter end with 120 instead.
    hush()
    sys.exit(code)


def _code() -> int:
    """What the command comes to."""
    try:
        try:
            try:
                needed(sys.argv[1:])()
            finally:
                open_for_json()
        except SystemExit as ended:
            if isinstance(ended.__context__, BrokenPipeError):
                # Typer would end with 1, 'not met'.
                raise ended.__context__ from None
            code = ended.code
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except UserError as error:
        why = given_out(error)
        _say(f"mustherd: {error.picture()}{why and f'; {why}'}")
        return error.exit_code
    except BrokenPipeError as error:
        # Whoever read us has seen enough.
        hush()
        return _wrong_request(error) or 0
    except OSError as error:
        hush()
        if code := _wrong_request(error):
            return code
        where = error.filename or "the output"
        _say(f"mustherd: {given_out(error) or f'{where}: {error.strerror or error}'}")
        return UNWRITTEN
    except Exception as error:
        if why := given_out(error):
            _say(f"mustherd: {why}")
            return UNWRITTEN
        if isinstance(error, ModuleNotFoundError) and (why := lacking(error)):
            _say(f"mustherd: {why}")
            return UserError.exit_code
        _say(f"{traceback.format_exc()}mustherd: a fault of mustherd itself: {type(error).__name__}: {error}")
        return FAULT
    return code if isinstance(code, int) else 0


def _wrong_request(error: OSError) -> int:
    """The exit code of a wrong request that could not be told, since stderr is full or nobody reads it; else 0."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, WRONG_REQUEST):
            return int(getattr(one, "exit_code", UserError.exit_code))
        one = one.__context__
    return 0


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        typer.echo(text, err=True)
