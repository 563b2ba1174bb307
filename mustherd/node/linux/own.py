"""Knobs that the muster's configuration declares (mustherd.node.linux.declaration), read and written."""

import contextlib
import fnmatch
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mustherd.node.knob import KnobError, elsewhere
from mustherd.node.linux.declaration import Command, OwnKnob
from mustherd.node.linux.files_knob import FilesKnob, existing
from mustherd.node.linux.knob import LinuxKnob, Machine, PlacedKnob, UnfitError
from mustherd.node.linux.tree import Tree
from mustherd.programs import ProgramError, pause, printed
from mustherd.terms import KnobKind

log = logging.getLogger(__name__)

SLOW_S = 0.5
"""Commands that take longer are worth a line: each trial waits for several of them."""

MOST_FILES = 4096
MOST_ANSWER = 1000


def declared(knobs: dict[str, OwnKnob]) -> list[type[LinuxKnob]]:
    """A class for each of them."""
    return [_class(own, own.kind(name)) for name, own in knobs.items()]


def of_this_machine(name: str, own: OwnKnob) -> "CommandKnob | FileKnob":
    """The knob as a muster here would have it. KnobError where its program or file isn't there."""
    return _class(own, own.kind(name))(own, Tree())


def _class(own: OwnKnob, kind: KnobKind) -> "type[CommandKnob | FileKnob]":
    base = CommandKnob if own.read else FileKnob
    made: type[CommandKnob | FileKnob] = type(base.__name__, (base,), {"kind": kind, "__doc__": f"`{kind.name}`."})
    return made


class _Settling(PlacedKnob):
    """What is put back may take effect as late as what is set."""

    def put_back(self, places: Mapping[str, str]) -> None:
        super().put_back(places)
        until = time.monotonic() + self.info.settle_seconds
        while time.monotonic() < until and self._differs(places):
            pause()

    def _differs(self, places: Mapping[str, str]) -> bool:
        with contextlib.suppress(KnobError):
            return bool(elsewhere(places, self.places()))
        return True


class FileKnob(_Settling, FilesKnob):
    """Files, or a sysctl."""

    @classmethod
    def find(cls, machine: Machine) -> "Sequence[FileKnob]":
        return (cls(machine.options.own[cls.kind.name], machine.tree),)

    def __init__(self, own: OwnKnob, tree: Tree) -> None:
        """KnobError where there is no such file."""
        self._own = own
        self._tree = tree
        existing(tree, self._files(), self.kind.name)
        super().__init__(tree, own.info(self.kind.name))

    def _files(self) -> dict[str, str]:
        if self._own.sysctl:
            return {"kernel": f"proc/sys/{self._own.sysctl.replace('.', '/')}"}
        paths = [""]
        for part in self._own.file.strip("/").split("/"):
            if set(part) & set("*?"):
                fitting = ((path, name) for path in paths for name in self._tree.listed(path))
                paths = [f"{path}/{name}" for path, name in fitting if fnmatch.fnmatchcase(name, part)]
            else:
                paths = [f"{path}/{part}" if path else part for path in paths]
        return {path: path for path in paths[:MOST_FILES] if self._tree.has(path)}

    def _value_of(self, text: str) -> int:
        try:
            return self._own.value_of(text)
        except ValueError as error:
            raise UnfitError(str(error)) from None

    def _text_of(self, value: int) -> str:
        return self._own.text_of(value)

    def _kept(self, text: str) -> str:
        return self._own.kept(text)


_told_slow: set[str] = set()
"""Knobs of which that has been said."""


class CommandKnob(_Settling):
    """Two commands."""

    PLACE = "command"

    @classmethod
    def find(cls, machine: Machine) -> "Sequence[CommandKnob]":
        return (cls(machine.options.own[cls.kind.name], machine.tree),)

    def __init__(self, own: OwnKnob, tree: Tree) -> None:
        """KnobError where a program isn't there, or the files are another machine's."""
        # What a command is run with, before a guardian is made, which touches no disk before all is put back.
        import ctypes  # noqa: F401, PLC0415

        if not tree.is_this_machine:
            raise KnobError(f"{self.kind.name}: recorded files have no commands")
        for argv in (own.read, own.write):
            if shutil.which(argv[0]) is None:
                raise KnobError(f"{self.kind.name}: {argv[0]} is not installed, or not executable")
        super().__init__(own.info(self.kind.name))
        self._own = own

    def _read(self) -> int:
        return self._value()[1]

    def _running(self) -> int | None:
        return self._read()

    def _write(self, value: int) -> None:
        self._put(self.PLACE, self._own.text_of(value))

    def _places(self) -> dict[str, str]:
        """UnfitError for what is no value: a program that prints its trouble would have that written back."""
        return {self.PLACE: self._own.kept(self._value()[0])}

    def _value(self) -> tuple[str, int]:
        text = self._run(self._own.read)
        try:
            return text, self._own.value_of(text)
        except ValueError as error:
            raise UnfitError(str(error)) from None

    def _put(self, place: str, text: str) -> None:  # noqa: ARG002
        self._run(tuple(argument.replace("{value}", text) for argument in self._own.write))

    def _run(self, argv: Command) -> str:
        began = time.monotonic()
        try:
            within_s = self._own.timeout_seconds
            return printed(argv, within_s, folder=Path("/"), errors_too=True, ends_with_us=True)[:MOST_ANSWER]
        except ProgramError as error:
            raise UnfitError(str(error)) from None
        finally:
            if (took_s := time.monotonic() - began) > SLOW_S and self.kind.name not in _told_slow:
                _told_slow.add(self.kind.name)
                log.warning("%s: %s took %.1f s; each trial waits for such commands", self.kind.name, argv[0], took_s)
