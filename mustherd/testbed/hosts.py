"""Real hosts on one machine: containers with systemd and sshd on a bridge in a network namespace of their own.

They have no hardware: what a role reads and sets below /sys/devices/system/cpu and /dev/cpu are plain files, made anew
at every boot, as a kernel would.
"""

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mustherd import files
from mustherd.errors import UserError
from mustherd.testbed.mirror import Mirror

NETWORK = "10.77.0"
PREFIX = 24
CONTROL = 254
PORT = 3142
REBOOT = 133
"""Exit code of systemd-nspawn when the container asks for a reboot."""
PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,python3-venv,iproute2,ethtool,kmod,procps,udev,sudo,"
    "python3-apt,ca-certificates,irqbalance,build-essential,git,gengetopt,scons,libevent-dev,libzmq3-dev"
)


DEBIAN = "http://deb.debian.org/debian"
UBUNTU = "http://archive.ubuntu.com/ubuntu"


@dataclass(frozen=True)
class Release:
    """What hosts are made of."""

    python: str
    """That a node's own environment runs on."""
    more: str
    """Packages beside those that all have."""
    archive: str = DEBIAN
    components: str = "main"
    updates: str = ""
    """Where the archive has what came after the release, and some of `more` with it."""


_UBUNTU = (UBUNTU, "main universe")
RELEASES = {
    "bookworm": Release("3.11", "cppzmq-dev"),
    "trixie": Release("3.13", "cppzmq-dev"),
    "jammy": Release("3.11", "apt,ubuntu-keyring,python3.11-venv", *_UBUNTU, "jammy-updates"),
    "noble": Release("3.12", "apt,ubuntu-keyring,cppzmq-dev", *_UBUNTU, "noble-updates"),
}
UBUNTU_KEYS = "pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb"
UBUNTU_KEYS_SHA256 = "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8"
"""Its archive's key of 2018 has the fingerprint F6ECB3762474EDA9D21B7022871920D1991BC93C."""
KEYRING = Path("usr/share/keyrings/ubuntu-archive-keyring.gpg")
FRESH_S = 1500
"""Age of package lists below which they are taken as they are; the roles refresh those older than an hour."""
KEPT_S = 30 * 86400
TOOLS = ("systemd-nspawn", "mmdebstrap", "apt-get", "ip", "ssh", "git")
DEPENDENCIES = ("systemd-container", "mmdebstrap", "openssh-client", "iproute2", "git")
"""Packages of Debian and Ubuntu that bring them."""
COUNT = itertools.count()
CORES = 2

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


class BedError(UserError):
    """The test bed cannot be set up; the message says why and the fix."""

    exit_code = 3


