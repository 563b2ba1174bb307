"""Searches by name: those of this project and those that other packages add (`mustherd.searches`)."""

import contextlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from mustherd.errors import repr_of, text_of
from mustherd.learn.base import CalibratedSearch, Observation, Problem, Search, SearchKind, Settings
from mustherd.learn.noise import Noise
from mustherd.learn.space import Space
from mustherd.plugins import (
    PEERS,
    SEARCHES,
    OptionError,
    Plugin,
    PluginError,
    blaming,
    keeps,
    options_of,
    plugin,
    plugins,
    said,
)


class SearchError(Exception):
    """A search or its process broke, ended or didn't answer in time; the message holds what it said."""


class SearchGoneError(SearchError):
    """A signal ended the search's process; another one can do its work."""


def find(name: str, *, peers: bool = False) -> Plugin:
    """The search called `name`; with `peers` also one that is only there to be compared with. Raises PluginError."""
    return plugin(PEERS if peers and name not in plugins(SEARCHES) and name in plugins(PEERS) else SEARCHES, name)


def kind_of(found: Plugin) -> SearchKind:
    """What a search's name stands for. Raises PluginError when it can't be loaded or isn't a search."""
    kind = found.load()
    keeps(found, kind, Search)
    made: SearchKind = kind
    return made


def check(name: str, problem: Problem, options: Mapping[str, object], *, peers: bool = False) -> None:
    """What `make` would refuse, before anything heavy is imported: OptionError, ValueError, PluginError as there."""
    found = find(name, peers=peers)
    kind = kind_of(found)
    space = Space.of(problem.space)
    if problem.space.default is not None and not problem.space.context:
        space.index(problem.space.default)
    with _named(found):
        given = options_of(kind, options)
        look = getattr(kind, "check", None)
        if look is not None:
            look(problem, given)


def make(
    name: str,
    problem: Problem,
    *,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    peers: bool = False,
) -> Search:
    """The search called `name`.

    Args:
        name: a plug-in of `mustherd.searches`; with `peers` also one of `mustherd.peers`.
        problem: what is searched.
        seed: decides everything that is random.
        options: as the search's own `Options` describes them.

    Raises:
        ValueError: names what is wrong and what is allowed.
        PluginError: there is no such search, or it can't be loaded.
        SearchError: the search of another package broke when it was made.
    """
    check(name, problem, options or {}, peers=peers)
    found = find(name, peers=peers)
    kind = kind_of(found)
    if found.is_ours:
        return kind(problem, seed=seed, options=options_of(kind, options or {}))
    return GuardedSearch(found, kind, problem, seed, options_of(kind, options or {}))


@contextlib.contextmanager
def _named(found: Plugin) -> Iterator[None]:
    """Say of which search a complaint about options is; else it is a PluginError."""
    try:
        with blaming(f"{found.title} can't check its options", (ValueError, PluginError), PluginError):
            yield
    except OptionError:
        raise
    except ValueError as error:
        raise ValueError(f"search {found.name!r}: {error}") from None


class GuardedSearch:
    """A search of another package: what it answers is looked at before it is believed."""

    def __init__(self, found: Plugin, kind: SearchKind, problem: Problem, seed: int, options: Any) -> None:
        """SearchError when it can't be made; ValueError as its own."""
        self._title = found.title
        self._space = Space.of(problem.space)
        with self._refusing("be made"):
            self._search = kind(problem, seed=seed, options=options)

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        with self._guarded("propose"):
            point = self._search.ask(pending)
        if point is None:
            return None
        try:
            whole = {name: operator.index(value) for name, value in point.items()}
            self._space.index(whole)
        except (Exception, SystemExit) as error:  # whatever its own mapping or number raises
            what = f"{repr_of(point)}, which is no point of the space: {text_of(error)}"
            raise SearchError(f"{self._title} proposes {what}") from None
        return whole

    def tell(self, observations: Sequence[Observation]) -> None:
        with self._refusing("learn"):
            self._search.tell(observations)

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        if isinstance(self._search, CalibratedSearch):
            with self._guarded("be calibrated"):
                self._search.calibrate(noise)

    def state(self) -> dict[str, object]:
        with self._guarded("say its state"):
            state = self._search.state()
            plain: dict[str, object] = msgspec.convert(msgspec.to_builtins(state), dict[str, object])
        return plain

    def _guarded(self, what: str) -> AbstractContextManager[None]:
        return blaming(f"{self._title} can't {what}", SearchError, SearchError)

    @contextlib.contextmanager
    def _refusing(self, what: str) -> Iterator[None]:
        """The same where the interface has a ValueError, of options and observations: it stays one."""
        with blaming(f"{self._title} can't {what}", (ValueError, SearchError), SearchError):
            try:
                yield
            except ValueError as error:
                raise ValueError(f"{self._title} can't {what}: {said(error)}") from error
