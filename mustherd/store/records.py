"""Between the store's rows and our values: the one place that knows the order of columns."""

from collections.abc import Iterable
from typing import Any

import msgspec

from mustherd.goal import Goal
from mustherd.terms import MOST_MEASURED, Energy, Facts, KnobInfo, Load, LoadReport, Reading
from mustherd.trial import Trial, TrialKind, TrialState

SELECT_TRIAL = (
    "SELECT number, attempt, kind, state, reason, detail, muster, settings, load, queued_at, started_at,"
    " ended_at, metrics, readings, energies, load_report, round, place FROM trial"
)

SELECT_EXPERIMENT = (
    "SELECT name, definition, digest, resolved, versions, created_at, status, status_detail, status_at, phase, plan,"
    " verdict, running_since, goal FROM experiment"
)


class ExperimentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The experiment's own row. Times are Unix seconds."""

    name: str
    definition: str
    """The experiment file's text as it was when the experiment was made."""
    digest: str
    resolved: dict[str, Any]
    versions: dict[str, str]
    created_at: float
    status: str
    """`created`, `running`, `stopped`, `done` or `failed`: as it was last said, which a kill leaves at `running`."""
    status_detail: str
    status_at: float
    phase: str
    plan: dict[str, int]
    verdict: dict[str, Any] | None
    running_since: float | None
    goal: Goal
    """What it is after: made by the definition, in force for this experiment whatever a later version would make."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the journal."""

    id: int
    at: float
    kind: str
    text: str
    data: dict[str, Any]


class MusterRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a muster."""

    name: str
    state: str
    facts: Facts
    knobs: tuple[KnobInfo, ...]
    changed_at: float


UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, ArithmeticError, AttributeError, KeyError, RecursionError)
"""What is raised when values are made from a row that holds something else than we write."""

LATEST = 253_402_300_799.0
"""Unix seconds of the end of the year 9999, the last that a date can tell."""


def knobs_of(musters: Iterable[MusterRecord]) -> tuple[KnobInfo, ...]:
    """The knobs of these musters, one of each name."""
    return tuple({knob.name: knob for one in musters for knob in one.knobs}.values())


def text(value: object) -> str:
    """`value` as JSON."""
    return msgspec.json.encode(value).decode()


def settings(trial: Trial) -> str:
    """A trial's settings as JSON; a search may have made them numpy integers."""
    return text({key: int(value) for key, value in trial.settings.items()})


def asked_load(trial: Trial) -> str | None:
    """The load that a trial asks for as JSON, where it asks for one of its own."""
    return None if trial.load is None else text(trial.load)


def measured(trial: Trial) -> tuple[str, str, str, str | None]:
    """A trial's metrics, readings, energies and load as JSON. Not-a-number and infinities become null."""
    return (
        text({name: float(value) for name, value in trial.metrics.items()}),
        text(trial.readings),
        text(trial.energies),
        None if trial.load_report is None else text(trial.load_report),
    )


def _numbers(value: Any) -> Any:
    """Undo what JSON does to not-a-number, in values that have no other null."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return float("nan") if value is None else value


def trial(row: tuple[Any, ...]) -> Trial:
    """A row of SELECT_TRIAL as a trial. Raises what UNREADABLE names for a row that holds something else."""
    number, attempt, kind, state, reason, detail, muster_name, asked, load, queued_at, started_at, *found = row
    ended_at, metrics, readings, energies, report, round_, place = found
    read = Trial(
        number=number,
        attempt=attempt,
        kind=TrialKind(kind),
        state=TrialState(state),
        reason=reason,
        detail=detail,
        muster=muster_name,
        round=round_,
        place=place,
        settings=msgspec.json.decode(asked, type=dict[str, int]),
        load=None if load is None else msgspec.json.decode(load, type=Load),
        queued_at=queued_at,
        started_at=started_at or 0.0,
        ended_at=ended_at or 0.0,
        metrics=msgspec.convert(_numbers(msgspec.json.decode(metrics)), dict[str, float]),
        readings=msgspec.json.decode(readings, type=tuple[Reading, ...]),
        energies=msgspec.convert(_numbers(msgspec.json.decode(energies)), tuple[Energy, ...]),
        load_report=None if report is None else msgspec.convert(_numbers(msgspec.json.decode(report)), LoadReport),
    )
    for name, number_of_it in read.metrics.items():
        if abs(number_of_it) > MOST_MEASURED:
            raise ValueError(f"{name} is {number_of_it:g}, which nothing that is measured comes to")
    return _of_kinds(read)


def _of_kinds(read: Trial) -> Trial:
    """SQLite keeps whatever is put into a column: a trial whose plain fields are what they should be. ValueError."""
    whole = {"number": read.number, "attempt": read.attempt}
    times = {"queued_at": read.queued_at, "started_at": read.started_at, "ended_at": read.ended_at}
    texts = {"reason": read.reason, "detail": read.detail, "muster": read.muster}
    for kind, values in ((int, whole), (str, texts)):
        for name, value in values.items():
            if not isinstance(value, kind):
                raise ValueError(f"{name} is {value!r:.40}")  # noqa: TRY004 (what the file holds is wrong, no call)
    for name, time in times.items():
        _check_time(name, time)
    return read


def _check_time(name: str, time: object) -> None:
    """ValueError for what is no time."""
    if not isinstance(time, int | float) or not 0 <= time <= LATEST:
        raise ValueError(f"{name} is {time!r:.40}")


def experiment(row: tuple[Any, ...]) -> ExperimentRecord:
    """A row of SELECT_EXPERIMENT as an experiment. ValueError, msgspec.MsgspecError for one that can't be read."""
    fields = dict(zip(ExperimentRecord.__struct_fields__, row, strict=True))
    for name in ("resolved", "versions", "plan", "verdict", "goal"):
        if fields[name] is not None:
            fields[name] = msgspec.json.decode(fields[name])
    if not fields["goal"]:
        raise ValueError("it has no goal")
    for name in ("created_at", "status_at"):
        _check_time(name, fields[name])
    return msgspec.convert(fields, ExperimentRecord)


def event(row: tuple[Any, ...]) -> Event:
    """A row of id, at, kind, text, data as an event. Raises as `trial` does."""
    fields = dict(zip(Event.__struct_fields__, row, strict=True))
    _check_time("at", fields["at"])
    return msgspec.convert({**fields, "data": msgspec.json.decode(row[4])}, Event)


def muster(row: tuple[Any, ...]) -> MusterRecord:
    """A row of name, state, facts, knobs, changed_at as a muster's record. Raises as `trial` does."""
    facts = Facts(kind="") if row[2] == "{}" else msgspec.json.decode(row[2], type=Facts)
    knobs = msgspec.json.decode(row[3], type=tuple[KnobInfo, ...])
    _check_time("changed_at", row[4])
    if not (isinstance(row[0], str) and isinstance(row[1], str)):
        raise ValueError(f"its state is {row[1]!r:.40}")  # noqa: TRY004 (as above)
    return MusterRecord(name=row[0], state=row[1], facts=facts, knobs=knobs, changed_at=row[4])
