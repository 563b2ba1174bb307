"""Other libraries' searches behind our port, for comparison in the same run.

None of them is a dependency of the project: `missing` says what isn't installed.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

from mustherd.learn.search import Observation, Point, Problem


def missing(peer: str) -> str:
    """Why a peer can't take part; empty when it can."""
    needs = {"optuna-gp": ("optuna", "torch"), "optuna-tpe": ("optuna",)}.get(peer, ())
    absent = [m for m in needs if importlib.util.find_spec(m) is None]
    return f"not available: pip install {' '.join(absent)}" if absent else ""


class _Peer:
    """Takes values by their place in the ascending list, as an integer dimension."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.values = {d.name: tuple(sorted(d.values)) for d in problem.dimensions}
        self.told = 0

    def state(self) -> dict[str, object]:
        return {"reason": ""}

    def misses(self, observation: Observation) -> list[float]:
        """By how much of itself each limit is missed; 0 and less: kept."""
        return [
            (1 - observation.metrics[c.metric] / c.limit) * (1 if c.at_least else -1) for c in self.problem.constraints
        ]


class Optuna(_Peer):
    """Optuna's samplers with `constraints_func`, at their own defaults, with the first trials drawn at random."""

    def __init__(self, problem: Problem, sampler: str, seed: int) -> None:
        super().__init__(problem)
        import optuna
        from optuna.samplers import GPSampler, TPESampler

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # GPSampler and constraints_func call themselves experimental
            make: Any = GPSampler if sampler == "gp" else TPESampler
            if sampler == "gp":
                import torch

                torch.set_num_threads(1)
            chosen = make(seed=seed, constraints_func=lambda trial: trial.user_attrs["misses"])
            self.study = optuna.create_study(sampler=chosen)

    def ask(self, pending: Sequence[Point] = ()) -> Point | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.trial = self.study.ask()
            return {k: v[self.trial.suggest_int(k, 0, len(v) - 1)] for k, v in self.values.items()}

    def tell(self, observations: Sequence[Observation]) -> None:
        for observation in observations:
            self.trial.set_user_attr("misses", self.misses(observation))
            self.study.tell(self.trial, observation.metrics[self.problem.objective])


class Penalty(_Peer):
    """The reference's way: scikit-optimize at its defaults, on joules x (p99 - limit + 1) above the limit.

    It knows of no throughput guard.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem)
        from skopt import Optimizer

        self.optimizer = Optimizer(
            [(0, len(v) - 1) for v in self.values.values()], base_estimator="GP", random_state=seed
        )
        self.limit = next(c for c in problem.constraints if c.metric == "read_p99_us")

    def ask(self, pending: Sequence[Point] = ()) -> Point | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of proposing a point again
            self.at = self.optimizer.ask()
        return {k: v[int(i)] for (k, v), i in zip(self.values.items(), self.at, strict=True)}

    def tell(self, observations: Sequence[Observation]) -> None:
        for observation in observations:
            over = observation.metrics["read_p99_us"] - self.limit.limit
            value = observation.metrics[self.problem.objective] * (over + 1 if over > 0 else 1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.optimizer.tell(self.at, value)
