"""The machines that a twin can be: what they accept and the constants of their physics.

The constants are fitted, not measured one by one; each profile says to what, by which formula of `model`, and with
which errors. `make bench NAME=twin_fidelity` prints the errors anew.
"""

import msgspec


class PowerFit(msgspec.Struct, frozen=True, kw_only=True):
    """Constants of the power of both packages in W; f in GHz, u the busy fraction, see `model.power_watts`."""

    base: float
    linear: float
    square: float
    busy_linear: float
    busy_cube: float
    sleep: float
    """W/GHz^2 that idle cores save at most by sleeping deeper between batches."""
    sleep_us: float
    """Scale of the interval between batches over which that saving comes about."""
    shallow: float
    """W/GHz^2 that idle cores lose when their gaps are so long that the kernel's guess of the gap goes wrong."""
    shallow_us: float
    """Gap from which that happens, and the width of the step."""
    shallow_width_us: float
    uncore: float
    """W of both packages outside the cores: the difference between a package counter and its core counter."""


class ServiceFit(msgspec.Struct, frozen=True, kw_only=True):
    """Constants of the work: thousands of cycles per request, the part of it that does not scale with the clock."""

    kcycles: float
    """Per request when it comes alone."""
    memory_us: float
    """Per request when it comes alone, whatever the clock: waiting for memory."""
    batching: float
    """A batch of n costs n**batching times what one request costs."""
    merging: float
    """How sharply the busy fraction bends into 1."""
    adaptive_us: float
    """The static delay whose work the adaptive mode's equals."""


class LatencyFit(msgspec.Struct, frozen=True, kw_only=True):
    """Constants of the latency in us, see `model.latency`."""

    adaptive_us: float
    """The static delay whose latency the adaptive mode's equals."""
    wire_us: float
    kcycles: float
    interval_share: float
    batch_kcycles: float
    jitter_us: float
    jitter_share: float
    work_kcycles: float
    work_batching: float
    tail_us: float
    tail_kcycles: float
    queue_kcycles: float
    queue_slope: float
    queue_half: float
    queue_power: float
    waiting_most: float
    waiting_half: float
    waiting_power: float
    update_kcycles: float
    """What an update takes longer than a read, thousands of cycles."""


class LoopFit(msgspec.Struct, frozen=True, kw_only=True):
    """Constants of the closed loop, see `model.achieved_qps`."""

    windows: float
    """Intervals that a request takes to go round."""
    kcycles: float
    """Thousands of cycles per request at the deepest batching: what bounds the cores."""
    sharpness: float


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One type of machine."""

    name: str
    cpu: str
    cores: int
    packages: int
    nominal_mhz: tuple[int, int]
    """Lowest and highest clock that can be asked for in steps of 100 MHz."""
    turbo_ask_mhz: int
    """The value that asks for turbo."""
    turbo_mhz: float
    """What then runs when all cores are active."""
    interval_per_us: float
    """Length of an interrupt interval per us of the knob: the adapter's clock is not quite 1 MHz."""
    itr_highest_us: int
    itr_reset_at_us: int
    """A change that crosses this delay resets the adapter."""
    reset_seconds: float
    """How long the link is then down."""
    power: PowerFit
    service: ServiceFit
    latency: LatencyFit
    loop: LoopFit

    def ghz(self, mhz: int) -> float:
        """The clock that runs when `mhz` is asked for."""
        return (self.turbo_mhz if mhz > self.nominal_mhz[1] else mhz) / 1000

    def shown_mhz(self, mhz: int) -> int:
        """The same to the 100 MHz in which the hardware shows it."""
        return round(self.ghz(mhz) * 10) * 100


C6220 = Profile(
    name="c6220",
    cpu="2 x E5-2650 v2",
    cores=16,
    packages=2,
    nominal_mhz=(1200, 2600),
    turbo_ask_mhz=2800,
    turbo_mhz=2974.0,
    interval_per_us=1.024,
    itr_highest_us=1022,
    itr_reset_at_us=10,
    reset_seconds=3.0,
    power=PowerFit(
        base=32.827,
        linear=9.628,
        square=1.45,
        busy_linear=11.53,
        busy_cube=0.358,
        sleep=1.774,
        sleep_us=500.0,
        shallow=1.056,
        shallow_us=291.9,
        shallow_width_us=12.2,
        uncore=26.0,
    ),
    service=ServiceFit(kcycles=71.9, memory_us=12.6, batching=0.455, merging=2.979, adaptive_us=42.5),
    latency=LatencyFit(
        adaptive_us=21.8,
        wire_us=24.76,
        kcycles=58.75,
        interval_share=0.0424,
        batch_kcycles=1.85,
        jitter_us=0.5,
        jitter_share=0.0542,
        work_kcycles=69.85,
        work_batching=0.469,
        tail_us=6.92,
        tail_kcycles=8.24,
        queue_kcycles=133.1,
        queue_slope=33.6,
        queue_half=0.861,
        queue_power=4.81,
        waiting_most=0.927,
        waiting_half=1.38,
        waiting_power=1.205,
        update_kcycles=8.0,
    ),
    loop=LoopFit(windows=1.324, kcycles=20.0, sharpness=4.0),
)
"""CloudLab c6220, memcached with 16 threads under mutilate's ETC load: a first, rough fit."""

PROFILES = {p.name: p for p in (C6220,)}


def profile(name: str) -> Profile:
    """The profile called `name`; ValueError lists what there is."""
    if name not in PROFILES:
        raise ValueError(f"unknown twin profile {name!r}; there is {', '.join(sorted(PROFILES))}")
    return PROFILES[name]
