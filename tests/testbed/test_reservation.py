"""docs/how-to/reservation.md as written, twice, and what else can be seen on a herd that it has made."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.testbed.bed import Bed
from tests.testbed.rehearsal import PROJECT
from tests.testbed.reservation import Reservation
from tests.waiting import until

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(3000)]

PAGE = PROJECT / "docs/how-to/reservation.md"
FENCE = re.compile(r"^```console tier=testbed(?P<verdict> verdict)?\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
NODE0 = "ssh carol@c6220-1.example.net"
CPU = "/sys/devices/system/cpu"
# Plain files stand for the kernel's: whether one ends with a line's end says nothing.
FOUND = (
    f"for f in {CPU}/smt/control {CPU}/cpufreq/boost {CPU}/cpu*/cpufreq/scaling_governor; do echo $f $(cat $f); done; "
    "systemctl is-enabled irqbalance"
)
LEFT = "ls /etc/systemd/system | grep mustherd; ls -d /etc/mustherd /opt/mustherd"


@pytest.fixture(scope="module")
def reserved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reservation]:
    with Bed(tmp_path_factory.mktemp("reserved") / "bed", 4) as bed:
        reservation = Reservation(bed)
        try:
            yield reservation
        finally:
            reservation.close()


def lines_of_the_page() -> list[tuple[str, tuple[int, ...]]]:
    """Each command, and the exit codes that it may end with: a verdict is met or not, and Ansible fails with 2."""
    found: list[tuple[str, tuple[int, ...]]] = []
    for fence in FENCE.finditer(PAGE.read_text()):
        allowed = (0, 1, 2) if fence["verdict"] else (0,)
        found += [(line[2:], allowed) for line in fence["body"].splitlines() if line.startswith("$ ")]
    return found


def walk(reserved: Reservation, folder: Path, lines: list[tuple[str, tuple[int, ...]]]) -> None:
    for line, allowed in lines:
        done = reserved.run(folder, line)
        assert done.returncode in allowed, f"{line}\n{done.stdout}\n{done.stderr}"
        if line.startswith("mustherd herd inventory"):
            reserved.add(folder, "mine")


def as_found(reserved: Reservation) -> dict[str, str]:
    return {host: reserved.bed.ssh(host, f"{FOUND}; {LEFT}").stdout for host in reserved.bed.hosts}


def test_the_page_does_what_it_shows_and_again_on_hosts_that_it_put_back(reserved: Reservation) -> None:
    lines = lines_of_the_page()
    assert lines[0][0].startswith("mustherd herd inventory")
    assert lines[-1][0].startswith("mustherd herd restore")
    found = as_found(reserved)
    for name in ("first", "second"):
        folder = reserved.folder(name)
        shutil.copy(PROJECT / "tests/testbed/search.yml", folder / "search.yml")
        walk(reserved, folder, lines[:-1])
        for place in ("search", "experiments"):
            assert list((folder / place).glob("*.html")), place
        shown = reserved.run(folder, f"{NODE0} sudo mustherd experiment show --json search")
        told = json.loads(shown.stdout)
        assert told["status"] == "done"
        assert told["reason"].startswith(told["verdict"])
        if name == "first":
            every_unit_is_closed(reserved)
            a_signal_puts_the_knobs_back(reserved, folder)
            a_second_run_changes_nothing(reserved, folder)
            an_experiment_outlives_its_control_machine(reserved, folder)
        walk(reserved, folder, lines[-1:])
        assert as_found(reserved) == found


def every_unit_is_closed(reserved: Reservation) -> None:
    """Exposure as systemd itself works it out, of what is open to attacks: 0 to 10."""
    seen = set()
    for host in reserved.bed.hosts:
        units = reserved.bed.ssh(host, "cd /etc/systemd/system && ls mustherd-*.service").stdout.split()
        for unit in units:
            is_closed(reserved, host, unit)
            seen.add(unit)
    assert seen >= {
        "mustherd-muster.service",
        "mustherd-shepherd.service",
        "mustherd-memcached-0.service",
        "mustherd-mutilate-agent.service",
    }


def is_closed(reserved: Reservation, host: str, unit: str) -> None:
    text = reserved.bed.ssh(host, f"systemd-analyze security --no-pager {unit} | tail -1").stdout
    exposure = re.search(r"Overall exposure level for \S+ ([0-9.]+)", text.replace(": ", " "))
    assert exposure, f"{host} {unit}: {text}"
    assert float(exposure[1]) <= 3.0, f"{host} {unit}: {text}"


def a_signal_puts_the_knobs_back(reserved: Reservation, folder: Path) -> None:
    clocks = f"cat {CPU}/cpu*/cpufreq/scaling_setspeed"
    bed = reserved.bed
    found = bed.ssh("node1", clocks).stdout
    set_one = "mustherd knob set muster-10.77.0.2 dvfs=1900 --shepherd 10.77.0.1 --keys keys/mine"
    for signal in ("HUP", "QUIT", "KILL"):
        # The shepherd's unit has just come back, or its muster has, and they find each other anew.
        until(lambda: reserved.run(folder, set_one).returncode == 0, 30)
        assert set(re.findall(r"\d{7}|\D+", bed.ssh("node1", clocks).stdout)) <= {"1900000", "\n"}
        assert bed.ssh("node1", f"systemctl kill --signal={signal} mustherd-muster").returncode == 0
        until(lambda: bed.ssh("node1", clocks).stdout == found, 30)
        until(lambda: bed.ssh("node1", "systemctl is-active mustherd-muster").stdout.strip() == "active", 30)


def a_second_run_changes_nothing(reserved: Reservation, folder: Path) -> None:
    done = reserved.run(folder, "ansible-playbook provision.yml -i mine")
    assert done.returncode == 0, done.stdout
    assert set(re.findall(r"changed=(\d+)", done.stdout)) == {"0"}, done.stdout


def an_experiment_outlives_its_control_machine(reserved: Reservation, folder: Path) -> None:
    line = next(line for line, _ in lines_of_the_page() if line.startswith("ansible-runner"))
    line = f'{line[:-1]} -e experiment_name=outlives"'
    bed, unit = reserved.bed, "mustherd-experiment-outlives"
    runs = f"systemctl show --property=SubState --value {unit}"
    with reserved.started(folder, line) as process:
        until(lambda: bed.ssh("node0", runs).stdout.strip() == "running", 300)
        time.sleep(1)  # fixed: into its first trial
        process.kill()
    assert bed.ssh("node0", runs).stdout.strip() == "running"
    is_closed(reserved, "node0", f"{unit}.service")
    again = reserved.run(folder, line)
    assert again.returncode in (0, 1, 2), again.stdout
    assert (folder / "experiments/outlives.html").exists(), again.stdout
