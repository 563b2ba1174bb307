"""The account of a stream: rows produced, received, written and lost, and where its text stands between two batches."""

import msgspec

GAP = "gap"
"""Rows that the numbers say were there and that never came."""
BUFFER_FULL = "buffer-full"
"""Rows that the source did not log because nobody had emptied it; how many is estimated from the timestamps."""
OTHER_READER = "cleared-by-another-reader"
"""The source was emptied in the middle of a pass; at least one row for each time, how many more nobody can know."""


class RowAccounting(msgspec.Struct, kw_only=True):
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
    rotated: int = 0
    """Rows of those written whose files went again, so that the log stays within what it may take of the disk."""

    @property
    def rows_lost(self) -> int:
        """For whatever reason."""
        return sum(self.lost.values())

    def why_lost(self) -> str:
        """`buffer-full 3, gap 2`."""
        return ", ".join(f"{why} {count}" for why, count in sorted(self.lost.items()))

    def add(self, other: "RowAccounting") -> None:
        """Count another stream's rows too."""
        for name in ("produced", "received", "written", "repeated", "passes", "clears", "rotated"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for own, more in ((self.malformed, other.malformed), (self.lost, other.lost)):
            for reason, count in more.items():
                own[reason] = own.get(reason, 0) + count

    def lose(self, reason: str, rows: int) -> None:
        """Count lost rows."""
        if rows > 0:
            self.lost[reason] = self.lost.get(reason, 0) + rows

    def set_aside(self, reason: str) -> None:
        """Count a line that isn't a row."""
        self.malformed[reason] = self.malformed.get(reason, 0) + 1


class StreamPosition(msgspec.Struct, kw_only=True):
    """Where a stream stands: what the next batch goes on from."""

    account: RowAccounting
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
