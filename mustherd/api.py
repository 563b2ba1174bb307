"""Experiments from Python: what the command line and notebooks call.

Whatever a user can cause is a UserError whose message says what to do. Paths may be text.
"""

import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mustherd.errors import UNWRITTEN, UserError
from mustherd.result import EXIT_CODES, Result
from mustherd.store import DEFINITION, EXPERIMENTS

if TYPE_CHECKING:
    from mustherd.definition import Experiment, Plan
    from mustherd.experiment.events import Event
    from mustherd.experiment.links import Link
    from mustherd.experiment.local_herd import Operator
    from mustherd.experiment.told import Told
    from mustherd.provision.placement import InventoryHerd
    from mustherd.store.catalog import Summary
    from mustherd.store.store import Store

File = str | os.PathLike[str]
Watch = Callable[[Path, Callable[[], bool]], None]


class ExperimentFailedError(UserError):
    """The herd failed under an experiment, or its shepherd was killed; `resume` goes on with what was kept."""

    reason: str
    """Why, in a sentence."""
    result: Result
    """What was found until then."""
    signal: int
    """What killed the shepherd; 0 where it said itself why it ended."""

    def __init__(self, reason: str, result: Result, *, signal: int = 0, exit_code: int = 3) -> None:
        super().__init__(f"{reason}; its logs: {result.folder}/*.log; go on: mustherd.resume({str(result.folder)!r})")
        self.exit_code = exit_code
        self.reason = reason
        self.result = result
        self.signal = signal


def check(definition: "Experiment | File | None" = None) -> "Experiment":
    """The experiment that a definition says: a file, its text (more than one line), or one that was built.

    Without a definition the quickstart's. Raises DefinitionError, which names the file, the line and what is allowed.
    """
    from mustherd.definition.given import read

    return read(definition, DEFINITION)[1]


def links(
    definition: "Experiment | File",
    *,
    musters: int | None = None,
    listen: str | None = None,
    keys: File | None = None,
    tell: "Callable[[Link], object]" = lambda _link: None,
) -> "list[Link]":
    """Try every link that an experiment rests on, without load; `tell` gets each as it was tried.

    Of an inventory's herd keys, ports, logins, builds, servers and musters; knobs are read and written back to the same
    values. Of any herd but a simulated one meters and the application's metrics, each read once. Arguments as in
    `run`. Raises DefinitionError and InventoryError.
    """
    from mustherd.experiment.preflight import check as check_all
    from mustherd.experiment.ready import try_links

    experiment = check(definition)
    check_all(experiment)
    return try_links(experiment, musters=musters, listen=listen, keys=keys, tell=tell)


def plan(
    definition: "Experiment | File | None" = None, *, musters: int | None = None, like: File | None = None
) -> "Plan":
    """What an experiment would take, without starting anything: trials, time, energy, budget, rounds that savings need.

    `musters`: how many nodes of an inventory, if not all; `like`: the folder of an experiment that measured how much
    windows differ, instead of what was recorded elsewhere. Raises DefinitionError, InventoryError, StoreError.
    """
    from mustherd.experiment.noise_of import noise_of
    from mustherd.experiment.plug_ins import check_plugins
    from mustherd.experiment.preflight import check_musters, planned

    experiment = check(definition)
    check_musters(experiment, musters)
    check_plugins(experiment)
    return planned(experiment, musters, noise=noise_of(experiment, None if like is None else Path(like)))


