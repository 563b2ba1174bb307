"""One trial on one muster: decide, read back, settle, measure, gate."""

import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

import msgspec

from mustherd import metrics, unix_time
from mustherd.definition import Experiment, goal
from mustherd.definition.limits import limit_text
from mustherd.experiment import audits, gates, plausible, wall
from mustherd.experiment.changing import DECISION_WAIT_S, NOT_TAKEN, Changing
from mustherd.experiment.external_load import OutsideLoad
from mustherd.experiment.herd_notes import left_of
from mustherd.load.application import Watch
from mustherd.load.error import LoadError
from mustherd.meters.watch import MeterWatch
from mustherd.metrics import WindowMeasurement
from mustherd.reasons import Reason
from mustherd.rowlog.evidence import evidence
from mustherd.rowlog.medians import median_rx_bytes
from mustherd.rowlog.writer import LogWriter
from mustherd.shepherd.events import HerdError
from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import Load, Setting, defaults_of, settings_of
from mustherd.trial import Trial, TrialKind, TrialState, label_of
from mustherd.wire.messages import Measured, MusterView

T = TypeVar("T")

SLACK_S = 15.0
"""Real seconds beyond a trial's own length before its muster's silence about it counts as an answer."""

SLOW_S = 0.2
"""An answer to a decision that takes longer comes of knobs that take their time."""

LOG_WAIT_S = 15.0
"""How long the last blocks of a window may take to be on disk after its end."""

NOT_GIVEN = "the node or the load doesn't give it"
NO_METER = (
    "the node has no energy meter (its facts say why); without one the objective is CPU time: server_cpu_seconds,"
    " or machine_cpu_seconds on a Linux node, machine_cycles where its fact `cycles` says that they are counted"
)


class _StoppedError(Exception):
    """The run is over."""


