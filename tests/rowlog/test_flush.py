"""How long a trial waits for its rows to be durable."""

import threading
from pathlib import Path

from mustherd.rowlog.writer import LogWriter
from mustherd.wire import messages as m
from tests.waiting import until

SPOOL = 99


class Waiting:
    """A flush of block 1 of m0, patient for 10 s, on a clock that is set by hand."""

    def __init__(self, folder: Path) -> None:
        self.at, self.looks = 0.0, 0
        self.thread: threading.Thread | None = None
        self.writer = LogWriter(folder, now=self._now)
        self.answer: list[bool] = []
        self.thread = threading.Thread(target=lambda: self.answer.append(self.writer.flush("m0", SPOOL, 1, 10.0)))
        self.thread.start()

    def _now(self) -> float:
        self.looks += threading.current_thread() is self.thread
        return self.at

    def written(self, muster: str, seq: int) -> None:
        block = m.Block(
            muster_epoch=1, shepherd_epoch=1, spool=SPOOL, label="0001-1", stream="s", form="text", seq=seq,
            columns=("i", "timestamp"),
        )  # fmt: skip
        self.writer.put(muster, block, memoryview(b"1 1\n"))
        assert self.writer.flush(muster, SPOOL, seq, 1e9)

    def clock(self, at: float) -> None:
        """Let it look at the clock as it then is."""
        self.at, before = at, self.looks
        until(lambda: self.looks > before + 1 or bool(self.answer))

    def over(self) -> list[bool]:
        """What came of it, once it is over."""
        until(lambda: bool(self.answer))
        return self.answer

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self.at = 1e6
        self.over()
        self.writer.close()


def test_a_flush_waits_while_rows_of_others_are_written(tmp_path: Path) -> None:
    with Waiting(tmp_path) as waiting:
        waiting.clock(9)
        waiting.written("m1", 1)
        waiting.clock(18)
        waiting.written("m0", 1)
        assert waiting.over() == [True]


def test_a_flush_is_over_when_nothing_is_written_or_at_its_longest(tmp_path: Path) -> None:
    with Waiting(tmp_path / "still") as waiting:
        waiting.clock(9)
        assert waiting.answer == []
        waiting.clock(11)
        assert waiting.over() == [False]
    with Waiting(tmp_path / "lost") as waiting:
        for seq, at in enumerate((9, 18, 27, 36, 39), 1):
            waiting.clock(at)
            assert waiting.answer == []
            waiting.written("m1", seq)
        waiting.clock(41)
        assert waiting.over() == [False]
