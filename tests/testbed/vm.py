"""A small virtual machine with a real kernel, for what only a real kernel can show.

Nothing but a kernel, this interpreter and this checkout: the kernel is the distribution's (install.sh unpacks it), the
root file system an initramfs made here of the running interpreter, the libraries that it loads and a busybox. Commands
go over a serial line. It is emulated, so how long something takes in it means nothing.
"""

import fcntl
import gzip
import hashlib
import importlib.metadata
import lzma
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BASE = str(getattr(sys, "_base_executable", sys.executable))
"""The interpreter that a virtual environment was made from."""
CACHE = Path(os.environ.get("MUSTHERD_TESTBED_CACHE", Path.home() / ".cache/mustherd")) / "vm"

MODULES = ("e1000e", "virtio_pci", "virtio_net", "msr", "acpi-cpufreq", "cpufreq_userspace", "cpufreq_ondemand")
PACKAGES = ("msgspec", "pyzmq", "pytest", "pluggy", "iniconfig", "packaging", "pygments")
LEFT_OUT = {"test", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo", "pydoc_data", "site-packages"}
SOURCE = "/src"

BOOT_S = 120.0
"""From power on to the first prompt; 10 s on an idle machine."""

BOOTS = 3
"""An emulated kernel now and then faults in its own start, before anything of ours runs (an oops in its keyrings was
seen once in some hundred starts). What faults later is never tried again."""

COMMAND_S = 180.0

END = b"\x1e"

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /var /root
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
for module in $(cat /modules/order); do insmod /modules/$module || echo "no $module"; done
ip link set lo up; ip address add 10.10.1.2/24 dev eth0; ip link set eth0 up
export PATH={bin}:/bin HOME=/root PYTHONPATH=/src:/site PYTHONDONTWRITEBYTECODE=1
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1
printf 'ready\\036' >&3
while read -r line <&3; do
  sh -c "$line" >/tmp/said 2>&1 </dev/null; code=$?
  cat /tmp/said >&3; printf '\\036%d\\036' $code >&3
done
poweroff -f
"""

# Performance states as a server's firmware names them, set through a port that nothing listens on.
SSDT = """DefinitionBlock ("", "SSDT", 2, "MUST", "PSTATES", 1) {{
{processors}
}}"""
PROCESSOR = """  External (\\_SB.CPUS.C{n:03X}, DeviceObj)
  Scope (\\_SB.CPUS.C{n:03X}) {{
    Name (_PCT, Package () {{
      ResourceTemplate () {{ Register (SystemIO, 16, 0, 0x05F0) }},
      ResourceTemplate () {{ Register (SystemIO, 16, 0, 0x05F2) }} }})
    Name (_PSS, Package () {{ {states} }})
    Name (_PPC, 0)
  }}"""
CLOCKS_MHZ = (2600, 2000, 1600, 1200)
CPUS = 4


class VmError(Exception):
    """The machine could not be made, or doesn't answer; the message says what is missing or what it said last."""


class Vm:
    """A running machine; a context manager that switches it off."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes the console's log and the sockets. Raises VmError."""
        for tool in ("qemu-system-x86_64", "busybox", "iasl"):
            if shutil.which(tool) is None:
                raise VmError(f"{tool} is missing: run tests/testbed/install.sh")
        self._console = folder / "console.log"
        with Locked(CACHE):
            images = [base_image(), _written(folder / "source.cpio", _source())]
            tables = acpi_table()
        whole = folder / "initramfs"
        with whole.open("wb") as out:
            for image in images:
                out.write(image.read_bytes())
        command = [
            "qemu-system-x86_64",
            "-M",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "Skylake-Server",
            "-m",
            "1024",
        ]
        command += ["-smp", f"{CPUS},sockets=1,cores=2,threads=2", "-nodefaults", "-display", "none", "-no-reboot"]
        command += ["-kernel", str(kernel()), "-initrd", str(whole), "-acpitable", f"file={tables}"]
        command += ["-append", "console=ttyS0 oops=panic panic=-1 net.ifnames=0 mitigations=off random.trust_cpu=on"]
        command += ["-netdev", "user,id=net,restrict=on", "-device", "e1000e,netdev=net", "-device", "virtio-rng-pci"]
        command += ["-netdev", "user,id=more,restrict=on", "-device", "virtio-net-pci,netdev=more"]
        command += ["-serial", f"file:{self._console}"]
        self.boots = 1
        while not self._starts(command):
            self.boots += 1

    def _starts(self, command: list[str]) -> bool:
        """Switch on. False where the kernel faulted in its own start and may be tried again. Raises VmError."""
        # A socket's path may not be longer than 107 bytes; pytest's folders are.
        self._ours, theirs = socket.socketpair()
        line = ["-chardev", f"socket,id=line,fd={theirs.fileno()}", "-serial", "chardev:line"]
        self._process = subprocess.Popen(
            command + line, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        theirs.close()
        started = time.monotonic()
        try:
            self._until_end(BOOT_S)
        except VmError:
            self.close()
            console = self._console.read_text(errors="replace") if self._console.exists() else ""
            if self.boots < BOOTS and "Kernel panic" in console and "Run /init" not in console:
                return False
            raise
        self.boot_seconds = time.monotonic() - started
        return True

    def __enter__(self) -> "Vm":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, command: str, seconds: float = COMMAND_S) -> tuple[int, str]:
        """Exit code and output of one line of shell. Raises VmError."""
        self._ours.sendall(command.encode() + b"\n")
        said = self._until_end(seconds)
        return int(self._until_end(10.0)), said.decode("utf-8", "replace")

    def check(self, command: str, seconds: float = COMMAND_S) -> str:
        """Output of a line of shell that has to end well."""
        code, said = self.run(command, seconds)
        if code:
            raise VmError(f"{command}: exit code {code}: {said}")
        return said

    def python(self, code: str, seconds: float = COMMAND_S) -> str:
        """Output of a program that has to end well."""
        return self.check(f'cd {SOURCE} && python3 -c "$(echo {code.encode().hex()} | xxd -r -p)"', seconds)

    def close(self) -> None:
        """Switch off."""
        self._ours.close()
        self._process.kill()
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _until_end(self, seconds: float) -> bytes:
        """What comes over the line up to the next END."""
        deadline = time.monotonic() + seconds
        said = b""
        while not said.endswith(END):
            self._ours.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                # One byte at a time: the exit code follows, and must be left for the next call.
                byte = self._ours.recv(1)
            except TimeoutError:
                byte = b""
            if not byte:
                console = self._console.read_text(errors="replace")[-2000:] if self._console.exists() else ""
                raise VmError(f"the machine is silent after {seconds:g} s; so far: {said!r}; console: {console}")
            said += byte
        return said[:-1]


def kernel() -> Path:
    """The unpacked kernel. Raises VmError."""
    found = sorted((CACHE / "kernel/boot").glob("vmlinuz-*"))
    if not found:
        raise VmError(f"no kernel in {CACHE}/kernel: run tests/testbed/install.sh")
    return found[-1]


def base_image() -> Path:
    """The initramfs without this checkout; made once for each interpreter, set of packages and kernel."""
    parts = [sys.version, str(kernel()), INIT, *MODULES, *(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)]
    path = CACHE / f"base-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.cpio"
    if not path.exists():
        for old in CACHE.glob("base-*.cpio"):
            old.unlink()
        _written(path, _base())
    return path


def acpi_table() -> Path:
    """The compiled table of performance states."""
    states = ", ".join(
        f"Package () {{ {mhz}, {mhz * 30}, 10, 10, {mhz // 100 << 8}, {mhz // 100 << 8} }}" for mhz in CLOCKS_MHZ
    )
    text = SSDT.format(processors="\n".join(PROCESSOR.format(n=n, states=states) for n in range(CPUS)))
    source = CACHE / "pstates.asl"
    source.write_text(text)
    done = subprocess.run(["iasl", "-p", CACHE / "pstates", source], capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmError(f"iasl: {done.stdout}{done.stderr}")
    return CACHE / "pstates.aml"


def _base() -> Iterable[tuple[str, Path | bytes, int]]:
    """Path, content and mode of every file but this checkout's."""
    yield "init", INIT.replace("{bin}", str(Path(BASE).parent)).encode(), 0o755
    busybox = Path(shutil.which("busybox") or "")
    yield "bin/busybox", busybox, 0o755
    yield from _modules()
    files: dict[str, Path] = {}
    interpreter = Path(BASE).resolve()
    files[str(Path(BASE).parent / "python3")] = interpreter
    files[str(interpreter)] = interpreter
    stdlib = Path(sysconfig.get_path("stdlib"))
    for path in stdlib.rglob("*"):
        inside = path.relative_to(stdlib).parts
        if path.is_file() and not set(inside) & LEFT_OUT and not inside[0].startswith("config-"):
            files[str(path)] = path
    for package in PACKAGES:
        for file in importlib.metadata.files(package) or ():
            path = Path(str(file.locate()))
            if path.is_file() and ".." not in file.parts:
                files[f"/site/{file}"] = path
    binaries = [p for p in files.values() if p == interpreter or ".so" in p.name]
    for library in _libraries(binaries):
        files[str(library)] = library
    for target, path in files.items():
        yield target.lstrip("/"), path, 0o755 if os.access(path, os.X_OK) else 0o644


def _source() -> Iterable[tuple[str, Path | bytes, int]]:
    for top in ("mustherd", "tests/node", "tests/muster", "tests/testbed"):
        for path in (ROOT / top).rglob("*.py"):
            yield f"{SOURCE.lstrip('/')}/{path.relative_to(ROOT)}", path, 0o644
    for name in ("__init__", "typed", "waiting"):
        yield f"{SOURCE.lstrip('/')}/tests/{name}.py", ROOT / f"tests/{name}.py", 0o644


def _modules() -> Iterable[tuple[str, Path | bytes, int]]:
    """The modules that are not built in, in an order in which they load."""
    tree = CACHE / "kernel/lib/modules"
    if not tree.exists():
        tree = CACHE / "kernel/usr/lib/modules"
    there = {re.sub(r"\.ko(\.\w+)?$", "", p.name).replace("-", "_"): p for p in tree.rglob("*.ko*")}
    order: list[str] = []
    contents: dict[str, bytes] = {}

    def add(name: str) -> None:
        name = name.replace("-", "_")
        if name in contents or name not in there:
            return
        contents[name] = content = _uncompressed(there[name])
        needs = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in (needs[1].decode() if needs else "").split(","):
            add(other)
        order.append(name)

    for name in MODULES:
        add(name)
    yield "modules/order", "\n".join(f"{name}.ko" for name in order).encode(), 0o644
    for name in order:
        yield f"modules/{name}.ko", contents[name], 0o644


def _uncompressed(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    if path.suffix == ".gz":
        return gzip.decompress(content)
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
    return content


def _libraries(binaries: Iterable[Path]) -> set[Path]:
    """Shared libraries that these load, by the paths at which they look for them."""
    found: set[Path] = set()
    done = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False)
    for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", done.stdout, re.MULTILINE):
        # Wheels find their own libraries beside themselves, where they are in the machine too.
        if "site-packages" not in path:
            found.add(Path(path))
    return found


def _written(path: Path, files: Iterable[tuple[str, Path | bytes, int]]) -> Path:
    """An archive as the kernel takes it ('newc'), whole or not at all."""
    beside = path.with_suffix(".new")
    folders: set[str] = set()
    with beside.open("wb") as out:

        def entry(number: int, name: str, mode: int, content: bytes) -> None:
            encoded = name.encode() + b"\0"
            fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
            header = b"070701" + b"".join(b"%08X" % f for f in fields) + encoded
            out.write(header + bytes(-len(header) % 4) + content + bytes(-len(content) % 4))

        number = 1
        for name, source, mode in files:
            for parent in [*reversed(Path(name).parents)][1:]:
                if str(parent) not in folders:
                    folders.add(str(parent))
                    entry(number := number + 1, str(parent), stat.S_IFDIR | 0o755, b"")
            content = source if isinstance(source, bytes) else source.read_bytes()
            entry(number := number + 1, name, stat.S_IFREG | mode, content)
        entry(0, "TRAILER!!!", 0, b"")
        out.write(bytes(-out.tell() % 512))
    beside.replace(path)
    return path


class Locked:
    """One at a time makes what is shared."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "lock").open("w")

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
