"""What prints a reading."""

from collections.abc import Mapping, Sequence

from mustherd import programs
from mustherd.meters.base import UnreadableError

ANSWER_S = 10.0


def printed(argv: Sequence[str], secrets: Mapping[str, str] | None = None) -> str:
    """What a command prints, in no language but C's. Raises UnreadableError. `secrets` are put into its environment."""
    try:
        return programs.printed(argv, ANSWER_S, environment={"LC_ALL": "C", **(secrets or {})})
    except programs.ProgramError as error:
        raise UnreadableError(str(error)) from None
