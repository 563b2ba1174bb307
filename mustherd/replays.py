"""What a program asks of measurements that were made once, or of surfaces that are made up."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mustherd.experiment.calibration import Calibration
    from mustherd.experiment.recorded import Replay

File = Path | str


def replay(
    source: File,
    searches: Sequence[str] = ("gp", "random"),
    *,
    limits: Sequence[str] = (),
    objective: str = "energy_joules",
    knobs: Mapping[str, str] | None = None,
    metrics: Mapping[str, str] | None = None,
    where: Mapping[str, float] | None = None,
    default: Mapping[str, int] | None = None,
    noise: Mapping[str, float] | None = None,
    load: tuple[int, float] | None = None,
    trials: int = 30,
    seeds: int = 10,
    tell: Callable[[str], object] = lambda _search: None,
) -> "Replay":
    """Replay searches on measurements that were made once, over many seeds: how soon each comes near to the optimum.

    `source` is the folder of an experiment, or a CSV file, whose columns `knobs` and
    `metrics` name: a knob's as `COLUMN`, or `COLUMN:msr` for words of MSR 0x199; a metric's as `COLUMN` or
    `COLUMN/COLUMN`; `where` says which rows. Settings that were not measured are holes, which no search asks for.
    `default` are the baseline's settings, `noise` is relative, by metric. `load` is how many requests were in flight at
    most and how many offered per second, so that a search knows which delays leave load unsent; a folder tells it.
    `tell` gets each search's name before its turn. Raises ReplayError, StoreError.
    """
    from mustherd.experiment.recorded import replay_searches

    return replay_searches(
        Path(source), searches, limits=limits, objective=objective, knobs=knobs or {}, metrics=metrics or {},
        where=where or {}, default=default or {}, noise=noise or {}, load=load, trials=trials, seeds=seeds, tell=tell,
    )  # fmt: skip


def calibrate(
    source: File,
    search: str = "gp",
    *,
    limits: Sequence[str] = (),
    objective: str = "energy_joules",
    knobs: Mapping[str, str] | None = None,
    metrics: Mapping[str, str] | None = None,
    where: Mapping[str, float] | None = None,
    default: Mapping[str, int] | None = None,
    noise: Mapping[str, float] | None = None,
    noise_at_limit: Mapping[str, float] | None = None,
    confirmation: Mapping[str, float] | None = None,
    trials: int = 30,
    seeds: int = 200,
    tell: Callable[[int], object] = lambda _done: None,
) -> "Calibration":
    """Run whole experiments on measurements that were made once, and count how often their verdicts are right.

    `source` and most of the others are as for `replay`; or `source` is `surfaces`, or `surfaces:FAMILY` for one kind of
    them, which are made up. `noise_at_limit` is what limited metrics have beyond `noise` at their limits,
    `confirmation` has a definition's keys and `repeats`. `tell` gets how many are done. Raises ReplayError, StoreError.
    """
    from mustherd.experiment.recorded import calibrate_on

    return calibrate_on(
        Path(source), search, limits=limits, objective=objective, knobs=knobs or {}, metrics=metrics or {},
        where=where or {}, default=default or {}, noise=noise or {}, noise_at_limit=noise_at_limit or {},
        confirmation=confirmation or {}, trials=trials, seeds=seeds, tell=tell,
    )  # fmt: skip
