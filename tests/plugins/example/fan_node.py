"""A node that is a fan: its speed, in a file of the driver's, is the one knob."""

from pathlib import Path
from typing import Annotated

import msgspec

from mustherd.node.clock import MonotonicClock
from mustherd.node.knob import BaseKnob
from mustherd.node.node import NodeError
from mustherd.terms import Facts, KnobKind, Load


class FanOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The table `[fan]`."""

    file: str
    most_rpm: Annotated[int, msgspec.Meta(ge=100, le=20_000)] = 5000


class FanSpeed(BaseKnob):
    """`fan-speed`."""

    kind = KnobKind(name="fan-speed", unit="rpm", names={0: "off"}, range_step=100)

    def __init__(self, options: FanOptions) -> None:
        super().__init__(self.kind.offer(low=0, high=options.most_rpm, step=100))
        self._file = Path(options.file)

    def read(self) -> int:
        try:
            return int(self._file.read_text())
        except (OSError, ValueError) as error:
            raise self._error(error) from None

    def running(self) -> None:
        """No tachometer."""

    def write(self, value: int) -> None:
        self._refuse(value)
        try:
            self._file.write_text(f"{value}\n")
        except OSError as error:
            raise self._error(error) from None


class FanNode:
    """Keeps the contract of mustherd.node.node.Node; it has no meter and no logs, and its load comes from elsewhere."""

    Options = FanOptions

    @classmethod
    def open(cls, options: FanOptions, home: Path) -> "FanNode":
        if not Path(options.file).exists():
            raise NodeError(f"file: there is no {options.file}")
        return cls(options)

    def __init__(self, options: FanOptions) -> None:
        self.facts = Facts(kind="fan", text={"most_rpm": str(options.most_rpm)})
        self.clock = MonotonicClock()
        self.knobs = (FanSpeed(options),)
        self.meter = None
        self.loggers = ()
        self.text_loggers = ()

    def start_load(self, load: Load, seed: int) -> None:
        """None: the load comes from elsewhere."""

    def stop_load(self) -> None:
        """Nothing to stop."""

    def close(self) -> None:
        """Nothing is held."""
