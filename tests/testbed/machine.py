"""A virtual machine as a node comes: Debian on a disk, started by its own GRUB, with systemd and sshd.

What is done in it is real, and it may reboot into another kernel. It is emulated, so how long something takes in it
means nothing. ssh reaches it through a port of this machine's loopback; it reaches nothing.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.testbed.vm import CPUS, Locked, acpi_table

PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,iproute2,ethtool,kmod,procps,udev,initramfs-tools,zstd,"
    "irqbalance,msr-tools,grub2-common,grub-pc-bin,linux-image-cloud-amd64"
)
PREPARE = r"""
set -eu
printf 'virtio_pci\nvirtio_blk\next4\n' > "$1/etc/initramfs-tools/modules"
sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=gzip\nCOMPRESSLEVEL=1/' \
    "$1/etc/initramfs-tools/initramfs.conf"
chmod -x "$1/etc/grub.d/20_linux_xen" "$1/etc/grub.d/30_os-prober" "$1/etc/grub.d/30_uefi-firmware"
chroot "$1" update-initramfs -u
printf '/dev/vda1 / ext4 defaults 0 1\n' > "$1/etc/fstab"
cat > "$1/etc/default/grub" <<'END'
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_TERMINAL=console
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX="console=ttyS0 panic=5 mitigations=off random.trust_cpu=on"
END
printf '[Match]\nMACAddress=52:54:00:12:34:01\n[Network]\nAddress=10.0.2.15/24\nLinkLocalAddressing=no\n' \
    > "$1/etc/systemd/network/10-login.network"
