"""Machines made of files: trees of sysfs, procfs and registers that react to a write as the kernel does.

All that a machine holds can lie in a file, so that another process, or the next life of this one, finds what was left.
"""

import errno
import os
import re
import struct
from pathlib import Path
from typing import Any

import msgspec

from mustherd.node.linux import msr as m
from mustherd.node.linux.knobs.idle import NO_BOUND_US, SYSTEM
from mustherd.node.linux.perf import Event
from mustherd.node.linux.tree import HeldFile, OpenFile, Tree
from tests.node.linux.card import FIRST_NAPI, NAPI_FILES, FakeEthtool
from tests.node.linux.files import COUNTER, build
from tests.node.linux.kinds import CPU, LAB, Kind


def oserror(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class FakeTree(Tree):
    """Files in memory that behave; `faults` map a pattern of paths to the errno that reading or writing them gives.

    With a `store` every change is on disk before the next one.
    """

    def __init__(self, kind: Kind, store: Path | None = None) -> None:
        super().__init__(Path("/nowhere"))
        self.kind = kind
        self.store = store
        self.files: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.read_faults: dict[str, int] = {}
        self.write_faults: dict[str, int] = {}
        self.writes: list[tuple[str, str]] = []
        self.bounds: dict[int, int] = {}
        """us that each open file asks of /dev/cpu_dma_latency."""

    def read_bytes(self, path: str) -> bytes:
        self._fail(self.read_faults, path)
        return self._file(path)

    def opened(self, path: str) -> "FakeFile":
        return FakeFile(self, path)

    def entries(self, path: str) -> list[str]:
        self._fail(self.read_faults, path)
        found = {p[len(path) + 1 :].split("/")[0] for p in (*self.files, *self.links) if p.startswith(f"{path}/")}
        if not found:
            raise oserror(errno.ENOENT)
        return list(found)

    def target(self, path: str) -> str:
        self._fail(self.read_faults, path)
        if path not in self.links:
            raise oserror(errno.ENOENT)
        return self.links[path]

    def has(self, path: str) -> bool:
        return path in self.files or any(p.startswith(f"{path}/") for p in (*self.files, *self.links))

    def held(self, path: str) -> "FakeHeld":
        self._fail(self.write_faults, path)
        self._file(path)
        return FakeHeld(self)

    def write_bytes(self, path: str, content: bytes) -> None:
        self._fail(self.write_faults, path)
        self._file(path)
        text = content.decode()
        self.writes.append((path, text))
        self._react(path, text)
        self.save()

    def open_to_write(self, path: str) -> None:
        self._fail(self.write_faults, path)
        self._file(path)

    def pread(self, path: str, size: int, offset: int) -> bytes:
        self._fail(self.read_faults, f"{path}:{offset:#x}")
        if path == SYSTEM:
            self._file(path)
            return struct.pack("=i", min((NO_BOUND_US, *self.bounds.values())))
        return int(self._file(self._register(path, offset)), 16).to_bytes(8, "little")

    def pwrite(self, path: str, content: bytes, offset: int) -> None:
        self._fail(self.write_faults, f"{path}:{offset:#x}")
        self._register(path, offset)
        value = int.from_bytes(content, "little")
        self.writes.append((f"{path}:{offset:#x}", f"{value:#x}"))
        self.poke(int(path.split("/")[2]), offset, value)
        self.save()

    def poke(self, cpu: int, register: int, value: int) -> None:
        """Put a value into a register, and let the package follow."""
        self.file(f"dev/cpu/{cpu}/registers/{register:#x}", f"{value:x}")
        if register != m.PERF_CTL:
            return
        package = next(cpus for cpus in self.kind.packages.values() if cpu in cpus)
        asked = max(self.peep(c, m.PERF_CTL) >> 8 & 0xFF for c in package)
        runs = asked if asked <= self.kind.ratios[1] else self.kind.ratios[2] - 4
        for c in package:
            self.file(f"dev/cpu/{c}/registers/{m.PERF_STATUS:#x}", f"{runs << 8:x}")

    def peep(self, cpu: int, register: int) -> int:
        """What a register holds."""
        return int(self.files[f"dev/cpu/{cpu}/registers/{register:#x}"], 16)

    def file(self, path: str, text: str) -> None:
        """Make a file."""
        self.files[path] = text.encode()

    def cores(self) -> list[int]:
        """CPUs that are online, each a core of its own."""
        return sorted({c for cpus in self.kind.packages.values() for c in cpus} - set(self.kind.offline))

    def save(self) -> None:
        """Put everything into the store, whole or not at all."""
        if self.store is not None:
            beside = self.store.with_suffix(".new")
            beside.write_bytes(msgspec.json.encode((self.files, self.links)))
            beside.replace(self.store)

    def _file(self, path: str) -> bytes:
        if path not in self.files:
            raise oserror(errno.ENOENT)
        return self.files[path]

    def _register(self, path: str, offset: int) -> str:
        if path not in self.files:
            raise oserror(errno.ENOENT)
        found = f"{path[:-3]}registers/{offset:#x}"
        if found not in self.files:
            raise oserror(errno.EIO)
        return found

    def _fail(self, faults: dict[str, int], path: str) -> None:
        for pattern, code in faults.items():
            if re.search(pattern, path):
                raise oserror(code)

    def _react(self, path: str, text: str) -> None:
        folder, _, name = path.rpartition("/")
        refused = oserror(errno.EINVAL)
        if name == "scaling_governor":
            if text not in self.text(f"{folder}/scaling_available_governors").split():
                raise refused
            self.file(path, text)
            if text == "userspace":
                self.file(f"{folder}/scaling_setspeed", self.text(f"{folder}/scaling_cur_freq"))
            else:
                self.file(f"{folder}/scaling_setspeed", "<unsupported>")
                self._runs(folder, self.number(f"{folder}/scaling_max_freq"))
        elif name == "scaling_setspeed":
            if self.text(f"{folder}/scaling_governor") != "userspace":
                raise refused
            self._runs(folder, int(text))
            self.file(path, text)
        elif name in ("scaling_min_freq", "scaling_max_freq"):
            bounds = {n: self.number(f"{folder}/{n}") for n in ("scaling_min_freq", "scaling_max_freq")} | {
                name: int(text)
            }
            if bounds["scaling_min_freq"] > bounds["scaling_max_freq"]:
                raise refused
            if name == "scaling_max_freq" and self.files.get(f"{CPU}/intel_pstate/no_turbo") == b"1":
                # The kernel keeps the wish and shows what it makes of it.
                bounds[name] = min(bounds[name], self.number(f"{folder}/base_frequency"))
            self.file(path, str(bounds[name]))
            self._runs(folder, bounds["scaling_max_freq"])
        elif name in ("min_freq_khz", "max_freq_khz"):
            self.file(path, text)
            ends = [self.number(f"{folder}/{file}_freq_khz") for file in ("min", "max")]
            self.file(f"{folder}/current_freq_khz", str(max(ends)))
        elif name == "enabled" and "hugepage" in folder:
            words = self.text(path).replace("[", "").replace("]", "").split()
            if text not in words:
                raise refused
            self.file(path, " ".join(f"[{word}]" if word == text else word for word in words))
        elif name in NAPI_FILES:
            self.file(path, text)
            # What is said to the interface is said to each of its NAPIs.
            nic = f"nic/{self.kind.interface}"
            found = msgspec.json.decode(self.files[nic], type=dict[str, Any])
            for own in found.get("napis", {}).values():
                own[NAPI_FILES[name]] = int(text)
            self.file(nic, msgspec.json.encode(found).decode())
        elif name == "cpuset.cpus":
            self.file(path, text.strip())
        else:
            self.file(path, text)

    def _runs(self, folder: str, khz: int) -> None:
        self.file(f"{folder}/scaling_cur_freq", str(khz))
        if self.kind.registers:
            self.poke(int(folder.split("/cpu")[2]), m.PERF_CTL, khz // 100_000 << 8)


class FakeFile(OpenFile):
    """One that is read again and again."""

    def __init__(self, tree: FakeTree, path: str) -> None:
        self._tree = tree
        self._name = path

    def read(self) -> bytes:
        return self._tree.read_bytes(self._name)

    def close(self) -> None:
        pass


class FakeHeld(HeldFile):
    """/dev/cpu_dma_latency, opened."""

    def __init__(self, tree: FakeTree) -> None:
        self._tree = tree
        self.asked = b""
        self._number = len(tree.bounds)
        tree.bounds[self._number] = NO_BOUND_US

    def write(self, content: bytes) -> None:
        self._tree._fail(self._tree.write_faults, SYSTEM)
        self._tree.bounds[self._number] = struct.unpack("=i", content)[0]
        self.asked = content

    def close(self) -> None:
        self._tree.bounds[self._number] = NO_BOUND_US


class FakeEvent(Event):
    """An event of perf's."""

    def __init__(self, machine: "Machine", share: float) -> None:
        self._machine, self._share = machine, share

    def read(self) -> int:
        if "perf" in self._machine.tree.read_faults:
            raise oserror(self._machine.tree.read_faults["perf"])
        return round(self._machine.seconds * 50.0 * self._share * 2**32)

    def __del__(self) -> None:
        pass


class Machine:
    """A machine as new, or as an earlier process left it in `store`."""

    def __init__(self, kind: Kind = LAB, store: Path | None = None) -> None:
        self.kind = kind
        self.tree = FakeTree(kind, store)
        self.ethtool = FakeEthtool(self.tree)
        self.raw: dict[str, int] = {}
        self.seconds = 0.0
        if store is not None and store.exists():
            self.tree.files, self.tree.links = msgspec.json.decode(
                store.read_bytes(), type=tuple[dict[str, bytes], dict[str, str]]
            )
            return
        build(self.tree, kind)
        self.ethtool.save(
            kind.interface,
            {"driver": kind.nic, "rx": 512, "tx": 512, "most": 4096}
            | ({} if kind.nic == "virtio_net" else {"rx_usecs": 1 if kind.nic in ("ixgbe", "igb") else 8})
            | ({"adaptive_rx": 1, "cqe": 1} if kind.nic == "mlx5_core" else {})
            | ({"tx_usecs": 8, "rx_frames": 128, "tx_frames": 64} if kind.nic in ("mlx5_core", "bnxt_en") else {})
            | ({} if kind.nic in ("veth", "igb") else {"channels": 4, "channels_max": 8})
            | ({"gro": 1, "lro": 0})
            | (
                {
                    "napis": {
                        str(FIRST_NAPI + n): dict.fromkeys(NAPI_FILES.values(), 0) | {"irq_suspend_ns": 0}
                        for n in range(2)
                    }
                }
                if kind.napi
                else {}
            ),
        )
        self.live(1.0)

    def unpack(self, folder: Path) -> None:
        """Put the files on disk."""
        for path, content in self.tree.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        for path, target in self.tree.links.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(target)

    def live(self, seconds: float, watts: float = 50.0) -> None:
        """Let time pass: every package uses so many W, a third of it in its cores, and every CPU is awake."""
        for index, cpus in enumerate(self.kind.packages.values()):
            for part, register, share in (("", m.PKG_ENERGY_STATUS, 1.0), (":0", m.PP0_ENERGY_STATUS, 0.3)):
                key = f"{index}{part}"
                count = self.raw.get(key, 12345) + round(seconds * watts * share * 2**self.kind.esu)
                self.raw[key] = count
                self._show(key, register, cpus, count % COUNTER)
            for cpu in cpus:
                if self.kind.registers:
                    self._awake(cpu, seconds)
        self.seconds += seconds
        for cpu in self.tree.cores() if self.kind.amd_registers else ():
            share = 0.3 / (len(self.tree.cores()) / len(self.kind.packages))
            count = self.raw.get(f"core {cpu}", 2**32 - 5 - cpu) + round(seconds * watts * share * 2**self.kind.esu)
            self.raw[f"core {cpu}"] = count
            self.tree.file(f"dev/cpu/{cpu}/registers/{m.AMD_CORE_ENERGY:#x}", f"{count % COUNTER:x}")

    def opened(self, kind: int, config: int, cpu: int) -> Event:
        """An event of perf's PMU power: its packages use 50 W, memory a tenth of that, the board half more."""
        if "perf" in self.tree.read_faults:
            raise oserror(self.tree.read_faults["perf"])
        assert kind == 22
        share = {2: 1.0, 3: 0.1, 5: 1.5 * len(self.kind.packages)}[config]
        return FakeEvent(self, share)

    def _show(self, key: str, register: int, cpus: tuple[int, ...], count: int) -> None:
        if self.kind.powercap:
            unit = 10**9 >> self.kind.esu
            self.tree.file(f"sys/class/powercap/intel-rapl:{key}/energy_uj", str(count * unit // 1000))
        for cpu in cpus if self.kind.registers else ():
            self.tree.file(f"dev/cpu/{cpu}/registers/{register:#x}", f"{count:x}")
        for cpu in cpus if self.kind.amd_registers and register == m.PKG_ENERGY_STATUS else ():
            self.tree.file(f"dev/cpu/{cpu}/registers/{m.AMD_PKG_ENERGY:#x}", f"{count:x}")

    def _awake(self, cpu: int, seconds: float) -> None:
        runs = (self.tree.peep(cpu, m.PERF_STATUS) >> 8) * 100
        for register, mhz in ((m.MPERF, self.kind.ratios[1] * 100), (m.APERF, runs)):
            self.tree.poke(cpu, register, (self.tree.peep(cpu, register) + round(mhz * 1e6 * seconds)) % 2**64)
