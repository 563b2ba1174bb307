"""What cards call their interrupts: one sample for each driver, over the package's table and the node tool's."""

from pathlib import Path

import pytest

from mustherd.node.linux import vectors
from tests.roles.scripts import load

tool = load("common/files/mustherd_node")
SAMPLES = Path(__file__).parent / "vectors"


def sample(path: Path) -> tuple[dict[str, str], str]:
    """What the first line says of the card, and the text of /proc/interrupts below it."""
    head, _, text = path.read_text().partition("\n")
    return dict(word.split("=", 1) for word in head.removeprefix("# ").split()), text


CASES = [pytest.param(path, id=path.stem) for path in sorted(SAMPLES.glob("*.txt"))]


def expected(about: dict[str, str]) -> dict[int, list[int]]:
    """`queues=0:61,1:62+63`: queue to its interrupts."""
    pairs = (pair.split(":") for pair in about["queues"].split(",") if pair)
    return {int(queue): [int(irq) for irq in irqs.split("+")] for queue, irqs in pairs}


def own(about: dict[str, str]) -> list[int]:
    return [int(irq) for irq in about["own"].split(",") if irq]


@pytest.mark.parametrize("path", CASES)
@pytest.mark.parametrize("listed", [True, False], ids=["its vectors are listed", "names alone"])
def test_queues_are_told_from_all_other_vectors(path: Path, listed: bool) -> None:
    about, text = sample(path)
    names = vectors.interrupt_names(text)
    found = vectors.queue_vectors(
        names, about["driver"], about["interface"], about["device"], own(about) if listed else []
    )
    # A name that doesn't say whose it is belongs to nobody in particular.
    assert found == (expected(about) if listed or about["named"] == "yes" else {})


def test_every_driver_in_the_table_has_a_sample() -> None:
    assert {sample(p.values[0])[0]["driver"] for p in CASES} >= set(vectors.QUEUES)  # type: ignore[arg-type]


def test_the_node_tool_has_the_same_table() -> None:
    assert tool.QUEUES == vectors.QUEUES
    assert tool.NO_QUEUE == vectors.NO_QUEUE
    for path in SAMPLES.glob("*.txt"):
        about, text = sample(path)
        assert tool.interrupt_names(text) == vectors.interrupt_names(text)
        told = (about["driver"], about["interface"], about["device"], own(about))
        assert tool.queue_vectors(tool.interrupt_names(text), *told) == expected(about)


def test_a_renamed_interface_keeps_its_queues() -> None:
    names = {61: "eth0-TxRx-0", 62: "eth0-TxRx-1", 63: "eth0"}
    assert vectors.queue_vectors(names, "ixgbe", "enp3s0f0", "0000:03:00.0", [61, 62, 63]) == {0: [61], 1: [62]}


def test_an_interface_whose_name_begins_with_anothers_takes_none_of_it() -> None:
    names = {61: "eth1-TxRx-0", 62: "eth10-TxRx-0", 63: "eth1", 64: "eth10"}
    assert vectors.queue_vectors(names, "ixgbe", "eth1", "0000:03:00.0", []) == {0: [61]}
    assert vectors.queue_vectors(names, "ixgbe", "eth10", "0000:03:00.1", []) == {0: [62]}


def test_an_unknown_driver_is_guessed_at_without_what_is_known_to_be_no_queue() -> None:
    names = {60: "new0", 61: "new-misc@pci:0000:03:00.0", 62: "new0-q0", 63: "new0-q1", 64: "new0-mgmt", 65: "nvme0q1"}
    assert not vectors.known("newnic")
    assert vectors.queue_vectors(names, "newnic", "new0", "0000:03:00.0", [60, 61, 62, 63, 64]) == {0: [62], 1: [63]}
    assert vectors.queue_vectors(names, "newnic", "new0", "0000:03:00.0", [60]) == {0: [60]}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (" 61:  1 2  IR-PCI-MSIX-0000:18:00.0    1-edge      ice-ens1f0-TxRx-0", "ice-ens1f0-TxRx-0"),
        (" 61:  1 2  PCI-MSI 524289-edge      eth0-TxRx-0", "eth0-TxRx-0"),
        (" 61:  1 2  ITS-MSI 1572865 Edge      eth0-TxRx-0", "eth0-TxRx-0"),
        (" 61:  1 2  IO-APIC  17-fasteoi   ehci_hcd:usb1, eth0", "ehci_hcd:usb1, eth0"),
        (" 61:  1 2  PCI-MSIX-0000:01:00.4   3-edge      0000:01:00.4 (queue 2)", "0000:01:00.4 (queue 2)"),
        (" 61:  1 2  GICv3  34 Level     arch_timer", "arch_timer"),
        (" 61:  1 2  x eth0-TxRx-0", "eth0-TxRx-0"),
    ],
)
def test_a_name_is_what_stands_behind_the_kind_of_interrupt(line: str, name: str) -> None:
    assert vectors.interrupt_names(f"            CPU0       CPU1\n{line}") == {61: name}


def test_nonsense_names_nothing() -> None:
    for text in ("", "NMI: 1 2 x", "x: 1", "99999999999999999999: 1 2 y", "\0\0", "61:", "61: 1 2 3"):
        assert vectors.interrupt_names(text) == {}
