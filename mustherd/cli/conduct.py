"""An experiment from the command line: shown while it runs, told of at the end, ended by signals in good order."""

import contextlib
import errno
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from mustherd.cli.notify import run_notice, words_of
from mustherd.cli.printing import console, open_for_json, print_json
from mustherd.daemon import EndedError, hush, may_raise
from mustherd.errors import UNWRITTEN

if TYPE_CHECKING:
    from rich.console import Console

    from mustherd.api import ExperimentFailedError, Watch
    from mustherd.definition.plan import Plan
    from mustherd.report.view import View
    from mustherd.result import Result

POLL_S = 0.2
"""How often it is looked whether an experiment is over that nobody watches any more."""

Notify = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND", help="Run this at the end, without a shell; it gets the status and the folder as last words."
    ),
]


@contextlib.contextmanager
def ended_by_signals(*, to_the_end: bool = False) -> Iterator[None]:
    """Within, SIGTERM and SIGHUP do what Ctrl-C does; one that is ignored stays so, as nohup has it.

    The first one counts: nodes are put back then, and what was found is told, whoever asks again meanwhile, or, with
    `to_the_end`, as long as this process lives. None of them ends an import in its middle: what is told at the end
    needs whole modules.
    """
    told = False

    def once(number: int, frame: FrameType | None) -> bool:
        nonlocal told
        if told or not may_raise(number, frame):
            return False
        told = True
        return True

    def end(number: int, frame: FrameType | None) -> None:
        if once(number, frame):
            raise EndedError

    def interrupt(number: int, frame: FrameType | None) -> None:
        if once(number, frame):
            raise KeyboardInterrupt

    heeded = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    for number in heeded:
        signal.signal(number, end)
    by_hand = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if by_hand:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        deaf = signal.SIG_IGN if told and to_the_end else None
        for number in heeded:
            signal.signal(number, deaf or signal.SIG_DFL)
        if by_hand:
            signal.signal(signal.SIGINT, deaf or signal.default_int_handler)


def conduct(
    run: "Callable[[Watch], Result]",
    json: bool,
    first: Path | None = None,
    *,
    notify: str | None = None,
    plan: "Callable[[], Plan] | None" = None,
) -> None:
    """Show an experiment while it runs, then what came of it; ends the command with its exit code.

    `first`: the experiment of which this one is another day; `notify`: what to run at the end; `plan`: what it would
    take, to be told at once. SIGTERM and SIGHUP end it as Ctrl-C does.
    """
    from mustherd import api
    from mustherd.report.live import follow
    from mustherd.store.errors import once_begun

    command = words_of(notify)
    terminal = console(stderr=json)
    begun: list[Path] = []
    lost: list[OSError] = []
    # What people read goes to stderr with --json: where that is full or gone, the JSON is still to be had.
    lost_to_people: list[OSError] = [] if json else lost

    def watch(folder: Path, is_over: Callable[[], bool]) -> None:
        begun.append(folder)
        try:
            # Whoever looked on is gone, or a disk is full, or can't be read: that is no reason to end an experiment.
            missed: list[OSError] = []
            with _noting_loss(missed, terminal.file):
                _tell_the_beginning(folder, plan, terminal)
                follow(folder, terminal, until=is_over)
            lost_to_people.extend(error for error in missed if error.filename is None)
            while not is_over():
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                terminal.print("stopping: nodes are put back, what was found is kept")
            raise

    failed = None
    with ended_by_signals(to_the_end=True):
        try:
            result = run(watch)
        except api.ExperimentFailedError as error:
            result, failed = error.result, error
        except KeyboardInterrupt:
            if not begun:
                raise
            result = api.open(begun[0])
        with once_begun():
            code = failed.exit_code if failed is not None else result.exit_code
            with _noting_loss(lost_to_people, terminal.file):
                _tell_the_end(result, failed, terminal, first)
            if json:
                open_for_json()
                with _noting_loss(lost, sys.stdout):
                    print_json(result.summary() if first is None else {**result.summary(), **_record(first)})
        if lost:
            with contextlib.suppress(OSError):
                where, why = lost[0].filename or "the output", lost[0].strerror or lost[0]
                typer.echo(f"mustherd: {where}: {why}; what was found is in {result.folder}", err=True)
            code = code if code not in (None, 0, 1) else UNWRITTEN
        if command:
            run_notice(command, result)
    raise typer.Exit(0 if code is None else code)


