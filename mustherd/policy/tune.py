"""Tune: let a search find the settings with the best objective that keep every limit."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from mustherd.definition import Experiment
from mustherd.definition.problem import search_options
from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.noise import Noise
from mustherd.learn.registry import SearchError
from mustherd.learn.worker import SearchProcess
from mustherd.plugins import NoOptions
from mustherd.policy.base import PolicyError


class Tune:
    """Runs the experiment's search in a process of its own."""

    Options = NoOptions
    compares: ClassVar[bool] = True

    def __init__(self, experiment: Experiment, problem: Problem) -> None:
        search = experiment.search
        self._name = search.method
        with self._told():
            self._search = SearchProcess(search.method, problem, seed=search.seed, options=search_options(experiment))

    def observe(self, observations: Sequence[Observation]) -> None:
        with self._told():
            self._search.tell(observations)

    def propose(self, pending: Sequence[Settings]) -> Settings | None:
        with self._told():
            return self._search.ask(pending)

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        with self._told():
            self._search.calibrate(noise)

    def ranking(self) -> Sequence[Settings]:
        with self._told():
            rows: Any = self._search.state().get("ranking") or []
            return [row["point"] for row in rows]

    def why_enough(self) -> str:
        with self._told():
            return str(self._search.state().get("reason") or "every setting of the space has been tried")

    def close(self) -> None:
        self._search.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What a search says against a request, as the policy's own error."""
        try:
            yield
        except SearchError as error:
            raise PolicyError(str(error)) from None
        except ValueError as error:
            raise PolicyError(f"search {self._name}: {error}") from None
