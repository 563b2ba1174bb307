"""The tool for settings that a boot forgets, over trees of files as a kernel shows them."""

import errno
from pathlib import Path

import pytest

from tests.roles.scripts import load

tool = load("common/files/mustherd_node")


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four cores, acpi-cpufreq, and one ixgbe card with two queues and a link interrupt, near cores 2 and 3."""
    cpu = "sys/devices/system/cpu"
    put(tmp_path, **{f"{cpu}/online": "0-3", f"{cpu}/smt/control": "on", f"{cpu}/cpufreq/boost": "1"})
    for core in range(4):
        put(
            tmp_path,
            **{
                f"{cpu}/cpu{core}/cpufreq/scaling_governor": "ondemand",
                f"{cpu}/cpu{core}/cpufreq/scaling_available_governors": "ondemand userspace performance",
                f"{cpu}/cpu{core}/cpufreq/scaling_driver": "acpi-cpufreq",
            },
        )
    card(tmp_path, "enp3s0f0", "ixgbe", irqs=(40, 41), link=42)
    card(tmp_path, "eno1", "bnx2", irqs=(50,), link=51)
    put(tmp_path, **{"sys/devices/system/node/node1/cpulist": "2-3"})
    return tmp_path


def card(root: Path, name: str, driver: str, *, irqs: tuple[int, ...], link: int, carrier: str = "1") -> None:
    net = root / "sys/class/net" / name
    drivers = root / "sys/bus/pci/drivers" / driver
    drivers.mkdir(parents=True, exist_ok=True)
    put(root, **{f"sys/class/net/{name}/carrier": carrier, f"sys/class/net/{name}/flags": "0x1003"})
    put(root, **{f"sys/class/net/{name}/device/numa_node": "1"})
    (net / "device/driver").symlink_to(drivers)
    table = root / "proc/interrupts"
    old = table.read_text() if table.exists() else ""
    lines = [f" {irq}:  1 2 3 4  IR-PCI-MSI {irq}-edge  {name}-TxRx-{queue}" for queue, irq in enumerate(irqs)]
    put(root, **{"proc/interrupts": old + "\n".join([*lines, f" {link}:  1 0 0 0  IR-PCI-MSI {link}-edge  {name}"])})
    for queue, irq in enumerate(irqs):
        put(root, **{f"proc/irq/{irq}/smp_affinity": "f", f"sys/class/net/{name}/queues/tx-{queue}/xps_cpus": "0"})
    put(root, **{f"proc/irq/{link}/smp_affinity": "f"})


def call(root: Path, *words: str) -> int:
    return int(tool.main([*words, "--root", str(root), "--found", str(root / "found.json")]))


def text(root: Path, name: str) -> str:
    return (root / name).read_text().strip()


CPU = "sys/devices/system/cpu"


def test_a_plan_changes_nothing_and_says_all(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "plan", "smt=off", "turbo=off", "governor=userspace") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert f"smt: /{CPU}/smt/control: on -> off" in lines
    assert text(root, f"{CPU}/smt/control") == "on"
    assert not (root / "found.json").exists()


def test_what_was_applied_is_not_planned_again_and_can_be_put_back(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("smt=off", "turbo=off", "governor=userspace")
    assert call(root, "apply", *settings) == 0
    assert text(root, f"{CPU}/cpufreq/boost") == "0"
    assert text(root, f"{CPU}/cpu3/cpufreq/scaling_governor") == "userspace"
    capsys.readouterr()
    assert call(root, "plan", *settings) == 0
    assert capsys.readouterr().out == ""
    assert call(root, "restore") == 0
    assert text(root, f"{CPU}/smt/control") == "on"
    assert text(root, f"{CPU}/cpufreq/boost") == "1"
    assert text(root, f"{CPU}/cpu3/cpufreq/scaling_governor") == "ondemand"
    capsys.readouterr()
    assert call(root, "restore") == 0
    assert capsys.readouterr().out == ""


def test_the_first_original_is_the_one_that_is_kept(root: Path) -> None:
    call(root, "apply", "governor=userspace")
    call(root, "apply", "governor=performance")
    call(root, "restore", "governor")
    assert text(root, f"{CPU}/cpu0/cpufreq/scaling_governor") == "ondemand"


def test_intel_turbo_has_its_own_switch(root: Path) -> None:
    put(root, **{f"{CPU}/intel_pstate/no_turbo": "0"})
    call(root, "apply", "turbo=off")
    assert text(root, f"{CPU}/intel_pstate/no_turbo") == "1"
    assert text(root, f"{CPU}/cpufreq/boost") == "1"


@pytest.mark.parametrize("state", ["notsupported", "notimplemented", "forceoff"])
def test_threads_that_are_not_there_are_off(root: Path, state: str, capsys: pytest.CaptureFixture[str]) -> None:
    put(root, **{f"{CPU}/smt/control": state})
    assert call(root, "plan", "smt=off") == 0
    assert capsys.readouterr().out == ""


def test_a_governor_that_is_not_offered_is_refused_with_the_mend(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(
        root,
        **{
            f"{CPU}/cpu2/cpufreq/scaling_available_governors": "performance powersave",
            f"{CPU}/cpu2/cpufreq/scaling_driver": "intel_pstate",
        },
    )
    assert call(root, "plan", "governor=userspace") == 1
    error = capsys.readouterr().err
    assert "CPU 2: intel_pstate offers the governors performance, powersave" in error
    assert "dvfs_intel_pstate" in error


def test_passive_first_makes_the_governor_possible_later(root: Path) -> None:
    put(root, **{f"{CPU}/intel_pstate/status": "active"})
    put(root, **{f"{CPU}/cpu0/cpufreq/scaling_available_governors": "performance powersave"})
    assert call(root, "plan", "pstate=passive", "governor=userspace") == 0


def test_cores_without_scaling_are_left_alone(root: Path) -> None:
    put(root, **{f"{CPU}/online": "0-5"})
    assert call(root, "apply", "governor=userspace") == 0


@pytest.mark.parametrize(
    ("mode", "masks"),
    [
        ("all", ["1", "2"]),
        ("local", ["4", "8"]),
        ("remote", ["1", "2"]),
        ("one:3", ["8", "8"]),
        ("list:1,3", ["2", "8"]),
        ("list:2", ["4", "4"]),
    ],
)
def test_queues_go_to_cores_by_mode(root: Path, mode: str, masks: list[str]) -> None:
    assert call(root, "apply", f"affinity={mode}") == 0
    assert [text(root, f"proc/irq/{irq}/smp_affinity") for irq in (40, 41)] == masks
    assert text(root, "proc/irq/42/smp_affinity") == "f"
    assert text(root, "proc/irq/50/smp_affinity") == "f"


def test_transmit_queues_go_with_the_interrupts(root: Path) -> None:
    assert call(root, "apply", "affinity=list:2,3", "xps=on") == 0
    assert [text(root, f"sys/class/net/enp3s0f0/queues/tx-{queue}/xps_cpus") for queue in (0, 1)] == ["4", "8"]


def test_a_card_without_names_in_proc_interrupts_is_found_by_its_msi(root: Path) -> None:
    put(root, **{"proc/interrupts": "", "sys/class/net/enp3s0f0/device/msi_irqs/41": "msix"})
    put(root, **{"sys/class/net/enp3s0f0/device/msi_irqs/40": "msix"})
    assert call(root, "apply", "affinity=all") == 0
    assert [text(root, f"proc/irq/{irq}/smp_affinity") for irq in (40, 41)] == ["1", "2"]


def test_masks_of_many_cores_are_written_in_words() -> None:
    assert tool.mask([0]) == "1"
    assert tool.mask([31]) == "80000000"
    assert tool.mask([32]) == "1,00000000"
    assert tool.mask([0, 70]) == "40,00000000,00000001"
    assert tool.same(Path("smp_affinity"), "00000000,0000000f", "f")


@pytest.mark.parametrize("mode", ["list:9", "one:1,2", "list:x", "nearby"])
def test_an_affinity_that_cannot_be_is_refused(root: Path, mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "plan", f"affinity={mode}") == 1
    assert capsys.readouterr().err


def test_the_card_is_found_by_its_driver(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "nic", "--driver", "ixgbe") == 0
    assert capsys.readouterr().out.strip() == "enp3s0f0"


def test_of_several_cards_the_one_with_a_link_is_taken(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "addresses", lambda _interface=None: {})
    card(root, "enp3s0f1", "ixgbe", irqs=(60,), link=61, carrier="0")
    assert call(root, "nic", "--driver", "ixgbe") == 0
    assert capsys.readouterr().out.strip() == "enp3s0f0"
    put(root, **{"sys/class/net/enp3s0f1/carrier": "1"})
    assert call(root, "nic", "--driver", "ixgbe") == 1
    assert "kernel_ixgbe_interface" in capsys.readouterr().err


def test_a_card_of_another_driver_is_named_with_the_mend(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "nic", "--driver", "mlx5_core") == 1
    error = capsys.readouterr().err
    assert "eno1 (bnx2), enp3s0f0 (ixgbe)" in error
    assert "kernel_ixgbe_driver=false" in error


def test_statistics_are_not_touched_without_a_card(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "proc/ixgbe_stats/core").mkdir(parents=True)
    for core in range(4):
        # A directory where a file is expected: opening one would fail the test with another error.
        (root / f"proc/ixgbe_stats/core/{core}").mkdir()
    assert call(root, "stats", "--driver", "igb") == 1
    assert "no card is bound to igb" in capsys.readouterr().err


def test_every_core_must_have_statistics(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(root, **{f"proc/ixgbe_stats/core/{core}": "0 1 2" for core in range(3)})
    assert call(root, "stats") == 1
    assert "no file for cores 3" in capsys.readouterr().err
    put(root, **{"proc/ixgbe_stats/core/3": "0 1 2"})
    assert call(root, "stats") == 0


def test_an_unknown_setting_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "apply", "smtt=off") == 1
    assert "smtt" in capsys.readouterr().err


def amd(root: Path, *, boost: bool, nominal: str) -> None:
    (root / CPU / "cpufreq/boost").unlink()
    for core in range(4):
        folder = f"{CPU}/cpu{core}/cpufreq"
        put(root, **{f"{folder}/scaling_driver": "amd-pstate-epp", f"{folder}/cpuinfo_max_freq": "5700000"})
        put(root, **{f"{folder}/scaling_max_freq": "5700000"})
        if boost:
            put(root, **{f"{folder}/boost": "1"})
        if nominal:
            put(root, **{f"{CPU}/cpu{core}/acpi_cppc/nominal_freq": nominal})


def test_turbo_has_a_switch_for_each_policy_on_some_machines(root: Path) -> None:
    amd(root, boost=True, nominal="4300")
    assert call(root, "apply", "turbo=off") == 0
    assert {text(root, f"{CPU}/cpu{core}/cpufreq/boost") for core in range(4)} == {"0"}
    assert text(root, f"{CPU}/cpu0/cpufreq/scaling_max_freq") == "5700000"
    assert call(root, "restore", "turbo") == 0
    assert {text(root, f"{CPU}/cpu{core}/cpufreq/boost") for core in range(4)} == {"1"}


def test_without_a_switch_the_nominal_clock_is_the_highest(root: Path) -> None:
    amd(root, boost=False, nominal="4300")
    assert call(root, "apply", "turbo=off") == 0
    assert {text(root, f"{CPU}/cpu{core}/cpufreq/scaling_max_freq") for core in range(4)} == {"4300000"}
    assert call(root, "restore", "turbo") == 0
    assert {text(root, f"{CPU}/cpu{core}/cpufreq/scaling_max_freq") for core in range(4)} == {"5700000"}


def test_turbo_that_cannot_be_switched_off_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    amd(root, boost=False, nominal="")
    assert call(root, "apply", "turbo=off") == 1
    assert "amd-pstate-epp has no switch for turbo" in capsys.readouterr().err
    assert {text(root, f"{CPU}/cpu{core}/cpufreq/scaling_max_freq") for core in range(4)} == {"5700000"}


def test_an_interrupt_that_the_kernel_places_itself_is_told_and_left(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_there = tool.Node.put

    def managed(node: object, path: Path, value: str) -> None:
        if "/41/" in str(path):
            raise OSError(errno.EIO, "Input/output error")
        put_there(node, path, value)

    monkeypatch.setattr(tool.Node, "put", managed)
    assert call(root, "apply", "affinity=all") == 0
    said = capsys.readouterr()
    assert "irq/41/smp_affinity: stays at f: the kernel places this interrupt itself" in said.err
    assert "irq/41" not in said.out
    assert [text(root, f"proc/irq/{irq}/smp_affinity") for irq in (40, 41)] == ["1", "f"]
    assert call(root, "plan", "affinity=all") == 0
    assert capsys.readouterr().out == "", "what can't be done is not planned again"
    assert call(root, "restore") == 0
    assert text(root, "proc/irq/40/smp_affinity") == "f"


def test_an_address_on_a_vlan_of_the_card_is_where_it_belongs(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = root / "sys/class/net"
    for name, below in (("vlan264", "bond0"), ("bond0", "enp3s0f0")):
        (net / name).mkdir()
        (net / name / f"lower_{below}").symlink_to(net / below)
    monkeypatch.setattr(tool, "addresses", lambda _interface=None: {"10.10.1.2": "vlan264", "10.10.1.3": "eno1"})
    assert call(root, "plan-up", "--address", "10.10.1.2/24") == 0
    assert capsys.readouterr().out == ""
    assert call(root, "plan-up", "--address", "10.10.1.3/24") == 1
    assert "already on eno1" in capsys.readouterr().err


def scale(root: Path, core: int, **files: str) -> None:
    put(root, **{f"{CPU}/cpu{core}/cpufreq/{name}": text for name, text in files.items()})


@pytest.fixture
def frozen(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same four cores, whose kernel freezes each at its present clock when it gets the userspace governor."""
    for core in range(4):
        scale(
            root,
            core,
            scaling_setspeed=tool.UNSUPPORTED,
            scaling_available_frequencies="2901000 2900000 2000000 1200000",
            cpuinfo_max_freq="2901000",
            scaling_min_freq="1200000",
            scaling_max_freq="2901000",
        )
    put_one = tool.Node.put

    def as_the_kernel(node: object, path: Path, value: str) -> None:
        put_one(node, path, value)
        if path.name == "scaling_governor":
            core = int(path.parent.parent.name[3:])
            kept = str(1_200_000 + core * 100_000) if value == "userspace" else tool.UNSUPPORTED
            put_one(node, path.with_name("scaling_setspeed"), kept)

    monkeypatch.setattr(tool.Node, "put", as_the_kernel)
    return root


