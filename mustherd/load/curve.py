"""How the offered load changes over time; pure."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from mustherd.terms import MAX_PIECES, Load

MAX_QPS = 1e9
"""Of any load: beyond what a node can be sent."""
MAX_KNOTS = 100_000
SINE_KNOTS = 64
"""Straight pieces in a period of a sine: off by at most (pi / 64)^2 / 2 = 0.12 % of the amplitude."""


class CurveError(ValueError):
    """A curve that can't be followed; the message says which part and what is allowed."""


@dataclass(frozen=True)
class Segment:
    """A piece of a curve in which the load goes straight from `qps` to `end_qps`; `start_s` from the curve's start."""

    start_s: float
    seconds: float
    qps: float
    end_qps: float

    @property
    def requests(self) -> float:
        """Requests that fall due in it on average."""
        return self.seconds * (self.qps + self.end_qps) / 2

    def requests_by(self, seconds: float) -> float:
        """Requests that fall due in its first `seconds` on average."""
        return seconds * (self.qps + (self.end_qps - self.qps) * seconds / (2 * self.seconds))


class Curve:
    """The load over time: straight pieces one after the other. When they are over, the last value stays."""

    def __init__(self, pieces: Iterable[tuple[float, float, float]]) -> None:
        """`pieces` are (seconds, qps at its start, qps at its end). Raises CurveError."""
        segments = []
        at = 0.0
        for number, (seconds, qps, end_qps) in enumerate(pieces, 1):
            _check_seconds(f"piece {number}: seconds", seconds)
            _check_qps(f"piece {number}: qps", qps)
            _check_qps(f"piece {number}: qps", end_qps)
            segments.append(Segment(at, seconds, qps, end_qps))
            at += seconds
        if not 1 <= len(segments) <= MAX_KNOTS:
            raise CurveError(f"a curve has 1..{MAX_KNOTS} pieces, this one {len(segments)}")
        self._segments = tuple(segments)
        self._starts = [s.start_s for s in segments]
        self._before = [0.0]
        for segment in segments:
            self._before.append(self._before[-1] + segment.requests)
        if self._before[-1] <= 0:
            raise CurveError("the load is 0 all the time")

    @property
    def segments(self) -> Sequence[Segment]:
        """Its pieces in order of time."""
        return self._segments

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self._segments[-1].start_s + self._segments[-1].seconds

    def qps(self, at_s: float) -> float:
        """The load `at_s` seconds after its start; where it jumps, the value after the jump."""
        if at_s >= self.seconds:
            return self._segments[-1].end_qps
        segment = self._segments[max(0, bisect_right(self._starts, at_s) - 1)]
        share = max(0.0, at_s - segment.start_s) / segment.seconds
        return segment.qps + (segment.end_qps - segment.qps) * share

    def requests(self, until_s: float) -> float:
        """How many requests fall due on average from its start until `until_s`: the integral of the load."""
        if until_s <= 0:
            return 0.0
        if until_s >= self.seconds:
            return self._before[-1] + (until_s - self.seconds) * self._segments[-1].end_qps
        index = bisect_right(self._starts, until_s) - 1
        segment = self._segments[index]
        return self._before[index] + segment.requests_by(until_s - segment.start_s)

    def cut(self, start_s: float, seconds: float) -> "Curve":
        """The part of it that begins at `start_s` and lasts `seconds`. CurveError when the load is 0 all through it."""
        end_s, pieces = start_s + seconds, []
        for segment in self._segments[max(0, bisect_right(self._starts, start_s) - 1) :]:
            begin, end = max(start_s, segment.start_s), min(end_s, segment.start_s + segment.seconds)
            if segment.start_s >= end_s:
                break
            # What rounding leaves of a piece is none.
            if end - begin > 1e-9:
                slope = (segment.end_qps - segment.qps) / segment.seconds
                first, last = (segment.qps + slope * (at - segment.start_s) for at in (begin, end))
                pieces.append((end - begin, max(0.0, first), max(0.0, last)))
        if end_s - max(start_s, self.seconds) > 1e-9:
            last = self._segments[-1].end_qps
            pieces.append((end_s - max(start_s, self.seconds), last, last))
        return Curve(pieces)


def of(load: Load) -> Curve:
    """The curve that a load follows. Raises CurveError."""
    return Curve(load.curve) if load.curve else constant(load.qps)


