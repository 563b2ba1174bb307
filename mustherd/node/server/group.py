"""A control group that bounds a process's time on cores."""

import contextlib
import os
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
OWN_GROUPS = Path("/proc/self/cgroup")

PERIOD_US = 5000
"""A process that used up its time waits for the rest of this: short, since that wait is in its latencies. Kernels take
periods from 1 ms and quotas from 1 ms on (Documentation/admin-guide/cgroup-v2.rst)."""
UNLIMITED = -1
MOST_WEIGHT = {True: ("cpu.weight", "10000"), False: ("cpu.shares", "262144")}
"""File and largest value, by whether the control groups are of version 2."""


class GroupError(Exception):
    """No control group can be made or used; the message says where and why."""


class CpuGroup:
    """A group of our own with the cpu controller, of either version of control groups."""

    def __init__(self, name: str, mounts: Path = MOUNTS, own_groups: Path = OWN_GROUPS) -> None:
        """Make it below the first place that lets us; raises GroupError when none does."""
        refused = []
        for parent, unified in _places(mounts, own_groups):
            try:
                self._path, self._unified = _made(parent / name, unified), unified
            except OSError as error:
                refused.append(f"{parent}: {error.strerror or error}")
            else:
                return
        raise GroupError("; ".join(refused) or "no cpu controller is mounted")

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._path

    def adopt(self, pid: int) -> None:
        """Take a whole process in. Raises GroupError."""
        self._write("cgroup.procs", str(pid))

    def quota_us(self) -> int:
        """Microseconds on cores in each second as the kernel holds it; UNLIMITED without a limit. Raises GroupError."""
        if self._unified:
            quota, period = self._read("cpu.max").split()
        else:
            quota, period = self._read("cpu.cfs_quota_us"), self._read("cpu.cfs_period_us")
        return UNLIMITED if quota in ("max", "-1") else round(int(quota) * 1_000_000 / int(period))

    def limit(self, us_per_second: int) -> None:
        """Bound the time; UNLIMITED takes the bound away. Raises GroupError."""
        quota = us_per_second * PERIOD_US // 1_000_000
        if self._unified:
            self._write("cpu.max", f"{'max' if us_per_second == UNLIMITED else quota} {PERIOD_US}")
            return
        # The old kernel interface refuses a period that the quota in force doesn't suit: free it first.
        self._write("cpu.cfs_quota_us", "-1")
        self._write("cpu.cfs_period_us", str(PERIOD_US))
        if us_per_second != UNLIMITED:
            self._write("cpu.cfs_quota_us", str(quota))

    def cpu_seconds(self) -> float | None:
        """Time on cores of all that was ever in it; None where this version of control groups counts it elsewhere."""
        if not self._unified:
            return None
        try:
            told = dict(line.split() for line in self._read("cpu.stat").splitlines())
            return int(told["usage_usec"]) / 1e6
        except (GroupError, KeyError, ValueError):
            return None

    def prefer(self) -> None:
        """Let it go before other groups and processes as far as weights can: what else runs is not to be measured.

        Raises GroupError.
        """
        self._write(*MOST_WEIGHT[self._unified])

    def close(self) -> None:
        """Remove it; it stays where a process is still in it."""
        with contextlib.suppress(OSError):
            self._path.rmdir()

    def _read(self, name: str) -> str:
        try:
            return (self._path / name).read_text(encoding="ascii").strip()
        except OSError as error:
            raise GroupError(f"{self._path / name}: {error.strerror}") from None

    def _write(self, name: str, text: str) -> None:
        try:
            (self._path / name).write_text(text, encoding="ascii")
        except OSError as error:
            raise GroupError(f"{self._path / name}: cannot write {text}: {error.strerror}") from None


def _places(mounts: Path, own_groups: Path) -> list[tuple[Path, bool]]:
    """Where a group may be made, best first: near this process, then up to the root; True for version 2."""
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
        own = [line.split(":", 2) for line in own_groups.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return []
    places = []
    for _, point, kind, options, *_ in lines:
        unified = kind == "cgroup2"
        if not unified and not (kind == "cgroup" and "cpu" in options.split(",")):
            continue
        home = next((path for _, names, path in own if (not names if unified else "cpu" in names.split(","))), "/")
        here = Path(point) / home.lstrip("/")
        above = [here, *here.parents]
        places += [(folder, unified) for folder in above if folder.is_relative_to(point)]
    return places


def _made(folder: Path, unified: bool) -> Path:
    if unified:
        control = folder.parent / "cgroup.subtree_control"
        if "cpu" not in control.read_text(encoding="ascii").split():
            control.write_text("+cpu", encoding="ascii")
    folder.mkdir(exist_ok=True)
    probe = folder / ("cpu.max" if unified else "cpu.cfs_quota_us")
    if not os.access(probe, os.W_OK) or not os.access(folder / "cgroup.procs", os.W_OK):
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise PermissionError(13, f"{probe.name} is not there or not writable")
    return folder
