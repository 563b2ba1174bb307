"""Load curves as a definition writes them: pairs of numbers in, pairs out, and the curve that they mean."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from mustherd.definition.units import QuantityError, quantity
from mustherd.errors import kind_of, shown
from mustherd.load import curve
from mustherd.load.curve import Curve, CurveError

MAX_TRACE_CHARACTERS = 4 * 1024 * 1024
STEPS_FORM = "a list of [qps, seconds], as in [[400k, 30], [800k, 30]]"
TRACE_FORM = "a file with lines of 'seconds,qps', from the current folder, or a list of [seconds, qps]"

Pairs = tuple[tuple[float, float], ...]


def steps(raw: object) -> Pairs:
    """Levels as (qps, seconds). Raises QuantityError."""
    found = _pairs(raw, ("qps", "s"), STEPS_FORM)
    _checked(lambda: curve.steps(found), STEPS_FORM)
    return found


def trace(raw: object) -> Pairs:
    """Points as (seconds, qps), of a file or as they stand: what it says, so that a file that changes later is seen.

    Raises QuantityError.
    """
    if isinstance(raw, str):
        name, text = shown(raw), _content(raw)
    else:
        name = "trace"
        text = "".join(f"{seconds!r},{qps!r}\n" for seconds, qps in _pairs(raw, ("s", "qps"), TRACE_FORM))
    made = _checked(lambda: curve.trace(text, name), TRACE_FORM)
    return (*((s.start_s, s.qps) for s in made.segments), (made.seconds, made.segments[-1].qps))


def of_trace(points: Pairs) -> Curve:
    """The curve of such points: each one's load holds until the next; the last says until when."""
    return curve.steps((qps, end - start) for (start, qps), (end, _) in pairwise(points))


def plain(pairs: Pairs) -> list[list[float]]:
    """Pairs as a document holds them."""
    return [list(pair) for pair in pairs]


def _content(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(MAX_TRACE_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise QuantityError(f"{shown(path)} can't be read: {reason}", TRACE_FORM) from None
    if len(text) > MAX_TRACE_CHARACTERS:
        raise QuantityError(f"{shown(path)} has more than {MAX_TRACE_CHARACTERS} characters", TRACE_FORM)
    return text


def _pairs(raw: object, units: tuple[str, str], form: str) -> Pairs:
    if not isinstance(raw, list | tuple) or not raw:
        raise QuantityError(f"should be {form.partition(',')[0]}, found {kind_of(raw)}", form)
    found = []
    for pair in raw:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise QuantityError(f"{kind_of(pair)} is no pair", form)
        one, other = (float(quantity(value, unit)) for value, unit in zip(pair, units, strict=True))
        found.append((one, other))
    return tuple(found)


def _checked(make: Callable[[], Curve], form: str) -> Curve:
    try:
        return make()
    except CurveError as error:
        raise QuantityError(str(error), form) from None
