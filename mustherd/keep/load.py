"""The load of a node from short frames: a change is acted on when it is sure, upwards and downwards.

Frames are compared with the load that is believed by two CUSUMs over their logarithms. The noise of a frame is learnt
from differences of successive frames, which a slow tide leaves alone (von Neumann, 1941).
"""

import math

from mustherd.keep.sequential import Cusum, run_length

LEAST_NOISE = 0.005
"""Relative, of one frame: nothing is counted better than this."""
FIRST_NOISE = 0.03
MEMORY = 1 / 60
"""Weight of the newest frame in what is known of the noise."""
THRESHOLD_UP, THRESHOLD_DOWN = 12.0, 16.0
"""Standard deviations. By `run_length` steady load is taken for risen once in 10^6 frames, for fallen in 10^7."""
MOST_FRAMES = 30
"""That what is believed is the mean of, at most: it follows a slow tide."""
CUT = 4.5
"""A difference of so many spreads says that the load changed, nothing of its noise."""


class LoadEstimator:
    """What load a node has, from one reading after another."""

    __slots__ = ("_count", "_down", "_last", "_mean", "_noise2", "_up", "load")

    def __init__(self) -> None:
        self.load = 0.0
        """Requests a second, as believed; 0 before the first frame."""
        self._noise2 = FIRST_NOISE**2
        self._last = 0.0
        self._mean = 0.0
        self._count = 1
        """Frames that the belief rests on."""
        self._up = Cusum(THRESHOLD_UP)
        self._down = Cusum(THRESHOLD_DOWN)

    @property
    def noise(self) -> float:
        """Relative standard deviation of a frame."""
        return max(LEAST_NOISE, math.sqrt(self._noise2))

    @property
    def highest(self) -> float:
        """What the load may be as far as frames tell: the one believed and two standard errors more."""
        return self.load * math.exp(2 * self.noise / math.sqrt(self._count))

    def add(self, reading: float) -> bool:
        """One more frame: whether another load is believed than before."""
        value = math.log(max(reading, 1e-9))
        if not self.load:
            self.load, self._last, self._mean = math.exp(value), value, value
            return True
        step = value - self._last
        self._last = value
        noise = self.noise
        self._noise2 += MEMORY * (min(abs(step), CUT * noise) ** 2 / 2 - self._noise2)
        believed = math.log(self.load)
        off = (value - believed) / (noise * math.sqrt(1 + 1 / self._count))
        up, down = self._up.add(off), self._down.add(-off)
        running = max(self._up.count, self._down.count)
        # The mean since the change began; of a frame that lies far off the frame alone, since the one before was mixed.
        self._mean = value if running <= 1 or abs(step) > CUT * noise else self._mean + (value - self._mean) / running
        if not (up or down):
            if abs(step) <= CUT * noise:
                self._count = min(self._count + 1, MOST_FRAMES)
                self.load *= math.exp((value - believed) / self._count)
            return False
        self._count = max(1, running if abs(step) <= CUT * noise else 1)
        self.load = math.exp(self._mean)
        self._up.clear()
        self._down.clear()
        return True

    def clear(self) -> None:
        """Know nothing of the load any more."""
        self.load = 0.0
        self._up.clear()
        self._down.clear()


def promises() -> dict[str, float]:
    """Frames between false changes, and until a change of so many deviations of a frame is believed."""
    return {
        "false_rise": run_length(0, THRESHOLD_UP),
        "false_fall": run_length(0, THRESHOLD_DOWN),
        "rise_of_2": run_length(2, THRESHOLD_UP),
        "fall_of_2": run_length(2, THRESHOLD_DOWN),
    }
