"""A twin's energy counters: RAPL's width and unit, starting anywhere, so that they wrap in use."""

import random
from collections.abc import Sequence

from mustherd.node.energy import MeterError
from mustherd.node.twin.machine import Machine
from mustherd.terms import Zone

JOULES_PER_COUNT = 2.0**-16
"""RAPL's energy unit on Sandy and Ivy Bridge servers (ESU 16)."""

COUNTS_PER_WRAP = 2**32


class TwinMeter:
    """Package and core (PP0) counters; the machine's power is shared evenly by its packages."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        count = machine.profile.packages
        self._zones = tuple(
            Zone(
                name=f"{kind}-{package}",
                kind=kind,
                package=package,
                joules_per_count=JOULES_PER_COUNT * machine.options.faults.energy_unit_factor,
                named_joules_per_count=JOULES_PER_COUNT,
                counts_per_wrap=COUNTS_PER_WRAP,
            )
            for kind in ("package", "core")
            for package in range(count)
        )
        start = random.Random(f"counters {machine.options.seed}")
        self._start = tuple(start.randrange(COUNTS_PER_WRAP) for _ in self._zones)

    @property
    def zones(self) -> tuple[Zone, ...]:
        return self._zones

    def read(self) -> tuple[int, ...]:
        if self._machine.options.faults.energy_error:
            raise MeterError("the twin's energy counters can't be read (fault energy_error)")
        self._machine.advance()
        return self.counts(self._machine.joules, self._machine.core_joules)

    def package_counts(self, package: int, joules: Sequence[float]) -> list[int]:
        """What one package's counter shows at each of these energies of all packages."""
        per_joule = self._share() / JOULES_PER_COUNT
        start = self._start[[(z.kind, z.package) for z in self._zones].index(("package", package))]
        return [(start + int(used * per_joule)) % COUNTS_PER_WRAP for used in joules]

    def counts(self, package_joules: float, core_joules: float = 0.0) -> tuple[int, ...]:
        """What the counters show when all packages, and the cores in them, have used so much since the start."""
        share = self._share()
        used = {"package": package_joules * share, "core": core_joules * share}
        return tuple(
            (start + int(used[zone.kind] / JOULES_PER_COUNT)) % zone.counts_per_wrap
            for zone, start in zip(self._zones, self._start, strict=True)
        )

    def _share(self) -> float:
        """Of all packages' energy, what a package's counter shows."""
        faults = self._machine.options.faults
        return 0.0 if faults.energy_stuck else faults.energy_factor / self._machine.profile.packages
