"""An experiment watched while it runs, from any process: a view that renews itself, or a line per trial when piped."""

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mustherd import metrics
from mustherd.definition.units import duration
from mustherd.experiment import wording
from mustherd.report import labels
from mustherd.report.frame import emit, is_plain
from mustherd.report.labels import clean
from mustherd.report.leading import leading
from mustherd.report.now import recent, sparkline, under_way
from mustherd.report.table import STATUS_STYLES, kind_of, marks, number_of, result_of, trials_table
from mustherd.report.view import View
from mustherd.store.errors import StoreError
from mustherd.store.experiment_row import PHASE
from mustherd.store.store import DATABASE, Store
from mustherd.trial import Trial, TrialKind, TrialState

POLL_SECONDS = 0.2

CLOCK_SECONDS = 1.0
"""The times shown go on, even while nothing happens."""

LEAST_ROOM_BYTES = 64 * 1024
"""Free on a disk, below which a database can't be written to for long."""

NO_ROOM = "the disk is full: the experiment waits for room"
ROOM_AGAIN = "there is room again: the experiment goes on"

_TABLE_LINES = 6
"""Lines of the table of trials besides its rows, and the cursor's."""

_SHARE = 8
"""Of each so many lines of a window, one is for running trials, and one for events beyond the third."""

_ROOM = 24
"""A window of fewer lines shows trials instead of what is under way."""

_BESIDE = 40
"""Columns beside a sparkline."""

MOST_POINTS = 60
"""Windows in a sparkline, at most: the last ones."""

_EVENTS = 3
"""Lines of the journal, at least."""

_MUSTER_STYLES = {"alive": "green", "late": "yellow", "missing": "yellow"}

PHASE_OF = {"search": TrialKind.SEARCH, "confirmation": TrialKind.CONFIRM}
"""Of phases that follow others, the trials that are theirs: one of an earlier phase may end when they have begun."""


def follow(folder: Path | str, console: Console, until: Callable[[], bool] | None = None) -> None:
    """Show the experiment in `folder` until `until()`; without one, until nobody runs it any longer.

    The folder may come into being meanwhile. StoreError when it can't be read.
    """
    folder = Path(folder)
    while not (folder / DATABASE).exists():
        if until is None:
            raise StoreError(f"{folder} holds no experiment: it has no {DATABASE}")
        if until():
            return
        time.sleep(POLL_SECONDS)
    with Store.open(folder, read_only=True) as store:
        if is_plain(console):
            _lines(store, console, until)
        else:
            _screen(store, console, until)


def has_room(folder: Path) -> bool:
    """Whether there is any room where an experiment is; without, it waits for some."""
    try:
        there = os.statvfs(folder)
    except OSError:
        return True  # it is gone, which is another matter
    free = there.f_bfree if os.geteuid() == 0 else there.f_bavail
    # Some file systems don't say how large they are.
    return not there.f_blocks or free * there.f_frsize >= LEAST_ROOM_BYTES


def _looks(
    store: Store, until: Callable[[], bool] | None, at_least_every: float, each: Callable[[], None] = lambda: None
) -> Iterator[View]:
    """The experiment each time it has changed, now and then when it hasn't, and once more at the end; `each` is called
    every time that it is looked at."""
    seen, looked = -1, 0.0
    while True:
        each()
        over = until() if until else store.owner() is None
        version = store.data_version()
        if version != seen or over or time.monotonic() - looked > at_least_every:
            seen, looked = version, time.monotonic()
            yield View.of(store)
        if over:
            return
        time.sleep(POLL_SECONDS)


def _lines(store: Store, console: Console, until: Callable[[], bool] | None) -> None:
    told: set[tuple[int, int]] = set()
    finished, phase, room = 0, "", True

    def look_for_room() -> None:
        nonlocal room
        if has_room(store.folder) != room:
            room = not room
            emit(console, Text(clean(ROOM_AGAIN if room else f"{NO_ROOM} ({store.folder})")))
            console.file.flush()

    for view in _looks(store, until, math.inf, look_for_room):
        new = view.experiment.phase if view.status == "running" else ""
        for trial in view.ended():
            if (trial.number, trial.attempt) not in told:
                if new not in ("", phase) and PHASE_OF.get(new, trial.kind) == trial.kind:
                    phase = _tell_phase(new, console)
                told.add((trial.number, trial.attempt))
                finished += trial.state is TrialState.FINISHED
                emit(console, Text(f"[{finished}/{view.progress().planned}] {line_of(trial, view, console)}"))
        if new not in ("", phase):
            phase = _tell_phase(new, console)
        console.file.flush()


def _tell_phase(phase: str, console: Console) -> str:
    emit(console, Text(f"phase: {clean(phase)}"))
    return phase


def line_of(trial: Trial, view: View, console: Console) -> str:
    """An ended trial in one line; one that was the best when it ended is called so for good."""
    where = f" on {trial.muster}" if trial.muster else ""
    values = ", ".join(
        f"{metrics.of(name).label} {labels.quantity(name, trial.metrics[name])}"
        for name in view.metrics()
        if name in trial.metrics
    )
    result = result_of(trial, view, marks(console), view.improvements()).plain
    reason = f" ({trial.detail})" if trial.detail else ""
    return clean(
        f"trial {number_of(trial)} {kind_of(trial, view)}{where}: {wording.settings(trial.settings, view.knobs)}: "
        f"{values + ', ' if values else ''}{result}{reason}"
    )


