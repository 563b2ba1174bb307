"""Which load a server carries, guessed from what its network card received: no request is looked at.

Each logged interrupt brings what came in since the row before; the median of that, over all cores, grows with the load
as far as the interrupt delay lets it. The reference system looks it up in the table of the delay in force, and believes
a guess that came three times in a row.
"""

from collections.abc import Mapping

Medians = Mapping[int, Mapping[float, float]]
"""Interrupt delay (us; 1: adaptive) to load (requests per second) to the median of received bytes per row."""

_LOADS = (100e3, 200e3, 400e3, 600e3, 800e3, 1.0e6, 1.2e6)
_ROWS = {
    1: (1340, 2891, 5257, 7836, 10385, 12512, 14000),
    2: (1382, 2654, 5217, 7796, 10232, 12153, 13693),
    20: (1380, 3073, 5289, 7851, 10388, 12492, 14019),
    50: (1322, 2637, 5298, 7830, 10199, 12226, 13710),
    100: (1286, 2600, 5189, 7603, 9642, 11282, 12606),
    150: (1308, 2687, 5404, 7911, 9832, 11390, 12265),
    200: (1230, 2527, 5043, 7237, 8578, 8880, 8890),
    250: (1216, 2507, 4959, 6730, 7040, 7067, 7072),
    300: (1485, 3033, 5867, 7161, 7101, 7036, 7077),
    350: (1277, 2614, 4883, 5247, 5198, 5230, 5258),
    400: (1465, 3030, 5281, 5240, 5293, 5269, 5263),
}
C6220: Medians = {delay: dict(zip(_LOADS, map(float, row), strict=True)) for delay, row in _ROWS.items()}
"""As measured by the reference system on c6220 nodes under the etc mix. From 300 us on loads of 600,000 and more look
alike: the requests in flight cap what is received."""

STREAK = 3


def guess(medians: Medians, delay_us: int, rx_bytes: float) -> float:
    """The load whose median is nearest, of the row of the nearest delay. ValueError for an empty table."""
    if not medians or not all(medians.values()):
        raise ValueError("a table of medians has a row, and each row a load")
    row = medians[min(medians, key=lambda delay: (abs(delay - delay_us), delay))]
    return min(row, key=lambda load: (abs(row[load] - rx_bytes), load))


class LoadGuesser:
    """Believes a load once so many guesses in a row agree."""

    def __init__(self, medians: Medians = C6220, streak: int = STREAK) -> None:
        """ValueError for an empty table or a streak below 1."""
        if streak < 1:
            raise ValueError(f"a streak is at least 1, not {streak}")
        self._medians = medians
        self._streak = streak
        self._last, self._count = 0.0, 0
        self.load: float | None = None
        """Requests per second; None before a guess was believed."""

    def frame(self, delay_us: int, rx_bytes: float) -> float | None:
        """A frame's median of received bytes per row, under a delay: the load that is believed now."""
        found = guess(self._medians, delay_us, rx_bytes)
        self._count = self._count + 1 if found == self._last else 1
        self._last = found
        if self._count >= self._streak:
            self.load = found
        return self.load
