"""`python -m mustherd.muster`: the daemon itself, with none of the command line's weight in its memory."""

import argparse
import contextlib
import logging
import sys
from argparse import HelpFormatter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mustherd.daemon import StopSignals, end_with, hush, keep_descriptors, keep_others_out
from mustherd.errors import UNWRITTEN, UserError
from mustherd.log_lines import log_to_stderr
from mustherd.machine import MUSTER_FILES, given_out, need_files
from mustherd.muster import nodes
from mustherd.muster.config import load
from mustherd.muster.restore import restore
from mustherd.muster.service import serve


def main() -> int:
    """Run a muster; errors are one line."""
    keep_descriptors()
    keep_others_out()
    # With a width of its own: to ask the terminal for it, at each argument, argparse loads shutil, see `files`.
    parser = argparse.ArgumentParser(prog="mustherd muster run", formatter_class=partial(HelpFormatter, width=80))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--restore", action="store_true", help="only put back what a former life left changed")
    parser.add_argument(
        "--check", action="store_true", help="only say whether the configuration can be used, and whose"
    )
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    log_to_stderr(logging.DEBUG if options.verbose else logging.INFO)
    signals = None

    def ready(stop: Callable[[], None]) -> None:
        nonlocal signals
        signals = StopSignals(stop)
        if options.parent:
            end_with(options.parent)

    try:
        if options.check:
            config = load(options.config)
            nodes.check(config, options.config)
            print(config.muster)  # noqa: T201 (what was asked for)
            return 0
        if options.restore:
            return restore(options.config).exit_code
        need_files(MUSTER_FILES, "a muster")
        code = serve(options.config, ready)
        return signals.exit_code(code) if signals is not None else code
    except UserError as error:
        _say(str(error))
        return error.exit_code
    except Exception as error:
        if why := given_out(error):
            _say(why)
            return UNWRITTEN
        raise


def _say(text: str) -> None:
    """The one message of a command that can't start, in one line, which who started it looks for at its log's end;
    whether it can be told or not, the exit code is."""
    text = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    with contextlib.suppress(OSError):
        print(f"mustherd: {text}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    code = main()
    # What a log that is full did not take would make the interpreter end with 120 instead.
    hush()
    sys.exit(code)
