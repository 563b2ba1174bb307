"""intlog's rows: what its lines hold, wherever they come from."""

from mustherd.terms import Zone

COLUMNS = (
    "i",
    "rx_desc",
    "rx_bytes",
    "tx_desc",
    "tx_bytes",
    "instructions",
    "cycles",
    "ref_cycles",
    "llc_miss",
    "c0",
    "c1",
    "c1e",
    "c3",
    "c6",
    "c7",
    "joules",
    "timestamp",
)
"""A line's numbers in order, as the driver's seq_printf prints them. `i` counts rows since the last clear, `*_desc` and
`*_bytes` are since the row before, `joules` is the raw RAPL package counter (MSR 0x611) and `timestamp` the TSC."""

CAPACITY = 1_000_000
"""Rows that the driver holds for each core; then it logs no more until they are read to the end."""


def stream_of(core: int) -> str:
    """A core's stream."""
    return f"ixgbe-log-core-{core}"


def core_of(stream: str) -> int | None:
    """The core of a stream, None for a stream that isn't a core's."""
    _, _, number = stream.rpartition("-core-")
    return int(number) if number.isdecimal() and number.isascii() else None


def packages(zones: tuple[Zone, ...]) -> Zone | None:
    """The zone whose unit and width a `joules` column has; None where packages differ or have none."""
    found = {(z.joules_per_count, z.counts_per_wrap): z for z in zones if z.kind == "package"}
    return next(iter(found.values())) if len(found) == 1 else None
