"""Searches of other libraries behind our port, to be compared with in a replay (`mustherd.peers`).

None of them is a dependency (`pip install 'mustherd[peers]'` installs them all). They run at their own defaults, which
lets them propose a point again; a discrete knob is an integer dimension to them, by the value's place among the others,
and where the space has a hole they get its nearest point instead.
"""

import importlib.util
import logging
import warnings
from collections.abc import Sequence
from typing import Any

from mustherd.learn.base import Observation, Problem, Search, Settings
from mustherd.learn.initial_design import corners
from mustherd.learn.space import Space

INITIAL = 3
"""As many as mustherd.learn.gp lays out."""


class _Peer:
    """What the peers have in common: the knobs' values by their places."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.values = {
            d.name: tuple(sorted({*(d.values or range(d.low, d.high + 1, d.step)), *d.categories}))
            for d in problem.space.dimensions
        }
        self.space = Space.of(problem.space)

    def state(self) -> dict[str, object]:
        return {"reason": ""}

    def first(self) -> list[Settings]:
        """The points that our own search begins with."""
        found: list[Settings] = []
        for point in corners(self.problem, self.space):
            found += [point] if point not in found else []
        return found[:INITIAL]

    def misses(self, observation: Observation) -> list[float]:
        """By how much of itself each limit is missed; 0 and less: kept."""
        return [
            (1 - observation.metrics[c.metric] / c.limit) * (1 if c.at_least else -1) for c in self.problem.goal.aimed
        ]


class Optuna(_Peer):
    """Optuna's samplers with `constraints_func`; the first trials are drawn at random, as they do it.

    Or it is `started` with the points that our own search begins with, and goes on by its model from there: then what
    differs is the model, not what is known of servers.
    """

    def __init__(self, problem: Problem, sampler: str, seed: int, *, started: bool = False) -> None:
        """ValueError when its packages are missing."""
        super().__init__(problem)
        _need(sampler)
        import optuna  # noqa: PLC0415
        from optuna.samplers import GPSampler, TPESampler  # noqa: PLC0415

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # GPSampler and constraints_func call themselves experimental
            kind: Any = GPSampler if sampler == "gp" else TPESampler
            if sampler == "gp":
                import torch  # noqa: PLC0415

                torch.set_num_threads(1)
            first = self.first() if started else []
            begins = {"n_startup_trials": len(first)} if first else {}
            chosen = kind(seed=seed, constraints_func=lambda trial: trial.user_attrs["misses"], **begins)
            self._study: Any = optuna.create_study(sampler=chosen)
            for point in first:
                self._study.enqueue_trial({k: v.index(point[k]) for k, v in self.values.items()})

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:  # noqa: ARG002
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._trial = self._study.ask()
            chosen = {k: float(v[self._trial.suggest_int(k, 0, len(v) - 1)]) for k, v in self.values.items()}
        return self.space.nearest(chosen)

    def tell(self, observations: Sequence[Observation]) -> None:
        for observation in observations:
            self._trial.set_user_attr("misses", self.misses(observation))
            self._study.tell(self._trial, self.problem.cost(observation))


class _OptunaKind:
    """Makes Optuna's search with one of its samplers."""

    def __init__(self, sampler: str, *, started: bool = False) -> None:
        self._sampler = sampler
        self._started = started

    def check(self, problem: Problem, options: None) -> None:  # noqa: ARG002 - the interface's
        """ValueError when its packages are missing."""
        _need(self._sampler)

    def __call__(self, problem: Problem, *, seed: int, options: None = None) -> Search:  # noqa: ARG002
        return Optuna(problem, self._sampler, seed, started=self._started)


optuna_gp = _OptunaKind("gp")
optuna_gp_started = _OptunaKind("gp", started=True)
optuna_tpe = _OptunaKind("tpe")


def _need(sampler: str) -> None:
    _need_packages(*(("optuna", "torch") if sampler == "gp" else ("optuna",)))


def _need_packages(*packages: str) -> None:
    if absent := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise ValueError(f"needs {' and '.join(absent)}: pip install 'mustherd[peers]'")


class Ax(_Peer):
    """Ax at its defaults: the objective, and each limit as an outcome constraint."""

    @staticmethod
    def check(problem: Problem, options: None) -> None:  # noqa: ARG004 - the interface's
        """ValueError when its packages are missing."""
        _need_packages("ax", "torch")

    def __init__(self, problem: Problem, *, seed: int = 0, options: None = None) -> None:  # noqa: ARG002 - the interface's
        """ValueError when its packages are missing."""
        super().__init__(problem)
        self.check(problem, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch  # noqa: PLC0415
            from ax.api.client import Client  # noqa: PLC0415
            from ax.api.configs import RangeParameterConfig  # noqa: PLC0415

            for name in [n for n in logging.root.manager.loggerDict if n.partition(".")[0] == "ax"]:
                logging.getLogger(name).setLevel(logging.ERROR)
            torch.set_num_threads(1)
            torch.manual_seed(seed)
            self._client: Any = Client(random_seed=seed)
            # Its expressions take no hyphens: knobs and metrics go by their places.
            self._knobs = {f"x{n}": (key, values) for n, (key, values) in enumerate(self.values.items())}
            self._client.configure_experiment(
                parameters=[
                    RangeParameterConfig(name=name, parameter_type="int", bounds=(0, len(values) - 1))
                    if len(values) > 1
                    else self._fixed(name)
                    for name, (_, values) in self._knobs.items()
                ]
            )
            limits = problem.goal.aimed
            self._client.configure_optimization(
                objective="-cost",
                outcome_constraints=[f"m{n} {'>=' if c.at_least else '<='} {c.limit}" for n, c in enumerate(limits)],
            )

    @staticmethod
    def _fixed(name: str) -> Any:
        from ax.api.configs import ChoiceParameterConfig  # noqa: PLC0415

        return ChoiceParameterConfig(name=name, parameter_type="int", values=[0])

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:  # noqa: ARG002
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            [(self._trial, chosen)] = self._client.get_next_trials(max_trials=1).items()
        return self.space.nearest({key: float(v[int(chosen[name])]) for name, (key, v) in self._knobs.items()})

    def tell(self, observations: Sequence[Observation]) -> None:
        for observation in observations:
            found = {f"m{n}": observation.metrics[c.metric] for n, c in enumerate(self.problem.goal.aimed)}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._client.complete_trial(self._trial, raw_data={"cost": self.problem.cost(observation), **found})


class Penalty(_Peer):
    """The reference's way: scikit-optimize at its defaults, on joules x (p99 - limit + 1) above the limit.

    It knows of no throughput guard.
    """

    def __init__(self, problem: Problem, *, seed: int = 0, options: None = None) -> None:  # noqa: ARG002 - the interface's
        super().__init__(problem)
        from skopt import Optimizer  # noqa: PLC0415

        self._optimizer: Any = Optimizer(
            [(0, len(v) - 1) for v in self.values.values()], base_estimator="GP", random_state=seed
        )
        self._limits = [c for c in problem.goal.aimed if not c.at_least]

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:  # noqa: ARG002
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of proposing a point again
            self._at = self._optimizer.ask()
        return self.space.nearest(
            {k: float(v[int(i)]) for (k, v), i in zip(self.values.items(), self._at, strict=True)}
        )

    def tell(self, observations: Sequence[Observation]) -> None:
        for observation in observations:
            value = self.problem.cost(observation)
            for limit in self._limits:
                over = observation.metrics[limit.metric] - limit.limit
                value *= over + 1 if over > 0 else 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._optimizer.tell(self._at, value)