def standing(view: View, status: str) -> list[str]:
    """How an experiment stands, in a line or two: how many of its trials, phase, time left, and the best so far."""
    progress = view.progress()
    counts = ", ".join(f"{n} {state}" for state, n in view.counts.items() if n)
    done = f", {progress.done} of {progress.planned} trials" if progress.planned else ""
    phase = f", {view.experiment.phase}" if status == "running" and view.experiment.phase else ""
    left = "" if progress.eta_seconds is None else f", about {duration(progress.eta_seconds)} left"
    first = f"{view.experiment.name}: {status}{phase}{done}{left} ({counts or 'no trials yet'})"
    return [clean(first), *(one.line() for one in leading(view) if view.counts["finished"])]


def _screen(store: Store, console: Console, until: Callable[[], bool] | None) -> None:
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for view in _looks(store, until, CLOCK_SECONDS):
            live.update(frame(view, console), refresh=True)


def frame(view: View, console: Console) -> RenderableType:
    """One picture of a running experiment, no higher than the window."""
    some = max(1, console.height // _SHARE)
    full = [] if view.status != "running" or has_room(Path(view.folder)) else [_one_line((NO_ROOM, "red"))]
    above = [_header(view), _bar(view, console), *full, *_now(view, console, some)]
    below = [*_ahead(view)[: max(1, 2 * some)], *_herd(view, some)]
    latest = view.latest(max(3, console.height - len(above) - len(below) - _TABLE_LINES))
    return Group(*above, *([trials_table(view, console, latest, cut=True)] if latest else []), *below)


def _now(view: View, console: Console, most: int) -> list[Text]:
    """What runs, how far it is, and the last windows' power, p99 and objective; nothing where there is no room."""
    if console.height < _ROOM or view.status != "running":
        return []
    running = under_way(view, time.time())
    lines = [_one_line(("▶ " if not _ascii(console) else "> ", "cyan"), (text, "")) for text in running[:most]]
    if len(running) > most:
        lines.append(_one_line((f"and {len(running) - most} more trials", "dim")))
    measured = recent(view, max(10, min(MOST_POINTS, console.width - _BESIDE)))
    names = max((len(one.label) for one in measured), default=0)
    values = max((len(one.text) for one in measured), default=0)
    for one in measured:
        lines.append(
            _one_line(
                (f"{one.label:<{names}}  {one.text:>{values}}  ", ""),
                (sparkline(one.values, plain=_ascii(console)), "cyan"),
                (f"  limit {one.limit_text}" if one.limit_text else "", "dim"),
            )
        )
    return lines


def _ascii(console: Console) -> bool:
    return not (console.encoding or "").lower().startswith("utf")


def _one_line(*parts: tuple[str, str]) -> Text:
    return Text.assemble(*((clean(text), style) for text, style in parts), no_wrap=True, overflow="ellipsis")


def _header(view: View) -> Text:
    limits, objective = wording.together([wording.limit(c) for c in view.goal.constraints]), view.goal.objective
    state = view.experiment.phase if view.status == "running" and view.experiment.phase else view.status
    return _one_line(
        (view.experiment.name, "bold"),
        (f"  {state}", STATUS_STYLES.get(view.status, "")),
        (f"  {view.goal.objectives[0].direction.sense} {objective}{f' with {limits}' if limits else ''}", "dim"),
    )


def _bar(view: View, console: Console) -> RenderableType:
    progress = view.progress()
    counts = f"{progress.done}/{progress.planned} trials" if progress.planned else "no trials yet"
    void = view.counts[TrialState.INVALID.value] + view.counts[TrialState.FAILED.value]
    repeated = f", {void} invalid or failed" if void else ""
    eta = "" if progress.eta_seconds is None else f", about {duration(progress.eta_seconds)} left"
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(
        ProgressBar(
            total=max(1, progress.planned), completed=progress.done, width=max(10, min(40, console.width // 3))
        ),
        Text(f"{counts}{repeated}, {duration(view.wall_seconds)}{eta}", no_wrap=True, overflow="ellipsis"),
    )
    return row


def _ahead(view: View) -> list[Text]:
    """What is ahead, a line for each load."""
    return [_one_line((one.line(), "green" if one.lead.is_ahead else "dim")) for one in leading(view)]


def _herd(view: View, more: int) -> list[Text]:
    lines: list[Text] = []
    if view.musters:
        shown = [("herd: ", "bold")]
        for muster in view.musters:
            shown.append((muster.name, ""))
            state = muster.state or "unknown"
            shown.append((f" {state}   ", _MUSTER_STYLES.get(state, "red" if muster.state else "dim")))
        lines.append(_one_line(*shown))
    lines.extend(
        _one_line((labels.clock(event.at)[11:19], "dim"), (f"  {event.text}", ""))
        for event in [event for event in view.events if event.kind != PHASE][-max(_EVENTS, more) :]
    )
    return lines
