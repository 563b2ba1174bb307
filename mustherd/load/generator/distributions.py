"""Distributions of key lengths, value lengths and times between requests, written as mutilate writes them.

`fb_key`, `fb_value` and `fb_ia` are the fits of Atikoglu et al., "Workload Analysis of a Large-Scale Key-Value Store"
(SIGMETRICS 2012), section 5. The others are a plain number, `fixed:n`, `uniform:max`, `normal:mean,sd`,
`exponential:lambda`, `pareto:loc,scale,shape` (generalized) and `gev:loc,scale,shape`.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

KEY_SIZE = (30.7984, 8.20449, 0.078688)
"""GEV of key sizes: location, scale, shape."""
VALUE_SIZE = (15.0, 214.476, 0.348238)
"""Generalized Pareto of value sizes from 15 bytes up: location, scale, shape."""
SMALL_VALUES = (
    0.00536, 0.00047, 0.17820, 0.09239, 0.00018, 0.02740, 0.00065, 0.00606, 0.00023, 0.00837, 0.00837, 0.08989,
    0.00092, 0.00326, 0.01980,
)  # fmt: skip
"""Shares of values of 0, 1, ... 14 bytes; the rest follows the Pareto."""
ARRIVALS_SHAPE = 0.154971
"""Generalized Pareto of gaps between requests (location 0); its scale follows from the load."""

MIN_KEY, MAX_KEY, MAX_VALUE = 1, 250, 900_000
"""memcached takes keys of up to 250 bytes and, as it is set up by default, items of up to 1 MiB."""


def sizes(text: str) -> Draw:
    """Lengths drawn from a distribution; not yet rounded nor bounded. ValueError says what can't be read."""
    if text == "fb_key":
        return lambda rng, n: _gev(rng, n, *KEY_SIZE)
    if text == "fb_value":
        return _fb_value
    name, arguments = _parse(text)
    match name, arguments:
        case "fixed", [value]:
            return lambda _, n: np.full(n, value)
        case "uniform", [top]:
            return lambda rng, n: rng.random(n) * top
        case "normal", [mean, deviation]:
            return lambda rng, n: rng.normal(mean, deviation, n)
        case "exponential", [rate] if rate > 0:
            return lambda rng, n: rng.exponential(1 / rate, n)
        case "pareto", [location, scale, shape] if shape != 0:
            return lambda rng, n: _pareto(rng, n, location, scale, shape)
        case "gev", [location, scale, shape] if shape != 0:
            return lambda rng, n: _gev(rng, n, location, scale, shape)
    raise ValueError(f"{text!r} is no distribution of lengths")


def gaps(text: str) -> Draw:
    """Times between two requests, scaled to a mean of 1. ValueError says what can't be read."""
    if text == "fb_ia":
        return lambda rng, n: _pareto(rng, n, 0, 1 - ARRIVALS_SHAPE, ARRIVALS_SHAPE)
    name, arguments = _parse(text)
    match name, arguments:
        case "exponential", _:
            return lambda rng, n: rng.standard_exponential(n)
        case "fixed", _:
            return lambda _, n: np.ones(n)
        case "uniform", _:
            return lambda rng, n: 2 * rng.random(n)
        case "pareto", [location, _, shape] if location == 0 and 0 < shape < 1:
            return lambda rng, n: _pareto(rng, n, 0, 1 - shape, shape)
    raise ValueError(
        f"{text!r} is no distribution of arrivals: fb_ia, exponential, fixed, uniform, pareto:0,scale,shape"
    )


def key_lengths(text: str, records: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Lengths of the keys 0..records-1: whole, and long enough for the key's number."""
    digits = len(str(records - 1))
    return np.clip(np.rint(sizes(text)(rng, records)), max(MIN_KEY, digits), MAX_KEY).astype(np.int64)


def value_lengths(text: str, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Lengths of `count` values."""
    return np.clip(sizes(text)(rng, count), 0, MAX_VALUE).astype(np.int64)


def _parse(text: str) -> tuple[str, list[float]]:
    name, _, rest = text.partition(":")
    try:
        if not rest and name[:1].isdigit():
            return "fixed", [float(name)]
        return name, [float(part) for part in rest.split(",")] if rest else []
    except ValueError:
        raise ValueError(f"{text!r} is no distribution") from None


def _pareto(rng: np.random.Generator, n: int, location: float, scale: float, shape: float) -> Floats:
    return location + scale * (np.power(1 - rng.random(n), -shape) - 1) / shape


def _gev(rng: np.random.Generator, n: int, location: float, scale: float, shape: float) -> Floats:
    return location + scale * (np.power(rng.standard_exponential(n), -shape) - 1) / shape


def _fb_value(rng: np.random.Generator, n: int) -> Floats:
    small = np.searchsorted(np.cumsum(SMALL_VALUES), rng.random(n), side="right").astype(np.float64)
    return np.where(small < len(SMALL_VALUES), small, _pareto(rng, n, *VALUE_SIZE))
