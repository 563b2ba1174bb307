"""The machine inside a twin: registers, load and clock, and the energy that follows from them."""

import math
import random
from bisect import bisect_right
from collections import deque
from pathlib import Path

import msgspec

from mustherd.node.kinds import DVFS, GOVERNORS, ITR_DELAY
from mustherd.node.twin import model, more
from mustherd.node.twin.clock import TwinClock
from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.history import History, Stretch
from mustherd.node.twin.mixes import FITTED
from mustherd.node.twin.profiles import Profile
from mustherd.node.twin.registers import Registers
from mustherd.terms import Load

ROWS_KEPT = 4096
"""Rows of the log that a machine keeps for its reader, an hour of its own time; older ones are lost."""

ENERGY_SPREAD = 0.0018
"""Standard deviation of the energy between repeats of one trial: 0.1..0.25 % were measured."""

LATENCY_SPREAD = 0.008
"""Standard deviation of p99 between repeats of one trial: 0.2..1.4 % were measured."""

TAIL_GROWTH = 18.0
"""By how many times the spread of p99 has grown where the cores are crowded all the time: 5..22 % were measured close
to the limit."""

DRIFT = (0.06, 0.08)
"""Mean and standard deviation of p99's change from one campaign to another, as measured."""

UNLIKE = 0.03
"""Standard deviation of the power, and of the latencies, from one node of a type to the next: a round
figure, as surveys of installed processors report some per cent; the record is of one node."""

CURVE_STEP_S = 1.0
"""A load that rises or falls does it in steps of this length at most."""

WEIGHT = {"avg": 0.3, "p50": 0.3, "p90": 0.5, "p95": 0.7, "p99": 1.0, "p999": 1.6}
"""Spread of each latency as a multiple of p99's: the further out, the fewer requests it rests on."""


class TwinRow(msgspec.Struct, frozen=True):
    """The machine at one whole second."""

    number: int
    seconds: float
    package_joules: float
    itr_delay_us: int
    dvfs_mhz: int
    busy_fraction: float
    achieved_qps: float