def run(
    definition: "Experiment | File | None" = None,
    *,
    into: File | None = None,
    on_event: "Callable[[Event], object] | None" = None,
    stop: threading.Event | None = None,
    musters: int | None = None,
    listen: str | None = None,
    keys: File | None = None,
    watch: Watch | None = None,
    report: bool = True,
) -> Result:
    """Run an experiment to its end, in a new folder `into` or one named after it in ./experiments.

    `definition` is a file, its text (more than one line), or an Experiment; without one the quickstart's. It may be
    called from any thread, and more than once at the same time; it sets no signal handlers.

    `on_event` is called in this thread with what happens, as mustherd.experiment.events has it, while the experiment
    goes on. What it raises doesn't touch the experiment: the first such error is raised when it is over.

    `stop`, set from any thread, ends the experiment in good order: nodes are put back, what was found is kept. Ctrl-C,
    and sys.exit in `on_event`, do the same and are then passed on; where a node could not be put back,
    ExperimentFailedError is raised from them. `musters` (how many to wait for), `listen` and `keys` (a key folder) say
    otherwise than an inventory does; all of its herd's links are tried before anything is made. `watch` is called
    instead of watching for `on_event`, with the folder and a function that says whether it's over. Without `report` no
    HTML report is written at the end; `Result.report` makes one at any time.

    Raises, before anything is started, DefinitionError, StoreError and other UserErrors; afterwards
    ExperimentFailedError, which has the result too.
    """
    from mustherd.definition import content, digest, goal
    from mustherd.definition.given import read
    from mustherd.experiment.origin import keep_origin
    from mustherd.experiment.preflight import check as check_all
    from mustherd.experiment.preflight import check_musters
    from mustherd.experiment.ready import ready
    from mustherd.experiment.told import Told
    from mustherd.store.catalog import folder_for, new_folder
    from mustherd.store.lock import command
    from mustherd.store.store import Store, vacant

    told = Told(on_event, watch, stop)
    text, experiment = read(definition, DEFINITION)
    check_musters(experiment, musters)
    check_all(experiment)
    soon = vacant(into) if into is not None else folder_for(EXPERIMENTS, experiment.name)
    herd, operator = ready(experiment, soon, musters=musters, listen=listen, keys=keys)
    folder = soon if into is not None else new_folder(EXPERIMENTS, experiment.name)
    store = Store.create(
        folder,
        name=experiment.name,
        definition=text,
        resolved=content(experiment),
        digest=digest(experiment),
        goal=goal(experiment),
    )
    with store, command(store.folder) as herd_runs:
        keep_origin(store, experiment, herd, text)
        return _conduct(store, experiment, herd, operator, told, herd_runs=herd_runs, report=report)


def resume(
    folder: File,
    *,
    definition: "Experiment | File | None" = None,
    on_event: "Callable[[Event], object] | None" = None,
    stop: threading.Event | None = None,
    musters: int | None = None,
    listen: str | None = None,
    keys: File | None = None,
    watch: Watch | None = None,
    report: bool = True,
) -> Result:
    """Go on with an experiment that was stopped, killed or failed: finished trials are kept, the rest runs again.

    `on_event` is told what happens from now on; mustherd.watch(folder) tells it from the beginning. The other
    arguments, and what is raised, are as in `run`. StoreError where it is done, where somebody runs it already, and
    where its definition, or `definition`, isn't what it was started with.
    """
    from mustherd.experiment.origin import keep_origin
    from mustherd.experiment.preflight import check_musters
    from mustherd.experiment.ready import ready
    from mustherd.experiment.told import Told
    from mustherd.store.lock import command
    from mustherd.store.store import Store

    told = Told(on_event, watch, stop, from_now=True)
    # Opened to be changed, a folder of an earlier version is of this one for good: what is refused stays as it was.
    with Store.open(Path(folder), read_only=True) as store:
        experiment = _resumable(store, folder, definition)
    check_musters(experiment, musters)
    with command(store.folder) as herd_runs, Store.open(store.folder) as store:
        # Whoever had it a moment ago may have come to its verdict.
        _refuse_done(store, folder)
        herd, operator = ready(experiment, store.folder, musters=musters, listen=listen, keys=keys)
        keep_origin(store, experiment, herd)
        return _conduct(store, experiment, herd, operator, told, herd_runs=herd_runs, report=report)


def again(
    folder: File,
    *,
    on_event: "Callable[[Event], object] | None" = None,
    stop: threading.Event | None = None,
    musters: int | None = None,
    listen: str | None = None,
    keys: File | None = None,
    watch: Watch | None = None,
    report: bool = True,
) -> Result:
    """Measure on another day what an experiment announced, against the default; gives that day's result.

    The day is an experiment of its own in `FOLDER/again`: the announced settings alone, the limits as they are.
    `Result.again` of the first one has the record of its days and the margin that suits its herd. The other arguments,
    and what is raised, are as in `run`; StoreError where nothing was announced.
    """
    from mustherd.experiment.again import another_day

    first = Result(Path(folder))
    text, into = another_day(first.folder, first.definition, first.view().stored, days=len(first.again.days))
    found = run(
        text, into=into, on_event=on_event, stop=stop, musters=musters, listen=listen, keys=keys, watch=watch,
        report=report,
    )  # fmt: skip
    if report:
        first.report()
    return found


