"""A process that serves a herd: its signals, the parent that it ends with, and the keys that it reads again."""

import sys

import typer

from mustherd.daemon import Stop, StopSignals, end_with
from mustherd.shepherd.shepherd import Shepherd
from mustherd.wire.ports import Ports


class Serving:
    """From when it is made a signal asks `stop` to end the process in good order."""

    def __init__(self, parent: int) -> None:
        """`parent`: the process that it ends with; 0: none."""
        self.stop = Stop()
        self.shepherds: list[Shepherd] = []
        """Those that listen, or did, the newest last."""
        # In a terminal SIGHUP says that it was closed; a service is told by it that its keys have changed.
        self._signals = StopSignals(
            lambda: self.stop.ask(self._signals.who(parent)),
            None if sys.stderr.isatty() else self._reread_keys,
        )
        if parent:
            end_with(parent)

    def ready(self, shepherd: Shepherd) -> None:
        """The shepherd listens: its keys are those to be read again."""
        self.shepherds.append(shepherd)

    def exit(self, code: int) -> typer.Exit:
        """What ends the command, with `code` or the signal that asked for the end."""
        return typer.Exit(self._signals.exit_code(code))

    def _reread_keys(self) -> None:
        for shepherd in self.shepherds:
            shepherd.reread_keys()


def ports_of(given: str) -> Ports:
    """What `--ports` says, the usual ones where it says nothing. Usage error."""
    try:
        return Ports.parse(given) if given else Ports()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ports") from None
