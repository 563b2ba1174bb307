"""Machines made of files: trees of sysfs, procfs and registers that react to a write as the kernel does.

All that a machine holds can lie in a file, so that another process, or the next life of this one, finds what was left.
"""

import errno
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from mustherd.node.linux import interfaces
from mustherd.node.linux import msr as m
from mustherd.node.linux.ethtool import Channels, Coalesce, Driver, EthtoolError, Napi, Rings
from mustherd.node.linux.perf import Event
from mustherd.node.linux.tree import OpenFile, Tree
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

    def write_bytes(self, path: str, content: bytes) -> None:
        self._fail(self.write_faults, path)
        self._file(path)
        text = content.decode()
        self.writes.append((path, text))
        self._react(path, text)
        self.save()

    def pread(self, path: str, size: int, offset: int) -> bytes:
        self._fail(self.read_faults, f"{path}:{offset:#x}")
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


class FakeEthtool:
    """NICs as their drivers keep them; the settings lie in a file below the tree's root."""

    def __init__(self, tree: FakeTree) -> None:
        self.tree = tree
        self.calls: list[tuple[str, int | None, bool | None]] = []

    def coalesce(self, interface: str) -> Coalesce:
        found = self._load(interface)
        if "rx_usecs" not in found:
            raise EthtoolError(f"{interface}: interrupt moderation: Operation not supported")
        flag = found.get("adaptive_rx")
        return Coalesce(
            rx_usecs=found["rx_usecs"],
            tx_usecs=found.get("tx_usecs"),
            adaptive_rx=None if flag is None else bool(flag),
            rx_frames=found.get("rx_frames"),
            cqe=None if "cqe" not in found else bool(found["cqe"]),
        )

    def set_coalesce(
        self,
        interface: str,
        rx_usecs: int | None = None,
        adaptive_rx: bool | None = None,
        *,
        tx_usecs: int | None = None,
        rx_frames: int | None = None,
        cqe: bool | None = None,
    ) -> None:
        found = self._load(interface)
        for name, value in (("tx_usecs", tx_usecs), ("rx_frames", rx_frames), ("cqe", cqe)):
            if value is not None:
                if name not in found:
                    raise EthtoolError(f"{interface}: {name}: Operation not supported")
                found[name] = int(value)
        self.calls.append((interface, rx_usecs, adaptive_rx))
        if rx_usecs is not None:
            found["rx_usecs"] = self._kept(found["driver"], rx_usecs)
        if adaptive_rx is not None:
            if "adaptive_rx" not in found:
                raise EthtoolError(f"{interface}: rx-usecs: Operation not supported")
            found["adaptive_rx"] = int(adaptive_rx)
        # What is said to the whole card is said to each of its queues.
        found.pop("queues", None)
        self.save(interface, found)

    def queue_coalesce(self, interface: str, queue: int) -> Coalesce:
        found = self._of_queue(interface, self._load(interface), queue)
        return Coalesce(rx_usecs=found["rx_usecs"], adaptive_rx=bool(found["adaptive_rx"]))

    def set_queue_coalesce(
        self, interface: str, queue: int, rx_usecs: int | None = None, adaptive_rx: bool | None = None
    ) -> None:
        found = self._load(interface)
        own = self._of_queue(interface, found, queue)
        own |= {} if rx_usecs is None else {"rx_usecs": self._kept(found["driver"], rx_usecs)}
        own |= {} if adaptive_rx is None else {"adaptive_rx": int(adaptive_rx)}
        found.setdefault("queues", {})[str(queue)] = own
        self.save(interface, found)

    def _of_queue(self, interface: str, found: dict[str, Any], queue: int) -> dict[str, int]:
        if found["driver"] not in ("i40e", "ice", "mlx5_core"):
            raise EthtoolError(f"{interface}: queue {queue}: interrupt moderation: Operation not supported")
        if queue not in interfaces.receiving(self.tree, interface):
            raise EthtoolError(f"{interface}: queue {queue}: interrupt moderation: Invalid argument")
        whole = {"rx_usecs": found["rx_usecs"], "adaptive_rx": found.get("adaptive_rx", 0)}
        return dict(found.get("queues", {}).get(str(queue), whole))

    def channels(self, interface: str) -> Channels:
        found = self._load(interface)
        if "channels" not in found:
            raise EthtoolError(f"{interface}: channels: Operation not supported")
        return Channels(combined=found["channels"], combined_max=found["channels_max"])

    def set_channels(self, interface: str, combined: int) -> None:
        self.save(interface, self._load(interface) | {"channels": combined})

    def feature(self, interface: str, name: str) -> bool:
        return bool(self._load(interface).get(name, 0))

    def set_feature(self, interface: str, name: str, on: bool) -> None:
        found = self._load(interface)
        if name == "lro" and found["driver"] not in ("ixgbe", "mlx5_core", "virtio_net"):
            raise EthtoolError(f"{interface}: {name} {int(on)}: Invalid argument")
        self.save(interface, found | {name: int(on)})

    def napis(self, index: int) -> tuple[Napi, ...]:
        found = self._load(self.tree.kind.interface).get("napis")
        if found is None:
            raise EthtoolError(f"interface {index}: NAPI: this kernel has no netdev netlink")
        return tuple(Napi(id=int(number), irq_suspend_ns=ns) for number, ns in found.items())

    def set_irq_suspend(self, napi: int, nanoseconds: int) -> None:
        name = self.tree.kind.interface
        found = self._load(name)
        found["napis"][str(napi)] = nanoseconds
        self.save(name, found)

    def rings(self, interface: str) -> Rings:
        found = self._load(interface)
        return Rings(rx=found["rx"], tx=found["tx"], rx_max=found["most"], tx_max=found["most"])

    def set_rings(self, interface: str, rx: int | None, tx: int | None) -> None:
        found = self._load(interface)
        found |= {k: v for k, v in (("rx", rx), ("tx", tx)) if v is not None}
        self.save(interface, found)

    def driver(self, interface: str) -> Driver:
        return Driver(
            name=str(self._load(interface)["driver"]), version="5.1.0-k", firmware="0x800003df", bus="0000:03:00.0"
        )

    def statistics(self, interface: str) -> dict[str, int]:
        return dict(self._load(interface).get("statistics", {}))

    def addresses(self) -> dict[int, tuple[str, ...]]:
        return {1: ("127.0.0.1/8",), 2: ("10.10.1.2/24", "fe80::1/64")}

    def save(self, interface: str, found: dict[str, Any]) -> None:
        self.tree.file(f"nic/{interface}", msgspec.json.encode(found).decode())
        self.tree.save()

    def _load(self, interface: str) -> dict[str, Any]:
        if f"nic/{interface}" not in self.tree.files:
            raise EthtoolError(f"{interface}: No such device")
        return msgspec.json.decode(self.tree.files[f"nic/{interface}"], type=dict[str, Any])

    def _kept(self, driver: str, usecs: int) -> int:
        refused = EthtoolError(f"rx-usecs {usecs}: Invalid argument")
        if driver == "ixgbe":
            if usecs > 1022:
                raise refused
            return usecs if usecs < 2 else usecs & ~1
        if driver in ("e1000e", "igb"):
            if usecs > 10000 or 4 < usecs < 10 or usecs == 2:
                raise refused
            return usecs if usecs <= 4 or driver == "igb" else 1_000_000 // (1_000_000 // usecs & ~3)
        if driver == "virtio_net":
            raise EthtoolError("rx-usecs: Operation not supported")
        return usecs


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
            | ({"tx_usecs": 8, "rx_frames": 128} if kind.nic in ("mlx5_core", "bnxt_en") else {})
            | ({} if kind.nic in ("veth", "igb") else {"channels": 4, "channels_max": 8})
            | ({"gro": 1, "lro": 0})
            | ({"napis": {"257": 0, "258": 0}} if kind.napi else {}),
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
