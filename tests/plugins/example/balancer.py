"""A load balancer that writes `MUSTER REQUESTS_A_SECOND` for every server into a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mustherd.keep.source import Musters, Sample, SourceError, gathered


@dataclass(frozen=True)
class BalancerOptions:
    """The keys of a `kind: balancer`."""

    file: str
    age_s: float = 1.0
    """How often the file is written."""


class Balancer:
    """`balancer`."""

    Options = BalancerOptions

    def __init__(self, options: BalancerOptions, musters: Musters) -> None:
        self._options, self._musters = options, musters

    def read(self) -> Sequence[Sample]:
        try:
            told = dict(line.split() for line in Path(self._options.file).read_text().splitlines())
        except (OSError, ValueError) as error:
            raise SourceError(f"{self._options.file}: {error}") from None
        return gathered([partial(self._of, name, told.get(name, "")) for name in self._musters()])

    def close(self) -> None:
        pass

    def _of(self, name: str, text: str) -> Sample:
        try:
            return Sample(name, "load", float(text), self._options.age_s)
        except ValueError:
            raise SourceError(f"{self._options.file}: {text!r} is no load of {name}") from None
