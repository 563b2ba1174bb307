"""An experiment's folder as a person looks at it from Python: what was asked, what was tried, what was found."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import pandas as pd

    from mustherd.definition import Experiment
    from mustherd.definition.settings_table import Row
    from mustherd.experiment.again import Record
    from mustherd.experiment.results import Pick
    from mustherd.experiment.verdict import Verdict
    from mustherd.report.view import View
    from mustherd.rowlog.reader import Log
    from mustherd.wire.messages import MusterView

EXIT_CODES = {"failed": 3, "interrupted": 3, "stopped": 4}
"""How a command that ran the experiment ends, by the status that it left; `done` goes by the verdict."""


class Best(msgspec.Struct, frozen=True, kw_only=True):
    """A setting, and what it is expected to do: means over its repeats."""

    settings: dict[str, int]
    """Knob to value, in the knob's unit."""
    metrics: dict[str, float]
    """Metric to its mean, units in the names."""
    intervals: dict[str, tuple[float, float]]
    """Metric to the 95 % interval of its mean, where it was repeated."""
    repeats: int
    """Finished trials behind the means."""
    text: str
    """The settings with their units and words: `itr-delay 300 us, dvfs 1300 MHz`."""

    def __str__(self) -> str:
        return self.text


class Result:
    """An experiment in its folder, running or over. Every question reads what is on disk by then.

    Its methods may raise StoreError where the folder can't be read.
    """

    def __init__(self, folder: Path | str) -> None:
        """Open an experiment's folder. StoreError says what is wrong with it."""
        from mustherd.store.store import Store

        with Store.open(folder, read_only=True) as store:
            self.folder = store.folder
            self.name = store.experiment().name

    def view(self) -> "View":
        """Everything about the experiment at this moment, as the tables and the report are made from it."""
        from mustherd.report.view import View
        from mustherd.store.store import Store

        with Store.open(self.folder, read_only=True) as store:
            return View.of(store)

    @property
    def status(self) -> str:
        """`created`, `running`, `stopped`, `done`, `failed`; `interrupted`: it was running and its process is gone."""
        return self._status()[0]

    @property
    def detail(self) -> str:
        """Why it failed or was stopped, in a sentence."""
        return self._status()[1]

    @property
    def exit_code(self) -> int | None:
        """What `mustherd experiment start` ends with: 0 met, 1 not met, 3 failed, 4 stopped; None while it runs."""
        view = self.view()
        if view.status == "done":
            return 0 if view.verdict().verdict == "met" else 1
        return EXIT_CODES.get(view.status)

    @property
    def definition(self) -> "Experiment":
        """What was asked, as it was when the experiment was started."""
        from mustherd.definition import loads
        from mustherd.store.store import DEFINITION, Store

        with Store.open(self.folder, read_only=True) as store:
            return loads(store.experiment().definition, str(self.folder / DEFINITION))

    @property
    def decided(self) -> bool:
        """Whether the verdict is the experiment's own; before that it is what its trials say so far."""
        return self.view().stored is not None

    @property
    def verdict(self) -> "Verdict":
        """What was found, in numbers and in a sentence."""
        return self.view().verdict()

    @property
    def best(self) -> Best | None:
        """The setting that is announced, or that looks best so far; None where none keeps the limits.

        Of several loads each has its own: see `verdict.loads` and `table`.
        """
        from mustherd.experiment import wording

        view = self.view()
        side = view.verdict().best
        if side is None:
            return None
        return Best(
            settings=side.knobs,
            metrics=side.metrics,
            intervals=side.intervals,
            repeats=side.n,
            text=wording.settings(side.knobs, view.knobs),
        )

    @property
    def again(self) -> "Record":
        """What other days showed of what was announced (`mustherd.again`), and the margin that suits the herd."""
        return self.view().again

    @property
    def trials(self) -> "pd.DataFrame":
        """A row for each attempt at a trial, in order: settings and metrics as columns, units in their names.

        `dvfs` becomes `dvfs_mhz`; times are UTC; what was not measured is not a number. A metric called as another
        column is, such as `trial`, has `metric_` before its name.
        """
        from mustherd.rowlog.folder import ExperimentFolder

        return ExperimentFolder(self.folder).trials()

    def logs(
        self,
        *,
        trial: int | None = None,
        attempt: int | None = None,
        label: str | None = None,
        muster: str | None = None,
        stream: str | None = None,
        core: int | None = None,
    ) -> "tuple[Log, ...]":
        """The native logs that fit, as mustherd.data has them; none where none does.

        `trial` alone is its latest attempt.
        """
        from mustherd.rowlog.folder import ExperimentFolder

        folder = ExperimentFolder(self.folder)
        return folder.logs(trial=trial, attempt=attempt, label=label, muster=muster, stream=stream, core=core)

    def report(self, path: Path | str | None = None) -> Path:
        """Write the HTML report, one file that loads nothing; by default report.html in the folder. Gives the file."""
        from mustherd.report.html import write
        from mustherd.store.store import Store

        with Store.open(self.folder, read_only=True) as store:
            return write(store, None if path is None else Path(path))

    def table(self, path: Path | str | None = None) -> "list[Row]":
        """What to set at each of several loads, and with `path` written there as YAML for `search.table`.

        StoreError for an experiment at one load, and where the file can't be written.
        """
        from mustherd.experiment.results import table_rows, write_table
        from mustherd.store.errors import StoreError

        found = self.verdict
        if not found.loads:
            needs = "a table is of a search at several loads, `workload: {qps: [200k, 400k]}`"
            raise StoreError(f"{self.folder} is none: {needs}")
        if path is not None:
            try:
                write_table(Path(path), found, self.name)
            except OSError as error:
                raise StoreError(f"the table can't be written to {path}: {error.strerror or error}") from error
        return table_rows(found)

    def pick(self, *limits: str) -> "list[Pick]":
        """The setting of best objective within other limits, as in `read_p99_us <= 300`, of those measured; one a load.

        DefinitionError for a limit that can't be read.
        """
        from mustherd.definition.limits import limits_of
        from mustherd.experiment.results import picks

        view = self.view()
        return picks(view.trials, view.goal, limits_of(limits))

    def herd(self, keys: Path | str | None = None) -> "tuple[MusterView, ...]":
        """The musters as the shepherd that runs it sees them now; none where it isn't running. WireError; KeysError."""
        from mustherd.experiment.running import herd

        return herd(self.folder, None if keys is None else Path(keys))

    def summary(self) -> dict[str, Any]:
        """The result as JSON types: what `mustherd experiment start --json` prints."""
        from mustherd.report.json import summary

        return summary(self.view())

    def _status(self) -> tuple[str, str]:
        from mustherd.store.catalog import status_of
        from mustherd.store.store import Store

        with Store.open(self.folder, read_only=True) as store:
            return status_of(store)

    def __fspath__(self) -> str:
        return os.fspath(self.folder)

    def __repr__(self) -> str:
        from mustherd.store.errors import StoreError

        try:
            view = self.view()
        except StoreError as error:
            return f"<Result of {self.name}: {error}>"
        found = view.verdict().reason if view.trials else "no trials yet"
        so_far = "" if view.stored or not view.trials else "so far "
        return f"<Result of {view.experiment.name}, {view.status}: {so_far}{found}; folder {self.folder}>"

    def _repr_html_(self) -> str:
        from mustherd.report.card import card

        return card(self.view())
