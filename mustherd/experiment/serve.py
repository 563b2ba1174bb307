"""Putting a shepherd together and running it: alone, or with an experiment to conduct."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from mustherd.daemon import Stop
from mustherd.errors import UserError
from mustherd.experiment.running import announce
from mustherd.experiment.way import make_way, stay_away
from mustherd.learn.registry import SearchError
from mustherd.learn.worker import end_unused, start_early
from mustherd.machine import need_shepherds_files
from mustherd.rowlog.allocator import keep_pages
from mustherd.rowlog.writer import LogWriter
from mustherd.shepherd.events import StopAsked
from mustherd.shepherd.shepherd import Shepherd
from mustherd.store.store import DEFINITION, Store
from mustherd.wire.keys import Keys, for_shepherd
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint
from mustherd.wire.sockets import WireError

log = logging.getLogger(__name__)

TUNE = "tune"
"""The policy whose search runs in a process of its own."""


class BrokenError(UserError):
    """A thread that everybody depends on has ended unasked; the message says which and why."""

    exit_code = 3


def serve(
    folder: Path | None,
    *,
    logs_folder: Path | None = None,
    logs_bytes: int | None = None,
    listen: str,
    ports: Ports,
    keys_folder: Path | None,
    expected: int,
    stop: Stop,
    ready: Callable[[Shepherd], None] = lambda _: None,
) -> int:
    """Run a shepherd until it is stopped or its experiment has ended; gives the exit code of the process.

    Rows of logs go to the experiment's folder, or without one to `logs_folder`, of which the newest `logs_bytes`
    are kept (None: all), or are not asked for. `ready` gets the
    shepherd once it listens.
    Raises MachineError, KeysError, WireError, BrokenError, and with an experiment StoreError, DefinitionError,
    PolicyError.
    """
    need_shepherds_files(expected)
    faults: list[str] = []

    def broken(fault: str) -> None:
        faults.append(fault)
        stop.ask(fault)

    code = None
    while code is None:
        code = _serve(
            folder,
            logs_folder=logs_folder,
            logs_bytes=logs_bytes,
            listen=listen,
            ports=ports,
            keys_folder=keys_folder,
            expected=expected,
            stop=stop,
            ready=ready,
            broken=broken,
        )
        if code is None:
            log.info("an experiment needs the ports: back when they are free again")
            stay_away(listen, ports.coordinate, stop)
            code = 0 if stop.is_set() else None
    if faults:
        raise BrokenError(f"{faults[0]}; this process ends, so that nothing goes on by half")
    return code


def _serve(
    folder: Path | None,
    *,
    logs_folder: Path | None,
    logs_bytes: int | None,
    listen: str,
    ports: Ports,
    keys_folder: Path | None,
    expected: int,
    stop: Stop,
    ready: Callable[[Shepherd], None],
    broken: Callable[[str], None],
) -> int | None:
    """The exit code; None where a shepherd without an experiment was asked to give way to one."""
    keep_pages()
    keys = for_shepherd(keys_folder) if keys_folder is not None else None
    with contextlib.ExitStack() as stack:
        store, logs = None, None
        if folder is not None:
            store = stack.enter_context(Store.open(folder))
            stack.enter_context(store.own())
            store.may_wait = lambda seconds: not stop.wait(seconds)
            stack.callback(end_unused)
            _start_search(store)
            logs = stack.enter_context(LogWriter(store.folder, broken=broken))
        elif logs_folder is not None:
            logs = stack.enter_context(LogWriter(logs_folder, broken=broken, most_bytes=logs_bytes))
        end = _listen(listen, ports, keys, keys_folder) if folder else ShepherdEndpoint(listen, ports, keys)
        shepherd = Shepherd(
            end,
            experiment=store.experiment().name if store is not None else "",
            folder=str(folder) if folder is not None else "",
            sink=logs,
            broken=broken,
        )
        shepherd.start()
        stack.callback(shepherd.stop)
        ready(shepherd)
        bound = end.ports
        log.info("listening on %s, ports %s", listen, bound)
        if store is None or logs is None:
            while not stop.wait(1.0):
                # Nobody drives this herd: what happens in it is only logged.
                while not shepherd.events.empty():
                    event = shepherd.events.get_nowait()
                    if isinstance(event, StopAsked):
                        return None
                    log.info("%s", event)
            return 0
        stack.callback(announce(store.folder, listen, bound, keys_folder).unlink, missing_ok=True)
        # Half of what this process imports: musters, who wait for the address alone, start and say hello meanwhile.
        from mustherd.definition import loads  # noqa: PLC0415
        from mustherd.experiment.external_load import outside_load  # noqa: PLC0415
        from mustherd.experiment.loop import TrialLoop  # noqa: PLC0415
        from mustherd.load import placement  # noqa: PLC0415
        from mustherd.policy.base import log_bytes  # noqa: PLC0415

        experiment = loads(store.experiment().definition, str(store.folder / DEFINITION))
        logs.most_bytes = log_bytes(experiment)
        outside = outside_load(experiment.workload, placement.read(store.folder), store.folder, expected)
        if outside is not None:
            stack.callback(outside.leave)
        loop = TrialLoop(store, experiment, shepherd, logs, expected=expected, stop=stop, outside=outside)
        return int(loop.run())


def _start_search(store: Store) -> None:
    """Let the search's process import while the herd comes together; it is asked after the first window."""
    row = store.experiment()
    policy = row.resolved.get("policy")
    method = (row.resolved.get("search") or {}).get("method")
    if (policy.get("name") if isinstance(policy, Mapping) else policy) != TUNE or not isinstance(method, str):
        return
    # What is wrong is told when it is asked to search.
    with contextlib.suppress(SearchError):
        start_early(method)


def _listen(listen: str, ports: Ports, keys: Keys | None, keys_folder: Path | None) -> ShepherdEndpoint:
    """An experiment's end of the channels, be it that another shepherd has to give way."""
    try:
        return ShepherdEndpoint(listen, ports, keys)
    except WireError:
        if not make_way(listen, ports, keys_folder):
            raise
        return ShepherdEndpoint(listen, ports, keys)
