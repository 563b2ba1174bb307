"""Sequential tests: how sure one is that something has changed, and how soon.

A CUSUM (Page, Biometrika 1954) sums how far observations lie above what is expected, less an allowance, and begins anew
whenever that is below nothing; it signals above a threshold. It is the quickest test there is for its rate of false
alarms (Moustakides, Annals of Statistics 1986). Both rates follow from Siegmund's approximation (Sequential Analysis,
1985), so that they can be stated beforehand.
"""

import math

ALLOWANCE = 0.5
"""In standard deviations: half of the change that is looked for."""


class Cusum:
    """Of observations in standard deviations from what is expected, upwards; give them negated for downwards."""

    __slots__ = ("_allowance", "_most", "_threshold", "count", "since")

    def __init__(self, threshold: float, allowance: float = ALLOWANCE, most: float = math.inf) -> None:
        """One observation counts as at most `most`."""
        self._threshold = threshold
        self._allowance = allowance
        self._most = most
        self.since = 0.0
        """The sum."""
        self.count = 0
        """Observations since it last was nothing: the likeliest age of the change."""

    def add(self, deviation: float) -> bool:
        """One more observation: whether it signals. The sum stays until `clear`."""
        self.since += min(deviation, self._most) - self._allowance
        if self.since <= 0:
            self.since, self.count = 0.0, 0
            return False
        self.count += 1
        return self.since > self._threshold

    def clear(self) -> None:
        """Begin anew."""
        self.since, self.count = 0.0, 0


def run_length(shift: float, threshold: float, allowance: float = ALLOWANCE) -> float:
    """Observations until a CUSUM signals, on average, when their mean lies `shift` standard deviations off.

    With shift 0 it is the time between false alarms; otherwise the time in which the shift is found.
    """
    drift = shift - allowance
    reach = threshold + 1.166
    if abs(drift) < 1e-9:
        return reach**2
    exponent = -2 * drift * reach
    if exponent > 700:
        return math.inf
    return (math.exp(exponent) - exponent - 1) / (2 * drift**2)
