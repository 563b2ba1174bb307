"""The keys of `workload`: the load that every trial offers."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    ValidationError,
    model_validator,
)

from mustherd.definition import curves as curve_values
from mustherd.definition.fields import MAX_SECONDS, RATE_FORM, Level, Mutilate, Rates, Section, Steps, Trace, key
from mustherd.load import curve as curves
from mustherd.load.curve import Curve, CurveError
from mustherd.load.mutilate.command import MutilateOptions
from mustherd.load.presets import PRESETS, load
from mustherd.terms import Load


class Sine(Section):
    """A load that swings, from its mean up."""

    low: Level = key(..., "The least load.", "qps")
    high: Level = key(..., "The highest load.", "qps")
    period_seconds: float = key(..., "How long a swing takes.", "s", gt=0, le=MAX_SECONDS)
    seconds: float = key(..., "How long it goes on.", "s", gt=0, le=MAX_SECONDS)


class StepLoad(Section):
    """A load that jumps once."""

    low: Level = key(..., "The load before.", "qps")
    high: Level = key(..., "The load after.", "qps")
    at_seconds: float = key(..., "When it jumps.", "s", gt=0, le=MAX_SECONDS)
    seconds: float = key(..., "How long it goes on in all.", "s", gt=0, le=MAX_SECONDS)


class LoadCurve(Section):
    """A load that changes: `steps`, `sine`, `step` or `trace`."""

    steps: Steps | None = key(None, "Levels, one after the other.", "qps, s", curve_values.STEPS_FORM)
    sine: Sine | None = key(None, "A load that swings.")
    step: StepLoad | None = key(None, "A load that jumps once.")
    trace: Trace | None = key(None, "A recorded load.", "s, qps", curve_values.TRACE_FORM)
    spans: Literal["window", "experiment"] = key(
        "window", "Every window sees the whole curve, or each one the part that comes next."
    )

    def made(self) -> Curve:
        """The curve. Raises CurveError."""
        if self.steps is not None:
            return curves.steps(self.steps)
        if self.sine is not None:
            return curves.sine(self.sine.low, self.sine.high, self.sine.period_seconds, self.sine.seconds)
        if self.step is not None:
            return curves.step(self.step.low, self.step.high, self.step.at_seconds, self.step.seconds)
        if self.trace is not None:
            return curve_values.of_trace(self.trace)
        raise CurveError("a curve needs 'steps', 'sine', 'step' or 'trace'")


class Workload(Section):
    """The load that every trial offers."""

    preset: Literal["etc", "usr"] = key("etc", "Mix of requests: sizes of keys and values, arrivals.")
    qps: Rates | None = key(
        None,
        "Requests offered a second; of a list every load, learnt together: settings for each come out. Needed where "
        "there is no curve.",
        "qps",
        f"{RATE_FORM}, or a list of such",
    )
    curve: LoadCurve | None = key(None, "A load that changes, in the place of `qps`.")
    generator: Literal["mutilate", "builtin"] | None = key(
        None,
        "What offers the load from outside the nodes; without it mutilate where the inventory has a leader, and else "
        "each node loads itself.",
    )
    mutilate: Mutilate = key(
        MutilateOptions,
        "How mutilate is run, where it is.",
        allowed="options of mutilate such as measure_qps, connections, agent_threads, depth",
        validate_default=True,
    )
    update_ratio: float = key(
        None, "Share of requests that write; without it the preset's: 0.25 for etc, 0.01 for usr.", ge=0, le=1
    )
    outstanding: int = key(256, "Requests in flight at most; beyond it the load is closed-loop.", ge=1, le=10**6)
    settle_seconds: float = key(
        0.0, "Wait after the knobs hold; a knob that needs longer to settle is given longer.", "s", ge=0, le=MAX_SECONDS
    )
    ramp_seconds: float = key(5.0, "Load before the window, not counted.", "s", ge=0, le=MAX_SECONDS)
    window_seconds: float = key(
        30.0,
        "The window over which energy, latency and load are measured; a curve that spans it gives its length.",
        "s",
        ge=0.1,
        le=MAX_SECONDS,
    )

    @model_validator(mode="before")
    @classmethod
    def _mix(cls, raw: Any) -> Any:
        # A preset that doesn't exist is left for its own check to name.
        preset = raw.get("preset", "etc") if isinstance(raw, Mapping) else None
        if isinstance(preset, str) and preset in PRESETS and "update_ratio" not in raw:
            return {**raw, "update_ratio": PRESETS[preset].update_ratio}
        return raw

    @model_validator(mode="before")
    @classmethod
    def _length(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "window_seconds" in raw or raw.get("curve") is None:
            return raw
        try:
            curve = LoadCurve.model_validate(raw["curve"])
            return {**raw, "window_seconds": curve.made().seconds} if curve.spans == "window" else raw
        except (ValidationError, CurveError):
            return raw  # its own checks name what is wrong

    @property
    def parts(self) -> int:
        """How many windows a curve that spans the experiment lasts; 0 for a load that is the same in all of them."""
        if self.curve is None or self.curve.spans == "window":
            return 0
        return math.ceil(self.curve.made().seconds / self.window_seconds - 1e-9)

    @property
    def loads(self) -> tuple[float, ...]:
        """The loads that trials choose among, in requests per second; none where there is a curve."""
        return self.qps if isinstance(self.qps, tuple) else () if self.qps is None else (self.qps,)

    def load(self, part: int = 0, qps: float | None = None) -> Load:
        """The load to offer in a window: `qps` of several, or the only one.

        `part` counts, from 0, the windows of a curve that spans the experiment.

        Raises CurveError.
        """
        offered = load(self.preset, qps or next(iter(self.loads), 0.0), self.update_ratio, self.outstanding)
        if self.curve is None:
            return offered
        at_s = part * self.window_seconds if self.curve.spans == "experiment" else 0.0
        return curves.under(offered, self.curve.made().cut(at_s, self.window_seconds))
