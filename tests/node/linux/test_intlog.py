"""intlog's files, and what stands for them, keep the contract of a text logger."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mustherd.node.linux import intlog
from mustherd.node.linux.tree import Tree
from mustherd.node.logger import TextLogger
from mustherd.testing.logger import TextLoggerContract

ROWS = 1500


def lines(first: int, at: int) -> bytes:
    """More than the least room."""
    row = b"%d 1 60 2 70 1000 2000 1500 9 0 0 0 0 0 0 42 %d\n"
    return b"".join(row % (first + k, 10**15 + at + k) for k in range(ROWS))


class OnFiles(TextLoggerContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        made = tmp_path / intlog.FOLDER
        made.mkdir(parents=True)
        return made

    @pytest.fixture
    def logger(self, tmp_path: Path, folder: Path, produce: Callable[[], None]) -> Iterator[TextLogger]:
        [found], missing = intlog.find(Tree(tmp_path))
        assert missing == ""
        yield found
        found.close()


class TestPlainFile(OnFiles):
    @pytest.fixture
    def produce(self, folder: Path) -> Callable[[], None]:
        written = [0]
        (folder / "3").write_bytes(b"")

        def produce() -> None:
            with (folder / "3").open("ab") as file:
                file.write(lines(0, written[0]))
            written[0] += ROWS

        return produce


class TestFifo(OnFiles):
    @pytest.fixture
    def produce(self, folder: Path) -> Iterator[Callable[[], None]]:
        os.mkfifo(folder / "3")
        pipe = os.open(folder / "3", os.O_RDWR | os.O_NONBLOCK)
        written = [0]

        def produce() -> None:
            text = lines(written[0], written[0])[:60_000]
            text = text[: text.rindex(b"\n") + 1]
            assert os.write(pipe, text) == len(text)
            written[0] += text.count(b"\n")

        yield produce
        os.close(pipe)
