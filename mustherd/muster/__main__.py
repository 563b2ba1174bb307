"""`python -m mustherd.muster`: the daemon itself, with none of the command line's weight in its memory."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from mustherd.daemon import end_with, log_to_stderr, on_stop_signal
from mustherd.errors import UserError
from mustherd.muster.service import serve


def main() -> int:
    """Run a muster; errors are one line."""
    parser = argparse.ArgumentParser(prog="mustherd muster run")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    log_to_stderr(logging.DEBUG if options.verbose else logging.INFO)

    def ready(stop: Callable[[], None]) -> None:
        on_stop_signal(stop)
        if options.parent:
            end_with(options.parent)

    try:
        return serve(options.config, ready)
    except UserError as error:
        print(f"mustherd: {error}", file=sys.stderr)  # noqa: T201 (the one message of a command that can't start)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
