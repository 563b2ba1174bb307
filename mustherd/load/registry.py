"""Loads and servers by name: those of this project and those that other packages add."""

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal, cast

import msgspec

from mustherd.errors import repr_of
from mustherd.load.base import BuildsTold, LoadKind, LoadSource, LoadTraits, Site
from mustherd.load.error import LoadError
from mustherd.load.server import Preset, ServerKind
from mustherd.node.node import RunningLoad
from mustherd.plugins import LOADS, SERVERS, Plugin, PluginError, blaming, keeps, options_of, plugin, said
from mustherd.reasons import Reason
from mustherd.terms import Load, LoadReport

log = logging.getLogger(__name__)

AMOUNTS = ("read_us", "update_us", "counters", "metrics")
"""Fields of a report that are mappings."""

MOST_OVERHEAD_S = 3600.0
"""What a load's window may be said to take beside its length."""


def load_kind(found: Plugin) -> LoadKind:
    """What a load's name stands for. Raises PluginError when it can't be loaded or isn't a load."""
    kind: Any = found.load()
    if not isinstance(getattr(kind, "traits", None), LoadTraits):
        raise PluginError(f"{found.title} ({found.target}) has no `traits`: see mustherd.load.base.LoadKind")
    _sound(found, kind.traits)
    keeps(found, kind, LoadSource)
    return cast(LoadKind, kind)


def _sound(found: Plugin, traits: LoadTraits) -> None:
    """Raise PluginError for traits that hold what a load can't be: they are made without a look at their types."""
    if found.is_ours:
        return
    try:
        # Fields that a package's own class adds are its own.
        traits = msgspec.convert({field: getattr(traits, field) for field in LoadTraits.__struct_fields__}, LoadTraits)
    except msgspec.ValidationError as error:
        raise PluginError(f"{found.title} ({found.target}): its LoadTraits can't be used: {error}") from None
    if not 0 <= traits.overhead_s <= MOST_OVERHEAD_S:
        allowed = f"allowed: 0..{MOST_OVERHEAD_S:g} s"
        raise PluginError(
            f"{found.title} ({found.target}): its LoadTraits.overhead_s is {traits.overhead_s}; {allowed}"
        )


def server_kind(found: Plugin) -> Any:
    """What a server's name stands for: a class of ServerKind. Raises PluginError when it can't be loaded or isn't."""
    kind: Any = found.load()
    keeps(found, kind, ServerKind)
    presets: Any = getattr(kind, "presets", None)
    own = getattr(kind, "load", None)
    # A function that makes servers has neither, unless it was given them.
    with blaming(f"{found.title} can't say its presets", PluginError, PluginError):
        named = isinstance(presets, Mapping) and all(isinstance(name, str) for name in presets)
        known = named and all(isinstance(preset, Preset) for preset in presets.values())
    if not named:
        raise PluginError(f"{found.title} ({found.target}): its presets are no mapping of names to Presets")
    if not known:
        raise PluginError(f"{found.title} ({found.target}): its presets are no mustherd.load.server.Preset")
    if not isinstance(own, str):
        raise PluginError(f"{found.title} ({found.target}): its load is {repr_of(own)}; allowed: a load's name, or ''")
    return kind


def check(found: Plugin, options: Mapping[str, object]) -> Any:
    """The options of a load or a server as its own type. Raises OptionError, ValueError, PluginError."""
    kind: Any = server_kind(found) if found.group == SERVERS else load_kind(found)
    given = options_of(kind, options)
    look = getattr(kind, "check_options", None)
    if look is not None:
        with blaming(f"{found.title} can't check its options", ValueError, PluginError):
            look(given)
    return given


def traits_of(name: str, options: Mapping[str, object]) -> LoadTraits:
    """What is the same of all loads called `name` with these options. Raises ValueError, PluginError."""
    found = plugin(LOADS, name)
    kind: Any = load_kind(found)
    if not hasattr(kind, "traits_of"):
        traits: LoadTraits = kind.traits
        return traits
    with blaming(f"{found.title} can't say what it is with its options", ValueError, PluginError):
        told = kind.traits_of(check(found, options))
    if not isinstance(told, LoadTraits):
        raise PluginError(f"{found.title} ({found.target}): what its `traits_of` gives is no LoadTraits")
    _sound(found, told)
    return told


def declares(name: str, options: Mapping[str, object]) -> dict[str, Literal["less", "more"]]:
    """The metrics of its own that the load called `name` declares; nothing where it can't be asked."""
    try:
        kind: Any = load_kind(plugin(LOADS, name))
        told = dict(kind.declares(options)) if hasattr(kind, "declares") else {}
        return {str(metric): "more" if better == "more" else "less" for metric, better in told.items()}
    except (Exception, SystemExit) as error:  # of a package, or of options that their own check names
        log.info("load %r can't say what it measures: %s", name, said(error))
        return {}


