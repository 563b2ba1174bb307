"""A BMC by Redfish: the power of a chassis (DMTF DSP0266, DSP2046).

`EnvironmentMetrics` has PowerWatts.Reading; the older `Power` has PowerControl[].PowerConsumedWatts, whose first member
is the whole chassis and the others, where there are any, are parts of it.
"""

import math
from typing import Annotated, Any, Literal

import msgspec

from mustherd.meters.base import Traits, UnreadableError
from mustherd.meters.web import Site

ROOT = "/redfish/v1"


class RedfishOptions(Traits, frozen=True, kw_only=True):
    """A BMC's address; or that of the very page, `Power` or `EnvironmentMetrics` of a chassis."""

    url: str
    chassis: str = ""
    """The chassis' name; needed where the BMC has several."""
    member: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    """Of PowerControl."""
    credentials: str = ""
    """A file with `user` and `password`, which only root, or you, can read."""
    ca: str = ""
    """A file with the certificate that signed the BMC's."""
    certificate_sha256: str = ""
    """SHA-256 of the BMC's own certificate, which nobody need have signed."""
    lag_seconds: Annotated[float, msgspec.Meta(ge=0.0, le=600.0)] = 1.0


class Redfish:
    """`redfish`."""

    Options = RedfishOptions
    quantity: Literal["watts"] = "watts"

    def __init__(self, options: RedfishOptions) -> None:
        """ValueError for an address that can't be asked."""
        self._site = Site(options.url, options.credentials, options.ca, options.certificate_sha256)
        self._options = options
        path = self._site.parts.path.rstrip("/")
        self._page = path if path.rsplit("/", 1)[-1] in ("Power", "EnvironmentMetrics") else ""

    def read(self) -> float:
        self._page = self._page or self._found()
        watts = self._watts(self._site.json(self._page))
        if isinstance(watts, bool) or not isinstance(watts, int | float) or not math.isfinite(watts) or watts < 0:
            raise UnreadableError(f"{self._page} of {self._site.parts.netloc} tells no power ({str(watts)[:40]})")
        if not watts:
            raise UnreadableError(
                f"{self._page} of {self._site.parts.netloc} says 0 W: the machine is off, or unmeasured"
            )
        return float(watts)

    def _watts(self, page: Any) -> Any:
        if not isinstance(page, dict):
            return None
        if isinstance(page.get("PowerWatts"), dict):
            return page["PowerWatts"].get("Reading")
        parts = page.get("PowerControl")
        part = parts[self._options.member] if isinstance(parts, list) and self._options.member < len(parts) else None
        return part.get("PowerConsumedWatts") if isinstance(part, dict) else None

    def _found(self) -> str:
        """The page of the chassis that was meant. Raises UnreadableError, which names those there are."""
        listed = self._site.json(f"{ROOT}/Chassis")
        members = listed.get("Members") if isinstance(listed, dict) else None
        paths = [str(m.get("@odata.id", "")) for m in members or () if isinstance(m, dict)]
        there = {path.rstrip("/").rsplit("/", 1)[-1]: path.rstrip("/") for path in paths if path.startswith("/")}
        wanted = {self._options.chassis: there.get(self._options.chassis)} if self._options.chassis else there
        pages = {}
        for name, path in wanted.items():
            if path is None:
                break
            chassis = self._site.json(path)
            for key in ("EnvironmentMetrics", "Power") if isinstance(chassis, dict) else ():
                link = chassis.get(key)
                page = link.get("@odata.id") if isinstance(link, dict) else None
                if isinstance(page, str) and page.startswith("/") and self._has_power(page):
                    pages[name] = page
                    break
        if len(pages) == 1:
            return next(iter(pages.values()))
        names = ", ".join(pages or there) or "none"
        raise UnreadableError(
            f"{self._site.parts.netloc}: {'several chassis tell' if pages else 'no chassis tells'} their power;"
            f" name one by `chassis`: {names}"
        )

    def _has_power(self, page: str) -> bool:
        try:
            return self._watts(self._site.json(page)) is not None
        except UnreadableError:
            return False
