"""A container with systemd and sshd that stands for a host of the test bed.

It has no hardware: what a role reads and sets below /sys/devices/system/cpu and /dev/cpu are plain files, made anew at
every boot, as a kernel would.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from mustherd.testbed.images import package_lists, root_file_system, run

NETWORK = "10.77.0"
PREFIX = 24
REBOOT = 133
"""Exit code of systemd-nspawn when the container asks for a reboot."""
OFF = "off"
"""A file in a host's folder, while nothing runs there: somebody has powered it off. Without it the host boots again."""
POLL_S = 0.1
CORES = 2
MSR_BYTES = 0xC0011000
"""Beyond the energy counters of either maker."""
CAPABILITIES = "CAP_NET_ADMIN,CAP_SYS_NICE,CAP_SYS_RAWIO,CAP_PERFMON"
"""Beside a container's usual ones: what units of ours ask for."""

START = """
set -eu
mount -t tmpfs tmpfs /run
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/$1
echo $$ > /sys/fs/cgroup/$1/cgroup.procs
shift
exec "$@"
"""


@dataclass(frozen=True)
class Surroundings:
    """What the bed gives each of its hosts."""

    folder: Path
    namespace: str
    key: Path
    control: str
    """Address of the bed's own machine."""
    mirror: str
    """Address of the proxy that hosts fetch with."""