@contextlib.contextmanager
def _noting_loss(lost: list[OSError], output: IO[str] | None) -> Iterator[None]:
    """What is printed within may not be taken: then nothing more is printed there, and the error is one of `lost`
    unless nobody looks there any more. So is that of a file that can't be read, which is no fault of the output."""
    try:
        yield
        if output is not None:
            output.flush()
    except OSError as error:
        if error.filename is not None:
            lost.append(error)
            return
        if not _nobody_reads(error, output):
            lost.append(error)
        hush(output)


def _nobody_reads(error: OSError, output: IO[str] | None) -> bool:
    """Whether an output is a closed pipe, or a terminal that was hung up. A broken disk has the same error."""
    if error.errno == errno.EIO and output is not None:
        return not stat.S_ISREG(os.fstat(output.fileno()).st_mode)
    return error.errno == errno.EPIPE


def _tell_the_end(
    result: "Result", failed: "ExperimentFailedError | None", terminal: "Console", first: Path | None
) -> None:
    from mustherd import api
    from mustherd.report.frame import emit
    from mustherd.report.html import REPORT
    from mustherd.report.table import verdict_panel

    view = result.view()
    go_on = f"go on: mustherd experiment resume {result.folder}"
    if failed is not None and failed.signal:
        terminal.print(f"{failed.reason}; {go_on}", markup=False, soft_wrap=True)
    elif failed is not None:
        terminal.print(f"failed: {failed.reason}", markup=False, soft_wrap=True, style="red")
        terminal.print(f"logs: {result.folder}/*.log; {go_on}", markup=False, soft_wrap=True)
    elif view.status == "done":
        emit(terminal, *front(view, terminal), verdict_panel(view, terminal))
        if first is not None:
            emit(terminal, *days(api.open(first).view(), terminal))
    else:
        terminal.print(f"{view.status}: {view.detail}; {go_on}", markup=False, soft_wrap=True)
    terminal.print(f"folder: {result.folder}", markup=False, soft_wrap=True)
    if (written := result.folder / REPORT).exists():
        terminal.print(f"report: {written}", markup=False, soft_wrap=True)


def _tell_the_beginning(folder: Path, plan: "Callable[[], Plan] | None", terminal: "Console") -> None:
    """Where it is and what it will take, before anything has happened, in a pipe too."""
    from mustherd.definition.units import duration
    from mustherd.errors import UserError

    terminal.print(f"folder: {folder}", markup=False, soft_wrap=True)
    if plan is not None:
        with contextlib.suppress(UserError):
            found = plan()
            takes = duration(found.wall_seconds)
            most = duration(found.wall_seconds_at_most)
            more = f", at most {most}" if most != takes else ""
            terminal.print(f"plan: {found.trials} trials in about {takes}{more}", markup=False, soft_wrap=True)
    terminal.file.flush()


def front(view: "View", terminal: "Console") -> list[Any]:
    """The front's table, where there is one."""
    from mustherd.report.table import front_table

    return [front_table(view, terminal)] if view.goal.second else []


def days(view: "View", terminal: "Console") -> list[Any]:
    """The table of other days, where there are any."""
    from mustherd.report.table import days_table

    return [days_table(view, terminal)] if view.again.days else []


def _record(folder: Path) -> dict[str, Any]:
    """The record of an experiment's days, as JSON types."""
    from mustherd import api
    from mustherd.report.json import record_form

    return {"again": record_form(api.open(folder).again)}
