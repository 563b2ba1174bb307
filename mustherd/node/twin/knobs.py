"""A twin's knobs: interrupt moderation as ixgbe keeps it, the clock as IA32_PERF_CTL asks for it, and more."""

from mustherd.node.kinds import (
    ADAPTIVE,
    ANY_MHZ,
    DVFS,
    GOVERNORS,
    GRO_FLUSH_TIMEOUT,
    IDLE_LATENCY,
    ITR_DELAY,
    NAPI_DEFER,
    UNCORE_MAX,
)
from mustherd.node.knob import BaseKnob
from mustherd.node.twin.machine import Machine
from mustherd.terms import KnobInfo


class TwinKnob(BaseKnob):
    """One register of the machine."""

    def __init__(self, machine: Machine, info: KnobInfo) -> None:
        super().__init__(info)
        self._machine = machine

    def read(self) -> int:
        self._machine.advance()
        return self._machine.registers[self._info.name]

    def running(self) -> int | None:
        return self.read()

    def write(self, value: int) -> None:
        self._refuse(value)
        if self._info.name in self._machine.options.faults.write_error:
            raise self._error("the twin refuses every write (fault write_error)")
        try:
            self._machine.write(self._info.name, self.lands_on(value))
        except OSError as error:
            raise self._error(f"the twin's registers: {error}") from error


class ItrDelay(TwinKnob):
    """Interrupt moderation, whose static delays the adapter keeps in steps of 2 us."""

    kind = ITR_DELAY

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, machine.profile.itr_delay)

    def lands_on(self, value: int) -> int:
        return value if value == ADAPTIVE else value - value % 2


class Dvfs(TwinKnob):
    """The clock of all cores; the value above the nominal clock asks for turbo."""

    kind = DVFS

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, machine.profile.dvfs)

    def running(self) -> int | None:
        self._machine.advance()
        return self._machine.running_mhz()

    def tolerance(self, applied: int, running: int) -> int:  # noqa: ARG002
        """What turbo runs at differs from what asks for it; a governor takes any clock; any other runs as asked for."""
        if applied in GOVERNORS:
            return ANY_MHZ
        profile = self._machine.profile
        # Where turbo is switched off, asking for it gives the nominal clock.
        return max(abs(profile.shown_mhz(applied) - applied), applied - profile.nominal_mhz[1])


class UncoreMax(TwinKnob):
    """The highest clock of what lies between the cores."""

    kind = UNCORE_MAX


class IdleLatency(TwinKnob):
    """How deep idle cores may sleep."""

    kind = IDLE_LATENCY


class GroFlushTimeout(TwinKnob):
    """How long the kernel puts an interrupt off, where `napi-defer` lets it."""

    kind = GRO_FLUSH_TIMEOUT


class NapiDefer(TwinKnob):
    """How many times in a row it may."""

    kind = NAPI_DEFER


MORE = {kind.kind.name: kind for kind in (UncoreMax, IdleLatency, GroFlushTimeout, NapiDefer)}


def more_knobs(machine: Machine) -> tuple[TwinKnob, ...]:
    """Those that its profile has beside delay and clock."""
    return tuple(MORE[info.name](machine, info) for info in machine.profile.more_knobs)
