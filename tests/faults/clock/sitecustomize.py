"""Lets the wall clock of a Python process be set from outside: seconds in the file that FAULTS_CLOCK names are added.

Only the wall clock, as date(1) and NTP set it; the monotonic clock goes on as it does then.
"""

import os
import time

_real = time.time
_file = os.environ.get("FAULTS_CLOCK", "")


def _shifted() -> float:
    try:
        with open(_file, encoding="ascii") as file:  # noqa: PTH123 (pathlib is not needed to begin a process)
            return _real() + float(file.read() or 0)
    except (OSError, ValueError):
        return _real()


if _file:
    time.time = _shifted
