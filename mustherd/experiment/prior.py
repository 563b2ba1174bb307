"""What an experiment believes beforehand: an earlier experiment's trials, or the simulated node's answers."""

import math
from itertools import product
from pathlib import Path

import msgspec

from mustherd import files, metrics
from mustherd.definition import Experiment, problem
from mustherd.definition.check import TWIN
from mustherd.learn.base import Observation, Problem
from mustherd.metrics import WindowMeasurement
from mustherd.node.twin.model import predict_at
from mustherd.node.twin.profiles import DEFAULT
from mustherd.store.errors import StoreError
from mustherd.store.store import Store
from mustherd.terms import Energy, LoadReport
from mustherd.trial import TrialKind, TrialState

PRIOR = "prior.json"
"""The prior in an experiment's folder: as it was when the experiment began, whatever becomes of its source."""
TWIN_POINTS = 150
"""Settings that the simulated node is asked about, over all loads."""


def prior_of(store: Store, experiment: Experiment, task: Problem) -> tuple[Observation, ...]:
    """The prior of the experiment in `store`: read from its source once, then from the folder. Raises StoreError."""
    if experiment.search.prior is None:
        return ()
    file = store.folder / PRIOR
    if file.exists():
        return msgspec.json.decode(file.read_bytes(), type=tuple[Observation, ...])
    found = read_prior(experiment, task)
    files.replace(file, msgspec.json.encode(found), durable=True)
    return found


def read_prior(experiment: Experiment, task: Problem | None = None) -> tuple[Observation, ...]:
    """The prior from its source. StoreError: no such experiment, or one that says nothing about these knobs."""
    task = task or problem(experiment)
    if experiment.search.prior == TWIN:
        return _of_twin(experiment, task)
    return _of_folder(Path(str(experiment.search.prior)), experiment, task)


def _of_folder(folder: Path, experiment: Experiment, task: Problem) -> tuple[Observation, ...]:
    with Store.open(folder, read_only=True) as store:
        trials = store.trials(TrialKind.SEARCH, TrialState.FINISHED)
        loads = store.experiment().goal.loads
    of_knobs = [t for t in trials if set(t.settings) == set(experiment.knobs)]
    if not of_knobs:
        knobs = ", ".join(experiment.knobs)
        raise StoreError(f"{folder} says nothing beforehand: it has no finished search trial over {knobs}")
    if task.space.context:
        return tuple(
            Observation(point={**t.settings, task.space.context: int(t.qps)}, metrics=t.metrics)
            for t in of_knobs
            if t.qps
        )
    # Of several loads the one that is nearest to ours tells most.
    mine = experiment.workload.load().qps
    near = min(loads, key=lambda qps: abs(math.log(qps / mine)), default=0.0)
    return tuple(Observation(point=t.settings, metrics=t.metrics) for t in of_knobs if t.qps in (near, 0.0))


def _of_twin(experiment: Experiment, task: Problem) -> tuple[Observation, ...]:
    load = experiment.workload
    offers = [load.load(qps=qps) for qps in load.loads] or [load.load()]
    share = max(2, int((TWIN_POINTS / len(offers)) ** (1 / len(experiment.knobs))))
    axes = {key: _spread(list(space), share) for key, space in experiment.knobs.items()}
    found = []
    for offered in offers:
        for values in product(*axes.values()):
            point = dict(zip(axes, values, strict=True))
            here = predict_at(DEFAULT, point, offered)
            report = LoadReport(
                generator=TWIN, t0_s=0.0, t1_s=load.window_seconds, offered_qps=offered.qps,
                achieved_qps=here.achieved_qps, requests=round(here.achieved_qps * load.window_seconds), misses=0,
                samples=0,
                read_us=here.read_us, update_us=here.update_us,
            )  # fmt: skip
            joules = here.power_watts * load.window_seconds
            energies = (Energy(zone="packages", kind="package", joules=joules),)
            window = WindowMeasurement(seconds=load.window_seconds, energies=energies, load=report)
            context = {task.space.context: int(offered.qps)} if task.space.context else {}
            found.append(Observation(point={**point, **context}, metrics=metrics.measured(window)))
    return tuple(found)


def _spread(values: list[int], count: int) -> list[int]:
    """`count` of the values, evenly, the first and the last among them."""
    if len(values) <= count:
        return values
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
