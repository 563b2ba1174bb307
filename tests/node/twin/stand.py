"""A stand for twins: real time moved by hand, and a trial run on it."""

from pathlib import Path
from typing import Any

from mustherd.node.energy import Tally
from mustherd.node.twin.faults import TwinFaults, TwinOptions
from mustherd.node.twin.node import TwinNode
from mustherd.terms import Load, LoadReport


class Hand:
    """Real seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        """Let at least a nanosecond pass, as every real wait does."""
        self.seconds += max(seconds, 1e-9)


class Stand:
    """A twin and the hand on its wall clock."""

    def __init__(self, options: TwinOptions | None = None, state_file: Path | None = None) -> None:
        self.hand = Hand()
        self.node = TwinNode(options or TwinOptions(), state_file, wall=self.hand)
        self.itr, self.dvfs = self.node.knobs

    def live(self, seconds: float) -> None:
        """Let exactly so many seconds of the node's clock pass."""
        clock = self.node.clock
        deadline = clock.now() + seconds
        clock.stop_at(deadline)
        self.hand.move(2 * clock.wall_seconds_until(deadline))
        assert clock.now() == deadline
        clock.stop_at(None)

    def trial(
        self, itr_us: int, mhz: int, load: Load, *, seed: int = 1, seconds: float = 30.0
    ) -> tuple[float, LoadReport]:
        """Set, settle, ramp, count: joules of the packages and the report."""
        self.itr.write(itr_us)
        self.dvfs.write(mhz)
        self.live(self.itr.info.settle_seconds)
        running = self.node.start_load(load, seed)
        self.live(5.0)
        running.open_window()
        tally = Tally(self.node.meter.zones, self.node.meter.read())
        self.live(seconds)
        tally.add(self.node.meter.read())
        report = running.close_window()
        return sum(e.joules for e in tally.energies() if e.kind == "package"), report


def faulty(**faults: Any) -> Stand:
    """A twin that is exact but for these faults."""
    return Stand(TwinOptions(noise=0, faults=TwinFaults(**faults)))
