"""A herd of three containers provisioned over ssh: `make test-testbed`."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.testbed import daemon
from mustherd.testbed.bed import Bed
from mustherd.testbed.daemon import NAMESPACE
from mustherd.testbed.hosts import OFF
from mustherd.testbed.images import cache
from tests.docs.pages import read
from tests.testbed import kernel_standin
from tests.testbed.rehearsal import AS_FOUND, FOUND, PROJECT, Rehearsal, copy_project, said
from tests.waiting import until

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def herd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Nodes for tests that each leave them as they found them, or have one to themselves."""
    with Bed(tmp_path_factory.mktemp("shared") / "bed") as bed:
        yield Rehearsal(bed)


def test_bad_input_is_one_clear_message_and_the_node_as_it_was(herd: Rehearsal) -> None:
    def fails(*arguments: str, playbook: str = "provision.yml") -> str:
        outcome = herd.playbook(playbook, "--limit", "node1", *arguments)
        assert outcome.code != 0
        assert outcome.failed["node1"] == 1, outcome.text
        return " ".join(outcome.text.split())

    def given(**variables: object) -> tuple[str, str]:
        return "-e", json.dumps(variables)

    # Caught by the check, before anything is changed.
    check = "playbooks/check.yml"
    card = fails(*given(kernel_ixgbe_driver=True, herd_nic_driver="ixgbe"), playbook=check)
    assert "no card is bound to ixgbe" in card
    assert "kernel_ixgbe_driver=false" in card
    space = fails(*given(kernel_ixgbe_kernel=True, kernel_ixgbe_free_gib=10**6), playbook=check)
    assert "no space to build a kernel" in space
    assert "kernel_ixgbe_free_gib" in space
    cores = fails(*given(herd_cores=4000, herd_memcached_cores=""), playbook=check)
    assert "profile generic has 4000" in cores

    # Caught where it happens.
    server = ("--tags", "memcached")
    wrong = fails(*server, *given(memcached_mutilate_checksum="sha256:" + "0" * 64))
    assert "memcached 9.9.9" in wrong
    assert "correct memcached_mutilate_checksum, or distrust the mirror" in wrong
    lost = fails(*server, *given(memcached_mutilate_url=f"{herd.bed.mirror.url}/not-there.tar.gz"))
    assert "name a mirror in memcached_mutilate_url" in lost
    herd.break_the_server()
    broken = fails(*server, *given(memcached_mutilate_checksum=f"sha256:{herd.server_sum}"))
    assert "Where: node1, Build" in broken
    assert "this does not compile" in broken
    assert said(herd, "node1", "ls /usr/local/bin/memcached") == []
    kernel = fails(
        "--tags", "kernel", *given(kernel_ixgbe_kernel=True, kernel_ixgbe_free_gib=0, kernel_ixgbe_boot_free_mib=0)
    )
    assert "a kernel can neither be configured nor booted" in kernel
    assert said(herd, "node1", FOUND) == AS_FOUND


def test_arguments_of_the_kernel_are_written_and_taken_off(herd: Rehearsal) -> None:
    """All but the boot: no kernel of its own runs in there."""
    file, loader = "/etc/default/grub.d/60-mustherd-dvfs.cfg", "/usr/sbin/update-grub"
    prepare = f"rm -rf {Path(file).parent}; mkdir -p /boot; printf '#!/bin/sh\\necho x >> /boot/dvfs\\n' > {loader}"
    assert herd.bed.ssh("node1", f"{prepare}; chmod 755 {loader}").returncode == 0
    given = json.dumps({"dvfs_kernel_arguments": ["nmi_watchdog=0", "quiet"], "dvfs_reboot": False})
    words = ("provision.yml", "--limit", "node1", "--tags", "governor", "-e", given)

    planned = herd.playbook(*words, "--check")
    assert planned.code == 0, planned.text
    assert said(herd, "node1", f"ls -d {Path(file).parent} /boot/dvfs") == []

    first = herd.playbook(*words)
    assert first.code == 0, first.text
    line = 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX nmi_watchdog=0 quiet"'
    assert line in herd.bed.ssh("node1", f"cat {file}").stdout
    second = herd.playbook(*words)
    assert second.changed == {"node1": 0}, second.changes()

    restored = herd.playbook("playbooks/restore.yml", "--limit", "node1")
    assert restored.code == 0, restored.text
    assert said(herd, "node1", f"{FOUND}; ls {file}; cat /boot/dvfs; rm -f /boot/dvfs {loader}") == [
        *AS_FOUND,
        "x",
        "x",
    ]


def test_a_host_that_goes_down_does_not_hold_up_the_others(herd: Rehearsal) -> None:
    cut = threading.Event()

    def watch(process: subprocess.Popen[str]) -> list[str]:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Install the packages of every node" in line and not cut.is_set():
                cut.set()
                herd.bed.hosts["node2"].cut()
        return lines

    with subprocess.Popen(**herd.command("provision.yml", "--tags", "common")) as process:
        text = "".join(watch(process))
    assert cut.is_set()
    assert process.returncode != 0
    assert "UNREACHABLE!" in text
    assert "10.77.0.1 node0" in herd.bed.ssh("node1", "cat /etc/hosts").stdout
    node = herd.bed.hosts["node2"]
    node.up()
    herd.bed.wait(node)
    # One that goes down by itself is known to be off; `testbed status` tells it.
    off = herd.bed.folder / "node2" / OFF
    assert not off.exists()
    herd.bed.ssh("node2", "systemctl poweroff")
    until(off.exists, 60)
    # As `mustherd testbed boot` asks for it.
    boots = node.boots
    off.unlink()
    herd.bed.wait(node, boots + 1)
    herd.bed.ssh("node2", "systemctl poweroff")
    until(off.exists, 60)
    node.up()
    assert not off.exists()
    herd.bed.wait(node)


