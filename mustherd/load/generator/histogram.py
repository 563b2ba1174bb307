"""Latencies counted by the thousand into the bins of an HDR histogram."""

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from mustherd.load.generator.options import DIGITS, MAX_UNITS, UNITS_PER_SECOND

SUB_BITS = 11
"""2048 bins for each doubling of the value: three digits, as the HDR histogram has them."""
HALF = 1 << (SUB_BITS - 1)
BINS = (MAX_UNITS.bit_length() - SUB_BITS + 2) * HALF


class Counts:
    """Values in seconds, counted with three significant digits and summed exactly."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, dtype=np.int64)
        self.sum_s = 0.0
        self.count = 0

    def add(self, seconds: npt.NDArray[np.float64]) -> None:
        """Count all of `seconds`."""
        self.sum_s += float(seconds.sum())
        self.count += len(seconds)
        units = np.clip(seconds * UNITS_PER_SECOND, 1, MAX_UNITS).astype(np.int64)
        # What a value has above 11 bits is cut off: shift * HALF + top numbers the bins without gaps.
        shift = np.maximum(np.frexp(units.astype(np.float64))[1] - SUB_BITS, 0)
        self._counts += np.bincount(shift * HALF + (units >> shift), minlength=BINS)

    def encode(self) -> bytes:
        """As an HDR histogram in units of 100 ns."""
        histogram = HdrHistogram(1, MAX_UNITS, DIGITS)
        for index in np.flatnonzero(self._counts).tolist():
            shift = max(0, index // HALF - 1)
            histogram.record_value((index - shift * HALF) << shift, int(self._counts[index]))
        encoded: bytes = histogram.encode()
        return encoded
