"""What all knobs of a Linux machine have in common: their errors and their refusal of what isn't allowed."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from mustherd.node.knob import BaseKnob, KnobError, OddError
from mustherd.node.linux.ethtool import Ethtool
from mustherd.node.linux.interfaces import Interface
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.netlink import EthtoolError
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.linux.tree import Tree, TreeError
from mustherd.terms import KnobKind

T = TypeVar("T")


class UnfitError(Exception):
    """What is set is nothing that one canonical value says; the message says what it is."""


@dataclass(frozen=True)
class Machine:
    """What a knob of a Linux machine may use of it."""

    tree: Tree
    """Files below /sys, /proc and /dev."""
    ethtool: Ethtool
    registers: Msr
    interface: Interface | None
    """The measured NIC; None where there is none, or it is not known which."""
    options: LinuxOptions

    def nic(self) -> Interface:
        """The measured NIC. KnobError where there is none."""
        if self.interface is None:
            raise KnobError("there is no interface to set it on")
        return self.interface


class LinuxKnob(BaseKnob, ABC):
    """A knob over files, registers or ethtool. Subclasses raise what these raise, or KnobError.

    The allowed values come from what the machine *can* do and never from what is set at the moment: after a crash the
    next life must be allowed to write the original back, whatever it finds.
    """

    kind: ClassVar[KnobKind]
    of_interface: ClassVar[bool] = False
    """Whether another interface has one of its own."""

    @classmethod
    @abstractmethod
    def find(cls, machine: Machine) -> "Sequence[LinuxKnob]":
        """The knobs of this kind, one for each sheep that has it. Raises as others do: the message says why not."""

    def read(self) -> int:
        with self._named():
            return self._read()

    def running(self) -> int | None:
        with self._named():
            return self._running()

    def write(self, value: int) -> None:
        self._refuse(value)
        with self._named():
            self._write(value)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Name the knob in whatever is raised: a package's may raise anything, and end no process by it."""
        try:
            yield
        except KnobError:
            raise
        except (TreeError, EthtoolError, UnfitError) as error:
            raise self._error(error) from None
        except (Exception, SystemExit) as error:
            raise self._error(_why(error)) from error

    @abstractmethod
    def _read(self) -> int: ...

    @abstractmethod
    def _running(self) -> int | None: ...

    @abstractmethod
    def _write(self, value: int) -> None: ...


class PlacedKnob(LinuxKnob):
    """A knob that lies in several places, each with a text of its own: mustherd.node.knob.Placed.

    A place's text says exactly what lies there, clocks that are no round number and bounds that somebody narrowed
    included, so that whatever is found can be put back.
    """

    def read(self) -> int:
        return self._or_odd(self._read)

    def running(self) -> int | None:
        return self._or_odd(self._running)

    def places(self) -> dict[str, str]:
        with self._named():
            return self._places()

    def put_back(self, places: Mapping[str, str]) -> None:
        here: Iterable[str] = places
        # One that can't be read keeps no other from going back: all are written, those that are gone told with it.
        with contextlib.suppress(KnobError):
            here = self.places()
        problems = {}
        for place, text in places.items():
            if place not in here:
                continue  # a CPU that is gone comes back as the kernel makes it
            try:
                self._put(place, text)
            except (Exception, SystemExit) as error:
                problems[place] = f"{place} to {text[:60]!r}: {_why(error)}"
        if problems:
            # Where it lies there all the same, or did before, there is nothing to complain of.
            with contextlib.suppress(KnobError):
                now = self.places()
                problems = {place: why for place, why in problems.items() if now.get(place) != places[place]}
        if problems:
            raise self._error("; ".join(problems.values()))

    def _or_odd(self, look: Callable[[], T]) -> T:
        with self._named():
            try:
                return look()
            except UnfitError as error:
                raise OddError(f"{self.info.name} of {self.info.sheep}: {error}") from None

    @abstractmethod
    def _places(self) -> dict[str, str]: ...

    @abstractmethod
    def _put(self, place: str, text: str) -> None:
        """Write one place. Raises what `_write` raises, and ValueError for a text that is none of this knob's."""


def _why(error: BaseException) -> str:
    """What a knob's code raised, in a phrase: a package's may be anything."""
    if isinstance(error, TreeError | EthtoolError | UnfitError | KnobError | ValueError):
        return str(error)
    from mustherd.plugins import said  # noqa: PLC0415 - seldom needed, and a muster is small

    return said(error)


def agreed(values: Iterable[tuple[str, int]], unit: str) -> int:
    """The one value that all places hold. UnfitError when they don't agree."""
    places: dict[int, str] = {}
    for place, value in values:
        places.setdefault(value, place)
    if len(places) == 1:
        return next(iter(places))
    if not places:
        raise UnfitError("there is no place to read it from")
    found = ", ".join(f"{place} has {value} {unit}" for value, place in places.items())
    raise UnfitError(f"its places differ ({found})")
