"""Setting knobs again within a window, while its load goes on: decisions like any other, at their times."""

import threading
from collections.abc import Mapping, Sequence

from mustherd.definition.within import Change
from mustherd.reasons import Reason
from mustherd.shepherd.events import HerdError
from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import Setting, settings_of
from mustherd.wire.messages import MusterView

DECISION_WAIT_S = 600.0
"""Longer than the shepherd itself tries, or a muster carries one out whose knobs are set by slow commands."""

NOT_TAKEN = {"refused": Reason.DECISION_REFUSED, "failed": Reason.DECISION_FAILED}
"""How a node did not take a decision."""


class Changing:
    """The changes of one window of a muster, made in a thread of its own from `opened` on."""

    def __init__(
        self,
        shepherd: Shepherd,
        view: MusterView,
        values: Mapping[str, int],
        changes: Sequence[Change],
        *,
        speed: float,
        over: threading.Event,
    ) -> None:
        """`values` is what is set before the first one; `over` ends all waiting. KeyError for an unknown knob."""
        self._shepherd = shepherd
        self._muster = view.name
        self._speed = speed
        self._over = over
        self._ended = threading.Event()
        self._steps: list[tuple[float, tuple[Setting, ...]]] = []
        for change in changes:
            values = {**values, **change.settings}
            self._steps.append((change.at_seconds, settings_of(values, view.knobs)))
        self._seq = 0
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def opened(self, in_seconds: float = 0.0) -> None:
        """The window opens so many seconds of the node's clock from now."""
        self._thread = threading.Thread(target=self._run, args=(in_seconds,), name=f"changes {self._muster}")
        self._thread.start()

    def end(self) -> tuple[tuple[Setting, ...], int]:
        """What was set last and the number of that decision. HerdError, TimeoutError where one was not taken."""
        self.close()
        if self._error is not None:
            raise self._error
        return self._steps[-1][1], self._seq

    def close(self) -> None:
        """Change nothing more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, in_seconds: float) -> None:
        passed_s = -in_seconds
        try:
            for at_s, settings in self._steps:
                if self._ended.wait((at_s - passed_s) / self._speed) or self._over.is_set():
                    raise HerdError(Reason.WINDOW_DROPPED, f"the window ended before what was to be set at {at_s:g} s")
                passed_s = at_s
                applied = self._shepherd.decide(self._muster, settings).result(DECISION_WAIT_S)
                if applied.outcome in NOT_TAKEN:
                    raise HerdError(NOT_TAKEN[applied.outcome], f"at {at_s:g} s of the window: {applied.detail}")
                self._seq = applied.seq
        except BaseException as error:  # told to whoever waits for the window
            self._error = error