class TrialRunner:
    """Runs trials; `run` may be called from several threads, one trial a muster at a time."""

    def __init__(
        self, experiment: Experiment, shepherd: Shepherd, logs: LogWriter, outside: OutsideLoad | None = None
    ) -> None:
        """`outside` loads nodes that run no load of their own."""
        self._experiment = experiment
        self._needed = goal(experiment).metrics
        self._outside = outside
        self._shepherd = shepherd
        self._logs = logs
        self._speed = experiment.herd.simulated.speed if experiment.herd.simulated else 1.0
        self._over = threading.Event()
        self._rested_at: dict[str, float] = {}
        """Of each muster that ran a trial: when it will have rested from it, on time.monotonic."""
        self._reading_s: dict[str, float] = {}
        """Of each muster, how long it may take to read its knobs; 0 where that is nothing to wait for."""

    @property
    def load(self) -> Load:
        """What is offered where a trial has no load of its own."""
        return self._experiment.workload.load()

    def run(self, trial: Trial, muster: str, *, of_group: bool = False) -> Trial:
        """Run a started trial to its end. Never raises for what a herd can do wrong: the trial says it.

        Where it is one node's part of a group's, no load comes from us but a node's own, and what the goal needs and
        the definition checks is for `judged` to say of the whole.
        """
        try:
            self._rest(muster)
            try:
                return self._run(trial, self._shepherd.musters()[muster], of_group=of_group)
            finally:
                cool_down_s = self._experiment.workload.cool_down_seconds / self._speed
                self._rested_at[muster] = time.monotonic() + cool_down_s
        except KeyError as error:
            return _broken(trial, Reason.UNKNOWN_KNOB, f"muster {muster} offers no knob {error}")
        except HerdError as error:
            return _broken(trial, error.reason, str(error))
        except LoadError as error:
            return _broken(trial, error.reason, error.message)
        except FutureTimeoutError:
            return _broken(trial, Reason.NO_ANSWER, f"muster {muster} gave no answer in time")
        except _StoppedError:
            return _broken(trial, Reason.RUN_ENDED, "the experiment was stopped")

    def judged(self, trial: Trial) -> Trial:
        """A finished trial of a group, held against what the goal needs and the definition checks."""
        fired = self._missing(trial, {}) or self._unchecked(trial)
        return trial if fired is None else _broken(trial, fired.reason, fired.detail)

    def stop(self) -> None:
        """Begin nothing more: a trial that has not opened its window ends at its next step."""
        self._over.set()

    def _rest(self, muster: str) -> None:
        """Wait for what is left of a muster's rest from its last trial, unless the run ends."""
        self._over.wait(max(0.0, self._rested_at.get(muster, 0.0) - time.monotonic()))
        self._check()

    def _run(self, trial: Trial, view: MusterView, *, of_group: bool) -> Trial:
        self._check()
        settings = settings_of(_asked(trial, view), view.knobs)
        load = self._experiment.workload
        offered = trial.load or load.load()
        asked = time.monotonic()
        applied = self._shepherd.decide(view.name, settings).result(DECISION_WAIT_S)
        # It read its knobs in that time: where they are slow it does so once more before it opens a window.
        took_s = time.monotonic() - asked
        self._reading_s[view.name] = took_s if took_s > SLOW_S else 0.0
        if not trial.settings and applied.outcome != "refused" and (left := left_of(applied)):
            return _broken(trial, Reason.NOT_AS_FOUND, f"muster {view.name}: {left}")
        if applied.outcome in NOT_TAKEN:
            trial = msgspec.structs.replace(trial, readings=applied.readings)
            return _broken(trial, NOT_TAKEN[applied.outcome], applied.detail)
        moved = [k.settle_seconds for k in view.knobs if any((s.sheep, s.knob) == (k.sheep, k.name) for s in settings)]
        settle_s = max([load.settle_seconds, *(moved or [k.settle_seconds for k in view.knobs])])
        self._check()
        meters = wall.meters_of(self._experiment.meters, view.name, alone=len(self._shepherd.musters()) == 1)
        with Watch(self._experiment.metrics) as watch, MeterWatch(meters) as metered:
            measured, later = self._measure_changing(trial, view, offered, settle_s, of_group=of_group)
        # A closed loop offers what is answered, whatever the definition says.
        if odd := plausible.objection(measured, None if load.closed_loop else offered):
            return _broken(trial, Reason.REPORT_IMPLAUSIBLE, f"muster {view.name}: {odd}")
        complete = self._logs.flush(view.name, measured.spool, measured.last_block, LOG_WAIT_S)
        if complete and measured.last_block:
            measured = self._with_losses(measured, trial, view.name)
        seconds = measured.t1_s - measured.t0_s
        ahead_s = self._outside.ahead_s.get(view.name, 0.0) if self._outside is not None else 0.0
        # What others told, on this machine's clock: a node on this machine has the same.
        here = measured.t0_s - ahead_s, measured.t1_s - ahead_s
        walls, unmetered = metered.over(*here)
        uncomputed: dict[str, str] = {}
        trial = msgspec.structs.replace(
            trial,
            readings=measured.after,
            energies=measured.energies,
            load_report=measured.load,
            metrics=metrics.measured(
                WindowMeasurement(
                    seconds=seconds,
                    energies=measured.energies,
                    load=measured.load,
                    counts={**measured.counts, **wall.counts(meters, walls)},
                ),
                uncomputed,
            ),
        )
        told, untold = watch.over(*here)
        trial.metrics.update({**told, **wall.metrics_of(walls)})
        untold |= uncomputed | wall.missing(meters, unmetered)
        if complete and measured.last_block:
            received = median_rx_bytes(self._logs.folder, label_of(trial.number, trial.attempt), view.name)
            if received is not None:
                trial.metrics[metrics.RX_BYTES_PER_ROW] = received
        after = self._shepherd.musters()[view.name]
        if not trial.settings and after.unrestored:
            text = f"muster {view.name} has {after.unrestored} knobs that are not as they were found"
            return _broken(trial, Reason.NOT_AS_FOUND, text)
        fired = gates.judge(
            self._experiment.gates,
            measured,
            settings=settings,
            later=later[0] if later else settings,
            seq=later[1] if later else applied.seq if settings else 0,
            facts=view.facts,
            zones=view.zones,
            load=offered,
            window_seconds=load.window_seconds,
            times_late=after.times_late - view.times_late,
            log_complete=complete,
            nearer=gates.nearer(load),
        )
        fired = (
            fired
            or self._audit(trial, view, measured, () if later else settings)
            or wall.implausible(walls, seconds)
            or wall.disagreement(walls, measured.energies, seconds)
            or (None if of_group else self._missing(trial, untold) or self._unchecked(trial))
        )
        if fired is not None:
            return _broken(trial, fired.reason, fired.detail)
        return msgspec.structs.replace(trial, state=TrialState.FINISHED, ended_at=unix_time.now())

    def _measure_changing(
        self, trial: Trial, view: MusterView, offered: Load, settle_s: float, *, of_group: bool
    ) -> tuple[Measured, tuple[Sequence[Setting], int] | None]:
        """The window, and where knobs were set again within it, what was set last and that decision's number."""
        changes = self._experiment.changes if trial.kind is TrialKind.SEARCH else ()
        if not changes:
            return self._measure(trial, view, offered, settle_s, of_group=of_group), None
        changing = Changing(self._shepherd, view, trial.settings, changes, speed=self._speed, over=self._over)
        try:
            return self._measure(trial, view, offered, settle_s, changing.opened), changing.end()
        finally:
            changing.close()

    def _measure(
        self,
        trial: Trial,
        view: MusterView,
        offered: Load,
        settle_s: float,
        opened: Callable[[float], object] | None = None,
        *,
        of_group: bool = False,
    ) -> Measured:
        """Where knobs are set within it, `opened` is told in how many seconds of the node's clock the window opens."""
        load, label = self._experiment.workload, label_of(trial.number, trial.attempt)
        reading_s = self._reading_s.get(view.name, 0.0)
        if self._outside is not None and not view.facts.loads_itself and not of_group:
            return self._outside.measure(
                self._shepherd,
                view,
                offered,
                seed=self._seed(trial),
                settle_s=settle_s,
                reading_s=reading_s,
                label=label,
                slack_s=SLACK_S + reading_s,
                on_open=None if opened is None else lambda: opened(0.0),
            )
        measuring: Future[Measured] = self._shepherd.measure(
            view.name,
            settle_s=settle_s,
            ramp_s=load.ramp_seconds,
            window_s=load.window_seconds,
            load=offered if view.facts.loads_itself or not of_group else None,
            seed=self._seed(trial, view.name if of_group else ""),
            label=label,
            changing=opened is not None,
        )
        if opened is not None:
            opened(settle_s + load.ramp_seconds)
        node_seconds = settle_s + load.ramp_seconds + load.window_seconds
        return measuring.result(node_seconds / self._speed * 2 + SLACK_S + 2 * reading_s)

    def _check(self) -> None:
        if self._over.is_set():
            raise _StoppedError

    def _with_losses(self, measured: Measured, trial: Trial, muster: str) -> Measured:
        """What the muster counts, or where the rows themselves show more, that."""
        accounts = self._logs.accounts(label_of(trial.number, trial.attempt), muster)
        lost = dict(measured.rows_lost)
        for stream, account in accounts.items():
            lost[stream] = max(lost.get(stream, 0), account.rows_lost)
        return msgspec.structs.replace(measured, rows_lost=lost)

    def _audit(
        self, trial: Trial, view: MusterView, measured: Measured, settings: Sequence[Setting]
    ) -> gates.Fired | None:
        """What the window's rows say of it, held against what was measured."""
        label = label_of(trial.number, trial.attempt)
        return audits.audit(
            measured,
            evidence(self._logs.folder, label, view.name) if measured.last_block else [],
            settings=settings,
            knobs=view.knobs,
            facts=view.facts,
            window_tolerance=self._experiment.gates.window_tolerance,
        )

    def _missing(self, trial: Trial, untold: Mapping[str, str]) -> gates.Fired | None:
        for metric in self._needed:
            if metric not in trial.metrics:
                why = untold.get(metric, NO_METER if metric in metrics.OF_ENERGY else NOT_GIVEN)
                return gates.Fired(Reason.METRIC_MISSING, f"{metric} was not measured: {why}")
        return None

    def _unchecked(self, trial: Trial) -> gates.Fired | None:
        for check in self._experiment.workload.checks:
            value = trial.metrics.get(check.metric)
            if value is None or not check.met_by(value):
                found = "was not measured" if value is None else f"is {value:g}"
                return gates.Fired(Reason.CHECK_FAILED, f"{check.metric} {found}, checked for {limit_text(check)}")
        return None

    def _seed(self, trial: Trial, member: str = "") -> int:
        # A twin's noise is decided by this: the same attempt of the same experiment sees the same noise.
        return zlib.crc32(f"{self._experiment.search.seed}/{trial.number}/{trial.attempt}{member}".encode())


def _asked(trial: Trial, view: MusterView) -> dict[str, int]:
    """What a trial sets: of a baseline without settings, what its node has when nobody sets anything."""
    compared = trial.kind in (TrialKind.BASELINE, TrialKind.CONFIRM)
    return defaults_of(view.knobs) if compared and not trial.settings else trial.settings


def _broken(trial: Trial, reason: Reason, detail: str) -> Trial:
    """The trial without a measurement that counts: invalid where another attempt may do better, else failed."""
    state = TrialState.INVALID if reason.again else TrialState.FAILED
    return msgspec.structs.replace(trial, state=state, reason=reason, detail=detail, ended_at=unix_time.now())