def under(load: Load, curve: Curve) -> Load:
    """`load` with its requests spread over time as in `curve`. CurveError for more than MAX_PIECES pieces."""
    pieces = tuple((s.seconds, s.qps, s.end_qps) for s in curve.segments)
    mean = curve.requests(curve.seconds) / curve.seconds
    if {p[1] for p in pieces} == {p[2] for p in pieces} == {pieces[0][1]}:
        return msgspec.structs.replace(load, qps=pieces[0][1], curve=())
    if len(pieces) > MAX_PIECES:
        raise CurveError(f"{len(pieces)} pieces in one window; at most {MAX_PIECES} are allowed")
    return msgspec.structs.replace(load, qps=mean, curve=pieces)


def constant(qps: float) -> Curve:
    """The same load all the time."""
    return Curve([(1.0, qps, qps)])


def steps(levels: Iterable[tuple[float, float]]) -> Curve:
    """A list of (qps, seconds): the load jumps from level to level. Raises CurveError."""
    return Curve((seconds, qps, qps) for qps, seconds in levels)


def step(low_qps: float, high_qps: float, at_s: float, seconds: float) -> Curve:
    """`low_qps` that jumps to `high_qps` at `at_s` of `seconds`. Raises CurveError."""
    if not 0 < at_s < seconds:
        raise CurveError(f"a step at {at_s:g} s does not lie within 0..{seconds:g} s")
    return steps([(low_qps, at_s), (high_qps, seconds - at_s)])


def sine(low_qps: float, high_qps: float, period_s: float, seconds: float) -> Curve:
    """From the mean up, between `low_qps` and `high_qps`, for `seconds`. Raises CurveError."""
    _check_seconds("period_s", period_s)
    _check_seconds("seconds", seconds)
    _check_qps("low_qps", low_qps)
    _check_qps("high_qps", high_qps)
    if not low_qps <= high_qps:
        raise CurveError(f"low {low_qps:g} qps is above high {high_qps:g} qps")
    mean, swing = (low_qps + high_qps) / 2, (high_qps - low_qps) / 2
    count = seconds / period_s * SINE_KNOTS
    if count > MAX_KNOTS:
        raise CurveError(f"{seconds / period_s:g} periods; at most {MAX_KNOTS // SINE_KNOTS} are allowed")

    def at(t: float) -> float:
        return max(0.0, mean + swing * math.sin(2 * math.pi * t / period_s))

    times = [k * period_s / SINE_KNOTS for k in range(math.ceil(count))] + [seconds]
    return Curve((b - a, at(a), at(b)) for a, b in pairwise(times) if b > a)


def trace(text: str, name: str = "trace") -> Curve:
    """A curve from lines of `seconds,qps`: from `seconds` on (since the start) the load is `qps`.

    The first line is at 0, times rise, and the last line's load ends the curve: it says until when the one before it
    holds. Empty lines, lines that begin with # and one line of titles are left out. Raises CurveError, with the line.
    """
    points: list[tuple[float, float]] = []
    titles = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = line.replace(";", ",").split(",")
        try:
            seconds, qps = (float(field) for field in fields)
        except ValueError:
            if not points and not titles and len(fields) == 2:
                titles = True
                continue
            raise CurveError(f"{name}, line {number}: {line.strip()[:60]!r} is not 'seconds,qps'") from None
        if (points and not seconds > points[-1][0]) or (not points and seconds != 0):
            wanted = f"above {points[-1][0]:g}" if points else "0 at the start"
            raise CurveError(f"{name}, line {number}: time {seconds:g} s should be {wanted}")
        points.append((seconds, qps))
    if len(points) < 2:
        raise CurveError(f"{name}: a trace has at least two lines of 'seconds,qps', this one {len(points)}")
    try:
        return steps((qps, end - start) for (start, qps), (end, _) in pairwise(points))
    except CurveError as error:
        raise CurveError(f"{name}: {error}") from None


def _check_seconds(what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise CurveError(f"{what} is {value:g}, allowed: more than 0")


def _check_qps(what: str, value: float) -> None:
    if not 0 <= value <= MAX_QPS:
        raise CurveError(f"{what} is {value:g}, allowed: 0..{MAX_QPS:g}")
