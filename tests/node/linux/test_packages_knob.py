"""A knob of a package: whatever its code does is an error of that knob, and ends no muster."""

import sys
from typing import Any

import pytest

from mustherd.node.knob import KnobError
from mustherd.node.linux.knob import LinuxKnob, Machine, PlacedKnob
from mustherd.node.linux.node import _find
from mustherd.terms import KnobKind


class Odd(LinuxKnob):
    kind = KnobKind(name="odd", unit="turns")
    error: BaseException = RuntimeError("one\ntwo")

    @classmethod
    def find(cls, machine: Machine) -> "tuple[Odd]":  # noqa: ARG003
        sys.exit(4)

    def __init__(self) -> None:
        super().__init__(self.kind.offer(low=0, high=9))

    def _read(self) -> int:
        raise self.error

    def _running(self) -> int:
        raise self.error

    def _write(self, value: int) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"), [(RuntimeError("one\ntwo"), "RuntimeError: one two"), (SystemExit(9), "SystemExit: 9")]
)
def test_whatever_it_raises_names_the_knob_and_the_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    """A knob that left by sys.exit ended the muster, and the command that came to put the node back."""
    knob = Odd()
    monkeypatch.setattr(Odd, "error", error)
    for act in (knob.read, knob.running, lambda: knob.write(3)):
        with pytest.raises(KnobError, match=rf"^odd of node-0: {said} \(test_packages_knob\.py:\d+\)$"):
            act()


def test_one_that_leaves_while_it_is_looked_for_is_missing() -> None:
    machine: Any = None
    found, missing = _find(machine, [Odd])
    assert found == []
    assert missing["no_odd"].startswith("SystemExit: 4 (test_packages_knob.py:")


class Apart(PlacedKnob, Odd):
    """Of its places the first breaks when it is put back."""

    def __init__(self) -> None:
        super().__init__()
        self.lies = {"a": "1", "b": "1"}

    def _places(self) -> dict[str, str]:
        return dict(self.lies)

    def _put(self, place: str, text: str) -> None:
        if place == "a":
            raise self.error
        self.lies[place] = text


@pytest.mark.parametrize("error", [RuntimeError("one\ntwo"), SystemExit(7), OSError(5, "no")])
def test_a_place_that_breaks_keeps_no_other_from_going_back(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The others stayed changed, and by sys.exit the muster ended with its code and no word."""
    knob = Apart()
    monkeypatch.setattr(Odd, "error", error)
    with pytest.raises(KnobError, match=rf"^odd of node-0: a to '3': {type(error).__name__}: [^\n]*py:\d+\)$"):
        knob.put_back({"a": "3", "b": "3"})
    assert knob.lies == {"a": "1", "b": "3"}
