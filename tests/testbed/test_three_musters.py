"""Three measured nodes are as good as three times as fast as one, and as fast as was planned; the shepherd's own node.

A file of its own, so that its nodes wait beside those of the other files and not after them.
"""

import json
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mustherd.testbed.bed import Bed
from tests.testbed import parallel
from tests.testbed.parallel import NODE0
from tests.testbed.reservation import Reservation
from tests.waiting import until

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(1800)]

EXPERIMENT = "/var/lib/mustherd/experiments/herd3"
TRIALS = 5
"""And one of the baseline: two for each of three musters."""
WINDOW_S = 24
"""Long beside what a machine's processor has to do for a trial, which may have other work: see below."""

JOB = "INVENTORY=herd3 DEFINITION={}.yml MINUTES=30 examples/ci/experiment.sh"


class Herd:
    """A reservation whose three musters run, and its user's folder."""

    def __init__(self, reserved: Reservation) -> None:
        self.reserved = reserved
        self.folder = reserved.folder("parallel")
        # A checkout in which `make setup` has been done.
        (self.folder / ".venv").symlink_to(Path(sys.executable).parents[1])
        (self.folder / "Makefile").write_text("setup:\n")
        parallel.provision(reserved, self.folder, [1])

    def on_node0(self, line: str) -> str:
        """What a line prints there, on whichever stream."""
        done = self.reserved.run(self.folder, f"{NODE0} '{line} 2>&1'")
        return done.stdout


@pytest.fixture(scope="module")
def herd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Herd]:
    with Bed(tmp_path_factory.mktemp("three") / "bed", 4) as bed:
        reserved = Reservation(bed)
        try:
            yield Herd(reserved)
        finally:
            reserved.close()


def test_on_the_shepherds_node_root_is_its_operator_without_flags(herd: Herd) -> None:
    parallel.start(herd.reserved, 3)
    musters = [f"muster-10.77.0.{k}" for k in (2, 3, 4)]
    until(lambda: herd.on_node0("sudo mustherd herd status").count("alive") == 3, 60)
    told = herd.on_node0("sudo mustherd knob list --json -v")
    assert all(name in told for name in musters), told
    assert "shepherd 10.77.0.1:50081, keys in /etc/mustherd/conductor, as /etc/mustherd/operator.toml says" in told
    # Who may not read it is told so; the keys are nobody else's.
    told = herd.on_node0("mustherd herd status")
    assert "for root alone: with sudo, or give --shepherd and --keys" in told
    assert herd.on_node0("sudo stat -c %a:%U /etc/mustherd/operator.toml").split() == ["600:root"]


def test_a_job_says_why_its_experiment_did_not_begin(herd: Herd) -> None:
    (herd.folder / "wrong.yml").write_text("name: wrong\nherd: {inventory: herd3}\n")
    done = herd.reserved.run(herd.folder, JOB.format("wrong"))
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, said
    assert "ended with exit code 2: mustherd: wrong.yml:1: knobs: the key 'knobs' is needed" in said, said
    assert "wrong.yml:1: workload: the key 'workload' is needed" in said
    # Mended, it can be called for again.
    unit = "systemctl show --property=LoadState --value mustherd-experiment-wrong"
    assert herd.on_node0(unit).strip() == "not-found"


def test_three_musters_are_two_and_a_half_times_as_fast_as_one_and_as_planned(
    herd: Herd, record_property: Callable[[str, object], None]
) -> None:
    """The same six trials on one node and on three, the times being those of the store's own trials.

    No speed of code is measured: a trial waits out its settling, its ramp and its window, so that its time is the
    schedule's, and with trials that overlap as planned three nodes take a third of it. The window is long enough for
    the rest, a login and a process or two for each trial, to be small on a machine with other work.
    """
    reserved, folder = herd.reserved, herd.folder
    three = parallel.write(reserved, folder, 3, TRIALS, WINDOW_S)
    planned = parallel.planned_s(reserved, folder, three)
    found = {3: parallel.compared(run_by_ci(herd), planned)}
    one = parallel.write(reserved, folder, 1, TRIALS, WINDOW_S)
    planned = parallel.planned_s(reserved, folder, one)
    found[1] = parallel.compared(parallel.run(reserved, folder, one), planned)
    record_property("found", found)
    assert [result["trials"] for result in found.values()] == [TRIALS + 1] * 2, found
    assert found[1]["took_s"] >= 2.5 * found[3]["took_s"], found
    assert max(abs(result["off_percent"]) for result in found.values()) <= 10, found


def run_by_ci(herd: Herd) -> Path:
    """As a lab's CI runs one, with the script in examples/; its folder, fetched.

    What is going on is said before there is a first trial, and the job ends as the verdict does.
    """
    reserved, folder = herd.reserved, herd.folder
    status = f"sudo mustherd experiment status {EXPERIMENT}"
    with reserved.started(folder, JOB.format("herd3")) as process:
        until(lambda: process.poll() is not None or "links of its herd are tried" in herd.on_node0(status), 300)
        begins = process.poll() is None
        out, err = process.communicate(timeout=900)
    assert begins, f"it was over before that: {out}{err}"
    shown = json.loads(reserved.run(folder, f"{NODE0} sudo mustherd experiment show --json {EXPERIMENT}").stdout)
    assert process.returncode == (0 if shown["verdict"] == "met" else 2), out + err
    assert (folder / "experiments/herd3.html").exists()
    with tarfile.open(folder / "experiments/herd3.tar.gz") as archive:
        archive.extractall(folder / "experiments", filter="data")
    return folder / "experiments/herd3"