async def arun(
    definition: "Experiment | File | None" = None,
    *,
    on_event: "Callable[[Event], Awaitable[object] | object] | None" = None,
    **options: Any,
) -> Result:
    """`run` in a thread of its own, awaited; `options` are those of `run`.

    `on_event` is called in the event loop, and awaited where it is a coroutine. Cancelling the task stops the
    experiment in good order, and ends when it has.
    """
    from mustherd.experiment.awaited import in_thread

    return await in_thread(run, definition, on_event, options)


async def aresume(
    folder: File, *, on_event: "Callable[[Event], Awaitable[object] | object] | None" = None, **options: Any
) -> Result:
    """`resume`, awaited as in `arun`."""
    from mustherd.experiment.awaited import in_thread

    return await in_thread(resume, folder, on_event, options)


def open(folder: File | None = None) -> Result:
    """The experiment in a folder, finished or running, here or elsewhere; without one the newest in ./experiments.

    Raises StoreError.
    """
    from mustherd.store.catalog import newest

    return Result(newest(EXPERIMENTS) if folder is None else Path(folder))


def watch(folder: File) -> "Iterator[Event]":
    """What happens in an experiment, from its beginning on, as it happens, until nobody runs it any longer.

    Whoever runs it: the events are read off its folder. One that is over gives all of them at once. StoreError.
    """
    from mustherd.experiment.events import events_of

    return events_of(open(folder).folder)


def stop(folder: File, *, keys: File | None = None) -> None:
    """Ask whoever runs an experiment to end it in good order: nodes put back, all kept. Gives back at once.

    StoreError where it isn't running; WireError where its shepherd doesn't answer.
    """
    from mustherd.experiment.running import stop as ask_to_stop

    ask_to_stop(Path(folder), None if keys is None else Path(keys))


def list_experiments(parent: File = EXPERIMENTS) -> "list[Summary]":
    """The experiments right below a folder, a line each, newest first; one that can't be read is listed as broken.

    `left` of one that nobody runs says which nodes of this machine it left changed.
    """
    import msgspec

    from mustherd.experiment.left_behind import left_in
    from mustherd.store.catalog import list_experiments as found_in

    found, replace = found_in(Path(parent)), msgspec.structs.replace
    return [one if one.status == "running" else replace(one, left=tuple(left_in(Path(one.folder)))) for one in found]


def _conduct(
    store: "Store",
    experiment: "Experiment",
    herd: "InventoryHerd | None",
    operator: "Operator",
    told: "Told",
    *,
    herd_runs: Callable[[], None],
    report: bool,
) -> Result:
    """Run the processes, tell what happens, write the report; for whoever has the command's lock.

    `herd_runs` is called once the shepherd owns the experiment.
    """
    from mustherd.experiment.left_behind import fail, left_in, put_back
    from mustherd.experiment.local_herd import LocalHerdError, run_here
    from mustherd.experiment.preflight import lay_out_load, load_layout
    from mustherd.store.errors import once_begun

    def watch(folder: Path, is_over: Callable[[], bool]) -> None:
        herd_runs()
        told.watch(folder, is_over)

    lay_out_load(store.folder, load_layout(experiment, herd))
    result = Result(store.folder)
    if report and experiment.herd.simulated is not None:
        # Nothing of this machine is measured: what draws the report may take its time while trials run.
        from mustherd.report.svg import warm

        threading.Thread(target=warm, name="drawing", daemon=True).start()
    with once_begun():
        put_back(store)
        # What stands where putting back is itself interrupted.
        left = "whether its nodes are as they were found is not known"
        try:
            try:
                ending = run_here(store.folder, experiment, operator, watch, told.stop)
            finally:
                if left := put_back(store, ended=True):
                    fail(store, left)
        except LocalHerdError as error:
            # What is left changed is told beside why, and stays in the store.
            why = "; ".join([str(error), *((left_in(store.folder) or [left]) if left else [])])
            fail(store, why)
            raise LocalHerdError(why) from None
        except BaseException as broken:
            if isinstance(broken, Exception):
                if left:
                    broken.add_note(left)
                raise
            _write_report(result, wanted=report)
            if left:
                # Nobody prints a note on SystemExit, and who reads no more than 0 takes the node for put back.
                raise ExperimentFailedError("; ".join(left_in(store.folder)) or left, result) from broken
            broken.add_note(f"{result.folder} is {result.status}; go on: mustherd.resume({str(result.folder)!r})")
            raise
        unwritten = _write_report(result, wanted=report)
        if (failed := _failure(ending.code, ending.words, store, result)) is not None:
            if told.error is not None:
                failed.add_note(_note(told, result))
            raise failed
        if told.error is not None:
            told.error.add_note(_note(told, result))
            raise told.error
        if unwritten is not None:
            raise unwritten
        return result


