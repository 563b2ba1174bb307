"""A PDU, a wall meter, anything: a number that a command prints or a page holds."""

import math
import re
from typing import Annotated, Any, Literal

import msgspec

from mustherd.meters.base import UNITS, Text, Traits, UnreadableError
from mustherd.meters.commands import printed
from mustherd.meters.web import Site, found_at

NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]{0,3})\s*")
Unit = Annotated[str, msgspec.Meta(min_length=1, max_length=3)]


class CommandOptions(Traits, frozen=True, kw_only=True):
    """A command."""

    command: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=64)]
    """Prints the number; a list of arguments, which no shell sees."""
    unit: Unit = "W"


class UrlOptions(Traits, frozen=True, kw_only=True):
    """A page."""

    url: str
    at: str | tuple[str | int, ...] = ()
    """The way of keys to the number in JSON, as a list or with dots between them; without it the page is the number."""
    unit: Unit = "W"
    credentials: str = ""
    ca: str = ""
    certificate_sha256: str = ""


class _Plain:
    """A number in a unit."""

    def __init__(self, unit: str) -> None:
        if unit not in UNITS:
            raise ValueError(f"unit {unit!r} is none of {', '.join(UNITS)}")
        self._unit = unit
        self.quantity: Literal["watts", "joules"] = UNITS[unit][0]

    def _amount(self, value: Any, where: str) -> float:
        """W or J. Raises UnreadableError."""
        found = NUMBER.fullmatch(str(value)) if not isinstance(value, bool) else None
        unit = found[2] or self._unit if found else ""
        if found is None or unit not in UNITS or UNITS[unit][0] != self.quantity:
            raise UnreadableError(f"{where}: {str(value).strip()[:60]!r} is no amount in {self._unit}")
        amount = float(found[1]) * UNITS[unit][1]
        if not math.isfinite(amount) or (not amount and self.quantity == "watts"):
            raise UnreadableError(f"{where}: {str(value).strip()[:60]!r}, which no machine that runs uses")
        return amount


class Command(_Plain):
    """`command`."""

    Options = CommandOptions

    def __init__(self, options: CommandOptions) -> None:
        super().__init__(options.unit)
        self._command = options.command

    def read(self) -> float:
        return self._amount(printed(self._command), self._command[0])


class Url(_Plain):
    """`url`."""

    Options = UrlOptions

    def __init__(self, options: UrlOptions) -> None:
        super().__init__(options.unit)
        self._site = Site(options.url, options.credentials, options.ca, options.certificate_sha256)
        self._at = tuple(options.at.split(".")) if isinstance(options.at, str) and options.at else tuple(options.at)

    def read(self) -> float:
        where = self._site.parts.geturl()
        if not self._at:
            return self._amount(self._site.page(), where)
        try:
            return self._amount(found_at(self._site.json(), self._at), where)
        except KeyError as error:
            raise UnreadableError(f"{where}: there is no {error.args[0]!r} of {list(self._at)}") from None
