"""Network cards that keep what is set."""

from typing import TYPE_CHECKING, Any

import msgspec

from mustherd.node.linux import interfaces
from mustherd.node.linux.ethtool import Channels, Coalesce, Driver, Rings
from mustherd.node.linux.netdev import Napi
from mustherd.node.linux.netlink import EthtoolError

if TYPE_CHECKING:
    from tests.node.linux.machine import FakeTree

FIRST_NAPI = 257
NAPI_FILES = {"gro_flush_timeout": "gro_flush_ns", "napi_defer_hard_irqs": "defer"}


class FakeEthtool:
    """NICs as their drivers keep them; the settings lie in a file below the tree's root."""

    def __init__(self, tree: "FakeTree") -> None:
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
            tx_frames=found.get("tx_frames"),
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
        tx_frames: int | None = None,
        cqe: bool | None = None,
    ) -> None:
        found = self._load(interface)
        for name, value in (("tx_usecs", tx_usecs), ("rx_frames", rx_frames), ("tx_frames", tx_frames), ("cqe", cqe)):
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
        return tuple(Napi(id=int(number), **own) for number, own in found.items())

    def queue_napis(self, index: int) -> dict[int, int]:
        # Some drivers don't tell.
        if self.tree.kind.nic in ("veth", "igb"):
            return {}
        return {napi.id - FIRST_NAPI: napi.id for napi in self.napis(index)}

    def set_napi(self, napi: int, setting: str, value: int) -> None:
        name = self.tree.kind.interface
        found = self._load(name)
        found["napis"][str(napi)][setting] = value
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
