"""A meter that prints `channel,watts` for every machine of a rack into a file."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from mustherd.meters.base import Traits, UnreadableError


class RackOptions(Traits, frozen=True, kw_only=True):
    """The keys of a `kind: rack`."""

    file: str
    channel: Annotated[int, msgspec.Meta(ge=1, le=48)]
    resolution: float = 0.1
    accuracy_percent: float = 1.0


class Rack:
    """`rack`."""

    Options = RackOptions
    quantity: Literal["watts"] = "watts"

    def __init__(self, options: RackOptions) -> None:
        self._options = options

    def read(self) -> float:
        try:
            lines = Path(self._options.file).read_text().splitlines()
            told = dict(line.split(",") for line in lines)
            return float(told[str(self._options.channel)])
        except (OSError, ValueError, KeyError) as error:
            raise UnreadableError(f"channel {self._options.channel}: {type(error).__name__}: {error}") from None
