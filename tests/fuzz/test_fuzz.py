"""The fuzzer itself: it repeats itself, reaches what it is for, and tells what it finds. `make test-fuzz` runs it."""

import random
from pathlib import Path

import pytest

from tests.fuzz import mutate, run
from tests.fuzz.frames import CHANNELS, Frames
from tests.fuzz.parsers import Target, targets


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> list[Target]:
    return targets(tmp_path_factory.mktemp("fuzz"))


def test_equal_seeds_give_equal_input() -> None:
    for channel in CHANNELS:
        made, again, other = Frames(3), Frames(3), Frames(4)
        frames = [made.frames(channel) for _ in range(20)]
        assert frames == [again.frames(channel) for _ in range(20)]
        assert frames != [other.frames(channel) for _ in range(20)]
    assert mutate.of_bytes(random.Random(1), b"x" * 50) == mutate.of_bytes(random.Random(1), b"x" * 50)


def test_every_target_takes_its_wholes(every: list[Target]) -> None:
    for target in every:
        if not target.name.startswith("frames"):
            for whole in target.wholes:
                target.read(whole)


def test_every_channel_gets_messages_that_decode_and_others(every: list[Target]) -> None:
    for target in every:
        if target.name.startswith("frames"):
            taken = 0
            for whole in target.wholes:
                try:
                    target.read(whole)
                except target.errors:
                    continue
                taken += 1
            assert 0 < taken < len(target.wholes), target.name


def test_a_reader_that_breaks_is_told_with_its_input(tmp_path: Path) -> None:
    def read(data: bytes) -> None:
        if b"!" in data:
            raise KeyError("no such thing")
        raise ValueError("as its contract has it")

    target = Target("fragile", [b"abc"], read, (ValueError,))
    result = run.Result(name="fragile")
    for data in (b"abc", b"a!c", b"a!!"):
        run._one(target, data, result, tmp_path)
    assert result.inputs == 3
    [fault] = result.faults
    assert fault.startswith("KeyError: 'no such thing'")
    assert (tmp_path / "fragile-0").read_bytes() == b"a!c"