def test_the_page_on_rehearsing_does_what_it_shows(tmp_path: Path) -> None:
    assert daemon.state() is None, "a test bed of yours is up: mustherd testbed down"
    project = tmp_path / "project"
    copy_project(project)
    (project / "build").mkdir()
    (project / "build/nodes").symlink_to(cache() / "nodes")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment = kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def ran(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euc", text], cwd=project, env=environment, capture_output=True, text=True, check=False
        )

    try:
        for step in read(PROJECT / "docs/how-to/rehearse.md", tier="testbed").steps:
            done = ran(step.text)
            assert done.returncode == step.code, f"{step.text}\n{done.stdout}\n{done.stderr}"
        assert daemon.state() is None
        assert not daemon.folder().exists()
        assert NAMESPACE not in ran("ip netns list").stdout
    finally:
        ran("mustherd testbed down")


LOGIN = """
import sys, pathlib
from mustherd.load.ssh import ChannelError, SshJob, Target, connect
address, key, known, here = sys.argv[1:]
target = Target(address, "root", key=pathlib.Path(key), known_hosts=pathlib.Path(known))
with connect(target) as channel:
    job = SshJob(channel.open(["sh", "-c", "echo one; seq 200000; exit 3"]), address)
    assert job.wait(60) == 3
    assert job.output().split() == ["one", *(str(n) for n in range(1, 200001))]
empty = pathlib.Path(here)
empty.touch()
try:
    with connect(Target(address, "root", key=pathlib.Path(key), known_hosts=empty)):
        raise SystemExit("an unknown host was accepted")
except ChannelError as error:
    print(error)
"""


def test_one_node_by_ssh_and_no_unknown_one(herd: Rehearsal, tmp_path: Path) -> None:
    bed = herd.bed
    words = (bed.hosts["node1"].address, str(bed.key), str(bed.known_hosts), str(tmp_path / "empty"))
    answer = subprocess.run(
        bed.inside(sys.executable, "-c", LOGIN, *words), cwd=herd.folder, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "not found in known_hosts" in answer.stdout


def test_the_kernel_roles_steps_over_a_stand_in_for_the_source(herd: Rehearsal) -> None:
    """All but the boot: the stand-in's release is that of the kernel that runs, so none is due."""
    release = os.uname().release
    given = kernel_standin.variables(herd, "node2")
    version = given["kernel_ixgbe_version"]

    words = ("--limit", "node2", "--tags", "kernel", "-e")

    wrong = herd.playbook("provision.yml", *words, json.dumps(given | {"kernel_ixgbe_checksum": f"sha256:{'0' * 64}"}))
    assert wrong.failed == {"node2": 1}
    assert "correct kernel_ixgbe_checksum" in " ".join(wrong.text.split()), wrong.text

    unreachable = f"{herd.bed.mirror.url}/not-there.tar.gz"
    lost = herd.playbook("provision.yml", *words, json.dumps(given | {"kernel_ixgbe_url": unreachable}))
    assert "name mirrors in kernel_ixgbe_url" in " ".join(lost.text.split()), lost.text

    tree = f"/usr/local/src/mustherd/linux-{version}"
    herd.bed.ssh("node2", f"mkdir -p {tree}.part; echo rubbish > {tree}.part/Makefile")
    first = herd.playbook("provision.yml", *words, json.dumps(given))
    assert first.code == 0, first.text
    assert said(herd, "node2", f"cat {tree}/built") == ["built"]
    chosen = herd.bed.ssh("node2", "cat /etc/default/grub.d/50-mustherd-kernel.cfg; cat /boot/updated").stdout
    assert f'GRUB_DEFAULT="gnulinux-advanced-7f>gnulinux-{release}-advanced-7f"' in chosen
    assert chosen.count("updated") == 1

    second = herd.playbook("provision.yml", *words, json.dumps(given))
    assert second.code == 0, second.text
    assert second.changed == {"node2": 0}, second.changes()

    # Another setting is due: a build that fails is told, and goes on once what broke it is fixed.
    more = json.dumps(given | {"kernel_ixgbe_settings_more": {"HZ": 1000}})
    herd.bed.ssh("node2", f"touch {tree}/broken")
    broken = herd.playbook("provision.yml", *words, more)
    assert "main.c:1: error: this does not compile" in " ".join(broken.text.split())
    assert said(herd, "node2", f"grep -c HZ /boot/config-{release}") == ["0"]
    herd.bed.ssh("node2", f"rm {tree}/broken")
    fixed = herd.playbook("provision.yml", *words, more)
    assert fixed.code == 0, fixed.text
    assert said(herd, "node2", f"grep HZ /boot/config-{release}") == ["CONFIG_HZ=1000"]

    restored = herd.playbook("playbooks/restore.yml", "--limit", "node2")
    assert restored.code == 0, restored.text
    assert said(herd, "node2", "ls /etc/default/grub.d/50-mustherd-kernel.cfg; cat /boot/updated").count("updated") == 3
