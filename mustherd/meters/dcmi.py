"""A BMC by IPMI: `ipmitool dcmi power reading` (DCMI 1.5, Get Power Reading), 1 W about every second."""

import re
from typing import Annotated, Literal

import msgspec

from mustherd.meters.base import Text, Traits, UnreadableError
from mustherd.meters.commands import printed
from mustherd.meters.web import Credentials

READING = re.compile(r"^\s*Instantaneous power reading\s*:\s*([0-9]{1,6})\s*Watts?\s*$", re.MULTILINE)
STATE = re.compile(r"^\s*Power reading state is\s*:\s*(\S+)\s*$", re.MULTILINE)
Host = Annotated[str, msgspec.Meta(pattern=r"^$|^[A-Za-z0-9{][A-Za-z0-9{}_.:-]{0,253}$")]


class DcmiOptions(Traits, frozen=True, kw_only=True):
    """Where the BMC is."""

    host: Host = ""
    """Its address; without one it is this machine's own, by /dev/ipmi0."""
    credentials: str = ""
    """A file with `user` and `password`, which only root, or you, can read."""
    interface: Literal["lanplus", "lan"] = "lanplus"
    program: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=32)] = ("ipmitool",)
    """What is run instead, as in [sudo, ipmitool] or [ssh, node-1, ipmitool]."""
    lag_seconds: Annotated[float, msgspec.Meta(ge=0.0, le=600.0)] = 1.0


class Dcmi:
    """`dcmi`."""

    Options = DcmiOptions
    quantity: Literal["watts"] = "watts"

    def __init__(self, options: DcmiOptions) -> None:
        """ValueError where a BMC of another machine is to be asked by nobody."""
        if bool(options.host) != bool(options.credentials):
            raise ValueError("host and credentials belong together")
        self._options = options

    def read(self) -> float:
        options = self._options
        argv, secrets = [*options.program], {}
        if options.host:
            told = Credentials.of(options.credentials)
            # By the environment: arguments are anybody's to read.
            secrets = {"IPMI_PASSWORD": told.password, "IPMITOOL_PASSWORD": told.password}
            argv += ["-I", options.interface, "-H", options.host, "-U", told.user, "-E"]
        return watts(printed([*argv, "dcmi", "power", "reading"], secrets))


def watts(text: str) -> float:
    """The reading in ipmitool's words. Raises UnreadableError."""
    state = STATE.search(text)
    if state and state[1] != "activated":
        raise UnreadableError(f"dcmi: the BMC's power reading is {state[1]}: ipmitool dcmi power activate")
    found = READING.search(text)
    if found is None:
        raise UnreadableError(f"dcmi: no line of an instantaneous power reading in {' '.join(text.split())[:120]!r}")
    if not int(found[1]):
        raise UnreadableError("dcmi: the BMC says 0 W: it doesn't measure, or the machine is off")
    return float(found[1])
