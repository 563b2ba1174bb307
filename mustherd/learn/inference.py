"""Inference: what repeated windows let one say, with errors that add up to what was promised.

Pure functions over plain numbers, on logarithms where the caller takes them. What is used, and why:

- *Differences within blocks* (Box, Hunter and Hunter, Statistics for Experimenters, 2005, chapter 3): a setting and the
  default on the same node in the same round have that node and that hour in common, so drift, a step and a node that
  uses more cancel. Each comparison has its own variance, that of its differences: noise grows towards a limit by 10 to
  100 times, and a variance pooled with quiet neighbours would make a noisy setting look certain.
- *Looks* (Lan and DeMets, Biometrika 1983): whoever looks after every round and stops at the first success is wrong
  more often than the level says. The level is shared out over a few looks that are fixed beforehand; by Bonferroni's
  inequality the shares add up whatever the dependence between looks, which holds with few windows, where the normal
  theory behind tighter boundaries does not.
- *Candidates* by Holm's step-down procedure (Scandinavian Journal of Statistics 1979), carried over the looks as in
  Maurer and Bretz (Statistics in Biopharmaceutical Research 2013): a rejected candidate leaves its share to the others.
- *Several conditions at once*, a saving and each limit on each node, by an intersection-union test (Berger,
  Technometrics 1982): all of them have to pass, each at the full level.
- *Prediction bounds* (Hahn and Meeker, Statistical Intervals, 1991, chapter 4): a limit is a promise about the next
  window, not about a mean.
- *Giving up* by predictive power (Spiegelhalter, Freedman and Blackburn, Controlled Clinical Trials 1986): a setting
  steps back when it would hardly hold by the end, whatever its true mean and spread may still be. Three windows say
  little of either, and stepping back can't make a wrong announcement likelier.
- *Sample size* after Stein (Annals of Mathematical Statistics 1945): how many windows more, from the spread of those
  that were measured, never from the estimate that they are to make.
"""

import functools
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import msgspec

ALPHA = 0.025
"""How often an experiment may announce what isn't so: one-sided, over all its candidates and looks together."""
CONFIDENCE = 0.95
"""Of two-sided intervals."""
ANNOUNCED = 0.965
"""The confidence of the interval of an announced saving: more than the 95 % that it is said to have, for it is made of
the few rounds in which a setting came out well."""
FORGETS = 0.5
"""What the interval of an announced saving takes for granted that a window's noise may keep of the setting's round
before. So much memory can't be seen in the ten rounds or so that there are, and by the spread of the rounds after the
choice alone the interval held the true saving in 90 % of what was announced with it, in 86 % at 0.6 (benchmark
verdict_calibration, row memory)."""
PROMISED = 0.95
"""The chance with which the next window of what is announced keeps a limit."""
NEXT = 0.975
"""The chance with which a bound for the next window has to hold before a setting is chosen: more than is promised.
That pays for having chosen it by these windows, and for spreads that came out small by luck."""
POWER = 0.8
"""The chance of finding a saving that a number of rounds is worked out for."""
HOPE = 0.1
"""The chance of holding in the rounds that are left below which a setting steps back for another."""
LEAST_ROUNDS = 2
"""One has no spread."""
GROWTH = 1.5
"""Each look has about half as many rounds more than the one before."""
LEAST_SPREAD = 5e-4
"""Windows that agree better than to 0.05 % are not believed to: counters have a resolution."""
SAVINGS_ASKED = (1.0, 2.0, 5.0)
"""Per cent: the savings of which is said how many rounds they need."""
MOST_ROUNDS = 10_000
"""Beyond so many rounds a saving can't be told from none."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A mean with its confidence interval; both ends infinite before there are two values."""

    mean: float
    low: float
    high: float

    def covers(self, value: float) -> bool:
        """Whether the interval holds `value`."""
        return self.low <= value <= self.high


