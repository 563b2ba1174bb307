"""What mutilate prints, read by the names in its header; pure.

Builds differ: the original prints `avg std min 5th 10th 90th 95th 99th`, its README shows `avg min 1st 5th ...`, a fork
adds `50th`. mcperf (memcache-perf) has many more, up to `9999th`; forks of it say `p95` and end each row with rates, or
have no row of updates. Percentiles come from bins 10 % wide, and an empty sampler prints zeros, which are no latencies.
"""

import math
import re
from collections.abc import Iterable

import msgspec

from mustherd.load.error import LoadError
from mustherd.programs import last_words
from mustherd.reasons import Reason
from mustherd.terms import PERCENTILES

NUMBER = r"(-?\d+(?:\.\d+)?)"
TOTAL = re.compile(rf"^Total QPS = {NUMBER} \((-?\d+) / {NUMBER}s\)", re.M)
LOCAL = re.compile(rf"Local QPS = {NUMBER} \((-?\d+) / {NUMBER}s\)")
MISSES = re.compile(r"^Misses = (\d+)", re.M)
SKIPPED = re.compile(r"^Skipped TXs = (\d+)", re.M)
TRAFFIC = re.compile(r"^(RX|TX)\s+(\d+) bytes", re.M)
STARTED = re.compile(rf"started at {NUMBER}")

AMOUNT = r"\d+(?:\.\d+)?(?:e[-+]?\d+)?"
SAMPLES = (
    re.compile(rf"-?{AMOUNT}\s+(?P<us>{AMOUNT})(?:\s+\w+=\s*-?\d+)*"),
    re.compile(rf"\d+\s+-?{AMOUNT}\s+(?P<us>{AMOUNT})\s+(?P<type>GET|SET|UNK)(?:\(\d+\))?"),
)
"""A line of --save, by build: the original's, which the IX project's fork may lengthen by the server's own times, and
that fork's usual one."""

ORDINAL = re.compile(r"(\d+)(?:\.(\d+))?(?:st|nd|rd|th)")
LATENCY = re.compile(r"avg|std|min|max|p\d+")
"""A column that is a latency."""
BIN_WIDTH = 0.1
"""Of the histogram that percentiles come from, relative to the latency."""
MOST_DIGITS = 18
"""Of a counter."""
MOST_US = 1e12
"""Of a latency: eleven days."""
WRAP = 2**32
"""mutilate counts operations in a C int."""


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Latencies in us under avg, std, min, p5, p10, p50, ...: those columns that the build has."""

    read_us: dict[str, float]
    """Empty where nothing was sampled."""
    update_us: dict[str, float]
    qps: float
    requests: int
    seconds: float
    misses: int
    skipped: int
    rx_bytes: int
    tx_bytes: int
    local_requests: int | None = None
    """What the leader itself sent, with agents."""
    local_qps: float | None = None


def parse(text: str, expected: float = 0.0) -> Output:
    """A run's output, standard error included. LoadError when it doesn't hold a whole run.

    `expected` is about how many requests there were: it tells how often mutilate's counter wrapped.
    """
    columns = _columns(text)
    total = TOTAL.search(text)
    if total is None:
        raise LoadError(Reason.OUTPUT_UNREADABLE, f"no 'Total QPS' in mutilate's output: {last_words(text)}")
    seconds = float(total[3])
    counted = _count(total[2])
    requests = _unwrapped(counted, expected)
    misses, skipped, local = MISSES.search(text), SKIPPED.search(text), LOCAL.search(text)
    traffic = {kind: _count(size) for kind, size in TRAFFIC.findall(text)}
    return Output(
        read_us=_row(text, "read", columns),
        update_us=_row(text, "update", columns),
        qps=float(total[1]) if requests == counted or seconds <= 0 else requests / seconds,
        requests=requests,
        seconds=seconds,
        misses=_count(misses[1]) if misses else 0,
        skipped=_count(skipped[1]) if skipped else 0,
        rx_bytes=traffic.get("RX", 0),
        tx_bytes=traffic.get("TX", 0),
        local_requests=_count(local[2]) if local else None,
        local_qps=float(local[1]) if local else None,
    )


def started_at(text: str) -> float | None:
    """When the measurement began, in Unix seconds of the leader's clock; None while it has not."""
    found = STARTED.search(text)
    return float(found[1]) if found else None


