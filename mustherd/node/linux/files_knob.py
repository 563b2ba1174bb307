"""A knob that is one value in one or several of the kernel's files."""

from abc import abstractmethod

from mustherd.node.knob import KnobError
from mustherd.node.linux.knob import PlacedKnob, UnfitError, agreed
from mustherd.node.linux.tree import Cause, Tree, TreeError
from mustherd.terms import KnobInfo


class FilesKnob(PlacedKnob):
    """The same value in every file; what each is found to hold is put back as it is.

    Files are looked up each time: a CPU that has come back to life must be set too.
    """

    def __init__(self, tree: Tree, info: KnobInfo) -> None:
        super().__init__(info)
        self._tree = tree

    @abstractmethod
    def _files(self) -> dict[str, str]:
        """Place to file. TreeError."""

    def _value_of(self, text: str) -> int:
        """The value that a file's text says. UnfitError for one that no value says."""
        if not text.isdecimal() or not text.isascii() or len(text) > 15:
            raise UnfitError(f"it holds {text[:40]!r}")
        return int(text)

    def _text_of(self, value: int) -> str:
        """What is written for a value."""
        return str(value)

    def _kept(self, text: str) -> str:
        """What of a file's text is written to put it back."""
        return text

    def _read(self) -> int:
        return agreed(
            ((place, self._value_of(self._tree.text(path))) for place, path in self._files().items()), self.info.unit
        )

    def _running(self) -> int | None:
        # The kernel's answer is all there is.
        return self._read()

    def _write(self, value: int) -> None:
        for path in self._files().values():
            self._tree.write(path, self._text_of(value))

    def _places(self) -> dict[str, str]:
        return {place: self._kept(self._tree.text(path)) for place, path in self._files().items()}

    def _put(self, place: str, text: str) -> None:
        self._tree.write(self._files()[place], text)


SYSCTLS = "proc/sys/"
"""Below it the kernel asks for root itself, whatever a process is capable of; but for net/, where capabilities do."""


def existing(tree: Tree, files: dict[str, str], what: str) -> dict[str, str]:
    """The files, all of which must be there, and sysctls be writable. KnobError says which is not."""
    if not files:
        raise KnobError(f"{what}: there is no place for it")
    for path in files.values():
        try:
            tree.text(path)
            if path.startswith(SYSCTLS):
                tree.check_writable(path)
        except TreeError as error:
            root = ": writing it takes root" if error.cause is Cause.DENIED else ""
            raise KnobError(f"{what}: {error}{root}") from None
    return files
