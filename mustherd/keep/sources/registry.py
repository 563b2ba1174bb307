"""Sources of signals by name: those of this project and those that other packages add (`mustherd.sources`)."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mustherd.errors import UserError
from mustherd.keep.events import SIGNALS
from mustherd.keep.source import Counted, Musters, Sample, Source, SourceError, WindowSource
from mustherd.plugins import (
    SOURCES,
    OptionError,
    Plugin,
    PluginError,
    blaming,
    keeps,
    number,
    options_of,
    plugin,
    plugins,
    said,
)

KIND = "kind"

log = logging.getLogger(__name__)


class SourceConfigError(UserError):
    """A source in a keeper's file can't be made; the message says which and why."""

    exit_code = 3


def source_kind(found: Plugin) -> Any:
    """The class that a source's name stands for. Raises PluginError."""
    kind = found.load()
    keeps(found, kind, Source)
    return kind


def make(given: Sequence[Mapping[str, Any]], musters: Musters, counted: Counted | None = None) -> list[Source]:
    """The sources that a keeper's file names; `counted` is what one may learn from. Raises SourceConfigError."""
    made = []
    for index, one in enumerate(given):
        name = one.get(KIND)
        try:
            source = _made(name, {key: value for key, value in one.items() if key != KIND}, musters)
            if isinstance(source, WindowSource):
                source.learn(counted or {})
            made.append(source)
        except (PluginError, ValueError) as error:
            place = f"sources[{index}]" + (f" ({name})" if isinstance(name, str) else "")
            raise SourceConfigError(f"{place}: {error}") from None
    return made


def _made(name: object, options: Mapping[str, Any], musters: Musters) -> Source:
    if not isinstance(name, str):
        raise OptionError("which kind of source is it?", (KIND,), allowed=", ".join(plugins(SOURCES)))
    found = plugin(SOURCES, name)
    kind = source_kind(found)
    with blaming(f"{found.title} can't be made", (ValueError, UserError), PluginError):
        source: Source = kind(options_of(kind, options), musters)
    return source if found.is_ours else _Guarded(found, source)


class _Guarded(Source):
    """A source of another package: whatever it raises is said, and what it gives are numbers of known signals."""

    Options = object

    def __init__(self, found: Plugin, source: Source) -> None:
        self._title, self._source = found.title, source

    def read(self) -> Sequence[Sample]:
        with blaming(self._title, SourceError, SourceError):
            return [_checked(*sample) for sample in self._source.read()]

    def close(self) -> None:
        try:
            self._source.close()
        except (Exception, SystemExit) as error:  # the keeper's last words and its state come after it
            log.warning("%s can't be closed: %s", self._title, said(error))


def _checked(node: Any, signal: Any, value: Any, age_s: Any = 0.0) -> Sample:
    """ValueError for what no keeper could use."""
    if signal not in SIGNALS:
        raise ValueError(f"signal {signal!r} is none of {', '.join(SIGNALS)}")
    sample = Sample(str(node), signal, number(value), number(age_s))
    if not (math.isfinite(sample.value) and sample.value >= 0 and sample.age_s >= 0):
        raise ValueError(f"{sample.node}: {signal} {value!r}, {age_s!r} s old")
    return sample
