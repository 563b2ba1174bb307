"""Loads that break their contract, each in one way, and beside them one that keeps it.

Every class names by `caught_by` the test of its suite that has to fail; test_suites.py runs them and looks.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest

from mustherd.load.base import LoadTraits
from mustherd.load.error import LoadError
from mustherd.reasons import Reason
from mustherd.terms import Load, LoadReport
from mustherd.testing.load import LoadContract


class Timed:
    """A load that keeps its contract, on a clock that only `live` moves, and a server that is there or not."""

    def __init__(self, *, there: bool = True) -> None:
        self.at, self.there, self.running = 100.0, there, False

    def check(self) -> Sequence[str]:
        return () if self.there else ("127.0.0.1:1: nobody listens",)

    def prepare(self) -> None:
        if not self.there:
            raise LoadError(Reason.SERVER_UNREACHABLE, "nobody listens")

    def start(self, load: Load, seed: int) -> "Window":
        self.running = True
        return Window(self, load)

    def stop(self) -> None:
        self.running = False

    def report(self, load: Load, t0: float) -> dict[str, Any]:
        requests = max(1, round(load.qps * (self.at - t0)))
        return {
            "generator": "timed",
            "t0_s": t0,
            "t1_s": self.at,
            "offered_qps": load.qps,
            "achieved_qps": requests / (self.at - t0),
            "requests": requests,
            "misses": 0,
            "samples": requests,
            "read_us": {"avg": 5.0, "p50": 4.0, "p99": 9.0},
            "update_us": {},
        }


class Window:
    """A load under way."""

    def __init__(self, source: Timed, load: Load) -> None:
        self.source, self.load, self.t0 = source, load, 0.0

    def open_window(self) -> None:
        self.t0 = self.source.at

    def close_window(self) -> LoadReport:
        if not self.t0:
            raise RuntimeError("close_window without open_window")
        if not self.source.running:
            raise LoadError(Reason.LOAD_FAILED, "it was stopped")
        return LoadReport(**self.source.report(self.load, self.t0))


class OfLoad(LoadContract):
    made: ClassVar[type[Timed]] = Timed

    @pytest.fixture
    def source(self) -> Timed:
        return type(self).made()

    @pytest.fixture
    def lost(self) -> Timed:
        return type(self).made(there=False)

    @pytest.fixture
    def traits(self) -> LoadTraits:
        return LoadTraits(servers=("timed",), open_loop=True)

    @pytest.fixture
    def load(self) -> Load:
        return Load(qps=100.0)

    @pytest.fixture
    def live(self, source: Timed) -> Callable[[float], None]:
        return lambda seconds: setattr(source, "at", source.at + seconds)

    @pytest.fixture
    def now(self, source: Timed) -> Callable[[], float]:
        return lambda: source.at


class TestRightLoad(OfLoad):
    caught_by = ""


class Reports(Timed):
    """Reports something else; `changes` gives what, from the right report."""

    def changes(self, right: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def report(self, load: Load, t0: float) -> dict[str, Any]:
        right = super().report(load, t0)
        return {**right, **self.changes(right)}


class TestCountsWhatCameBeforeItsWindow(OfLoad):
    caught_by = "test_reports_what_happened_in_its_window"

    class made(Reports):  # noqa: N801
        def changes(self, right: dict[str, Any]) -> dict[str, Any]:
            return {"requests": right["requests"] * 2, "samples": right["requests"] * 2}


class TestItsWindowBeganBefore(OfLoad):
    caught_by = "test_reports_what_happened_in_its_window"

    class made(Reports):  # noqa: N801
        def changes(self, right: dict[str, Any]) -> dict[str, Any]:
            return {"t0_s": right["t0_s"] - 5, "requests": right["requests"] * 6}


class TestItsPercentilesFall(OfLoad):
    caught_by = "test_reports_what_happened_in_its_window"

    class made(Reports):  # noqa: N801
        def changes(self, right: dict[str, Any]) -> dict[str, Any]:
            return {"read_us": {"p50": 9.0, "p99": 4.0}}


class TestMeasuresMoreThanItAsked(OfLoad):
    caught_by = "test_reports_what_happened_in_its_window"

    class made(Reports):  # noqa: N801
        def changes(self, right: dict[str, Any]) -> dict[str, Any]:
            return {"samples": right["requests"] + 1}


class TestClosesWhatWasNotOpened(OfLoad):
    caught_by = "test_a_window_that_was_not_opened_is_not_closed"

    class made(Timed):  # noqa: N801
        def start(self, load: Load, seed: int) -> Window:
            window = super().start(load, seed)
            window.t0 = self.at - 1
            return window


class TestFindsNothingWrongWithoutAServer(OfLoad):
    caught_by = "test_a_server_that_is_not_there_is_an_error_with_a_reason"

    class made(Timed):  # noqa: N801
        def check(self) -> Sequence[str]:
            return ()


class TestFailsWithoutAReason(OfLoad):
    caught_by = "test_a_server_that_is_not_there_is_an_error_with_a_reason"

    class made(Timed):  # noqa: N801
        def prepare(self) -> None:
            if not self.there:
                raise OSError("nobody listens")


class TestIsStoppedForGood(OfLoad):
    caught_by = "test_may_be_stopped_at_any_time_and_goes_on"

    class made(Timed):  # noqa: N801
        def stop(self) -> None:
            self.there = False


class TestLoadsNoServer(OfLoad):
    caught_by = "test_says_what_it_can_load"

    @pytest.fixture
    def traits(self) -> LoadTraits:
        return LoadTraits(servers=(), open_loop=True)
