"""A machine's files and its musters, as processes of their own."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mustherd.wire.ports import Ports
from tests.herding import MusterProcess
from tests.node.linux.files import build
from tests.node.linux.kinds import ACPI, CPU

ORIGINAL_KHZ = "2900000"


class _Files:
    """Where `build` puts a machine's files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.links: dict[str, str] = {}

    def file(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


def machine(root: Path) -> Path:
    """Files of a machine whose clock is set through cpufreq, at 2900 MHz."""
    files = _Files(root)
    build(files, msgspec.structs.replace(ACPI, registers=False, governor="userspace"))  # type: ignore[arg-type]
    for folder in (root / CPU).glob("cpu*/cpufreq"):
        (folder / "scaling_setspeed").write_text(f"{ORIGINAL_KHZ}\n")
        (folder / "scaling_cur_freq").write_text(f"{ORIGINAL_KHZ}\n")
    for path, target in files.links.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(target)
    return root


def clock(root: Path, cpu: int = 0) -> str:
    """What a CPU is set to, kHz."""
    return (root / CPU / f"cpu{cpu}/cpufreq/scaling_setspeed").read_text().strip()


@dataclass
class LinuxMuster(MusterProcess):
    """A muster of such a machine, as its unit starts it."""

    root: Path = Path()
    ranges: str = "dvfs = {low = 1200, high = 2900}\n"
    options: str = ""
    """More lines of [linux]."""

    @property
    def config(self) -> Path:
        return self.folder / f"{self.name}.toml"

    def write(self) -> Path:
        (self.folder / self.name).mkdir(parents=True, exist_ok=True, mode=0o700)
        p = self.ports
        self.config.write_text(
            f'muster = "{self.name}"\nstate = "{self.folder / self.name}"\n'
            f"[ports]\npulse = {p.pulse}\nlog = {p.log}\ncontrol = {p.control}\ncoordinate = {p.coordinate}\n"
            f'[ranges]\n{self.ranges}[linux]\nroot = "{self.root}"\nidle_seconds = 0.0\n{self.options}'
        )
        return self.config

    def start(self) -> "LinuxMuster":
        with (self.folder / f"{self.name}.log").open("ab") as log:
            command = [sys.executable, "-m", "mustherd.muster", "--config", str(self.write())]
            self.process = subprocess.Popen(command, stderr=log)
        return self

    @property
    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text()


NOWHERE = Ports(1, 1, 1, 1)
"""Of no shepherd."""
