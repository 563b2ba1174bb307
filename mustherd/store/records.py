"""Between the store's rows and our values: the one place that knows the order of columns."""

from typing import Any

import msgspec

from mustherd.goal import Goal
from mustherd.terms import Energy, Facts, KnobInfo, Load, LoadReport, Reading
from mustherd.trial import Trial, TrialKind, TrialState

SELECT_TRIAL = (
    "SELECT number, attempt, kind, state, reason, detail, muster, settings, load, queued_at, started_at,"
    " ended_at, metrics, readings, energies, load_report FROM trial"
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
    """A row of SELECT_TRIAL as a trial."""
    number, attempt, kind, state, reason, detail, muster_name, asked, load, queued_at, started_at, *found = row
    ended_at, metrics, readings, energies, report = found
    return Trial(
        number=number,
        attempt=attempt,
        kind=TrialKind(kind),
        state=TrialState(state),
        reason=reason,
        detail=detail,
        muster=muster_name,
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


def experiment(row: tuple[Any, ...]) -> ExperimentRecord:
    """A row of SELECT_EXPERIMENT as an experiment. ValueError, msgspec.MsgspecError for one that can't be read."""
    fields = dict(zip(ExperimentRecord.__struct_fields__, row, strict=True))
    for name in ("resolved", "versions", "plan", "verdict", "goal"):
        if fields[name] is not None:
            fields[name] = msgspec.json.decode(fields[name])
    if not fields["goal"]:
        raise ValueError("it has no goal")
    return msgspec.convert(fields, ExperimentRecord)


def event(row: tuple[Any, ...]) -> Event:
    """A row of id, at, kind, text, data as an event."""
    return Event(id=row[0], at=row[1], kind=row[2], text=row[3], data=msgspec.json.decode(row[4]))


def muster(row: tuple[Any, ...]) -> MusterRecord:
    """A row of name, state, facts, knobs, changed_at as a muster's record."""
    return MusterRecord(
        name=row[0],
        state=row[1],
        facts=Facts(kind="") if row[2] == "{}" else msgspec.json.decode(row[2], type=Facts),
        knobs=msgspec.json.decode(row[3], type=tuple[KnobInfo, ...]),
        changed_at=row[4],
    )
