"""Load nodes are made ready while target nodes build their kernel, however long that takes."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.testbed.bed import Bed
from tests.testbed import kernel_standin
from tests.testbed.rehearsal import Rehearsal, said

pytestmark = [pytest.mark.testbed, pytest.mark.night, pytest.mark.timeout(1500)]

LIMIT_S = 300
"""Of the build: one that load nodes wait for ends by it, and with it the run."""


@pytest.fixture
def herd(tmp_path: Path) -> Iterator[Rehearsal]:
    """node0 is for load alone; node1 is a target node, and agent too."""
    with Bed(tmp_path / "bed", 2) as bed:
        yield Rehearsal(bed)


def test_load_nodes_do_not_wait_for_the_kernel_of_target_nodes(herd: Rehearsal) -> None:
    given = kernel_standin.variables(herd, "node1", waits=True) | {"kernel_ixgbe_build_timeout": LIMIT_S}
    tree = f"/usr/local/src/mustherd/linux-{given['kernel_ixgbe_version']}"
    words = ("provision.yml", "--tags", "kernel,mutilate,memcached", "-e", json.dumps(given))

    # The build goes on only when the load node has its generator and has shown that it runs.
    def watch(process: "subprocess.Popen[str]") -> Iterator[str]:
        task, ready = "", False
        assert process.stdout is not None
        for line in process.stdout:
            yield line
            if line.startswith("TASK ["):
                task = line
            if "Ask the load generator for its version" in task and line.startswith("ok: [node0]") and not ready:
                ready = True
                assert said(herd, "node1", f"ls {tree}/wait {tree}/built {tree}.build.json") == [
                    f"{tree}.build.json",
                    f"{tree}/wait",
                ]
                herd.bed.ssh("node1", f"rm {tree}/wait")

    with subprocess.Popen(**herd.command(*words)) as process:
        text = "".join(watch(process))
    assert process.returncode == 0, text
    assert said(herd, "node1", f"cat {tree}/built") == ["built"]
    assert said(herd, "node1", "/usr/local/bin/mutilate --version")[0] == "mutilate"

    second = herd.playbook(*words)
    assert second.changed == {"node0": 0, "node1": 0}, second.changes()
