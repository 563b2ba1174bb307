"""A twin's knobs: interrupt moderation as ixgbe keeps it, and the clock as IA32_PERF_CTL asks for it."""

from mustherd.node.knob import KnobError
from mustherd.node.twin.faults import DVFS, ITR
from mustherd.node.twin.machine import Machine
from mustherd.node.twin.model import ADAPTIVE
from mustherd.terms import KnobInfo

SHEEP = "node-0"


class TwinKnob:
    """One register of the machine."""

    def __init__(self, machine: Machine, info: KnobInfo) -> None:
        self._machine = machine
        self._info = info

    @property
    def info(self) -> KnobInfo:
        return self._info

    def read(self) -> int:
        self._machine.advance()
        return self._machine.registers[self._info.name]

    def running(self) -> int | None:
        return self.read()

    def write(self, value: int) -> None:
        if not self._info.allows(value):
            raise KnobError(
                f"{self._info.name} of {self._info.sheep}: {value} is not allowed, only {self._info.allowed_text()}"
            )
        if self._info.name in self._machine.options.faults.write_error:
            raise KnobError(
                f"{self._info.name} of {self._info.sheep}: the twin refuses every write (fault write_error)"
            )
        try:
            self._machine.write(self._info.name, self.lands_on(value))
        except OSError as error:
            raise KnobError(f"{self._info.name} of {self._info.sheep}: the twin's registers: {error}") from error

    def lands_on(self, value: int) -> int:
        return value

    def tolerance(self) -> int:
        return 0


class ItrDelay(TwinKnob):
    """Interrupt moderation in us: 0 off, 1 adaptive, else static, which the adapter keeps in steps of 2 us."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(
            machine,
            KnobInfo(
                name=ITR,
                sheep=SHEEP,
                unit="us",
                values=(0, ADAPTIVE),
                low=2,
                high=machine.profile.itr_highest_us,
                names={0: "off", ADAPTIVE: "adaptive"},
                settle_seconds=machine.profile.reset_seconds,
            ),
        )

    def lands_on(self, value: int) -> int:
        return value if value == ADAPTIVE else value - value % 2


class Dvfs(TwinKnob):
    """The clock of all cores in MHz; the value above the nominal clock asks for turbo."""

    def __init__(self, machine: Machine) -> None:
        low, high = machine.profile.nominal_mhz
        turbo = machine.profile.turbo_ask_mhz
        super().__init__(
            machine,
            KnobInfo(
                name=DVFS,
                sheep=SHEEP,
                unit="MHz",
                values=(turbo,),
                low=low,
                high=high,
                step=100,
                names={turbo: "turbo"},
            ),
        )

    def running(self) -> int | None:
        self._machine.advance()
        return self._machine.running_mhz()

    def tolerance(self) -> int:
        """What turbo runs at differs from what asks for it."""
        profile = self._machine.profile
        return abs(profile.shown_mhz(profile.turbo_ask_mhz) - profile.turbo_ask_mhz)
