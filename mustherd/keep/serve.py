"""Putting a keeper together and running it: a shepherd, its herd, its sources, its store."""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from mustherd.daemon import Stop
from mustherd.definition import load
from mustherd.definition.model import Experiment
from mustherd.errors import UserError
from mustherd.experiment.local_herd import Operator
from mustherd.keep import config as keep_config
from mustherd.keep import learnt
from mustherd.keep.here import MustersHere
from mustherd.keep.keeper import Keeper
from mustherd.keep.learnt import Learnt, LearntError
from mustherd.keep.ledger import Ledger
from mustherd.keep.loop import KeepLoop
from mustherd.keep.options import Options
from mustherd.keep.source import RowSource
from mustherd.keep.sources.registry import make
from mustherd.keep.store import KeepStore
from mustherd.shepherd.shepherd import Shepherd
from mustherd.wire.keys import for_shepherd
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint

log = logging.getLogger(__name__)


class BrokenError(UserError):
    """The shepherd's thread has ended unasked; the message says why."""

    exit_code = 3


def keep(
    source: Path,
    *,
    folder: Path,
    config: Path | None,
    definition: Path | None = None,
    where: Operator | None = None,
    stop: Stop,
    ready: Callable[[Shepherd], None] = lambda _: None,
) -> None:
    """Run a keeper on what `source` has learnt until it is stopped; its state is in `folder`.

    `where` musters of elsewhere connect to; None: they are those of the experiment's own definition, or of the one that
    is given, on this machine. Raises LearntError, DefinitionError, StoreError, KeepStoreError, KeysError,
    WireError, BrokenError.
    """
    found = learnt.read(source)
    given = keep_config.read(config)
    options = keep_config.options(given, found.limit)
    here = None
    if where is None:
        here = MustersHere(folder, _definition(found, source, definition))
        where = Operator(keys=here.keys)
    traffic = keep_config.trace(given, found.experiment) if here is not None else None
    faults: list[str] = []
    herds: list[Shepherd] = []
    # What they can't be made of is said before anything begins.
    sources = make(given.sources, lambda: herds[0].musters() if herds else {}, found.counted)

    def broken(fault: str) -> None:
        faults.append(fault)
        stop.ask(fault)

    with contextlib.ExitStack() as stack:
        store = stack.enter_context(KeepStore(folder))
        if here is not None:
            here.make_keys()
        end = ShepherdEndpoint(where.listen, where.ports, for_shepherd(where.keys) if where.keys is not None else None)
        rows = next((source.sink for source in sources if isinstance(source, RowSource)), None)
        shepherd = Shepherd(end, experiment="keep", folder=str(folder.absolute()), sink=rows, broken=broken)
        shepherd.start()
        stack.callback(shepherd.stop)
        herds.append(shepherd)
        ready(shepherd)
        if here is not None:
            stack.enter_context(here.running(where.listen, end.ports))
        if found.unfinished:
            log.warning("%s: settings that it would have found better may be missing", found.unfinished)
        keys = f" --keys {where.keys}" if where.keys is not None else ""
        log.info("%s; its nodes: mustherd herd status --shepherd %s:%d%s", _said(found, options), where.listen,
                 end.ports.coordinate, keys)  # fmt: skip
        keeper = Keeper(options, found.book, Ledger(options.day_s))
        loop = KeepLoop(
            keeper,
            shepherd,
            store,
            sources,
            stop=stop,
            latency=found.latency,
            power=found.power,
            traffic=traffic,
            tend=here.tend if here is not None else lambda: None,
        )
        loop.run()
    if faults:
        raise BrokenError(f"{faults[0]}; this process ends, so that nothing goes on by half")


def _said(found: Learnt, options: Options) -> str:
    """What is kept, in a line."""
    loads = found.book.loads
    span = f"{loads[0]:,.0f}" + (f" to {loads[-1]:,.0f}" if len(loads) > 1 else "")
    what = f"{len(found.book.keys)} setting{'s' if len(found.book.keys) > 1 else ''}"
    return f"keeps {found.latency} within {options.limit:g}, by {what} for {span} requests a second"


def _definition(found: Learnt, source: Path, definition: Path | None) -> Experiment:
    if definition is not None:
        return load(definition)
    if found.experiment is None:
        raise LearntError(f"{source} is a table, which names no herd: give --inventory or --definition")
    if found.experiment.herd.inventory is not None:
        raise LearntError(f"{source} was learnt on a herd of an inventory: give --inventory")
    return found.experiment