@functools.cache
def quantile(level: float, freedom: int) -> float:
    """Student's quantile: what a t with `freedom` degrees of freedom stays below with probability `level`.

    Not SciPy's, which is the same: a plan needs no other number of a numeric library, and importing one takes longer
    than all the rest of it.
    """
    if freedom < 1:
        return math.inf
    if level < 0.5:
        return -quantile(1 - level, freedom)
    # The normal quantile lies below, and the chance is concave from there on: Newton's steps all lead upwards.
    t = _normal(level)
    log_peak = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    while True:
        density = math.exp(log_peak - (freedom + 1) / 2 * math.log1p(t * t / freedom))
        step = (level - 0.5 - _within(t, freedom) / 2) / density
        t += step
        if step <= 1e-12 * t:
            return t


def _within(t: float, freedom: int) -> float:
    """The chance that Student's t is nearer to 0 than `t`: a sum of `freedom` / 2 terms, as that is a whole number.

    (Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 26.7.3 and 26.7.4.)
    """
    odd = freedom % 2
    angle = math.atan(t / math.sqrt(freedom))
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    square = freedom / (freedom + t * t)
    for k in range(2 + odd, freedom, 2):
        term *= square * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def exceeds(t: float, freedom: int) -> float:
    """The p-value of a one-sided t-test: the chance of more than `t` where there is nothing."""
    from scipy.special import stdtr  # noqa: PLC0415

    return float(stdtr(freedom, -t)) if freedom > 0 else 1.0


def average(values: Sequence[float]) -> float:
    """The mean of at least one value. (statistics.fmean and variance take many times as long, in fractions.)"""
    return math.fsum(values) / len(values)


def squares(values: Sequence[float]) -> float:
    """The sum of squared deviations from the mean."""
    mean = average(values)
    return math.fsum((value - mean) ** 2 for value in values)


def spread(values: Sequence[float]) -> float:
    """Standard deviation; infinite for fewer than two values."""
    return math.sqrt(squares(values) / (len(values) - 1)) if len(values) > 1 else math.inf


