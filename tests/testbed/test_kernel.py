"""The kernel_ixgbe and dvfs roles for real, on a machine that boots what they build: `make test-kernel`.

The kernel is Debian's packaged source with the least configuration that this machine boots with, built here as on a
build host, since building inside of the emulated machine would take hours.
"""

import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.testbed.machine import Machine, cache, run

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(7200)]

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
SOURCE = Path("/usr/src/linux-source-6.1.tar.xz")
FOLDER = "ethernet/intel/ixgbe"
ADDRESS = "10.10.1.2"
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
PARTS = ("--tags", "kernel_ixgbe,dvfs")

CPU = "/sys/devices/system/cpu"
STATE = (
    f"uname -r; cat {CPU}/smt/control {CPU}/online; cat {CPU}/cpu[0-9]*/cpufreq/scaling_governor | sort -u;"
    "systemctl is-enabled irqbalance; systemctl is-active irqbalance; true"
)


class Site:
    """The machine, an inventory with it, and playbooks run against it."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.folder = folder
        self.driver, self.version, (self.broken, self.good) = self._driver()
        self.release = f"{self.version}-herd"
        self.checksum = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
        # A second run on the same machine builds what has changed.
        self.kernels = cache() / f"kernels-{self.checksum[:12]}"
        for old in cache().glob("kernels-*"):
            if old != self.kernels:
                shutil.rmtree(old)
        self.tree = self.kernels / f"linux-{self.version}-vm"
        self._write_inventory()

    def playbook(self, name: str, *arguments: str, **variables: object) -> tuple[int, str]:
        """Exit code and output of a playbook."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environment = kept | {
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_GATHER_SUBSET": "!all,hardware",
            "ANSIBLE_GATHER_TIMEOUT": "120",
            "ANSIBLE_TIMEOUT": "120",
            "ANSIBLE_LOG_PATH": str(self.folder / "ansible.log"),
        }
        words = ["-e", json.dumps(variables)] if variables else []
        answer = subprocess.run(
            [
                *(str(Path(sys.executable).parent / "ansible-playbook"), name, "-i", str(self.folder / "inventory")),
                *arguments,
                *words,
            ],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return answer.returncode, answer.stdout

    def done(self, name: str, *arguments: str, **variables: object) -> int:
        """How many tasks changed something in a playbook that has to end well."""
        code, text = self.playbook(name, *arguments, **variables)
        assert code == 0, text
        found = {host: int(changed) for host, _, changed, _, _ in RECAP.findall(text)}
        task = ""
        for line in text.splitlines():
            if line.startswith("TASK ["):
                task = line
            elif line.startswith("changed:"):
                print(task, line)
        return found["node1"]

    def state(self) -> list[str]:
        return self.machine.said(STATE)

    def card(self) -> str:
        """The interface of the experiment's card."""
        links = self.machine.said("for n in /sys/class/net/*; do readlink -f $n $n/device/driver; done; true")
        return next(Path(link).name for link, driver in itertools.pairwise(links) if "vmxnet3" in driver)

    def placed(self) -> tuple[dict[str, str], list[int], list[str]]:
        """Cores of the card's interrupts by their names, of its transmit queues as masks, and its addresses."""
        card = self.card()
        irqs = (
            f"grep -E ' {card}-(rx|tx|rxtx)-[0-9]+ *$' /proc/interrupts | while read irq rest; do "
            "echo ${rest##* } $(cat /proc/irq/${irq%:}/smp_affinity_list); done"
        )
        words = self.machine.said(irqs)
        return (
            dict(zip(words[::2], words[1::2], strict=True)),
            [int(mask, 16) for mask in self.machine.said(f"cat /sys/class/net/{card}/queues/tx-*/xps_cpus")],
            self.machine.said(f"ip -4 -o address show dev {card} up | awk '{{print $4}}'"),
        )

    def _driver(self) -> tuple[Path, str, list[str]]:
        """A repository with the driver's folder but its Makefile: a revision that doesn't compile, one that does."""
        tree = self.folder / "driver"
        place = tree / "drivers/net" / FOLDER
        place.mkdir(parents=True)
        version = ""
        with tarfile.open(SOURCE, "r|xz") as tar:
            for member in tar:
                name = Path(member.name)
                within = name.parent == Path("linux-source-6.1/drivers/net") / FOLDER
                if version and any(place.iterdir()) and not within:
                    # All of it has been seen: the rest of a gigabyte need not be unpacked.
                    break
                driver = within and name.suffix in (".c", ".h")
                if driver or name == Path("linux-source-6.1/Makefile"):
                    file = tar.extractfile(member)
                    assert file is not None
                    content = file.read()
                if driver:
                    (place / name.name).write_bytes(content)
                elif name == Path("linux-source-6.1/Makefile"):
                    numbers = re.findall(r"^(?:VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", content.decode(), re.MULTILINE)
                    version = ".".join(numbers)
        shutil.copy(HERE / "standin.h", place / "standin.h")
        main = place / "ixgbe_main.c"
        text = main.read_text()
        for old, new in (
            ("static int __init ixgbe_init_module", '#include "standin.h"\nstatic int __init ixgbe_init_module'),
            ("\tixgbe_dbg_init();\n", "\tixgbe_dbg_init();\n\tstandin_init();\n"),
            (
                "\tpci_unregister_driver(&ixgbe_driver);\n\n",
                "\tpci_unregister_driver(&ixgbe_driver);\n\tstandin_exit();\n",
            ),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        text += '\nMODULE_VERSION("herd");\n'
        git = ("git", "-C", tree, "-c", "user.name=t", "-c", "user.email=t@example.org")
        run(*git, "init", "--quiet")
        revisions = []
        for source in (text + "this does not compile;\n", text):
            main.write_text(source)
            run(*git, "add", ".")
            run(*git, "commit", "--quiet", "--message", "A stand-in")
            revisions.append(run(*git, "rev-parse", "HEAD").strip())
        return tree, version, revisions

    def _write_inventory(self) -> None:
        groups = ("shepherd", "musters", "generic")
        members: dict[str, object] = {group: {"hosts": {"node1": None}} for group in groups}
        members |= {group: {"hosts": {}} for group in ("loadgen_leader", "loadgen_agents")}
        machine = self.machine
        given = {
            "ansible_host": "127.0.0.1",
            "ansible_port": machine.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(machine.key),
            "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={machine.known_hosts}",
            "herd_network": "10.10.1.0/24",
            "herd_address": ADDRESS,
            "herd_nic_driver": "vmxnet3",
            "common_enabled": False,
            "memcached_mutilate_enabled": False,
            "mustherd_enabled": False,
            "kernel_ixgbe_kernel": True,
            "kernel_ixgbe_driver": True,
            "kernel_ixgbe_require_card": False,
            "kernel_ixgbe_xps": True,
            "kernel_ixgbe_version": self.version,
            "kernel_ixgbe_localversion": "-herd",
            "kernel_ixgbe_url": SOURCE.as_uri(),
            "kernel_ixgbe_checksum": f"sha256:{self.checksum}",
            "kernel_ixgbe_config": str(HERE / "kernel.config"),
            "kernel_ixgbe_localmodconfig": False,
            # The module is what the dvfs role loads.
            "kernel_ixgbe_settings_more": {"X86_MSR": "m"},
            "kernel_ixgbe_build_host": "localhost",
            "kernel_ixgbe_kind": "vm",
            "kernel_ixgbe_source_dir": str(self.kernels),
            "kernel_ixgbe_archives": str(self.folder / "archives"),
            "kernel_ixgbe_free_gib": 3,
            "kernel_ixgbe_boot_free_mib": 100,
            "kernel_ixgbe_driver_repository": self.driver.as_uri(),
            "kernel_ixgbe_driver_revision": self.good,
            "kernel_ixgbe_driver_path": "drivers/net",
        }
        inventory = self.folder / "inventory"
        (inventory / "group_vars").mkdir(parents=True)
        (inventory / "host_vars").mkdir()
        (inventory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": members}}))
        shutil.copy(PROJECT / "inventory/cloudlab/group_vars/generic.yml", inventory / "group_vars/generic.yml")
        (inventory / "host_vars/node1.yml").write_text(yaml.safe_dump(given))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Machine(tmp_path) as machine:
        # A node's own menu is made on it.
        machine.said("update-grub 2>/dev/null")
        yield Site(machine, tmp_path)


def test_a_node_boots_the_kernel_that_is_built_for_it_and_goes_back(site: Site) -> None:
    machine = site.machine
    found = site.state()
    assert found[1:3] == ["on", "0-3"]
    assert found[-2:] == ["enabled", "active"]

    # A build that fails is told, by the one that builds; the node is as it was.
    code, text = site.playbook("provision.yml", *PARTS, kernel_ixgbe_driver_revision=site.broken)
    said = " ".join(text.split())
    assert code != 0
    assert "the build failed" in said, text
    assert "ixgbe_main.c" in said
    assert "Where: localhost (builds for node1), Build the kernel" in said
    assert site.state() == found
    assert machine.said("ls /lib/modules") == found[:1]
    built = {path: path.stat().st_mtime_ns for path in (site.tree / "kernel").glob("*.o")}
    assert built

    assert site.done("provision.yml", *PARTS) > 0
    # It went on where it had stopped.
    assert all(path.stat().st_mtime_ns == at for path, at in built.items())
    as_set = [site.release, "off", "0,2", "userspace", "masked", "inactive"]
    assert site.state() == as_set
    placed = site.placed()
    interrupts, transmit, addresses = placed
    assert len(interrupts) >= 4
    assert all(core == "02"[int(name[-1]) % 2] for name, core in interrupts.items()), interrupts
    assert transmit == [1, 4] * (len(transmit) // 2)
    assert addresses == [f"{ADDRESS}/24"]
    assert machine.said("cat /sys/module/ixgbe/version; ls /proc/ixgbe_stats/core") == ["herd", "0", "1", "2", "3"]
    assert machine.said("rdmsr 0x199") == ["0"]

    assert site.done("provision.yml", *PARTS) == 0

    # Without a card the statistics are left alone: reading them would bring this kernel down.
    boot = machine.boot()
    refused = machine.ssh("mustherd-node stats --driver ixgbe")
    assert refused.returncode == 1
    assert "no card is bound to ixgbe" in refused.stderr
    code, text = site.playbook(
        "provision.yml", "--tags", "verify", kernel_ixgbe_require_card=True, herd_nic_driver="ixgbe"
    )
    assert code != 0
    assert "no card is bound to ixgbe" in text
    assert machine.boot() == boot

    machine.power_cycle()
    assert site.state() == as_set
    assert site.placed() == placed
    assert machine.said("cat /sys/module/ixgbe/version") == ["herd"]
    assert site.done("provision.yml", "--tags", "verify") == 0

    assert site.done("playbooks/restore.yml", restore_reboot=True) > 0
    assert site.state() == found
    assert site.done("playbooks/restore.yml") == 0
    # What was built stays in the menu.
    assert f"gnulinux-{site.release}-advanced" in machine.ssh("cat /boot/grub/grub.cfg").stdout