def clocks(root: Path, name: str = "scaling_setspeed") -> list[str]:
    return [text(root, f"{CPU}/cpu{core}/cpufreq/{name}") for core in range(4)]


def test_userspace_leaves_all_cores_at_one_clock_and_the_governor_is_what_is_put_back(frozen: Path) -> None:
    assert call(frozen, "apply", "governor=userspace", "clock=nominal") == 0
    assert clocks(frozen) == ["2900000"] * 4
    assert call(frozen, "plan", "governor=userspace", "clock=nominal") == 0
    assert '"clock": {}' in (frozen / "found.json").read_text() or '"clock"' not in (frozen / "found.json").read_text()
    assert call(frozen, "restore") == 0
    assert clocks(frozen, "scaling_governor") == ["ondemand"] * 4
    assert clocks(frozen) == [tool.UNSUPPORTED] * 4


def test_clocks_that_were_found_frozen_are_put_back_each_to_its_own(frozen: Path) -> None:
    for core in range(4):
        scale(frozen, core, scaling_governor="userspace", scaling_setspeed=str(1_200_000 + core))
    assert call(frozen, "apply", "governor=userspace", "clock=nominal") == 0
    assert clocks(frozen) == ["2900000"] * 4
    assert call(frozen, "restore", "clock") == 0
    assert clocks(frozen) == ["1200000", "1200001", "1200002", "1200003"]


