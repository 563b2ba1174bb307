"""Follow: settings from a table, chosen by the load."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mustherd.definition import Experiment
from mustherd.definition.errors import DefinitionError
from mustherd.definition.knobs import FindingsError
from mustherd.definition.knobs import settings as knob_settings
from mustherd.definition.settings_table import read
from mustherd.definition.units import QuantityError, quantity
from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.load_estimate import C6220, guess
from mustherd.metrics import RX_BYTES_PER_ROW
from mustherd.node.kinds import ADAPTIVE, ITR_DELAY
from mustherd.terms import Load

OPTIONS = ("table", "load")
ORACLE, MEASURED, GUESSED = "oracle", "measured", "guessed"
WAYS = (ORACLE, MEASURED, GUESSED)


class Follow:
    """Sets what a table says for the load, the nearest one in it where it has no row of that load's own.

    Options: `table`, a mapping of loads to settings or the file of a table (policy.yml of an experiment over several
    loads), and `load`: `oracle` (the default), the load that each trial is about to offer, as an experiment knows it
    and a server doesn't; `measured`, the load that the trial before was found to carry; or `guessed`, from what the
    network card received in the trial before (mustherd.learn.load_estimate), which no server has to tell. The latter
    two are late by one trial whenever the load changes.
    """

    compares: ClassVar[bool] = False

    def __init__(self, experiment: Experiment, _problem: Problem) -> None:
        self._table, self._by = _options(experiment)
        self._qps = 0.0

    @staticmethod
    def check(experiment: Experiment) -> None:
        """ValueError for options that can't be used."""
        _options(experiment)

    def expect(self, load: Load) -> None:
        if self._by == ORACLE:
            self._qps = load.qps

    def observe(self, observations: Sequence[Observation]) -> None:
        if self._by == MEASURED and observations:
            self._qps = observations[-1].metrics["achieved_qps"]
        for seen in observations if self._by == GUESSED else ():
            received = seen.metrics.get(RX_BYTES_PER_ROW)
            if received is not None:
                # A window's median rests on many frames: one guess is enough.
                self._qps = guess(C6220, seen.point.get(ITR_DELAY.name, ADAPTIVE), received)

    def propose(self, pending: Sequence[Settings]) -> Settings | None:  # noqa: ARG002
        # Before anything was measured, the highest load's settings: the ones that keep limits at every load.
        near = min(self._table, key=lambda qps: abs(qps - self._qps)) if self._qps else max(self._table)
        return dict(self._table[near])

    def why_enough(self) -> str:
        return ""

    def close(self) -> None:
        pass


def _options(experiment: Experiment) -> tuple[dict[float, Settings], str]:
    options = experiment.policy.options
    if unknown := [name for name in options if name not in OPTIONS]:
        raise ValueError(f"follow has no option {unknown[0]!r}; allowed: {', '.join(OPTIONS)}")
    by = options.get("load", ORACLE)
    if by not in WAYS:
        raise ValueError(f"follow's load is {by!r}; allowed: {', '.join(WAYS)}")
    return _table(options.get("table"), experiment), by


def _table(raw: object, experiment: Experiment) -> dict[float, Settings]:
    if isinstance(raw, str):
        try:
            raw = {row.qps: row.settings for row in read(raw)}
        except DefinitionError as error:
            raise ValueError(str(error)) from None
    if not isinstance(raw, Mapping) or not raw:
        raise ValueError("it needs a table of loads with settings, as in table: {400k: {itr-delay: 300, dvfs: 1300}}")
    table: dict[float, Settings] = {}
    for load, row in raw.items():
        try:
            qps, settings = float(quantity(load, "qps")), knob_settings(row)
        except QuantityError as error:
            raise ValueError(f"table: {load}: {error}") from None
        except FindingsError as error:
            found = error.findings[0]
            raise ValueError(f"table: {load}: {found.problem}; allowed: {found.allowed}") from None
        if qps <= 0 or qps in table:
            raise ValueError(f"table: {load}: loads are above 0, and each has one row")
        for knob, value in settings.items():
            if knob not in experiment.knobs or value not in experiment.knobs[knob]:
                raise ValueError(f"table: {load}: {knob} {value} is not among the experiment's knobs and their values")
        table[qps] = settings
    return table
