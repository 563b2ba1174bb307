"""Rows' numbers since their stream began, and what these say of rows that are missing."""

import numpy as np

from mustherd.rowlog.accounting import BUFFER_FULL, GAP, OTHER_READER, StreamPosition
from mustherd.rowlog.parse import Lines, column

GAP_MOST = 1_000_000_000
"""Rows that may be missing between two: at 200,000 a second more than an hour's."""


def number_rows(
    place: StreamPosition, found: Lines, *, every: int, begins: int, overrun: bool
) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Give rows their numbers since the stream began, and book what their own numbers say.

    `i` counts since the source was last emptied, so a step back means that it was; `begins` says how often the muster
    itself did that. A gap is what the source lost, less the malformed lines in it.
    """
    account, count = place.account, len(found.table)
    account.received += found.lines
    account.written += count
    account.passes += begins
    for reason, _ in found.bad:
        account.set_aside(reason)
    if not count:
        place.bad_since += found.lines
        return np.empty(0, dtype=np.int64)
    if "i" in found.table.column_names:
        i = column(found.table, "i").astype(np.int64)
    else:
        i = place.last_i + 1 + np.arange(count, dtype=np.int64)
    steps = np.empty(count, dtype=np.int64)
    steps[1:] = i[1:] - i[:-1]
    first = int(i[0]) - place.last_i
    anew = place.last_i < 0 and not begins
    steps[0] = 1 if anew else first
    # Of rows that many times beyond what any source holds nobody can say how many there were: one at least.
    steps[steps > GAP_MOST] = 1 + every
    back = steps <= 0
    if begins and place.last_i >= 0 and not back[0] and begins > int(back.sum()):
        # Emptied in between, and the new numbers happen to lie above the old ones.
        back[0] = True
    steps[back] = np.where(i[back] < GAP_MOST, i[back] + 1, 1 + every)
    clears = int(back.sum())
    account.clears += clears
    if begins and clears > begins:
        account.lose(OTHER_READER, clears - begins)
    missing = steps - every
    if found.places is not None:
        lines = found.places
        missing[1:] -= lines[1:] - lines[:-1] - 1
        missing[0] -= int(lines[0])
        bad_after = found.lines - 1 - int(lines[-1])
    else:
        bad_after = 0
    missing[0] -= place.bad_since
    if anew:
        missing[0] = 0
    account.lose(GAP, int(missing[missing > 0].sum()))
    if overrun:
        unlogged = _unlogged(place, found)
        account.lose(BUFFER_FULL, unlogged)
        steps[0] += unlogged
    account.produced += int(steps.sum())
    rows = place.next_row - 1 + np.cumsum(steps)
    place.next_row, place.last_i, place.bad_since = int(rows[-1]) + 1, int(i[-1]), bad_after
    if "timestamp" in found.table.column_names:
        times = column(found.table, "timestamp")
        if count > 1:
            place.ticks_per_row = (int(times[-1]) - int(times[0])) / max(1, int(steps[1:].sum()))
        place.last_timestamp = int(times[-1])
    return rows


def _unlogged(place: StreamPosition, found: Lines) -> int:
    """Rows between the last of a full buffer and the first after it, at the pace that they came before; at least 1."""
    if place.ticks_per_row <= 0 or place.last_timestamp < 0 or "timestamp" not in found.table.column_names:
        return 1
    ticks = int(column(found.table, "timestamp")[0]) - place.last_timestamp
    return max(1, round(ticks / place.ticks_per_row) - 1)