class TwinState(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine does until something changes."""

    power_watts: float
    busy_fraction: float
    achieved_qps: float
    mhz: int
    """The clock that was asked for, or that a governor chose."""
    prediction: model.Prediction | None
    """None without load, and while the link is down."""


class Work(msgspec.Struct, kw_only=True):
    """A load under way and what it has done since it was last looked at."""

    load: Load
    noise: random.Random
    energy_factor: float
    latency_deviation: float
    """In standard deviations of p99."""
    levels: tuple[tuple[float, float], ...]
    """The load as steps: seconds since the window opened, and qps from then on."""
    opened_at: float = math.inf
    spent: list[tuple[float, TwinState]] = []
    """Seconds spent in each state since the window opened."""

    def qps(self, at_s: float) -> float:
        """The load at a time of the machine's."""
        since = max(0.0, at_s - self.opened_at)
        return self.levels[max(0, bisect_right(self.levels, (since, math.inf)) - 1)][1]

    def next_change(self, at_s: float) -> float:
        """When the load changes next after `at_s`; inf: never, or not before a window opens."""
        later = (self.opened_at + since for since, _ in self.levels)
        return next((t for t in later if t > at_s), math.inf)

    def offered(self, seconds: float) -> float:
        """Requests that fell due in the window's first so many seconds, on average."""
        ends = [since for since, _ in self.levels[1:]] + [math.inf]
        return math.fsum(
            qps * max(0.0, min(seconds, end) - since) for (since, qps), end in zip(self.levels, ends, strict=True)
        )


class Machine:
    """Everything that goes on in a twin, brought up to date whenever somebody looks."""

    def __init__(self, profile: Profile, options: TwinOptions, clock: TwinClock, state_file: Path | None) -> None:
        self.profile = profile
        self.options = options
        self.clock = clock
        self.originals = profile.found_at
        self.registers = Registers(self.originals, state_file)
        self.joules = 0.0
        """Energy of both packages since the twin began."""
        self.core_joules = 0.0
        self.rows: deque[TwinRow] = deque(maxlen=ROWS_KEPT)
        self.work: Work | None = None
        self.history: History | None = None
        """Present: what happens is kept for logs of interrupts."""
        campaign = f"campaign {options.seed}" + (f" day {options.day}" if options.day else "")
        self._drift = 1 + options.drift * random.Random(campaign).gauss(*DRIFT)
        own = random.Random(f"node {options.seed}")
        self._thirst, slowness = (math.exp(options.unlike * own.gauss(0, UNLIKE)) for _ in range(2))
        """What this node draws, and takes, as a multiple of what its type does."""
        self._drift *= slowness
        self._now = clock.now()
        self._row = 0
        self._link_up_at = -math.inf
        self._reverts: dict[str, float] = {}
        self._state = self._settled()

    def running_mhz(self) -> int:
        """The clock that runs, as the hardware shows it."""
        faults, asked = self.options.faults, self.registers[DVFS.name]
        if DVFS.name in faults.knob_without_effect and not faults.dvfs_without_effect and asked not in GOVERNORS:
            return self.profile.shown_mhz(asked)
        return self.profile.shown_mhz(self._state.mhz)

    def advance(self) -> None:
        """Live through the time since the last call."""
        now = self.clock.now()
        while True:
            changes = self.work.next_change(self._now) if self.work is not None else math.inf
            ends = [t for t in (self._link_up_at, changes, *self._reverts.values()) if self._now < t <= now]
            until = min(ends, default=now)
            self._live(until)
            if not ends:
                return
            for name in [n for n, t in self._reverts.items() if t <= until]:
                del self._reverts[name]
                self._store(name, self.originals[name])
            self._state = self._settled()

    def write(self, name: str, value: int) -> None:
        """Put `value` into a register, now."""
        self.advance()
        if name in self.options.faults.knob_ignored:
            return
        self._store(name, value)
        if name in self.options.faults.knob_reverts_after_s:
            self._reverts[name] = self._now + self.options.faults.knob_reverts_after_s[name]
        self._state = self._settled()

    def start(self, load: Load, seed: int) -> Work:
        """Put the machine under `load`; an earlier load ends."""
        model.check_load(load)
        self.advance()
        noise = random.Random(f"load {self.options.seed} {seed}")
        scale = self.options.noise
        self.work = Work(
            load=load,
            noise=noise,
            energy_factor=1 + scale * noise.gauss(0, ENERGY_SPREAD),
            latency_deviation=scale * noise.gauss(0, 1),
            levels=levels(load),
        )
        self._state = self._settled()
        return self.work

    def open_window(self, work: Work) -> float:
        """The load's curve begins; gives the time."""
        self.advance()
        work.spent.clear()
        work.opened_at = self._now
        self._state = self._settled()
        return self._now

    def stop(self) -> None:
        """End the load."""
        self.advance()
        self.work = None
        self._state = self._settled()

    def observed(self, latencies: dict[str, float], work: Work, crowded: float = 0.0) -> dict[str, float]:
        """Latencies as this repeat of this campaign sees them, still in order; `crowded` as in model.Prediction."""
        seen: dict[str, float] = {}
        least = 0.0
        spread = LATENCY_SPREAD * (1 + self.options.tails * TAIL_GROWTH * crowded)
        for name, exact in latencies.items():
            value = exact * self._drift * math.exp(work.latency_deviation * spread * WEIGHT[name])
            if name != "avg":
                value = least = max(least, value)
            seen[name] = value
        return seen

    def _store(self, name: str, value: int) -> None:
        border = self.profile.itr_reset_at_us
        crosses = name == ITR_DELAY.name and (self.registers[name] < border) != (value < border)
        self.registers[name] = value
        if crosses:
            self._link_up_at = self._now + self.profile.reset_seconds

    def _clock_mhz(self, load: Load | None) -> int:
        """The clock that runs, be it that a governor chose it."""
        stays = self.options.faults.dvfs_without_effect
        value = self.originals[DVFS.name] if stays else self._in_effect(DVFS.name)
        mhz = model.governed_mhz(self._likeness(), value, self._in_effect(ITR_DELAY.name), load)
        return mhz if self.options.turbo else min(mhz, self.profile.nominal_mhz[1])

    def _in_effect(self, name: str) -> int:
        """What the machine makes of a register."""
        return self.originals[name] if name in self.options.faults.knob_without_effect else self.registers[name]

    def _likeness(self) -> Profile:
        """The profile, as knobs beside delay and clock make it."""
        return more.under(self.profile, {name: self._in_effect(name) for name in self.originals})

    def _settled(self) -> TwinState:
        """What the machine does from now on, as its registers and its load are."""
        qps = self.work.qps(self._now) if self.work is not None else 0.0
        if self.work is None or qps <= 0 or self._now < self._link_up_at:
            mhz = self._clock_mhz(None)
            idle = self._thirst * model.idle_watts(self._likeness(), mhz)
            return TwinState(power_watts=idle, busy_fraction=0.0, achieved_qps=0.0, mhz=mhz, prediction=None)
        qps *= self.options.faults.sent_share
        load = msgspec.structs.replace(self.work.load, qps=qps)
        mhz = self._clock_mhz(load)
        found = model.predict(self._likeness(), self._in_effect(ITR_DELAY.name), mhz, load)
        return TwinState(
            power_watts=self._thirst * found.power_watts * self.work.energy_factor,
            busy_fraction=found.busy_fraction,
            achieved_qps=found.achieved_qps,
            mhz=mhz,
            prediction=found,
        )

    def _live(self, until: float) -> None:
        """Spend the time up to `until` in the present state, leaving a row at every whole second."""
        state = self._state
        cores = max(0.0, state.power_watts - self.profile.power.uncore)
        began, joules = self._now, self.joules
        last = math.floor(until)
        for second in range(max(math.floor(began) + 1, last - ROWS_KEPT), last + 1):
            if self.options.faults.lost_rows and second % self.options.faults.lost_rows == 0:
                continue
            self.rows.append(
                TwinRow(
                    number=second - 1,
                    seconds=float(second),
                    package_joules=joules + state.power_watts * (second - began),
                    itr_delay_us=self.registers[ITR_DELAY.name],
                    dvfs_mhz=state.mhz if self.registers[DVFS.name] in GOVERNORS else self.registers[DVFS.name],
                    busy_fraction=state.busy_fraction,
                    achieved_qps=state.achieved_qps,
                )
            )
        if self.history is not None and until > began:
            self._remember(self.history, state, until)
        self.joules += state.power_watts * (until - began)
        self.core_joules += cores * (until - began)
        if self.work is not None and until > began:
            spent = self.work.spent
            before = spent.pop()[0] if spent and spent[-1][1] is state else 0.0
            spent.append((before + until - began, state))
        self._now = until

    def _remember(self, history: History, state: TwinState, until: float) -> None:
        found = state.prediction
        history.add(
            Stretch(
                began=self._now,
                until=until,
                package_joules=self.joules,
                power_watts=state.power_watts,
                ghz=self.profile.ghz(state.mhz),
                busy_fraction=state.busy_fraction,
                interrupts_per_s=found.interrupts_per_s if found is not None else 0.0,
                qps=state.achieved_qps / self.profile.cores,
                update_ratio=self.work.load.update_ratio if self.work is not None else 0.0,
                preset=self.work.load.preset if self.work is not None else FITTED,
            )
        )


def levels(load: Load) -> tuple[tuple[float, float], ...]:
    """A load's curve as steps: seconds from its start and the load from then on; as many requests in all."""
    found: list[tuple[float, float]] = []
    at = 0.0
    for seconds, qps, end_qps in load.curve or ((1.0, load.qps, load.qps),):
        count = 1 if qps == end_qps else math.ceil(seconds / CURVE_STEP_S)
        for k in range(count):
            found.append((at + seconds * k / count, qps + (end_qps - qps) * (k + 0.5) / count))
        at += seconds
    found.append((at, load.curve[-1][2] if load.curve else load.qps))
    return tuple(found)