def interval(
    values: Sequence[float],
    deviation: float | None = None,
    freedom: int | None = None,
    looks: int = 1,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Student's interval of a mean, by the values' own standard deviation unless one is given with its freedom.

    With `looks` it covers at all of so many looks together (Bonferroni), whichever of them ends the measuring.
    """
    mean = average(values)
    deviation = spread(values) if deviation is None else deviation
    freedom = len(values) - 1 if freedom is None else freedom
    if freedom < 1:
        return Estimate(mean=mean, low=-math.inf, high=math.inf)
    half = quantile(1 - (1 - confidence) / 2 / looks, freedom) * deviation / math.sqrt(len(values))
    return Estimate(mean=mean, low=mean - half, high=mean + half)


def above(values: Sequence[float], bound: float, wider: float = 1.0, freedom: int | None = None) -> float:
    """The p-value of the claim that the mean of `values` is above `bound`, by their own spread.

    `wider`: by how much the mean's error is greater than the spread lets one think; `freedom`: the spread's degrees of
    freedom, where they are not one less than the values.
    """
    if len(values) < 2:
        return 1.0
    error = wider * max(spread(values), LEAST_SPREAD) / math.sqrt(len(values))
    return exceeds((average(values) - bound) / error, len(values) - 1 if freedom is None else freedom)


def next_window(count: int, deviation: float, freedom: int, own_error: float = 0.0, chance: float = NEXT) -> float:
    """How far above the mean of `count` windows the next one stays with probability `chance`.

    Args:
        count: windows that the mean is of.
        deviation: their standard deviation.
        freedom: the degrees of freedom that it was estimated with.
        own_error: a window's error that is known beforehand, such as that of a percentile of so many requests: the
            windows' spread can come out less by chance, and a coarse histogram hides it altogether.
    """
    if freedom < 1:
        return math.inf
    return max(quantile(chance, freedom) * deviation, _normal(chance) * own_error) * math.sqrt(1 + 1 / count)


def reach(count: int) -> float:
    """How many spreads the bound for the next window lies above the mean of `count` windows, 2 at least."""
    return quantile(NEXT, count - 1) * math.sqrt(1 + 1 / count)


def chance_within(room: float, deviation: float, freedom: int, count: int, more: int) -> float:
    """The chance that the bound for the next window keeps `room` above the mean once there are `more` windows.

    By what is known now: the true mean and spread may be any that `count` windows with their mean and `deviation` let
    one believe, and each weighs as much as it is likely (predictive power).
    """
    if freedom < 1:
        return 1.0
    if more < 1:
        return float(reach(count) * deviation <= room)
    total = count + more
    steps = reach(total)
    chances = []
    for true in _spreads(freedom):
        # What the mean moves by from now on, and what the spread of all windows then is.
        moved = true * deviation * math.sqrt(more / (total * count))
        for seen in _spreads(more):
            spread_then = deviation * math.sqrt((freedom + more * (true / seen) ** 2) / (freedom + more))
            chances.append(NormalDist().cdf((room - steps * spread_then) / moved))
    return average(chances)


@functools.cache
def _spreads(freedom: int) -> tuple[float, ...]:
    """Spreads, of equal chance, that may be true where one of 1 was found with `freedom`."""
    from scipy.special import chdtri  # noqa: PLC0415

    return tuple(math.sqrt(freedom / float(chdtri(freedom, (2 * k + 1) / 16))) for k in range(8))


@functools.cache
def _normal(level: float) -> float:
    return NormalDist().inv_cdf(level)


def looks(least: int, rounds: int) -> tuple[int, ...]:
    """The numbers of rounds after which a setting may be announced: from `least` (2 at least) up to `rounds`."""
    found = [max(LEAST_ROUNDS, least)]
    while found[-1] < rounds:
        found.append(min(rounds, math.ceil(found[-1] * GROWTH)))
        if 0 < rounds - found[-1] < found[-1] * (GROWTH - 1) / 2:
            found[-1] = rounds
    return tuple(found)


def level_of(least: int, rounds: int, candidates: int) -> float:
    """The level at which one of so many candidates is tested at one of the looks, before any other was found."""
    return ALPHA / len(looks(least, max(least, rounds))) / max(1, candidates)


def holm(weights: Sequence[float], rejected: Sequence[bool]) -> list[float]:
    """The share of the level that each hypothesis has: its weight among those that aren't rejected yet."""
    left = sum(w for w, gone in zip(weights, rejected, strict=True) if not gone)
    return [0.0 if gone else w / left for w, gone in zip(weights, rejected, strict=True)]


def enough(mean: float, deviation: float, each: int, least: int, most: int) -> int:
    """Rounds of `each` differences until the 95 % interval's half-width is at most half of `mean`."""
    for rounds in range(least, most):
        count = rounds * each
        if quantile(0.5 + CONFIDENCE / 2, count - 1) * deviation / math.sqrt(count) <= abs(mean) / 2:
            return rounds
    return max(least, most)


def rounds_needed(
    saving_percent: float,
    deviation: float,
    *,
    nodes: int = 1,
    level: Callable[[int], float] = lambda _rounds: ALPHA,
    least_percent: float = 0.0,
) -> int | None:
    """Rounds in which a saving is announced with probability POWER; None: more than MOST_ROUNDS, or no number will do.

    It has to be found at the last look, to be estimated at `least_percent` or more then, and again in the rounds after
    the choice: each of the two stages gets the root of POWER.

    Args:
        saving_percent: the true saving, above 0 and below 100.
        deviation: standard deviation of a block's difference of logarithms: about 1.4 times a window's relative noise.
        nodes: blocks in a round.
        level: of so many rounds, the one-sided level of the test at the last look.
        least_percent: the least estimate that is announced; a true saving of no more is missed every other time.
    """
    effect, least = -math.log1p(-saving_percent / 100), -math.log1p(-least_percent / 100)
    deviation = max(deviation, LEAST_SPREAD)
    stage = math.sqrt(POWER)
    rounds = LEAST_ROUNDS
    while effect > least and rounds <= MOST_ROUNDS:
        count, chance = rounds * nodes, 1 - level(rounds)
        found = math.sqrt(count) * effect / deviation
        worth = _normal(stage) * effect / (effect - least) if least else 0.0
        # What isn't enough for a known spread isn't either for one that has to be estimated, which takes longer to say.
        if found >= max(worth, _normal(chance) + _normal(stage)) and found >= (
            quantile(chance, count - 1) + quantile(stage, count - 1)
        ):
            return rounds
        rounds += max(1, rounds // 50)
    return None
