"""What a processor can draw at all, from its model: a bound that no measurement on the same machine takes part in.

An energy counter that is read in a wrong unit is wrong by a power of two at idle as under load, so that the machine's
own idle power says nothing against it. What its maker says of the processor does.
"""

import re

import msgspec

MARGIN = 1.2
"""A package may exceed its thermal design power for a while: Intel's short-term limit is 1.2 times the other one."""

MEASURED_FLOOR_WATTS = 16.0
"""Less a package of these processors doesn't draw while it serves a load: 24.9 W is the least in the record of the
c6220, and 21 W what the lab node's fit gives for its lowest clock without load."""

FLOOR_SHARE = 0.04
"""Share of its thermal design power that a package draws at least, where nobody has measured: far below the 0.1 at
which idle servers begin."""


class Processor(msgspec.Struct, frozen=True):
    """One package."""

    tdp_watts: float
    """Thermal design power."""
    floor_watts: float = 0.0
    """What it draws at least while it serves a load; 0: nobody has measured it."""

    def band(self, packages: int) -> tuple[float, float]:
        """W that so many of them can draw together, least and most."""
        return (self.floor_watts or FLOOR_SHARE * self.tdp_watts) * packages, MARGIN * self.tdp_watts * packages


PROCESSORS: dict[str, Processor] = {
    "E5-2650 v2": Processor(95, MEASURED_FLOOR_WATTS),
    "E5-2660 v2": Processor(95, MEASURED_FLOOR_WATTS),
    "E5-2690": Processor(135, MEASURED_FLOOR_WATTS),
    "E5530": Processor(80),
    "E5-2450": Processor(95),
    "E5-2630 v3": Processor(85),
    "E5-2660 v3": Processor(105),
    "E5-2683 v3": Processor(120),
    "E5-2640 v4": Processor(90),
    "D-1548": Processor(45),
    "Silver 4114": Processor(85),
    "Silver 4314": Processor(135),
    "Gold 6126": Processor(125),
    "Gold 6142": Processor(150),
    "Platinum 8360Y": Processor(250),
    "EPYC 7302P": Processor(155),
    "EPYC 7402P": Processor(180),
    "EPYC 7452": Processor(155),
    "EPYC 7542": Processor(225),
    "EPYC 7543": Processor(225),
}
"""By model name, as the makers' data sheets have it: the processors of the test beds that this is used on."""


def processor(model_name: str) -> Processor | None:
    """What is known of a processor that calls itself so, as in /proc/cpuinfo; None: nothing."""
    words = re.sub(r"\((R|TM)\)|CPU|Processor", " ", model_name).split()
    spelt = f" {' '.join(words)} "
    # The longest name first: an `E5-2690 v2` is no `E5-2690`.
    return next((PROCESSORS[n] for n in sorted(PROCESSORS, key=len, reverse=True) if _is(n, spelt)), None)


def _is(name: str, spelt: str) -> bool:
    found = spelt.partition(f" {name} ")
    return bool(found[1]) and not re.match(r"v\d\b", found[2])