class Host:
    """One container; started again whenever it reboots."""

    def __init__(self, bed: Surroundings, name: str, number: int, release: str) -> None:
        self.name = name
        self.release = release
        self.address = f"{NETWORK}.{number + 1}"
        self._bed = bed
        self._folder = bed.folder / name
        self.root = self._folder / "root"
        self.hardware = self._folder / "hardware"
        self._off = self._folder / OFF
        self.boots = 0
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def up(self) -> None:
        """Boot, bare the first time and with what it had after `cut`."""
        if not self.root.exists():
            for part in ("upper", "work", "root"):
                (self._folder / part).mkdir(parents=True)
            run(
                *("mount", "-t", "overlay", "overlay", str(self.root), "-o"),
                f"lowerdir={package_lists(self.release)}:{root_file_system(self.release)},"
                f"upperdir={self._folder / 'upper'},workdir={self._folder / 'work'}",
            )
            self._personalise()
        self._off.unlink(missing_ok=True)
        if self._thread is not None and self._thread.is_alive() and not self._stop.is_set():
            return
        self._stop.clear()
        self._thread = threading.Thread(target=self._keep_up, name=self.name, daemon=True)
        self._thread.start()

    def down(self) -> None:
        """Power off, by systemd where it listens."""
        self._stop.set()
        process = self._process
        if process is not None and process.poll() is None:
            # systemd in a container takes SIGRTMIN+3 as power off; the rest is for one that does not listen.
            leader = self._leader(process.pid)
            for pid, sign, patience in ((leader, signal.SIGRTMIN + 3, 10), (leader, signal.SIGKILL, 5)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sign)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience)
                    break
            else:
                process.kill()
        if self._thread is not None:
            self._thread.join(20)
        subprocess.run(["umount", "-l", str(self.root)], capture_output=True, check=False)

    def cut(self) -> None:
        """Power off at once, as when a plug is pulled."""
        self._stop.set()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._leader(self._process.pid), signal.SIGKILL)
            self._process.wait(20)
        if self._thread is not None:
            self._thread.join(20)

    @staticmethod
    def _leader(pid: int) -> int:
        """The container's own first process, the only child of the one that we started."""
        for _ in range(3):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if not children:
                break
            pid = int(children[0])
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                break
        return pid

    def _personalise(self) -> None:
        etc = self.root / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "machine-id").write_text(f"{hashlib.sha256(self.name.encode()).hexdigest()[:32]}\n")
        for key in (etc / "ssh").glob("ssh_host_*"):
            key.unlink()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(etc / "ssh/ssh_host_ed25519_key"))
        (self.root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        shutil.copy(self._bed.key.with_suffix(".pub"), self.root / "root/.ssh/authorized_keys")
        mirror = self._bed.mirror
        (etc / "apt/apt.conf.d/90testbed").write_text(f'Acquire::http::Proxy "{mirror}";\n')
        # What logins, and so the roles, fetch with.
        (etc / "environment").write_text(
            f"http_proxy={mirror}\nhttps_proxy={mirror}\nno_proxy={self._bed.control},localhost,127.0.0.1\n"
        )
        (etc / "systemd/network").mkdir(parents=True, exist_ok=True)
        (etc / "systemd/network/10-host0.network").write_text(
            f"[Match]\nName=host0\n[Network]\nAddress={self.address}/{PREFIX}\nLinkLocalAddressing=no\n"
        )
        wants = etc / "systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True, exist_ok=True)
        link = wants / "systemd-networkd.service"
        if not link.is_symlink():
            link.symlink_to("/lib/systemd/system/systemd-networkd.service")

        # systemd-nspawn mounts /sys after everything that it is told to bind, so the host itself does it.
        (etc / "systemd/system/sys-devices-system-cpu.mount").write_text(
            "[Unit]\nDefaultDependencies=no\nBefore=local-fs.target\n"
            "[Mount]\nWhat=/hardware/cpu\nWhere=/sys/devices/system/cpu\nType=none\nOptions=bind\n"
        )
        (etc / "systemd/system/local-fs.target.wants").mkdir(parents=True, exist_ok=True)
        (etc / "systemd/system/local-fs.target.wants/sys-devices-system-cpu.mount").symlink_to(
            "/etc/systemd/system/sys-devices-system-cpu.mount"
        )

    def _reset_hardware(self) -> None:
        """What a kernel would show after a boot."""
        cpu = self.hardware / "cpu"
        files = {"online": f"0-{CORES - 1}", "smt/control": "on", "cpufreq/boost": "1"}
        for core in range(CORES):
            files |= {
                f"cpu{core}/cpufreq/scaling_governor": "schedutil",
                f"cpu{core}/cpufreq/scaling_available_governors": "userspace powersave performance schedutil",
                f"cpu{core}/cpufreq/scaling_driver": "acpi-cpufreq",
                f"cpu{core}/cpufreq/cpuinfo_min_freq": "1200000",
                f"cpu{core}/cpufreq/cpuinfo_max_freq": "2600000",
                f"cpu{core}/cpufreq/scaling_available_frequencies": "2600000 1900000 1200000",
                f"cpu{core}/cpufreq/scaling_setspeed": "<unsupported>",
                f"cpu{core}/topology/core_id": str(core),
                f"cpu{core}/topology/physical_package_id": "0",
            }
        for name, text in files.items():
            path = cpu / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        for core in range(CORES):
            register = self.hardware / f"msr/{core}/msr"
            register.parent.mkdir(parents=True, exist_ok=True)
            # As far as AMD's registers reach, all of them 0: the file takes no room.
            register.write_bytes(b"")
            os.truncate(register, MSR_BYTES)

    def _keep_up(self) -> None:
        while not self._stop.is_set():
            self._reset_hardware()
            self.boots += 1
            with (self._folder / "console.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        *("ip", "netns", "exec", self._bed.namespace, "unshare", "-m", "--propagation", "private"),
                        *("sh", "-c", START, "sh", f"{self._bed.namespace}-{self.name}"),
                        *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--network-bridge=br0"),
                        *(f"--capability={CAPABILITIES}", f"--bind={self.hardware}:/hardware"),
                        *(f"--bind={self.hardware}/msr:/dev/cpu", "-D", str(self.root), "-M", self.name),
                        *("--boot", "--console=passive"),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            if self._process.wait() != REBOOT:
                if self._stop.is_set():
                    return
                self._off.touch()
            while self._off.exists():
                if self._stop.wait(POLL_S):
                    return
