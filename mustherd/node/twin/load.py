"""The load that a twin puts itself under, and the report of it."""

import math

from mustherd.node.twin.machine import Machine, TwinState, Work
from mustherd.terms import LoadReport

SAMPLES_PER_SECOND = 2000
"""Requests per second whose latency the reference experiment's leader measures."""

NO_LATENCY = dict.fromkeys(("avg", "p50", "p90", "p95", "p99", "p999"), 0.0)


class TwinLoad:
    """A load under way on a machine."""

    def __init__(self, machine: Machine, work: Work) -> None:
        self._machine = machine
        self._work = work
        self._opened_at: float | None = None

    def open_window(self) -> None:
        """Count from here. RuntimeError when the load has ended."""
        self._alive()
        self._opened_at = self._machine.open_window(self._work)

    def close_window(self) -> LoadReport:
        """Report and end. RuntimeError without an open window or when the load has ended.

        When something changed within the window, a latency reported is the mean over its requests' times, which for
        percentiles is an approximation.
        """
        self._alive()
        if self._opened_at is None:
            raise RuntimeError("close_window without open_window")
        t1 = self._machine.clock.now()
        spent = list(self._work.spent)
        self._machine.stop()
        faults = self._machine.options.faults
        seconds = math.fsum(s for s, _ in spent)
        served = math.fsum(s * state.achieved_qps for s, state in spent)
        # Arrivals are Poisson: the count of a window spreads by its root.
        spread = self._machine.options.noise * self._work.noise.gauss(0, 1) * math.sqrt(served)
        requests = max(0, round(served + spread))
        return LoadReport(
            generator="twin",
            t0_s=self._opened_at,
            t1_s=t1,
            offered_qps=(1 - faults.load_forgotten) * self._work.offered(seconds) / seconds if seconds > 0 else 0.0,
            achieved_qps=requests / seconds if seconds > 0 else 0.0,
            requests=requests,
            misses=round(requests * faults.misses),
            samples=min(requests, round(SAMPLES_PER_SECOND * seconds)),
            read_us=self._latencies(spent, "read_us"),
            update_us=self._latencies(spent, "update_us"),
            saturated=faults.generator_saturated,
        )

    def _alive(self) -> None:
        self._machine.advance()
        if self._machine.work is not self._work:
            raise RuntimeError("the load has ended")

    def _latencies(self, spent: list[tuple[float, TwinState]], kind: str) -> dict[str, float]:
        total = crowded = 0.0
        sums = dict(NO_LATENCY)
        for seconds, state in spent:
            if state.prediction is None:
                continue
            weight = seconds * state.achieved_qps
            total += weight
            crowded += weight * state.prediction.crowded
            for name, value in getattr(state.prediction, kind).items():
                sums[name] += weight * value
        if total == 0:
            return sums
        return self._machine.observed(
            {name: value / total for name, value in sums.items()}, self._work, crowded / total
        )
