"""Putting a muster together from its configuration, and running it."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from mustherd import programs
from mustherd.daemon import notify
from mustherd.errors import UserError
from mustherd.guard import ROOT
from mustherd.muster.config import Config, ConfigError, load
from mustherd.muster.gauges import Gauges
from mustherd.muster.guardian import Guardian
from mustherd.muster.journal import Journal
from mustherd.muster.muster import Muster
from mustherd.muster.nodes import BUILT_IN, HARMLESS, kind_of, open_node, own_knobs
from mustherd.muster.pasture import UNRESTORED, Pasture
from mustherd.node.node import EndingNode, Node
from mustherd.wire.endpoints import MusterEndpoint
from mustherd.wire.keys import for_member

log = logging.getLogger(__name__)

UNGUARDED = 4
"""Exit code when the guardian was killed or stood still and the muster stopped for that, the node put back."""

GUARDIAN_S = 10.0
"""How long a former life's guardian may take to put the node back before this one gives up."""


class NodeEndedError(UserError):
    """What the node is about ended by itself; the message says how."""

    exit_code = 3


def serve(file: Path, ready: Callable[[Callable[[], None]], object]) -> int:
    """Run the muster that `file` describes until it is stopped; gives the exit code.

    `ready` gets the function that stops it, to hang it on signals. A guardian puts the node back when this process no
    longer can. Raises ConfigError, JournalError, ClaimError, KeysError; NodeEndedError, the node put back.
    """
    config = load(file)
    if kind_of(config, file) not in HARMLESS:
        config = _retire(file)
    node = open_node(config, file)
    with contextlib.ExitStack() as held:
        held.callback(node.close)
        # The guardian of a former life may still be putting the node back.
        journal = Journal(Path(config.state), patience_s=GUARDIAN_S)
        journal.claim(own_knobs(config, node, journal))
        keys = for_member(Path(config.keys), config.muster) if config.keys else None
        guardian = Guardian(node.knobs, journal, config.lease_s, close=node.close)
        guardian.start()
        held.pop_all()
    try:
        pasture = Pasture(node.knobs, config.ranges, journal)
        pasture.on_step = guardian.alive
        lost = False

        def leave() -> None:
            """What could be put back is, and the journal has the rest for the next life: nobody of this one may write
            once another process may have the locks."""
            nonlocal lost
            lost = guardian.gone()
            guardian.let_go()

        pasture.on_close = leave
        ended = _Ended(node if kind_of(config, file) in BUILT_IN else None)
        end = MusterEndpoint(config.muster, config.shepherd, config.ports, keys)
        muster = Muster(
            config, node, pasture, end,
            each_round=lambda: _round(guardian, ended), own_cpu_s=lambda: time.process_time() + guardian.cpu_s(),
        )  # fmt: skip
        with _scraped(config.metrics, muster.gauges):
            ready(muster.stop)
            notify("READY=1")
            try:
                with programs.meanwhile(muster.meanwhile), programs.told(guardian.runs):
                    muster.run()
            finally:
                node.close()
    finally:
        # One that broke on its way is put back by its guardian.
        if journal.closed or not journal.unrestored:
            guardian.dismiss()
    if ended.how:
        # Before what isn't as it was found: knobs of what has ended are not, and of the others the log has told.
        raise NodeEndedError(ended.how)
    return UNRESTORED if muster.unrestored else UNGUARDED if lost else 0


class _Ended:
    """How what the node is about ended by itself, once that was seen; of another package's node, None, nothing is."""

    def __init__(self, node: Node | None) -> None:
        self._node = node if isinstance(node, EndingNode) else None
        self.how = ""

    def look(self) -> str:
        """See whether it has ended; how, or ''."""
        self.how = self.how or ("" if self._node is None else self._node.ended())
        return self.how


@contextlib.contextmanager
def _scraped(where: str, gauges: Gauges) -> Iterator[None]:
    """Within, a Prometheus is answered, where the configuration has a place for it."""
    if not where:
        yield
        return
    # Most musters have none, and are the lighter for it.
    from mustherd.scrape import served  # noqa: PLC0415

    with served(where, gauges.told) as address:
        log.info("metrics at %s", address)
        yield


def _round(guardian: Guardian, ended: _Ended) -> bool:
    """What is due whenever the muster comes round; False when it must not go on."""
    guardian.alive()
    notify("WATCHDOG=1")
    if how := ended.look():
        log.error("%s; the muster stops", how)
        return False
    if guardian.gone():
        log.error("the guardian is gone, which would put the node back if this muster were killed: it stops")
        return False
    if still_s := guardian.stands_still(time.monotonic()):
        log.error(
            "the guardian has stood still for %.0f s, which would put the node back if this muster were killed: it"
            " is ended, and this muster stops", still_s,
        )  # fmt: skip
        guardian.end()
        return False
    return True


def _retire(file: Path) -> Config:
    """Give up what isn't needed on a real machine, and read the configuration once more, now that it is known safe."""
    from mustherd.muster import privileges  # noqa: PLC0415

    config = load(file)
    # Files that stand for a machine harm nobody; what a package's node touches is not known here.
    is_real = config.nodes.get("linux", {}).get("root", "/") == "/"
    if is_real and not config.keys:
        raise ConfigError(
            f"{file}: keys: a muster of a real machine obeys a shepherd whose key it knows, on loopback too: every user"
            f" of this machine could be it; make keys: mustherd keys create shepherd operator {config.muster}"
        )
    owners = {ROOT} if is_real and "linux" in config.nodes else {ROOT, os.geteuid()}
    privileges.require_guarded(file, owners)
    config = load(file)
    try:
        reserved = config.nodes.get("linux", {}).get("reserved")
        if reserved:
            privileges.stay_on(msgspec.convert(reserved, set[int]))
        privileges.keep()
    except (privileges.PrivilegeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file}: {error}") from None
    return config
