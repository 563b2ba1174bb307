"""Which card is meant, where its address stands on something above it."""

from pathlib import Path

import pytest

from mustherd.node.linux import interfaces
from mustherd.node.linux.ethtool import Coalesce, NoEthtool
from mustherd.node.linux.tree import Tree

CARDS = {"enp130s0f0": 2, "enp130s0f1": 3}


class Cards(NoEthtool):
    """Cards that moderate interrupts, and whose addresses are given by index."""

    def __init__(self, addresses: dict[int, tuple[str, ...]]) -> None:
        self._addresses = addresses

    def addresses(self) -> dict[int, tuple[str, ...]]:
        return self._addresses

    def coalesce(self, interface: str) -> Coalesce:
        return Coalesce(rx_usecs=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two ports of one card."""
    for name, index in CARDS.items():
        net = tmp_path / "sys/class/net" / name
        (net / "device").mkdir(parents=True)
        (net / "device/driver").symlink_to("../../../../bus/pci/drivers/ixgbe")
        (net / "ifindex").write_text(f"{index}\n")
        (net / "address").write_text(f"02:00:00:00:00:0{index}\n")
    return tmp_path


def stand(root: Path, name: str, index: int, *below: str) -> None:
    """An interface above others."""
    net = root / "sys/class/net" / name
    net.mkdir(parents=True)
    (net / "ifindex").write_text(f"{index}\n")
    for lower in below:
        (net / f"lower_{lower}").symlink_to(f"../{lower}")


@pytest.mark.parametrize("chain", [("vlan264",), ("bond0", "bond0.264"), ("br0", "vlan7", "team0")])
def test_the_card_below_is_the_one_that_is_meant(root: Path, chain: tuple[str, ...]) -> None:
    below = "enp130s0f1"
    for index, name in enumerate(chain):
        stand(root, name, 10 + index, below)
        below = name
    cards = Cards({9 + len(chain): ("10.10.1.2/24",), 2: ("192.0.2.5/24",)})
    assert interfaces.choose(Tree(root), cards, "10.10.1.0/24").name == "enp130s0f1"


def test_two_cards_below_one_address_are_named_not_guessed(root: Path) -> None:
    stand(root, "bond0", 10, *CARDS)
    with pytest.raises(interfaces.InterfaceError, match=r"2 interfaces fit \(enp130s0f0, enp130s0f1\); name one"):
        interfaces.choose(Tree(root), Cards({10: ("10.10.1.2/24",)}), "10.10.1.0/24")
    assert interfaces.choose(Tree(root), Cards({10: ("10.10.1.2/24",)}), "enp130s0f1").name == "enp130s0f1"


def test_interfaces_that_stand_on_each_other_end(root: Path) -> None:
    stand(root, "a", 10, "b")
    stand(root, "b", 11, "a")
    with pytest.raises(interfaces.InterfaceError, match="no physical interface is"):
        interfaces.choose(Tree(root), Cards({10: ("10.10.1.2/24",)}), "10.10.1.0/24")
