"""What prints a reading: run without a shell, within a time."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from mustherd.meters.base import UnreadableError

ANSWER_S = 10.0
MOST_TOLD = 300


def printed(argv: Sequence[str], secrets: Mapping[str, str] | None = None) -> str:
    """What a command prints. Raises UnreadableError. `secrets` are put into its environment."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_S,
            check=False,
            env={**os.environ, "LC_ALL": "C", **(secrets or {})},
        )
    except subprocess.TimeoutExpired:
        raise UnreadableError(f"{argv[0]} takes longer than {ANSWER_S:g} s") from None
    except OSError as error:
        raise UnreadableError(f"{argv[0]}: {error.strerror}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).decode("utf-8", "replace").split())[-MOST_TOLD:]
        raise UnreadableError(f"{argv[0]} ended with {done.returncode}: {said or 'it said nothing'}")
    return done.stdout.decode("utf-8", "replace")
