"""Audits: what one source says of a window, held against what another does. What disagrees is not believed.

A gate looks at each value by itself; an audit at two that come by different ways and must agree whatever the settings
are: rows and meter, rows and clock, a knob and what physics makes of it. So a wrong unit or a setting that nobody made
shows though every value is plausible.
"""

import statistics
from collections.abc import Iterator, Sequence

from mustherd.experiment.gates import Fired
from mustherd.node.kinds import ITR_DELAY
from mustherd.reasons import Reason
from mustherd.rowlog.evidence import StreamEvidence
from mustherd.terms import Facts, KnobInfo, Setting
from mustherd.wire.messages import Measured

LEAST_ROWS = 10
"""Fewer say nothing of a window's length."""

READING_S = 0.5
"""What rows may span beyond the window: those that came while the streams were read to their ends."""

ENERGY_TOLERANCE = 0.05
"""Of the energy between a stream's first and last row. Power may differ between its ends and the window's."""

CLOCK_TOLERANCE = 0.15
"""More than one step of 100 MHz from 1.2 GHz on, and less than any knob's whole range."""

WAITING = 0.3
"""Requests per queue and delay from which on so many wait for an interrupt that p99 is theirs."""

SHORT_OF_DELAY = 0.8
"""p99 below this part of a static delay can't be: of 520 runs on record the least was 1.28."""

LEAST_DELAY_US = 50


def audit(
    measured: Measured,
    rows: Sequence[StreamEvidence],
    *,
    settings: Sequence[Setting],
    knobs: Sequence[KnobInfo],
    facts: Facts,
    window_tolerance: float,
) -> Fired | None:
    """The first disagreement in a window, None where there is none.

    `rows` are what its logs say, `settings` what was in force, `knobs` the muster's, `window_tolerance` the share of
    its length by which a window may be off.
    """
    return (
        _span(measured, rows, window_tolerance)
        or _row_energy(measured, rows)
        or _clock(rows, settings, knobs, facts)
        or _delay(measured, settings, knobs, facts)
    )


def _span(measured: Measured, rows: Sequence[StreamEvidence], tolerance: float) -> Fired | None:
    """By each kind of clock the rows of all its streams together: one core may have nothing to do for a while."""
    seconds = measured.t1_s - measured.t0_s
    for kind in dict.fromkeys(_kind(r) for r in rows):
        mine = [r for r in rows if _kind(r) == kind and r.rows >= LEAST_ROWS]
        if not mine:
            continue
        longest = max(mine, key=lambda r: r.last_s - r.first_s)
        spanned = longest.last_s - longest.first_s
        gap = min(r.longest_gap_s for r in mine)
        slack = tolerance * seconds + 2 * gap
        if not -slack <= spanned - seconds <= slack + READING_S:
            return Fired(
                Reason.LOG_SPAN,
                f"the rows of {longest.stream} span {spanned:.2f} s of a window of {seconds:.2f} s: the clock that they"
                " are stamped with runs at another frequency than the node says, or rows are missing at an end",
            )
    return None


def _kind(row: StreamEvidence) -> str:
    """Streams whose names differ in a number alone are of one kind, with one clock."""
    return row.stream.rstrip("0123456789")


def _row_energy(measured: Measured, rows: Sequence[StreamEvidence]) -> Fired | None:
    """A stream's energy is that of one package, or of all: which one a core's is, its log doesn't say."""
    seconds = measured.t1_s - measured.t0_s
    packages = [e.joules for e in measured.energies if e.kind == "package"]
    if not packages or seconds <= 0:
        return None
    for row in rows:
        if row.joules is None or row.rows < LEAST_ROWS or row.joules_s < seconds / 2:
            continue
        metered = [joules * row.joules_s / seconds for joules in (*packages, sum(packages))]
        nearest = min(metered, key=lambda joules: abs(joules - row.joules))  # type: ignore[operator]
        if abs(row.joules - nearest) > ENERGY_TOLERANCE * max(nearest, row.joules):
            return Fired(
                Reason.LOG_ENERGY,
                f"the rows of {row.stream} count {row.joules:.1f} J where the meter counted {nearest:.1f} J: one of the"
                " two is read in a wrong unit, or the rows' clock runs at another frequency than the node says",
            )
    return None


def _clock(
    rows: Sequence[StreamEvidence], settings: Sequence[Setting], knobs: Sequence[KnobInfo], facts: Facts
) -> Fired | None:
    """The cores' own counters say at what clock they ran."""
    shares = [r.clock_share for r in rows if r.clock_share is not None and r.rows >= LEAST_ROWS]
    if not shares or facts.tsc_khz is None:
        return None
    nominal = facts.tsc_khz / 1000
    ran = nominal * statistics.median(shares)
    for name, value in _everywhere("clock", settings, knobs):
        # Above the nominal clock a value asks for whatever turbo can be had.
        asked = min(float(value), nominal)
        too_fast = value <= nominal and ran > asked * (1 + CLOCK_TOLERANCE)
        if too_fast or ran < asked * (1 - CLOCK_TOLERANCE):
            return Fired(
                Reason.KNOB_WITHOUT_EFFECT,
                f"{name} reads back as {value} MHz, and by their own counters the cores ran at"
                f" {ran:.0f} MHz while they were busy: something else sets the clock",
            )
    return None


def _delay(measured: Measured, settings: Sequence[Setting], knobs: Sequence[KnobInfo], facts: Facts) -> Fired | None:
    """A static delay holds requests back: where enough of them come within it, p99 is about as long.

    With other knobs set beside it nothing is said: where queues are polled, no interrupt is waited for.
    """
    load = measured.load
    p99_us = load.read_us.get("p99") if load is not None else None
    roles = {(k.sheep, k.name): k.role for k in knobs}
    others = [s for s in settings if s.knob != ITR_DELAY.name and roles.get((s.sheep, s.knob)) != "clock"]
    if load is None or not p99_us or facts.cores is None or others:
        return None
    for name, value in _everywhere("delay", settings, knobs):
        waiting = load.achieved_qps / facts.cores * value / 1e6
        if value >= LEAST_DELAY_US and waiting >= WAITING and p99_us < SHORT_OF_DELAY * value:
            return Fired(
                Reason.KNOB_WITHOUT_EFFECT,
                f"{name} reads back as {value} us, and 99 of 100 reads took at most {p99_us:.0f} us, with"
                f" {waiting:.1f} requests of each core within a delay: nothing held them back",
            )
    return None


def _everywhere(role: str, settings: Sequence[Setting], knobs: Sequence[KnobInfo]) -> Iterator[tuple[str, int]]:
    """Knobs that do this to performance and have one amount on all sheep that offer them, with that amount.

    A clock of one core, or the delay of one queue, says little of the whole; a mode is no amount.
    """
    for name in dict.fromkeys(k.name for k in knobs if k.role == role):
        offered = {k.sheep: k for k in knobs if k.name == name}
        values = {s.sheep: s.value for s in settings if s.knob == name}
        if offered.keys() == values.keys() and len(set(values.values())) == 1:
            value = next(iter(values.values()))
            if not any(value in k.modes for k in offered.values()):
                yield name, value
