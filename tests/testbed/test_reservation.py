"""docs/how-to/reservation.md as written, twice, and what else can be seen on a herd that it has made."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.testbed.bed import Bed
from tests.testbed.rehearsal import PROJECT
from tests.testbed.reservation import ACCOUNT, Reservation
from tests.waiting import until

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(3000)]

PAGE = PROJECT / "docs/how-to/reservation.md"
FENCE = re.compile(r"^```console tier=testbed(?P<verdict> verdict)?\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
NODE0 = "ssh carol@c6220-1.example.net"
EXPERIMENTS = "/var/lib/mustherd/experiments"
CPU = "/sys/devices/system/cpu"
# Plain files stand for the kernel's: whether one ends with a line's end says nothing.
FOUND = (
    f"for f in {CPU}/smt/control {CPU}/cpufreq/boost {CPU}/cpu*/cpufreq/scaling_governor; do echo $f $(cat $f); done; "
    "systemctl is-enabled irqbalance"
)
APART_KHZ = (1200000, 1900000)
ALIKE_KHZ = (2600000, 2600000)
"""As the role leaves them."""
LEFT = (
    "ls /etc/systemd/system | grep mustherd; ls -d /etc/mustherd /opt/mustherd; "
    f"cd ~{ACCOUNT}/.ssh && ls -A && cat authorized_keys"
)


@pytest.fixture(scope="module")
def reserved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reservation]:
    with Bed(tmp_path_factory.mktemp("reserved") / "bed", 4) as bed:
        reservation = Reservation(bed)
        try:
            yield reservation
        finally:
            reservation.close()


def lines_of_the_page() -> list[tuple[str, tuple[int, ...]]]:
    """Each command, and the exit codes that it may end with: a verdict is met or not, and then Ansible fails with 2."""
    found: list[tuple[str, tuple[int, ...]]] = []
    for fence in FENCE.finditer(PAGE.read_text()):
        for line in (line[2:] for line in fence["body"].splitlines() if line.startswith("$ ")):
            not_met = (2 if line.startswith("ansible-runner") else 1,) if fence["verdict"] else ()
            found.append((line, (0, *not_met)))
    return found


def walk(
    reserved: Reservation, folder: Path, lines: list[tuple[str, tuple[int, ...]]], *, cut_off: bool = False
) -> None:
    """Each line as the user types it; `cut_off`: the machine that called for an experiment goes away meanwhile."""
    for line, allowed in lines:
        if cut_off and line.startswith("ansible-runner"):
            goes_on_when_the_control_machine_goes_away(reserved, folder, line)
        done = reserved.run(folder, line)
        assert done.returncode in allowed, f"{line}\n{done.stdout}\n{done.stderr}"
        if line.startswith("mustherd herd inventory"):
            reserved.add(folder, "mine")


def goes_on_when_the_control_machine_goes_away(reserved: Reservation, folder: Path, line: str) -> None:
    bed, unit = reserved.bed, "mustherd-experiment-search.service"
    runs = f"systemctl show --property=SubState {unit}"
    with reserved.started(folder, line) as process:
        until(lambda: "SubState=running" in bed.ssh("node0", runs).stdout, 300)
        process.kill()
    assert "SubState=running" in bed.ssh("node0", runs).stdout
    is_closed(bed.ssh("node0", exposures([unit])).stdout, unit)


def freeze(reserved: Reservation, khz: tuple[int, ...]) -> str:
    """The measured node's CPUs as the userspace governor freezes each at the clock that it happens to run at."""
    clocks = " && ".join(f"echo {each} > {CPU}/cpu{n}/cpufreq/scaling_setspeed" for n, each in enumerate(khz))
    assert reserved.bed.ssh("node1", clocks).returncode == 0
    return clocks_of(reserved)


def clocks_of(reserved: Reservation) -> str:
    return reserved.bed.ssh("node1", f"grep -H . {CPU}/cpu*/cpufreq/scaling_{{governor,setspeed}}").stdout


def as_found(reserved: Reservation) -> dict[str, str]:
    return {host: reserved.bed.ssh(host, f"{FOUND}; {LEFT}").stdout for host in reserved.bed.hosts}


def test_the_page_does_what_it_shows_and_again_on_hosts_that_it_put_back(reserved: Reservation) -> None:
    lines = lines_of_the_page()
    assert lines[0][0].startswith("mustherd herd inventory")
    assert lines[-1][0].startswith("mustherd herd restore")
    ready = next(n for n, (line, _) in enumerate(lines) if "experiment check" in line)
    found = as_found(reserved)
    for number, name in enumerate(("first", "second")):
        folder = reserved.folder(name)
        shutil.copy(PROJECT / "tests/testbed/search.yml", folder / "search.yml")
        walk(reserved, folder, lines[:ready])
        clocks = freeze(reserved, APART_KHZ)
        walk(reserved, folder, lines[ready:-2], cut_off=name == "first")
        assert clocks_of(reserved) == clocks, "each CPU has its own again, whatever was tried"
        for place in ("search", "experiments"):
            assert list((folder / place).glob("*.html")), place
        for place in ("search", f"{EXPERIMENTS}/search"):
            told = json.loads(reserved.run(folder, f"{NODE0} sudo mustherd experiment show --json {place}").stdout)
            assert told["status"] == "done"
            assert told["reason"].startswith(told["verdict"])
        # Each call by Ansible measured anew, and kept what was there.
        aside = reserved.run(folder, f"{NODE0} sudo ls {EXPERIMENTS} | grep -c search-").stdout
        assert int(aside) == number
        if name == "first":
            every_unit_is_closed(reserved)
            a_signal_puts_the_knobs_back(reserved, folder)
            a_second_run_changes_nothing(reserved, folder)
            the_herd_is_kept(reserved, folder)
        walk(reserved, folder, lines[-2:])
        assert as_found(reserved) == found


