"""A node without hardware."""

import time
from collections.abc import Callable
from pathlib import Path

from mustherd.node.logger import TextLogger
from mustherd.node.node import NodeError
from mustherd.node.twin.clock import TwinClock
from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.history import History
from mustherd.node.twin.intlog import TwinIntlog
from mustherd.node.twin.knobs import Dvfs, ItrDelay, TwinKnob, more_knobs
from mustherd.node.twin.load import TwinLoad
from mustherd.node.twin.logger import PowerLog
from mustherd.node.twin.machine import Machine
from mustherd.node.twin.meter import TwinMeter
from mustherd.node.twin.profiles import profile
from mustherd.terms import Facts, Load


class TwinNode:
    """A simulated machine of one profile; keeps the contract of mustherd.node.node.Node.

    With a `state_file` its registers outlive the process, as hardware registers do. Without load it idles: its counters
    go on counting whenever its clock runs. Not for more than one thread.
    """

    Options = TwinOptions

    @classmethod
    def open(cls, options: TwinOptions, home: Path) -> "TwinNode":
        """One whose registers are in `home`. Raises NodeError."""
        try:
            return cls(options, state_file=home / "registers.json")
        except (ValueError, OSError) as error:
            raise NodeError(str(error)) from None

    def __init__(
        self,
        options: TwinOptions | None = None,
        state_file: Path | None = None,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        """ValueError for options or a state file that make no sense; OSError when the file can't be read."""
        options = options or TwinOptions()
        found = profile(options.profile)
        self._clock = TwinClock(options.speed, wall)
        self._machine = Machine(found, options, self._clock, state_file)
        self._knobs = (ItrDelay(self._machine), Dvfs(self._machine), *more_knobs(self._machine))
        self._meter = TwinMeter(self._machine)
        self._loggers = (PowerLog(self._machine, self._meter),)
        if options.intlog_cores > found.cores:
            raise ValueError(f"intlog_cores is at most the {found.cores} of {found.name}, not {options.intlog_cores}")
        self._text_loggers: tuple[TwinIntlog, ...] = ()
        if options.intlog_cores:
            self._machine.history = history = History()
            self._text_loggers = tuple(
                TwinIntlog(self._machine, history, self._meter, core) for core in range(options.intlog_cores)
            )
        self._facts = Facts(
            kind="twin",
            cpu=found.cpu,
            cores=found.cores,
            packages=found.packages,
            tsc_khz=found.tsc_khz,
            plausible_watts=found.plausible_watts,
            loads_itself=True,
            text={
                "profile": found.name,
                "seed": str(options.seed),
                "speed": f"{options.speed:g}",
                "noise": f"{options.noise:g}",
                "drift": f"{options.drift:g}",
                "day": str(options.day),
                "unlike": f"{options.unlike:g}",
                "turbo": "on" if options.turbo else "off",
            },
        )

    @property
    def facts(self) -> Facts:
        return self._facts

    @property
    def clock(self) -> TwinClock:
        return self._clock

    @property
    def knobs(self) -> tuple[TwinKnob, ...]:
        return self._knobs

    @property
    def meter(self) -> TwinMeter:
        return self._meter

    @property
    def loggers(self) -> tuple[PowerLog, ...]:
        return self._loggers

    @property
    def text_loggers(self) -> tuple[TextLogger, ...]:
        return self._text_loggers

    def start_load(self, load: Load, seed: int) -> TwinLoad:
        """Start `load` in place of any other. ValueError for a load that the profile says nothing about."""
        return TwinLoad(self._machine, self._machine.start(load, seed))

    def stop_load(self) -> None:
        self._machine.stop()

    def close(self) -> None:
        """Nothing is held: the registers' file is whole after every write."""
