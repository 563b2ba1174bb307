"""Tune: let a search find the settings with the best objective that keep every limit."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mustherd.definition import Experiment
from mustherd.definition.problem import given_points
from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.noise import Noise
from mustherd.learn.worker import SearchError, SearchProcess
from mustherd.policy.base import PolicyError


class Tune:
    """Runs the experiment's search in a process of its own."""

    compares: ClassVar[bool] = True

    def __init__(self, experiment: Experiment, problem: Problem) -> None:
        search = experiment.search
        options: dict[str, object] = {"settings": given_points(experiment)} if search.method == "one-shot" else {}
        if search.method == "gp":
            options["stop"] = search.stop
        try:
            self._search = SearchProcess(
                search.method, problem, seed=search.seed, initial=search.initial, options=options
            )
        except SearchError as error:
            raise PolicyError(str(error)) from None

    def observe(self, observations: Sequence[Observation]) -> None:
        try:
            self._search.tell(observations)
        except SearchError as error:
            raise PolicyError(str(error)) from None

    def propose(self, pending: Sequence[Settings]) -> Settings | None:
        try:
            return self._search.ask(pending)
        except SearchError as error:
            raise PolicyError(str(error)) from None

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        try:
            self._search.calibrate(noise)
        except SearchError as error:
            raise PolicyError(str(error)) from None

    def ranking(self) -> Sequence[Settings]:
        try:
            rows: Any = self._search.state().get("ranking") or []
        except SearchError as error:
            raise PolicyError(str(error)) from None
        return [row["point"] for row in rows]

    def why_enough(self) -> str:
        return str(self._search.state().get("reason") or "every setting of the space has been tried")

    def close(self) -> None:
        self._search.close()