def every_unit_is_closed(reserved: Reservation) -> None:
    seen = set()
    for host in reserved.bed.hosts:
        units = reserved.bed.ssh(host, "cd /etc/systemd/system && ls mustherd-*.service").stdout.split()
        text = reserved.bed.ssh(host, exposures(units)).stdout
        for unit in units:
            is_closed(text, unit)
            seen.add(unit)
    assert seen >= {
        "mustherd-muster.service",
        "mustherd-shepherd.service",
        "mustherd-memcached-0.service",
        "mustherd-mutilate-agent.service",
    }


def exposures(units: list[str]) -> str:
    """The command that says of each how open it is to attacks, as systemd itself works it out: 0 to 10."""
    return "; ".join(f"systemd-analyze security --no-pager {unit} | tail -1" for unit in units)


def is_closed(text: str, unit: str) -> None:
    exposure = re.search(rf"Overall exposure level for {re.escape(unit)}:? ([0-9.]+)", text)
    assert exposure, f"{unit}: {text}"
    assert float(exposure[1]) <= 3.0, f"{unit}: {text}"


def a_signal_puts_the_knobs_back(reserved: Reservation, folder: Path) -> None:
    bed, found = reserved.bed, clocks_of(reserved)
    assert set(re.findall(r"\b\d{7}\b", found)) == set(map(str, APART_KHZ))
    set_one = "mustherd knob set muster-10.77.0.2 dvfs=2600 --shepherd 10.77.0.1 --keys keys/mine"
    for signal in ("HUP", "QUIT", "KILL"):
        # The shepherd's unit has just come back, or its muster has, and they find each other anew.
        until(lambda: reserved.run(folder, set_one).returncode == 0)
        assert set(re.findall(r"\b\d{7}\b", clocks_of(reserved))) == {"2600000"}
        assert bed.ssh("node1", f"systemctl kill --signal={signal} mustherd-muster").returncode == 0
        until(lambda: clocks_of(reserved) == found)
        until(lambda: bed.ssh("node1", "systemctl is-active mustherd-muster").stdout.strip() == "active")


def a_second_run_changes_nothing(reserved: Reservation, folder: Path) -> None:
    freeze(reserved, ALIKE_KHZ)
    # Of a measured node: it has most of the roles. All of them together: test_provision.
    done = reserved.run(folder, "ansible-playbook provision.yml -i mine --limit node1")
    assert done.returncode == 0, done.stdout
    assert set(re.findall(r"changed=(\d+)", done.stdout)) == {"0"}, done.stdout


TABLE = """\
table:
- {qps: 1000, settings: {dvfs: 1900}}
- {qps: 100000, settings: {dvfs: 2600}}
"""
KEEP = """\
keeper: {limit: 500, safe: {dvfs: 2600}, settle_s: 1, first_settle_s: 1, controls: 0, retune: false}
sources:
- {kind: application, signal: load, command: [echo, "800"]}
- {kind: application, signal: latency, command: [echo, "200"]}
"""


def the_herd_is_kept(reserved: Reservation, folder: Path) -> None:
    """A unit in the shepherd's place; killed it goes on, and when it is ended nodes are as they were found."""
    bed, unit, found = reserved.bed, "mustherd-keeper.service", clocks_of(reserved)
    (folder / "table.yml").write_text(TABLE)
    (folder / "keep.yml").write_text(KEEP)
    files = "-e keep_table=$PWD/table.yml -e keep_config=$PWD/keep.yml"
    kept = f"ansible-playbook playbooks/keep.yml -i mine {files}"
    done = reserved.run(folder, kept)
    assert done.returncode == 0, done.stdout + done.stderr
    is_closed(bed.ssh("node0", exposures([unit])).stdout, unit)
    for _ in range(2):
        until(lambda: set(re.findall(r"\b\d{7}\b", clocks_of(reserved))) == {"1900000"}, 60)
        assert bed.ssh("node0", f"systemctl kill --signal=KILL {unit}").returncode == 0
    status = "mustherd herd status --shepherd 10.77.0.1 --keys keys/mine"
    until(lambda: "dvfs 1900 MHz" in reserved.run(folder, status).stdout, 60)
    again = reserved.run(folder, kept)
    assert set(re.findall(r"changed=(\d+)", again.stdout)) == {"0"}, again.stdout
    # What starts a herd leaves its keeper alone.
    started = reserved.run(folder, "mustherd herd start -i mine")
    assert started.returncode == 0, started.stdout + started.stderr
    assert bed.ssh("node0", f"systemctl is-active {unit}").stdout.strip() == "active"
    ended = reserved.run(folder, "ansible-playbook playbooks/keep.yml -i mine -e keep_end=true")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    until(lambda: clocks_of(reserved) == found)
    assert bed.ssh("node0", "systemctl is-active mustherd-shepherd").stdout.strip() == "active"