def test_a_clock_is_nothing_to_put_back_after_a_boot_into_another_governor(frozen: Path) -> None:
    for core in range(4):
        scale(frozen, core, scaling_governor="userspace", scaling_setspeed="1200000")
    call(frozen, "apply", "governor=userspace", "clock=nominal")
    for core in range(4):
        scale(frozen, core, scaling_governor="ondemand", scaling_setspeed=tool.UNSUPPORTED)
    assert call(frozen, "restore", "clock") == 0
    assert clocks(frozen) == [tool.UNSUPPORTED] * 4


@pytest.mark.parametrize(
    ("offered", "files", "words", "way"),
    [
        ("ondemand userspace", {}, [], "userspace"),
        ("performance powersave", {}, [], "bounds"),
        # HWP in passive mode has every governor.
        ("performance powersave", {"intel_pstate/status": "active"}, ["pstate=passive"], "userspace"),
        ("performance powersave", {"intel_pstate/status": "off"}, ["pstate=passive"], "bounds"),
        ("performance powersave", {}, ["pstate=passive"], "bounds"),
    ],
)
def test_the_way_by_which_one_clock_is_set(
    frozen: Path, offered: str, files: dict[str, str], words: list[str], way: str
) -> None:
    put(frozen, **{f"{CPU}/{name}": content for name, content in files.items()})
    scale(frozen, 2, scaling_available_governors=offered)
    assert tool.way(tool.Node(frozen), dict(word.split("=") for word in words)) == way


