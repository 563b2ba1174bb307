"""Unix time that nobody sets back: what the clock said when this process began, and what has passed since.

An experiment of a minute in which somebody sets the clock a day on took a minute all the same. Time in which the
machine slept has passed too.
"""

import time

_BEGAN = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def now() -> float:
    """Unix seconds, never less than they were."""
    return _BEGAN + time.clock_gettime(time.CLOCK_BOOTTIME)
