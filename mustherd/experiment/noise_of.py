"""How much one window of an experiment differs from the next, before there is one."""

from pathlib import Path

from mustherd import metrics
from mustherd.definition import Experiment

RECORDED = {metrics.ENERGY: 0.0025}
"""Objective to the relative standard deviation of one window, of repeats recorded on real nodes."""


def noise_of(experiment: Experiment, like: Path | None = None) -> float | None:
    """The relative standard deviation of one window's objective: as the experiment in `like` measured it, else as it
    was recorded on real nodes, which is what simulated nodes go by; None where nothing is known.

    Raises StoreError where that experiment can't be read or repeated nothing.
    """
    if like is None:
        simulated = experiment.herd.simulated
        if simulated is None:
            return RECORDED.get(experiment.objective)
        from mustherd.node.twin.machine import ENERGY_SPREAD  # noqa: PLC0415 (most herds have no twin)

        return ENERGY_SPREAD * simulated.noise if experiment.objective == metrics.ENERGY else None
    # Imported late: most plans are made without an experiment of before.
    from mustherd.learn.noise import PooledNoise  # noqa: PLC0415
    from mustherd.learn.windows import key_of  # noqa: PLC0415
    from mustherd.store.errors import StoreError  # noqa: PLC0415
    from mustherd.store.store import Store  # noqa: PLC0415
    from mustherd.trial import TrialState  # noqa: PLC0415

    pooled = PooledNoise([experiment.objective])
    with Store.open(like, read_only=True) as store:
        for trial in store.trials(state=TrialState.FINISHED):
            pooled.add((key_of(trial.settings), trial.muster, trial.qps), trial.metrics)
    found = pooled.noise().get(experiment.objective)
    if found is None:
        raise StoreError(f"{like} says nothing of noise: it repeated no window that measured {experiment.objective}")
    return found.share