def test_without_scaling_there_is_no_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, **{f"{CPU}/online": "0-3"})
    assert call(tmp_path, "way") == 0
    assert capsys.readouterr().out.split() == ["none"]


@pytest.mark.parametrize("nominal", ["2400000", ""])
def test_bounds_are_drawn_together_and_put_back_as_each_was_found(frozen: Path, nominal: str) -> None:
    for core in range(4):
        scale(frozen, core, scaling_available_frequencies="", cpuinfo_max_freq="3700000", base_frequency=nominal)
        scale(frozen, core, scaling_min_freq=str(1_000_000 + core), scaling_max_freq=str(3_700_000 - core))
    khz = nominal or "3700000"
    assert call(frozen, "apply", "bounds=nominal") == 0
    assert clocks(frozen, "scaling_min_freq") == clocks(frozen, "scaling_max_freq") == [khz] * 4
    assert call(frozen, "restore") == 0
    assert clocks(frozen, "scaling_min_freq") == ["1000000", "1000001", "1000002", "1000003"]
    assert clocks(frozen, "scaling_max_freq") == ["3700000", "3699999", "3699998", "3699997"]


def test_the_record_lies_where_a_muster_looks_for_it() -> None:
    from mustherd.node.linux.dvfs import RECORD

    assert f'default=Path("/{RECORD}")' in Path(str(tool.__file__)).read_text()
