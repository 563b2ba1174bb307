"""Knobs that a muster's configuration declares: a file of the kernel's, a sysctl, or two commands.

    [linux.own.swappiness]
    sysctl = "vm.swappiness"
    unit = "%"
    high = 200

    [linux.own.scheduler]
    file = "/sys/block/nvme*/queue/scheduler"
    texts = ["none", "mq-deadline", "kyber"]

    [linux.own.fan]
    read = ["/usr/local/bin/fan", "get"]
    write = ["/usr/local/bin/fan", "set", "{value}"]
    unit = "rpm"
    low = 800
    high = 4000
    step = 100

Each is set within its range under `[ranges]` alone, as any other knob; commands are lists of arguments and go through
no shell. It is who may write the configuration that may declare one.
"""

import re
from typing import Annotated, TypeAlias

import msgspec

from mustherd.terms import MAX_VALUE, KnobInfo, KnobKind

Value: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_VALUE)]
Argument: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
Command: TypeAlias = tuple[Argument, ...]

PLACES = re.compile(r"/(sys|proc)(/[A-Za-z0-9_.:@*?,+-]+)+")
SYSCTL = re.compile(r"[a-z0-9_-]+(\.[A-Za-z0-9_:@-]+)+")
CHOSEN = re.compile(r"\[([^\[\] ]+)\]")


class OwnKnob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a knob is, and how it is read and written: `file`, `sysctl`, or `read` and `write`, one of the three."""

    file: str = ""
    """A file below /sys or /proc; with * and ? in it every such file, which then hold the same value."""
    sysctl: str = ""
    """A name such as vm.swappiness."""
    read: Command = ()
    """A command that prints the value."""
    write: Command = ()
    """A command that sets it; {value} stands for the value."""
    unit: Annotated[str, msgspec.Meta(min_length=1, max_length=40)] = "units"
    values: tuple[Value, ...] = ()
    low: Value = 0
    high: Annotated[int, msgspec.Meta(ge=-1, le=MAX_VALUE)] = -1
    step: Annotated[int, msgspec.Meta(ge=1, le=MAX_VALUE)] = 1
    texts: tuple[Argument, ...] = ()
    """What is written and read for 0, 1, 2 and so on, where it isn't numbers. A choice in brackets, as the kernel shows
    it among others, is read as well."""
    settle_seconds: Annotated[float, msgspec.Meta(ge=0, le=600)] = 0.0
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    """How long a command may take."""

    def __post_init__(self) -> None:
        """ValueError for what can be no knob."""
        ways = [bool(self.file), bool(self.sysctl), bool(self.read or self.write)]
        if sum(ways) != 1:
            raise ValueError("it needs one of: file; sysctl; read and write")
        if self.file and (not PLACES.fullmatch(self.file) or ".." in self.file.split("/")):
            raise ValueError(f"file {self.file!r} is none below /sys or /proc")
        if self.sysctl and not SYSCTL.fullmatch(self.sysctl):
            raise ValueError(f"sysctl {self.sysctl!r} is no name such as vm.swappiness")
        if bool(self.read) != bool(self.write):
            raise ValueError("commands come in pairs: read and write")
        if self.write and not any("{value}" in argument for argument in self.write[1:]):
            raise ValueError("write has no argument with {value}")
        for argv in filter(None, (self.read, self.write)):
            if "/" in argv[0] and not argv[0].startswith("/"):
                raise ValueError(f"program {argv[0]!r}: commands run in /; write its whole path")
        if any("\0" in argument for argument in (*self.read, *self.write, *self.texts)):
            raise ValueError("an argument or text holds a byte 0")
        if self.texts and (self.values or self.high >= 0):
            raise ValueError("texts are the values: there are no others beside them")
        if len(set(self.texts)) != len(self.texts):
            raise ValueError("a text is there twice")
        if not self.values and 0 <= self.high < self.low:
            raise ValueError(f"low {self.low} is above high {self.high}; allowed: one from {self.low} on as high")
        if not self.texts and not self.values and self.high < 0:
            raise ValueError("it needs values: a list, low and high, or texts")

    def kind(self, name: str) -> KnobKind:
        """What the knob of that name is."""
        numbered = dict(enumerate(self.texts))
        return KnobKind(name=name, unit=self.unit, names=numbered, modes=tuple(numbered))

    def info(self, name: str) -> KnobInfo:
        """What it allows."""
        values = tuple(range(len(self.texts))) or tuple(sorted(set(self.values)))
        return self.kind(name).offer(
            values=values, low=self.low, high=self.high, step=self.step, settle_seconds=self.settle_seconds
        )

    def value_of(self, text: str) -> int:
        """The value that was read as `text`. ValueError for one that is none."""
        said = self.kept(text).strip()
        if self.texts:
            if said not in self.texts:
                raise ValueError(f"it holds {said[:40]!r}, which is none of its texts")
            return self.texts.index(said)
        if not re.fullmatch(r"[0-9]{1,16}", said) or int(said) > MAX_VALUE:
            raise ValueError(f"it holds {said[:40]!r}, no whole number from 0 on")
        return int(said)

    def kept(self, text: str) -> str:
        """What of a text that was read is written to put it back."""
        found = CHOSEN.search(text) if self.texts else None
        return found[1] if found else text

    def text_of(self, value: int) -> str:
        """What is written for a value."""
        return self.texts[value] if self.texts else str(value)