def _write_report(result: Result, *, wanted: bool) -> UserError | None:
    """Write the report; what kept it from being written, which changes nothing about the experiment."""
    from mustherd.store.errors import StoreError

    try:
        if wanted:
            result.report()
    except StoreError as error:
        error.exit_code = UNWRITTEN
        return error
    return None


def _failure(code: int, words: str, store: "Store", result: Result) -> ExperimentFailedError | None:
    """The error of a run that ended badly."""
    row = store.experiment()
    if code < 0:
        return ExperimentFailedError(words, result, signal=-code)
    if (row.status == "done" and code in (0, 1)) or (row.status == "stopped" and code == EXIT_CODES["stopped"]):
        return None
    reason = row.status_detail if row.status == "failed" and row.status_detail else words
    # 2: the nodes can't do what the definition asks, and nothing was tried.
    return ExperimentFailedError(reason, result, exit_code=2 if code == 2 and not any(store.counts().values()) else 3)


def _note(told: "Told", result: Result) -> str:
    times = "once" if told.errors == 1 else f"{told.errors} times"
    return f"on_event raised {times}; the experiment went on without it: mustherd.open({str(result.folder)!r})"


def _resumable(store: "Store", folder: File, definition: "Experiment | File | None") -> "Experiment":
    """The experiment that a folder holds; StoreError where it can't be gone on with, or not with `definition`."""
    from mustherd.definition import loads
    from mustherd.definition.digest import reread
    from mustherd.store.database import versions
    from mustherd.store.errors import StoreError

    _refuse_done(store, folder)
    row = store.experiment()
    file = Path(folder) / DEFINITION
    if file.exists() and not file.is_file():
        raise StoreError(f"{file} can't be read: not a regular file")
    if what := "; ".join(reread(row.resolved, experiment := loads(row.definition, str(file)))):
        was, now = row.versions.get("mustherd", "of another version"), versions().get("mustherd", "")
        began = f"another build of mustherd {was}" if was == now else f"mustherd {was}"
        raise StoreError(
            f"{began}, which began {folder}, read its definition otherwise ({what}): resume with the one that began it,"
            f" or start a new experiment with {file}"
        )
    _refuse_changed(experiment, file, folder)
    if definition is not None:
        _refuse_changed(experiment, definition, folder)
    return experiment


def _refuse_done(store: "Store", folder: File) -> None:
    from mustherd.store.errors import StoreError

    if store.experiment().status == "done":
        raise StoreError(f"{folder} is done; there is nothing to resume: see mustherd experiment show {folder}")


def _refuse_changed(experiment: "Experiment", now: "Experiment | File", folder: File) -> None:
    from mustherd.definition import Experiment, changes
    from mustherd.store.errors import StoreError

    if differences := changes(experiment, check(now)):
        named = "the definition" if isinstance(now, Experiment) or "\n" in str(now) else now
        what = "; ".join(differences)
        raise StoreError(f"{named} isn't what {folder} was started with ({what}): start a new experiment with it")
