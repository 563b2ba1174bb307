"""A knob of a package: whatever its code does is an error of that knob, and ends no muster."""

import sys
from typing import Any

import pytest

from mustherd.node.knob import KnobError
from mustherd.node.linux.knob import LinuxKnob, Machine
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