def exact(lines: Iterable[str]) -> dict[str, float]:
    """Latencies (us) of the reads that the leader sampled, from the lines of --save.

    The original writes `seconds latency` and saves reads alone; the IX project's fork `port seconds latency GET(size)`,
    and updates after the reads, which are left out. Percentiles are nearest-rank. `count` is how many there are.
    LoadError for a line that can't be read or is of another form than the first, or where there is no read.
    """
    values = []
    form: re.Pattern[str] | None = None
    for number, line in enumerate(lines, 1):
        if form is None:
            form = next((each for each in SAMPLES if each.fullmatch(line.strip())), None)
        found = form.fullmatch(line.strip()) if form is not None else None
        if found is None:
            raise LoadError(
                Reason.OUTPUT_UNREADABLE,
                f"samples, line {number}: {line.strip()[:60]!r}; known are 'seconds latency' and, of the IX fork,"
                " 'port seconds latency GET(size)'",
            )
        if found.groupdict().get("type", "GET") == "GET":
            values.append(float(found["us"]))
    if not values:
        raise LoadError(Reason.NO_SAMPLES, "mutilate saved no samples of reads")
    values.sort()
    if not values[-1] <= MOST_US:
        raise LoadError(Reason.OUTPUT_UNREADABLE, f"samples: {values[-1]:g} us is no latency")
    ranks = {name: 100 * share for name, share in PERCENTILES.items()}
    latencies = {name: values[max(0, math.ceil(len(values) * p / 100) - 1)] for name, p in ranks.items()}
    return {"avg": math.fsum(values) / len(values), **latencies, "count": float(len(values))}


def _columns(text: str) -> list[str]:
    header = re.search(r"^#type\s+(.*)$", text, re.M)
    if header is None:
        raise LoadError(Reason.OUTPUT_UNREADABLE, f"no '#type' in mutilate's output: {last_words(text)}")
    return [_column(word) for word in header[1].split()]


def _column(word: str) -> str:
    ordinal = ORDINAL.fullmatch(word)
    return f"p{ordinal[1]}{ordinal[2] or ''}" if ordinal else word.lower()


def _rows(text: str, name: str) -> list[list[str]]:
    return [line.split()[1:] for line in text.splitlines() if line.split()[:1] == [name]]


def _row(text: str, name: str, columns: list[str]) -> dict[str, float]:
    rows = _rows(text, name)
    if not rows and name == "update":
        return {}
    if len(rows) != 1:
        raise LoadError(Reason.OUTPUT_UNREADABLE, f"mutilate's output has {len(rows)} rows '{name}', not 1")
    named = _named(name, columns, rows[0])
    latencies = {column: us for column, us in named.items() if LATENCY.fullmatch(column)}
    return latencies if any(latencies.values()) else {}


def _named(name: str, columns: list[str], values: list[str]) -> dict[str, float]:
    if len(values) != len(columns):
        raise LoadError(
            Reason.OUTPUT_UNREADABLE,
            f"row '{name}' has {len(values)} values under {len(columns)} columns of mutilate's",
        )
    try:
        named = {column: float(value) for column, value in zip(columns, values, strict=True)}
    except ValueError:
        raise LoadError(Reason.OUTPUT_UNREADABLE, f"row '{name}' of mutilate's: {' '.join(values)[:80]!r}") from None
    if not all(math.isfinite(value) for value in named.values()):
        raise LoadError(Reason.OUTPUT_UNREADABLE, f"row '{name}' of mutilate's: {' '.join(values)[:80]!r}")
    return named


def _count(digits: str) -> int:
    """LoadError for more digits than any of its counters has."""
    if len(digits) > MOST_DIGITS:
        raise LoadError(Reason.OUTPUT_UNREADABLE, f"'{digits[:30]}' and so on in mutilate's output is no count")
    return int(digits)


def _unwrapped(requests: int, expected: float) -> int:
    return requests + WRAP * max(0 if requests >= 0 else 1, round((expected - requests) / WRAP))
