"""Whom a run of an experiment tells what happens, and what came of telling."""

import threading
from collections.abc import Callable
from pathlib import Path

from mustherd.experiment.events import Event, follow

Watch = Callable[[Path, Callable[[], bool]], None]


class Told:
    """Whom a run tells what happens, and what came of telling; and `stop`, by which it is told to end.

    TypeError for what can't be called, and for a `stop` that is no threading.Event.
    """

    def __init__(
        self,
        on_event: Callable[[Event], object] | None,
        watch: Watch | None,
        stop: threading.Event | None,
        *,
        from_now: bool = False,
    ) -> None:
        for name, given in (("on_event", on_event), ("watch", watch)):
            if given is not None and not callable(given):
                raise TypeError(f"{name}: {given!r} can't be called; allowed: a function, or None")
        if stop is not None and not isinstance(stop, threading.Event):
            raise TypeError(f"stop: {stop!r} can't be waited for; allowed: a threading.Event, or None")
        self._on_event = on_event
        self._watch = watch
        self._from_now = from_now
        self.stop = stop or threading.Event()
        self.error: Exception | None = None
        self.errors = 0

    def watch(self, folder: Path, is_over: Callable[[], bool]) -> None:
        """Watch in this thread until it's over."""
        if self._watch is not None:
            self._watch(folder, is_over)
        else:
            follow(folder, self._tell, is_over, from_now=self._from_now)

    def _tell(self, event: Event) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception as error:
            self.errors += 1
            self.error = self.error or error
