"""The account of a stream: rows produced, received, written and lost, and where its text stands between two batches."""

import msgspec
import numpy as np

from mustherd.lab.loglines import Lines, column

GAP = "gap"
"""Rows that the numbers say were there and that never came."""
BUFFER_FULL = "buffer-full"
"""Rows that the source did not log because nobody had emptied it; how many is estimated from the timestamps."""
OTHER_READER = "cleared-by-another-reader"
"""The source was emptied in the middle of a pass; at least one row for each time, how many more nobody can know."""


class Account(msgspec.Struct, kw_only=True):
    """One stream of one trial on one muster. `produced == written + malformed + sum(lost)` but for lines without a
    number of their own (blank ones, headers), which are malformed and were never rows."""

    produced: int = 0
    """Rows that the source made, by their numbers."""
    received: int = 0
    """Lines, or rows of a stream of few, that arrived."""
    written: int = 0
    repeated: int = 0
    """Rows that a muster read twice because it was started anew, written once."""
    malformed: dict[str, int] = {}
    """Reason to lines set aside."""
    lost: dict[str, int] = {}
    """Reason to rows."""
    passes: int = 0
    """How often the source was read to its end and so emptied."""
    clears: int = 0
    """How often its numbers began anew."""

    @property
    def rows_lost(self) -> int:
        """For whatever reason."""
        return sum(self.lost.values())

    def lose(self, reason: str, rows: int) -> None:
        """Count lost rows."""
        if rows > 0:
            self.lost[reason] = self.lost.get(reason, 0) + rows

    def set_aside(self, reason: str) -> None:
        """Count a line that isn't a row."""
        self.malformed[reason] = self.malformed.get(reason, 0) + 1


class Place(msgspec.Struct, kw_only=True):
    """Where a stream stands: what the next batch goes on from."""

    account: Account
    next_row: int = 0
    last_i: int = -1
    last_timestamp: int = -1
    ticks_per_row: float = 0.0
    bad_since: int = 0
    """Malformed lines since the last row: they fill a part of the next gap."""
    fragment: bytes = b""
    """The beginning of a line whose end has not arrived."""
    fragment_is_aside: bool = False
    """Too long for a row: what there was of it has been set aside and counted."""


def number_rows(
    place: Place, found: Lines, *, every: int, begins: int, overrun: bool
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
    back = steps <= 0
    if begins and place.last_i >= 0 and not back[0] and begins > int(back.sum()):
        # Emptied in between, and the new numbers happen to lie above the old ones.
        back[0] = True
    steps[back] = i[back] + 1
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


def _unlogged(place: Place, found: Lines) -> int:
    """Rows between the last of a full buffer and the first after it, at the pace that they came before; at least 1."""
    if place.ticks_per_row <= 0 or place.last_timestamp < 0 or "timestamp" not in found.table.column_names:
        return 1
    ticks = int(column(found.table, "timestamp")[0]) - place.last_timestamp
    return max(1, round(ticks / place.ticks_per_row) - 1)
