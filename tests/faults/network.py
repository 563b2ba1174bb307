"""A machine's own network: a namespace joined to this one by a cable that can be cut, one way or both.

As root, in a network namespace of the campaign's own; nothing here is seen outside of it.
"""

import subprocess
from dataclasses import dataclass

from mustherd.wire.ports import Ports

OURS, THEIRS = "10.98.0.1", "10.98.0.2"
CABLE, FAR_END = "faults0", "faults1"


@dataclass
class Cable:
    """Joins the network namespace of the process `holder` to this one; what is lost on it is lost, not late."""

    holder: int
    ports: Ports
    host: str = OURS

    def __post_init__(self) -> None:
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", CABLE, "type", "veth", "peer", "name", FAR_END)
        _run("ip", "link", "set", FAR_END, "netns", str(self.holder))
        _run("ip", "addr", "add", f"{OURS}/24", "dev", CABLE)
        _run("ip", "link", "set", CABLE, "up")
        self._there("ip", "link", "set", "lo", "up")
        self._there("ip", "addr", "add", f"{THEIRS}/24", "dev", FAR_END)
        self._there("ip", "link", "set", FAR_END, "up")

    def cut_off(self, *, up: bool = True, down: bool = True) -> None:
        """From now on nothing gets through, these ways: to the shepherd, and from it."""
        if up:
            self._there("ip", "route", "replace", "blackhole", f"{OURS}/32")
        if down:
            _run("ip", "route", "replace", "blackhole", f"{THEIRS}/32")

    def pull(self) -> None:
        """Both ends see no link."""
        _run("ip", "link", "set", CABLE, "down")

    def heal(self) -> None:
        """Everything gets through again."""
        _run("ip", "link", "set", CABLE, "up")
        self._there("ip", "route", "del", "blackhole", f"{OURS}/32", check=False)
        _run("ip", "route", "del", "blackhole", f"{THEIRS}/32", check=False)

    def close(self) -> None:
        """It goes with its two ends."""
        _run("ip", "link", "del", CABLE, check=False)

    def _there(self, *command: str, check: bool = True) -> None:
        _run("nsenter", f"--net=/proc/{self.holder}/ns/net", *command, check=check)


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, stderr=None if check else subprocess.DEVNULL)
