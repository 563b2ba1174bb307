"""A test bed that stays up after the command that asked for it: the process that keeps it, and how it is asked."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mustherd import files
from mustherd.daemon import StopSignals
from mustherd.errors import UserError, shown
from mustherd.testbed.bed import Bed, login, refuse_without_means
from mustherd.testbed.hosts import OFF
from mustherd.testbed.images import RELEASES, BedError, cache

NAMESPACE = "mustherd-bed"
"""What the names of all beds' network namespaces begin with."""
PATIENCE_S = 900.0
"""For a first start, which makes the root file system; a later one takes seconds."""
STOP_S = 60.0
BOOT_S = 90.0
POLL_S = 0.1


@dataclass(frozen=True)
class BedState:
    """A bed that is up."""

    pid: int
    born: int
    """When the keeper started, in the kernel's ticks: with the pid it names one process for good."""
    namespace: str
    control: str
    """This machine's own address in the bed's network: a shepherd listens there."""
    hosts: dict[str, str]
    """Address of each host."""
    key: str
    known_hosts: str


def folder() -> Path:
    """Where the bed is; the same each time, so that an inventory stays right."""
    return cache() / "bed"


def namespace() -> str:
    """The network namespace of the bed whose files lie in this cache folder; another cache's bed has another."""
    return f"{NAMESPACE}-{zlib.crc32(str(cache().resolve()).encode()):08x}"


def sockets() -> Path:
    """Where kept connections to its hosts lie; their paths must be short."""
    return Path("/run") / namespace()


@contextlib.contextmanager
def _alone() -> Iterator[int]:
    """The lock of this cache's bed, as a descriptor: whoever inherits it keeps it. Raises BedError."""
    cache().mkdir(parents=True, exist_ok=True)
    descriptor = os.open(cache() / "bed.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BedError(
                f"a test bed is coming up or going down in {cache()}; fix: wait for it, see {cache() / 'bed.log'}"
            ) from None
        yield descriptor
    finally:
        os.close(descriptor)


def state() -> BedState | None:
    """The bed that is up, or None."""
    try:
        found = BedState(**json.loads((folder() / "state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if _born(found.pid) == found.born else None


def powered_off(bed: BedState) -> list[str]:
    """Hosts of a bed that is up which somebody has powered off."""
    return [name for name in bed.hosts if (folder() / name / OFF).exists()]


def boot(bed: BedState, name: str) -> None:
    """Boot a host that is powered off, with what was on it, and wait until it answers.

    Raises UserError where the bed has no such host, BedError where it runs or doesn't come.
    """
    if name not in bed.hosts:
        raise UserError(f"host {shown(name)!r}: allowed is one of {', '.join(bed.hosts)}")
    if name not in powered_off(bed):
        raise BedError(f"{name} is not powered off; fix: to boot it anew, systemctl reboot on it")
    (folder() / name / OFF).unlink(missing_ok=True)
    asked = ["ip", "netns", "exec", bed.namespace, *login(bed.key, bed.known_hosts, bed.hosts[name])]
    end = time.monotonic() + BOOT_S
    while not _has_booted(asked, end - time.monotonic()):
        if time.monotonic() > end:
            raise BedError(f"{name} does not answer after {BOOT_S:.0f} s; fix: see {folder() / name / 'console.log'}")
        time.sleep(POLL_S)


def _has_booted(asked: Sequence[str], within_s: float) -> bool:
    """Whether the host that is asked answers that all of its units have begun, or some have failed."""
    words = [*asked, "systemctl is-system-running --wait"]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=max(within_s, POLL_S)
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode in (0, 1)


def coming_or_going() -> bool:
    """Whether a bed of this cache is on its way up or down, and so is none yet, or none any more."""
    if state() is not None or not (cache() / "bed.lock").exists():
        return False
    try:
        with _alone():
            return False
    except BedError:
        return True


def left_behind() -> bool:
    """Whether a bed of this cache that is none any more left files, hosts or a network: its keeper was killed."""
    return state() is None and (folder().exists() or (Path("/run/netns") / namespace()).exists())


def refuse_another(releases: Sequence[str]) -> None:
    """Raises UserError for a release that is not known, BedError where no bed can be brought up, or one is up."""
    for release in releases:
        if release not in RELEASES:
            raise UserError(f"release {release!r}: allowed is one of {', '.join(RELEASES)}")
    refuse_without_means()
    if state() is not None:
        raise BedError("a test bed is up already; fix: use it, or mustherd testbed down first")


def up(hosts: int, releases: Sequence[str]) -> BedState:
    """Bring a bed up, its hosts of those releases in turn; raises BedError, also when one is up."""
    refuse_another(releases)
    with _alone() as lock:
        return _up(hosts, releases, lock)


def _up(hosts: int, releases: Sequence[str], lock: int) -> BedState:
    """The keeper inherits the lock, and so has it for as long as it lives."""
    _clear()
    log = cache() / "bed.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mustherd.testbed.daemon", str(hosts), *releases],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(lock,),
        )
    try:
        end = time.monotonic() + PATIENCE_S
        while (found := state()) is None:
            if process.poll() is not None:
                lines = log.read_text(encoding="utf-8").strip().splitlines() or ["no word"]
                raise BedError(lines[-1].removeprefix("mustherd: "))
            if time.monotonic() > end:
                raise BedError(f"the bed is not up after {PATIENCE_S:.0f} s; fix: see {log}")
            time.sleep(POLL_S)
    except BaseException:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        _clear()
        raise
    return found


def down() -> bool:
    """Power the hosts off and leave nothing behind; False when there was no bed. Raises BedError."""
    refuse_without_means()
    found = state()
    if found is not None:
        os.kill(found.pid, signal.SIGTERM)
        end = time.monotonic() + STOP_S
        while _born(found.pid) == found.born:
            if time.monotonic() > end:
                raise BedError(f"process {found.pid} does not end; fix: see {cache() / 'bed.log'}")
            time.sleep(POLL_S)
    there = found is not None or folder().exists()
    with _alone():
        _clear()
    return there


def _born(pid: int) -> int:
    """When a process started; 0 for one that has ended."""
    try:
        # The second field, a name in brackets, may hold anything; proc(5).
        after = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if after[0] == "Z" else int(after[19])


def _clear() -> None:
    """What a keeper that was killed left: its hosts, mounts, network and files."""
    left = subprocess.run(["ip", "netns", "pids", namespace()], capture_output=True, text=True, check=False)
    for pid in left.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    for root in folder().glob("*/root"):
        subprocess.run(["umount", "-l", str(root)], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", namespace()], capture_output=True, check=False)
    for gone in (folder(), sockets()):
        shutil.rmtree(gone, ignore_errors=True)


def main(hosts: int, releases: Sequence[str]) -> None:
    """Keep a bed up until SIGTERM."""
    stop = threading.Event()
    StopSignals(stop.set)
    with Bed(folder(), hosts, releases=releases, namespace=namespace(), sockets=sockets()) as bed:
        own = os.getpid()
        addresses = {name: host.address for name, host in bed.hosts.items()}
        keys = (str(bed.key), str(bed.known_hosts))
        up_now = BedState(own, _born(own), namespace(), bed.control, addresses, *keys)
        files.replace(folder() / "state.json", json.dumps(asdict(up_now)), shared=False)
        stop.wait()
        (folder() / "state.json").unlink()


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), sys.argv[2:])
    except BedError as error:
        sys.exit(f"mustherd: {error}")
