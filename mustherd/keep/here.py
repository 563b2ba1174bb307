"""Musters on this machine for a keeper: those of the definition that its settings were learnt by."""

import contextlib
import logging
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mustherd import files
from mustherd.definition.model import Experiment
from mustherd.errors import printable
from mustherd.experiment.local_herd import KEYS, RESTART_S, SAYS, configure, end, end_within_s, last_line, spawn_muster
from mustherd.wire.keys import create
from mustherd.wire.members import SHEPHERD, Role
from mustherd.wire.ports import Ports

log = logging.getLogger(__name__)

MUSTERS = "herd"


class MustersHere:
    """Processes; `tend` starts those again that died."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        simulated = experiment.herd.simulated
        self._experiment = experiment
        self._folder = folder / MUSTERS
        self.names = [f"muster-{n}" for n in range(1, (simulated.musters if simulated else 1) + 1)]
        self.keys = self._folder / KEYS
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._again_at: dict[str, float] = {}
        self._told: dict[str, str] = {}
        """Why each muster has ended, as it was told."""

    def make_keys(self) -> None:
        """Of this run alone: other users of the machine can reach its ports, too."""
        if not self.keys.exists():
            files.folder(self._folder)
            create(self.keys, [SHEPHERD, Role.OPERATOR, *self.names], durable=False)

    @contextlib.contextmanager
    def running(self, host: str, ports: Ports) -> Iterator[None]:
        """They run within the block, and are ended in order after it."""
        within_s = end_within_s(self._experiment)
        where: dict[str, int | str] = {"host": host, **msgspec.structs.asdict(ports)}
        for number, name in enumerate(self.names, 1):
            configure(self._folder / name, where, self._experiment, number)
            self._spawn(name)
        try:
            yield
        finally:
            end([*self._processes.values()], within_s)

    def tend(self) -> None:
        """Start those again that have died for a moment."""
        now = time.monotonic()
        for name, process in list(self._processes.items()):
            if process.poll() is not None and now >= self._again_at.setdefault(name, now + RESTART_S):
                del self._again_at[name]
                self._tell(name)
                self._spawn(name)

    def _tell(self, name: str) -> None:
        """Why a muster has ended, once for each reason: one that can't begin ends again and again."""
        why = last_line(self._folder / name / "muster.log").removeprefix(SAYS) or "its log is empty"
        if self._told.get(name) != why:
            self._told[name] = why
            log.warning("%s has ended, and is started again: %s", name, printable(why))

    def _spawn(self, name: str) -> None:
        home = self._folder / name
        self._processes[name] = spawn_muster(home, home / "muster.log")
