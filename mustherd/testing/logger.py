"""What every native logger does, of few rows or of many."""

from collections.abc import Callable

import pytest

from mustherd.node.logger import NativeLogger, TextLogger

MOST_READS = 10_000


class LoggerContract:
    """A named stream of rows."""

    @pytest.fixture
    def logger(self) -> NativeLogger:
        raise NotImplementedError

    @pytest.fixture
    def produce(self, logger: NativeLogger) -> Callable[[], None]:
        """Makes the node write at least one row, none of which gets lost."""
        raise NotImplementedError

    def test_has_a_name_fit_for_a_file(self, logger: NativeLogger) -> None:
        assert logger.stream
        assert not set(logger.stream) & set("/\\ \n\0")

    def test_rows_come_as_columns_of_equal_length(self, logger: NativeLogger, produce: Callable[[], None]) -> None:
        produce()
        rows = logger.read()
        assert len(rows) > 0
        assert {len(column) for column in rows.columns.values()} == {len(rows)}

    def test_rows_come_once_and_in_order(self, logger: NativeLogger, produce: Callable[[], None]) -> None:
        produce()
        rows = logger.read()
        for _ in range(3):
            expected = rows.first + len(rows)
            produce()
            rows = logger.read()
            assert rows.first == expected
            assert len(rows) > 0
        assert len(logger.read()) == 0

    def test_columns_stay_the_same(self, logger: NativeLogger, produce: Callable[[], None]) -> None:
        produce()
        before = list(logger.read().columns)
        produce()
        assert list(logger.read().columns) == before
        logger.flush()
        assert set(logger.read().columns) <= set(before)

    def test_flush_throws_away_what_has_piled_up(self, logger: NativeLogger, produce: Callable[[], None]) -> None:
        produce()
        seen = logger.read()
        produce()
        logger.flush()
        assert len(logger.read()) == 0
        produce()
        rows = logger.read()
        assert len(rows) > 0
        assert rows.first > seen.first + len(seen), "rows that were thrown away keep their numbers"


class TextLoggerContract:
    """A stream whose source writes its rows as lines of unsigned numbers."""

    @pytest.fixture
    def logger(self) -> TextLogger:
        raise NotImplementedError

    @pytest.fixture
    def produce(self, logger: TextLogger) -> Callable[[], None]:
        """Makes the source write at least three rows, none of which gets lost, and no more than it can hold."""
        raise NotImplementedError

    @staticmethod
    def drain(logger: TextLogger, size: int = 1 << 18) -> bytes:
        """One pass to its end."""
        room, text = memoryview(bytearray(size)), b""
        for _ in range(MOST_READS):
            if not (count := logger.read_into(room)):
                return text
            assert 0 < count <= size
            text += bytes(room[:count])
        pytest.fail(f"after {MOST_READS} reads it has no end")

    @staticmethod
    def table(logger: TextLogger, text: bytes) -> list[list[int]]:
        assert text.endswith(b"\n")
        lines = text.split(b"\n")[:-1]
        fields = [line.split(b" ") for line in lines]
        assert all(field.isdigit() and int(field) < 2**64 for line in fields for field in line)
        assert {len(line) for line in fields} == {len(logger.columns)}
        return [[int(field) for field in line] for line in fields]

    def test_has_a_name_fit_for_a_file(self, logger: TextLogger) -> None:
        assert logger.stream
        assert not set(logger.stream) & set("/\\ \n\0")

    def test_says_what_its_numbers_are(self, logger: TextLogger) -> None:
        assert logger.columns[0] == "i"
        assert len(set(logger.columns)) == len(logger.columns)
        assert logger.capacity >= 0

    def test_rows_are_lines_of_unsigned_numbers_numbered_in_order(
        self, logger: TextLogger, produce: Callable[[], None]
    ) -> None:
        self.drain(logger)
        produce()
        numbers = [row[0] for row in self.table(logger, self.drain(logger))]
        assert len(numbers) >= 3
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    def test_time_goes_forwards(self, logger: TextLogger, produce: Callable[[], None]) -> None:
        self.drain(logger)
        times: list[int] = []
        for _ in range(3):
            produce()
            at = logger.columns.index("timestamp")
            times += [row[at] for row in self.table(logger, self.drain(logger))]
        assert times == sorted(set(times))

    def test_reading_takes_rows_away(self, logger: TextLogger, produce: Callable[[], None]) -> None:
        produce()
        self.drain(logger)
        assert self.drain(logger) == b""
        produce()
        assert self.table(logger, self.drain(logger))

    def test_an_empty_source_has_an_end(self, logger: TextLogger) -> None:
        self.drain(logger)
        room = memoryview(bytearray(1 << 16))
        assert [logger.read_into(room) for _ in range(3)] == [0, 0, 0]

    def test_the_least_room_is_enough(self, logger: TextLogger, produce: Callable[[], None]) -> None:
        self.drain(logger)
        produce()
        assert self.table(logger, self.drain(logger, 1 << 16))

    def test_a_pass_that_is_broken_off_begins_anew_or_goes_on_as_it_says(
        self, logger: TextLogger, produce: Callable[[], None]
    ) -> None:
        self.drain(logger)
        produce()
        room = memoryview(bytearray(1 << 16))
        # The least room, so that a source with more than that is left in the middle.
        first = bytes(room[: logger.read_into(room)])
        whole = len(first) < len(room)
        logger.close()
        rest = self.drain(logger)
        if not whole:
            rows = self.table(logger, rest if logger.rewinds else first + rest)
            assert [row[0] for row in rows] == list(range(rows[0][0], rows[0][0] + len(rows)))
            if logger.rewinds:
                assert rest.startswith(first)
