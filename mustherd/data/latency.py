"""Latency from logs: what rows of an experiment's windows say of p99, as training data and as a model.

`training` gives a window a row: what the network card's rows show (how many, how large, what the cores did meanwhile),
what was set, and what was measured. A notebook learns from it as it likes; `fit` is one way, with its error on trials
that it has not seen.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mustherd.rowlog.folder import ExperimentFolder
from mustherd.rowlog.frames import COUNTERS, PER_ROW, differences
from mustherd.rowlog.reader import DataError, Log

TARGET = "read_p99_us"
LOG = "log_"
"""What the features' names begin with."""
LEAST_TRIALS = 12
HELD_OUT = 0.25


def training(folder: ExperimentFolder) -> pd.DataFrame:
    """A row for each finished trial with log rows: `log_` features, settings, and every metric that was measured.

    Features are means over the cores that have rows: rows a second, per row the median and the 95 % of what was
    received and sent, a second what counters counted, and the power. Raises DataError where no trial has rows of a
    network card.
    """
    trials = folder.trials()
    rows = []
    for trial in trials[trials.state == "finished"].to_dict("records"):
        logs = folder.logs(trial=int(trial["trial"]), attempt=int(trial["attempt"]), muster=str(trial["muster"]))
        found = features(logs)
        if found:
            rows.append({**found, **trial})
    if not rows:
        raise DataError(f"{folder.folder} has no finished trial with rows of a network card")
    return pd.DataFrame(rows)


def features(logs: Iterable[Log]) -> dict[str, float]:
    """Of one window on one node, from its streams of a core's rows; nothing where there are none."""
    each = [_of_core(log) for log in logs if log.core is not None and log.rows > 1]
    names = sorted({name for one in each for name in one})
    return {name: float(np.mean([one[name] for one in each if name in one])) for name in names}


def _of_core(log: Log) -> dict[str, float]:
    frame = log.frame()
    if "time_seconds" not in frame or len(frame) < 2:
        return {}
    seconds = float(frame["time_seconds"].iloc[-1] - frame["time_seconds"].iloc[0])
    if seconds <= 0:
        return {}
    counted = differences(frame)
    found = {f"{LOG}rows_per_second": len(frame) / seconds}
    for name in PER_ROW:
        if name in frame:
            found[f"{LOG}{name}_median"] = float(frame[name].median())
            found[f"{LOG}{name}_high"] = float(frame[name].quantile(0.95))
            found[f"{LOG}{name}_per_second"] = float(frame[name].sum()) / seconds
    for name in COUNTERS:
        if name in counted and counted[name].notna().any():
            found[f"{LOG}{name}_per_second"] = float(counted[name].sum()) / seconds
    if "energy_joules" in counted:
        found[f"{LOG}power_watts"] = float(counted["energy_joules"].sum()) / seconds
    return {name: value for name, value in found.items() if math.isfinite(value)}


@dataclass(frozen=True)
class LatencyModel:
    """What predicts a latency from features, and how far off it was on trials that it had not seen."""

    target: str
    columns: tuple[str, ...]
    trained_on: int
    held_out: int
    median_error: float
    """Of the held-out trials, relative: half of them were nearer than this."""
    worst_error: float
    """Nine tenths of them were nearer than this."""
    guessing_error: float
    """The median error of who always says the middle of what the model was trained on: what there was to learn."""
    model: Any
    """A pipeline of scikit-learn: from features to the latency's logarithm."""

    def predict(self, frame: pd.DataFrame) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """The latency of each row, in the target's unit. Raises DataError for a frame that lacks a feature."""
        if missing := [name for name in self.columns if name not in frame]:
            raise DataError(f"there is no column {missing[0]}, which the model was trained with")
        values: np.ndarray[Any, np.dtype[np.float64]] = np.exp(self.model.predict(_values(frame, self.columns)))
        return values


def fit(
    frame: pd.DataFrame,
    target: str = TARGET,
    *,
    held_out: float = HELD_OUT,
    columns: Sequence[str] | None = None,
    seed: int = 0,
) -> LatencyModel:
    """Train on a share of the trials, and try on the others; `columns` are the features, by default those of the log.

    A Gaussian process over the features' logarithms. Raises DataError for a frame with too few trials, or without
    features or the target.
    """
    # Takes a second to import, and most of what reads an experiment doesn't need it.
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.gaussian_process import GaussianProcessRegressor  # noqa: PLC0415
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    if target not in frame:
        raise DataError(f"there is no column {target} to learn")
    known = frame[frame[target].gt(0)]
    chosen = list(columns) if columns is not None else [name for name in known if str(name).startswith(LOG)]
    # What never changes tells nothing.
    names = tuple(str(name) for name in chosen if known[name].notna().all() and known[name].nunique() > 1)
    tried = round(held_out * len(known))
    if len(known) < LEAST_TRIALS or not names or not 0 < tried < len(known) - 1:
        raise DataError(
            f"{len(known)} trials with {len(names)} features that differ, {tried} of them held out:"
            f" at least {LEAST_TRIALS} trials and one feature are needed"
        )
    order = np.random.default_rng(seed).permutation(len(known))
    test, train = known.iloc[order[:tried]], known.iloc[order[tried:]]
    scales = np.full(len(names), 3.0)
    kernel = ConstantKernel(1.0, (1e-2, 1e3)) * RBF(scales, (0.1, 1e3)) + WhiteKernel(0.01, (1e-5, 1.0))
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=seed)
    model = make_pipeline(StandardScaler(), process)
    learnt = np.log(train[target].to_numpy())
    with warnings.catch_warnings():
        # A feature that says nothing gets the longest scale there is: no reason to complain.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(_values(train, names), learnt)
    true = np.log(test[target].to_numpy())
    errors = np.abs(np.expm1(model.predict(_values(test, names)) - true))
    guesses = np.abs(np.expm1(np.median(learnt) - true))
    return LatencyModel(
        target=target,
        columns=names,
        trained_on=len(train),
        held_out=len(test),
        median_error=float(np.median(errors)),
        worst_error=float(np.quantile(errors, 0.9)),
        guessing_error=float(np.median(guesses)),
        model=model,
    )


def _values(frame: pd.DataFrame, columns: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Features as a model takes them: all are amounts above 0, or 0, and their ratios are what tells."""
    values: np.ndarray[Any, np.dtype[np.float64]] = np.log1p(frame[list(columns)].to_numpy(dtype=float).clip(min=0))
    return values
