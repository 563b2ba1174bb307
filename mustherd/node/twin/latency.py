"""How long a request takes, as a distribution, and what the load generator's bins make of it."""

import math

import msgspec

from mustherd.terms import PERCENTILES

POINTS = ((-2.8569700138728056, 0.011257411327720691), (-1.355626179974266, 0.2220759220056126),
          (0.0, 0.5333333333333333), (1.355626179974266, 0.2220759220056126),
          (2.8569700138728056, 0.011257411327720691))  # fmt: skip
"""Gauss-Hermite nodes and weights of the standard normal distribution, five points."""

BIN = 1.1
"""mutilate counts latencies in bins whose edges are the powers of 1.1 us."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Latency in us: least + normal jitter + the wait for the interrupt + the wait in the queue.

    The wait for the interrupt is 0 with probability `at_once`, else even over the interval. The wait in the queue is
    exponential: with probability `queueing` behind other batches (mean `queue`), else alone (mean `tail`).
    """

    least: float
    interval: float
    at_once: float
    jitter: float
    tail: float
    queue: float
    queueing: float

    def mean(self) -> float:
        """Its mean."""
        waiting = (1 - self.queueing) * self.tail + self.queueing * self.queue
        return self.least + (1 - self.at_once) * self.interval / 2 + waiting

    def below(self, limit: float) -> float:
        """Share of the requests that take at most `limit` us."""
        share = 0.0
        for node, weight in POINTS:
            rest = limit - self.least - node * self.jitter
            if rest > 0:
                share += weight * (
                    (1 - self.queueing) * self._waits(rest, self.tail) + self.queueing * self._waits(rest, self.queue)
                )
        return share

    def _waits(self, limit: float, mean: float) -> float:
        """Share that waits at most `limit` for interrupt and queue, where the queue's wait has this mean."""
        late = math.exp(-limit / mean)
        if limit <= self.interval:
            even = (limit - mean * (1 - late)) / self.interval
        else:
            even = 1 - mean / self.interval * (math.exp((self.interval - limit) / mean) - late)
        return self.at_once * (1 - late) + (1 - self.at_once) * even

    def summary(self) -> dict[str, float]:
        """avg and percentiles as mutilate reports them: linear within the bin where the percentile lies."""
        result = {"avg": self.mean()}
        wanted = list(PERCENTILES.items())
        low, below = 1.0, 0.0
        start = math.floor(math.log(max(1.0, self.least - 3 * self.jitter), BIN))
        low = BIN**start
        while wanted:
            high = low * BIN
            upto = self.below(high)
            while wanted and upto >= wanted[0][1]:
                name, share = wanted.pop(0)
                result[name] = low + (share - below) / (upto - below) * (high - low)
            low, below = high, upto
        return result