def latencies(found: Plugin, given: Any) -> list[str] | None:
    """The latencies that reports of a load hold, as metrics; None where that shows only in a run. `given`: its options,
    as `check` gives them. Raises ValueError, PluginError."""
    kind: Any = load_kind(found)
    if not hasattr(kind, "latencies"):
        return None
    with blaming(f"{found.title} can't say which latencies it tells", ValueError, PluginError):
        return [str(metric) for metric in kind.latencies(given)]


def make(name: str, site: Site, options: Mapping[str, object]) -> LoadSource:
    """A source of the load called `name`, for a site. Raises ValueError, PluginError, LoadError."""
    found = plugin(LOADS, name)
    kind, given = load_kind(found), check(found, options)
    if kind.traits.on_node:
        raise ValueError(f"load {name!r} is a part of its node: nothing else offers it")
    if found.is_ours:
        return kind(site, given)
    return GuardedSource(found, kind, site, given)


class GuardedSource:
    """A load of another package: what it reports is looked at before it is believed."""

    def __init__(self, found: Plugin, kind: LoadKind, site: Site, options: Any) -> None:
        """LoadError when it can't be made."""
        self._title = found.title
        with self._guarded("be made"):
            self._source = kind(site, options)

    def prepare(self) -> None:
        with self._guarded("prepare"):
            self._source.prepare()

    def start(self, load: Load, seed: int) -> RunningLoad:
        with self._guarded("start"):
            return _GuardedLoad(self, self._source.start(load, seed))

    def stop(self) -> None:
        with self._guarded("stop"):
            self._source.stop()

    def check(self) -> Sequence[str]:
        with self._guarded("check itself"):
            return [str(problem) for problem in self._source.check()]

    def builds(self) -> Mapping[str, str]:
        """What its package tells of builds; nothing where it tells nothing."""
        source = self._source
        if not isinstance(source, BuildsTold):
            return {}
        with self._guarded("say what its builds are"):
            return {str(name): str(text) for name, text in source.builds().items()}

    def open(self, running: RunningLoad) -> None:
        """Open the window of a load of its own."""
        with self._guarded("open a window"):
            running.open_window()

    def close(self, running: RunningLoad) -> LoadReport:
        """Close it; the report holds numbers alone."""
        with self._guarded("close a window"):
            report = running.close_window()
        if not isinstance(report, LoadReport):
            raise self._unreadable(f"{repr_of(report)}, which is no LoadReport")
        for name in AMOUNTS:
            if not isinstance(amounts := getattr(report, name), Mapping):
                raise self._unreadable(f"{name} {repr_of(amounts)}, which is no mapping of amounts")
        numbers: dict[str, object] = {
            "t0_s": report.t0_s, "t1_s": report.t1_s, "offered_qps": report.offered_qps,
            "achieved_qps": report.achieved_qps, "requests": report.requests, "misses": report.misses,
            "samples": report.samples,
        }  # fmt: skip
        with self._guarded("say what it measured"):
            for part in AMOUNTS:
                numbers |= {f"{part}.{name}": value for name, value in getattr(report, part).items()}
        for name, value in numbers.items():
            if not _is_amount(value):
                raise self._unreadable(f"{name} {repr_of(value)}, which is no amount")
        try:
            # The store writes what it is given, and reads it back by these types: what isn't of them is lost with it.
            msgspec.convert(msgspec.to_builtins(report), LoadReport)
        except (Exception, SystemExit) as error:  # whatever its own mappings raise
            raise self._unreadable(f"what is no LoadReport: {said(error)}") from None
        if report.t1_s <= report.t0_s:
            raise self._unreadable("a window that ends before it begins")
        return report

    def _unreadable(self, what: str) -> LoadError:
        return LoadError(Reason.OUTPUT_UNREADABLE, f"{self._title} reports {what}")

    def _guarded(self, what: str) -> AbstractContextManager[None]:
        return blaming(f"{self._title} can't {what}", LoadError, partial(LoadError, Reason.LOAD_FAILED))


def _is_amount(value: object) -> bool:
    """Whether it is a number that isn't negative, and finite; a whole one has room in 63 bits, as in a message."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < 2**63 if isinstance(value, int) else 0 <= value <= sys.float_info.max


class _GuardedLoad:
    """A load of another package under way."""

    def __init__(self, source: GuardedSource, running: RunningLoad) -> None:
        self._source = source
        self._running = running

    def open_window(self) -> None:
        self._source.open(self._running)

    def close_window(self) -> LoadReport:
        return self._source.close(self._running)