chroot "$1" systemctl --quiet enable systemd-networkd.service
chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer systemd-networkd-wait-online.service
mkdir -p "$1/boot/grub/i386-pc" "$1/root/.ssh"
"""
GRUB_CORE = ("biosdisk", "part_msdos", "ext2")
"""What GRUB needs to find its own menu and modules."""

FIRST_MENU = """
set root=(hd0,msdos1)
linux /vmlinuz root=/dev/vda1 console=ttyS0 panic=5 mitigations=off
initrd /initrd.img
boot
"""

DISK_MIB = 3072
SECTOR = 512
FIRST_SECTOR = 2048
ANSWER_S = 240.0
"""From power on to a login; 20 s on an idle machine."""


class MachineError(Exception):
    """The machine could not be made or does not answer; the message says why."""


def cache() -> Path:
    """Where root file systems stay from run to run."""
    base = os.environ.get("MUSTHERD_TESTBED_CACHE", Path.home() / ".cache/mustherd")
    return Path(base) / "machine"


def run(*command: str | Path) -> str:
    """Output of a command that must not fail. Raises MachineError."""
    answer = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise MachineError(f"{command[0]}: {answer.stderr.strip()[-2000:]}")
    return answer.stdout


def root_file_system() -> Path:
    """A Debian 12 with a kernel of the distribution, unpacked; made once."""
    digest = hashlib.sha256(f"{PACKAGES}{PREPARE}".encode()).hexdigest()[:12]
    with Locked(cache()):
        folder = cache() / f"bookworm-{digest}"
        if not folder.is_dir():
            for old in cache().glob("bookworm-*"):
                shutil.rmtree(old)
            part = cache() / "part"
            shutil.rmtree(part, ignore_errors=True)
            hook = cache() / "prepare.sh"
            hook.write_text(PREPARE)
            run(
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={PACKAGES}"),
                *(f'--customize-hook=sh "{hook}" "$1"', "bookworm", part, "http://deb.debian.org/debian"),
            )
            part.rename(folder)
    return folder


class Machine:
    """One machine; a context manager that switches it off."""

    user = "root"

    def __init__(self, folder: Path) -> None:
        """`folder` takes the disk, the keys and the console's log. Raises MachineError."""
        if os.geteuid():
            raise MachineError("a machine's disk is made by root: run it as root, or in CI")
        tools = ("qemu-system-x86_64", "iasl", "mmdebstrap", "grub-mkimage", "ssh", "ssh-keygen")
        missing = [tool for tool in tools if not shutil.which(tool)]
        if missing:
            raise MachineError(f"{', '.join(missing)} missing; fix: sh tests/testbed/install-kernel.sh")
        self.folder = folder
        self.key = folder / "id_ed25519"
        self.known_hosts = folder / "known_hosts"
        self.console = folder / "console.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._disk = folder / "disk"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Machine":
        self._make_disk()
        self._switch_on()
        try:
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def power_cycle(self) -> None:
        """Off and on again, as when a plug is pulled."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._switch_on()
        self.wait()

    def ssh(self, command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A shell command in the machine; the answer whatever its exit code."""
        options = [f"UserKnownHostsFile={self.known_hosts}", "StrictHostKeyChecking=yes", "ConnectTimeout=5"]
        return subprocess.run(
            [
                *("ssh", "-F", "none", "-i", str(self.key), "-p", str(self.port), "-o", "BatchMode=yes"),
                *(word for option in options for word in ("-o", option)),
                "root@127.0.0.1",
                command,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def said(self, command: str) -> list[str]:
        """Words that a command prints, which has to end well."""
        answer = self.ssh(command)
        if answer.returncode:
            raise MachineError(f"{command}: {answer.returncode}: {answer.stdout}{answer.stderr}")
        return answer.stdout.split()

    def boot(self) -> str:
        """What names this boot and no other."""
        return self.said("cat /proc/sys/kernel/random/boot_id")[0]

    def reboot(self) -> None:
        """Reboot and wait until it answers again."""
        before = self.boot()
        self.ssh("systemctl reboot")
        self.wait(before)

    def wait(self, before: str = "") -> None:
        """Until it has booted, into another boot than `before`. Raises MachineError."""
        end = time.monotonic() + ANSWER_S
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                answer = self.ssh("cat /proc/sys/kernel/random/boot_id && systemctl is-system-running --wait", 30)
                if answer.returncode in (0, 1) and answer.stdout and answer.stdout.split()[0] != before:
                    return
            time.sleep(0.5)
        log = self.console.read_text(errors="replace") if self.console.exists() else ""
        raise MachineError(f"the machine does not answer; its console: {log[-3000:]}")

    def _switch_on(self) -> None:
        # Without graphics the firmware, and with it GRUB, speaks over the serial line; with, and no screen, GRUB hangs.
        command = ["qemu-system-x86_64", "-M", "q35,graphics=off"]
        command += ["-accel", "tcg,thread=multi", "-cpu", "Skylake-Server"]
        command += ["-m", "1024", "-smp", f"{CPUS},sockets=1,cores=2,threads=2", "-nodefaults", "-display", "none"]
        with Locked(cache().parent / "vm"):
            tables = shutil.copy(acpi_table(), self.folder / "pstates.aml")
        command += ["-acpitable", f"file={tables}", "-device", "virtio-rng-pci"]
        command += ["-drive", f"file={self._disk},format=raw,if=virtio,cache=unsafe"]
        login = f"user,id=login,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"
        command += ["-netdev", login, "-device", "virtio-net-pci,netdev=login,mac=52:54:00:12:34:01"]
        # The experiment's card: several queues, each with an interrupt of its own.
        command += ["-netdev", "user,id=card,restrict=on", "-device", "vmxnet3,netdev=card,mac=52:54:00:12:34:02"]
        command += ["-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _make_disk(self) -> None:
        """One partition and GRUB before it, without loop devices."""
        root = self.folder / "root"
        run("cp", "-a", "--reflink=auto", root_file_system(), root)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        for key in (root / "etc/ssh").glob("ssh_host_*"):
            key.unlink()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", root / "etc/ssh/ssh_host_ed25519_key")
        host_key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {host_key}")
        shutil.copy(self.key.with_suffix(".pub"), root / "root/.ssh/authorized_keys")
        (root / "etc/hostname").write_text("node1\n")
        (root / "etc/machine-id").write_text(f"{hashlib.sha256(b'node1').hexdigest()[:32]}\n")
        # The package lists are as old as the machine; it reaches no others.
        (root / "var/lib/apt/lists").touch()
        (root / "boot/grub/grub.cfg").write_text(FIRST_MENU)
        run("cp", "-a", *Path("/usr/lib/grub/i386-pc").glob("*.mod"), root / "boot/grub/i386-pc")
        run("cp", "-a", *Path("/usr/lib/grub/i386-pc").glob("*.lst"), root / "boot/grub/i386-pc")

        core = self.folder / "core.img"
        run("grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "(hd0,msdos1)/boot/grub", *GRUB_CORE)
        sectors = DISK_MIB * 2048
        with self._disk.open("wb") as disk:
            disk.truncate(sectors * SECTOR)
            disk.write(Path("/usr/lib/grub/i386-pc/boot.img").read_bytes()[:440])
            partition = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0])
            partition += FIRST_SECTOR.to_bytes(4, "little") + (sectors - FIRST_SECTOR).to_bytes(4, "little")
            disk.seek(446)
            disk.write(partition + bytes(48) + b"\x55\xaa")
            disk.seek(SECTOR)
            disk.write(core.read_bytes())
        run(
            *("mkfs.ext4", "-q", "-d", root, "-E", f"offset={FIRST_SECTOR * SECTOR}", self._disk),
            f"{(sectors - FIRST_SECTOR) // 8}",
        )
        shutil.rmtree(root)
