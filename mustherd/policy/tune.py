"""Tune: let a search find the settings with the best objective that keep every limit."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from mustherd.definition import Experiment
from mustherd.definition.problem import search_options
from mustherd.learn.base import CalibratedSearch, Observation, Problem, Search, Settings
from mustherd.learn.noise import Noise
from mustherd.learn.registry import SearchError, SearchGoneError
from mustherd.learn.worker import SearchProcess
from mustherd.plugins import NoOptions
from mustherd.policy.base import PolicyError

log = logging.getLogger(__name__)

RESTARTS = 5
"""How often a search whose process was killed is begun again, in one run of an experiment."""

T = TypeVar("T")


class RunningSearch(Search, CalibratedSearch, Protocol):
    """A search that is told how much equal trials differ, whether or not it can use that, and ended."""

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Tune:
    """Runs the experiment's search in a process of its own; one that is killed is begun again and told everything."""

    Options: ClassVar[type] = NoOptions
    compares: ClassVar[bool] = True

    def __init__(
        self, experiment: Experiment, problem: Problem, begin: Callable[[], RunningSearch] | None = None
    ) -> None:
        """`begin`: begins a search elsewhere than in a process of its own."""
        self._begun_elsewhere = begin
        self._default = None if problem.space.context else problem.space.default
        self._experiment = experiment
        self._problem = problem
        self._told: list[Observation] = []
        self._noise: Mapping[str, Noise] = {}
        self._restarts = 0
        with self._named():
            self._search = self._begin()

    def observe(self, observations: Sequence[Observation]) -> None:
        self._asked(lambda search: search.tell(observations))
        self._told += observations

    def observe_baseline(self, observations: Sequence[Observation]) -> None:
        # Of several loads the search knows beforehand that each has a baseline; one that goes through the whole space
        # is not to leave the default out.
        if self._default is not None and self._experiment.search.method == "gp":
            self.observe([Observation(point=self._default, metrics=o.metrics) for o in observations])

    def propose(self, pending: Sequence[Settings]) -> Settings | None:
        return self._asked(lambda search: search.ask(pending))

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        self._noise = noise
        self._asked(lambda search: search.calibrate(noise))

    def ranking(self) -> Sequence[Settings]:
        rows: Any = self._asked(lambda search: search.state()).get("ranking") or []
        return [row["point"] for row in rows]

    def why_enough(self) -> str:
        state = self._asked(lambda search: search.state())
        return str(state.get("reason") or "every setting of the space has been tried")

    def close(self) -> None:
        self._search.close()

    def _asked(self, what: Callable[[RunningSearch], T]) -> T:
        with self._named():
            while True:
                try:
                    return what(self._search)
                except SearchGoneError as error:
                    if self._restarts >= RESTARTS:
                        raise
                    self._restarts += 1
                    log.error("%s; it is begun again", error)  # noqa: TRY400 (the message says all)
                    self._begin_again()

    def _begin_again(self) -> None:
        self._search.close()
        self._search = self._begin()
        # As a resumed run tells a new search: it may be killed while it is told, too.
        with contextlib.suppress(SearchGoneError):
            if self._noise:
                self._search.calibrate(self._noise)
            if self._told:
                self._search.tell(self._told)

    def _begin(self) -> RunningSearch:
        if self._begun_elsewhere is not None:
            return self._begun_elsewhere()
        search = self._experiment.search
        return SearchProcess(search.method, self._problem, seed=search.seed, options=search_options(self._experiment))

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Turn what a search raises into an error that names it."""
        try:
            yield
        except SearchError as error:
            raise PolicyError(str(error)) from None
        except ValueError as error:
            raise PolicyError(f"search {self._experiment.search.method}: {error}") from None