def cache() -> Path:
    """Where root file systems and packages stay from run to run."""
    base = os.environ.get("MUSTHERD_TESTBED_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "mustherd-testbed"


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """One maker of a thing in the cache at a time; the others find it made."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _keyring() -> Path:
    """What Ubuntu's archive signs with: this machine's, where it is an Ubuntu, or the archive's own package of it."""
    own = Path("/") / KEYRING
    if own.exists():
        return own
    folder = cache() / f"ubuntu-keys-{UBUNTU_KEYS_SHA256[:12]}"
    with _alone("ubuntu-keys"):
        if not folder.is_dir():
            address = f"{UBUNTU}/{UBUNTU_KEYS}"
            try:
                with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 (http, as apt)
                    content = answer.read()
            except OSError as error:
                raise BedError(f"{address}: {error}; fix: reach it from this machine") from None
            if hashlib.sha256(content).hexdigest() != UBUNTU_KEYS_SHA256:
                raise BedError(f"{address}: not the file that it should be; fix: install ubuntu-archive-keyring.gpg")
            package = folder.with_suffix(".deb")
            package.write_bytes(content)
            with files.draft(folder, shared=False) as draft:
                run("dpkg-deb", "--extract", str(package), str(draft))
    return folder / KEYRING


def root_file_system(release: str) -> Path:
    """A system with what a node of CloudLab has when it comes, and compilers; made once."""
    about = RELEASES[release]
    packages = f"{PACKAGES},{about.more}"
    name = f"{release}-{hashlib.sha256(packages.encode()).hexdigest()[:12]}"
    folder = cache() / name
    with _alone(name):
        if folder.is_dir():
            return folder
        keyring = (f"--keyring={_keyring()}",) if about.archive == UBUNTU else ()
        with files.draft(folder, shared=False) as draft:
            command = [
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={packages}"),
                *(*keyring, release, str(draft)),
                *(f"deb {about.archive} {suite} {about.components}" for suite in (release, about.updates) if suite),
            ]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode:
                raise BedError(f"mmdebstrap: {answer.stderr[-2000:].strip()}; fix: reach {about.archive} from here")
    return folder


def package_lists(release: str) -> Path:
    """A layer over the root file system that holds the package lists, fetched once for all hosts."""
    root = root_file_system(release)
    prefix = f"lists-{release}-"
    with _alone(f"{prefix}all"), tempfile.TemporaryDirectory() as scratch:
        kept = sorted(cache().glob(f"{prefix}*[0-9]"))
        now = time.time()
        if kept and now - int(kept[-1].name.removeprefix(prefix)) < FRESH_S:
            return kept[-1]
        folder = cache() / f"{prefix}{int(now)}"
        with files.draft(folder, shared=False) as draft:
            lists = draft / "var/lib/apt/lists"
            (lists / "partial").mkdir(parents=True)
            places = {
                "": root,
                "::State::Lists": lists,
                "::State::status": root / "var/lib/dpkg/status",
                "::Cache": scratch,
            }
            options = [word for name, place in places.items() for word in ("-o", f"Dir{name}={place}")]
            run("apt-get", "--quiet=2", *options, "-o", "APT::Sandbox::User=root", "update")
        # A bed that has been up for long may still use an older one.
        for old in kept:
            if now - int(old.name.removeprefix(prefix)) > KEPT_S:
                shutil.rmtree(old, ignore_errors=True)
    return folder


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command of ours that must not fail."""
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise BedError(f"{' '.join(command)}: {answer.stderr.strip()}")
    return answer


class Host:
    """One container; started again whenever it reboots."""

    def __init__(self, bed: "Bed", name: str, number: int, release: str) -> None:
        self.name = name
        self.release = release
        self.address = f"{NETWORK}.{number + 1}"
        self._bed = bed
        self._folder = bed.folder / name
        self.root = self._folder / "root"
        self.hardware = self._folder / "hardware"
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
        mirror = self._bed.mirror.url
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
                f"cpu{core}/topology/core_id": str(core),
            }
        for name, text in files.items():
            path = cpu / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        for core in range(CORES):
            register = self.hardware / f"msr/{core}/msr"
            register.parent.mkdir(parents=True, exist_ok=True)
            register.write_bytes(bytes(0x1000))

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
                        *("--capability=CAP_NET_ADMIN,CAP_SYS_NICE", f"--bind={self.hardware}:/hardware"),
                        *(f"--bind={self.hardware}/msr:/dev/cpu", "-D", str(self.root), "-M", self.name),
                        *("--boot", "--console=passive"),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            if self._process.wait() != REBOOT:
                return


def refuse_without_means() -> None:
    """Raises BedError where this machine or this account cannot hold a bed."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise BedError(f"{', '.join(missing)}: not installed; fix: sudo apt-get install {' '.join(DEPENDENCIES)}")
    if os.geteuid():
        raise BedError("a test bed needs root, for network and containers; fix: run it with sudo")


class Bed:
    """A bridge, its hosts, the mirror, and what reaches them: a key and the hosts' keys."""

    def __init__(
        self,
        folder: Path,
        hosts: int = 3,
        *,
        releases: Sequence[str] = ("bookworm",),
        namespace: str = "",
        sockets: Path | None = None,
    ) -> None:
        """Hosts take `releases` in turn."""
        refuse_without_means()
        self.folder = folder
        self.files = folder / "files"
        self.files.mkdir(parents=True)
        self.namespace = namespace or f"mh{os.getpid()}-{next(COUNT)}"
        self.key = folder / "id_ed25519"
        self.known_hosts = folder / "known_hosts"
        kinds = zip(range(hosts), itertools.cycle(releases), strict=False)
        self.hosts = {f"node{number}": Host(self, f"node{number}", number, kind) for number, kind in kinds}
        # Sockets cross network namespaces: another bed's kept connection would lead to another bed's host of the same
        # address. Their paths must be short.
        self.sockets = str(sockets or tempfile.mkdtemp(prefix="mh-"))
        Path(self.sockets).mkdir(mode=0o700, exist_ok=True)
        self.control = f"{NETWORK}.{CONTROL}"
        self.mirror: Mirror

    def __enter__(self) -> "Bed":
        for release in {host.release for host in self.hosts.values()}:
            root_file_system(release)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        run("ip", "netns", "add", self.namespace)
        try:
            for step in (
                "link set lo up",
                "link add br0 type bridge",
                f"address add {self.control}/{PREFIX} dev br0",
                "link set br0 up",
            ):
                run("ip", "-n", self.namespace, *step.split())
            self.mirror = Mirror(self.namespace, self.control, PORT, cache=cache() / "packages", files=self.files)
            for host in self.hosts.values():
                host.up()
            self.known_hosts.write_text(
                "".join(
                    f"{host.address} {(host.root / 'etc/ssh/ssh_host_ed25519_key.pub').read_text()}"
                    for host in self.hosts.values()
                )
            )
            for host in self.hosts.values():
                self.wait(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        closers = [threading.Thread(target=host.down) for host in self.hosts.values() if host.root.exists()]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()
        if hasattr(self, "mirror"):
            self.mirror.close()
        subprocess.run(["ip", "netns", "delete", self.namespace], capture_output=True, check=False)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def inside(self, *command: str) -> list[str]:
        """The command as it runs on the control machine within the bed's network."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def ssh(self, name: str, command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A shell command on a host; the answer whatever its exit code."""
        options = [f"UserKnownHostsFile={self.known_hosts}", "StrictHostKeyChecking=yes", "ConnectTimeout=3"]
        return subprocess.run(
            self.inside(
                *("ssh", "-F", "none", "-i", str(self.key), "-o", "BatchMode=yes"),
                *(word for option in options for word in ("-o", option)),
                f"root@{self.hosts[name].address}",
                command,
            ),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def wait(self, host: Host, boots: int = 0, patience: float = 90) -> None:
        """Until a host answers after at least `boots` boots."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if host.boots >= boots and self.ssh(host.name, "systemctl is-system-running --wait").returncode in (0, 1):
                return
            time.sleep(0.3)
        log = (self.folder / host.name / "console.log").read_text(errors="replace")
        raise BedError(f"{host.name} does not answer within {patience} s; its console: {log[-2000:]}")

    def reboot(self) -> None:
        """Reboot every host and wait until all answer again."""
        before = {name: host.boots for name, host in self.hosts.items()}
        for name in self.hosts:
            self.ssh(name, "systemctl reboot")
        for name, host in self.hosts.items():
            self.wait(host, before[name] + 1)
