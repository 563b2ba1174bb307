"""The whole way: three bare nodes are provisioned, run an experiment, boot, and are put back: `make test-testbed`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.testbed.bed import Bed
from tests.testbed.rehearsal import AS_FOUND, AS_SET, CPU, FILES, FOUND, OPEN_FILES, Rehearsal, said

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(3000)]

MOST_TASKS = 40
"""Of a run on a node that is as it was left."""


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Rehearsal]:
    """Nodes as they come, of every other release than those that the other tests have."""
    with Bed(tmp_path / "bed", releases=("jammy", "trixie", "noble")) as bed:
        yield Rehearsal(bed)


def test_a_herd_from_bare_nodes_and_back(bare: Rehearsal) -> None:
    herd, names = bare, list(bare.bed.hosts)
    none = dict.fromkeys(names, 0)
    for host in names[1:]:
        assert said(herd, host, FOUND) == AS_FOUND

    # What would be done, on nodes where nothing has been done: all roles, and nothing changes.
    planned = herd.playbook("provision.yml", "--check", "--diff", "--limit", names[1])
    assert planned.code == 0, planned.text
    assert "+mustherd-node apply governor=userspace" in planned.text.replace("ExecStart=/usr/local/sbin/", "")
    assert said(herd, names[1], f"{FOUND}; ls -d /etc/mustherd /opt/mustherd /usr/local/sbin/mustherd-node") == AS_FOUND

    first = herd.playbook("provision.yml")
    assert first.code == 0, first.text
    assert all(first.changed.values())
    assert not any(secret in first.text for secret in ("secret-key", "BEGIN OPENSSH"))
    for host in names[1:]:
        assert said(herd, host, FOUND) == AS_SET

    second = herd.playbook("provision.yml")
    assert second.code == 0, second.text
    assert second.changed == none, second.changes()
    assert max(second.executed.values()) <= MOST_TASKS, second.executed
    drift_is_mended(herd, names)

    started = herd.mustherd("herd", "start", "-i", str(herd.inventory), "--json")
    assert started.returncode == 0, started.stdout + started.stderr
    assert not any(json.loads(started.stdout)["changed"].values()), started.stdout
    asked = f"Next: on the machine that has {herd.bed.control}, with this inventory, mustherd experiment start FILE"
    assert asked in started.stderr
    # Provisioning has ended with a herd that runs, so that there is nothing left to start.
    up = "systemctl is-active mustherd-muster mustherd-memcached-0"
    assert said(herd, names[1], f"{up} mustherd-muster-1") == ["active"] * 3
    assert said(herd, names[2], f"{up} mustherd-mutilate-agent") == ["active"] * 3
    assert herd.playbook("playbooks/start.yml").changed == none
    the_herd_runs_an_experiment(herd)

    assert said(herd, names[2], "ulimit -n; ulimit -Hn") == [str(OPEN_FILES)] * 2

    # Nodes know one another: names, host keys, logins.
    login = f"ssh -o BatchMode=yes -o StrictHostKeyChecking=yes {names[2]} cat /etc/hostname || cat /etc/hosts"
    assert herd.bed.ssh(names[1], login).stdout.strip() == names[2]
    assert said(herd, names[1], "stat -c %a:%U /etc/mustherd/keys/*.key_secret") == ["600:mustherd"] * 2

    herd.bed.reboot()
    for host in names[1:]:
        assert said(herd, host, FOUND) == AS_SET
    assert said(herd, names[1], up) == ["active"] * 2
    verified = herd.playbook("provision.yml", "--tags", "verify")
    assert verified.code == 0, verified.text
    assert verified.changed == none, verified.changes()

    collected = herd.playbook("playbooks/collect.yml")
    assert collected.code == 0, collected.text
    home = herd.folder / "collected/testbed" / names[1]
    assert {file.name for file in home.iterdir()} >= {"journal.log", "facts.json", "muster.toml", "found.json"}
    assert json.loads((home / "found.json").read_text())["smt"] == {f"{CPU}/smt/control": "on"}

    stopped = herd.playbook("playbooks/stop.yml")
    assert stopped.code == 0, stopped.text
    assert said(herd, names[1], up) == ["inactive"] * 2

    restored = herd.playbook("playbooks/restore.yml")
    assert restored.code == 0, restored.text
    for host in names[1:]:
        assert said(herd, host, FOUND) == AS_FOUND
        assert said(herd, host, "ls /etc/systemd/system | grep mustherd; ls -d /etc/mustherd /opt/mustherd") == []
    again = herd.playbook("playbooks/restore.yml")
    assert again.code == 0, again.text
    assert again.changed == none, again.changes()

    # On request nothing is left.
    purged = herd.playbook("playbooks/restore.yml", "-e", "restore_purge=true")
    assert purged.code == 0, purged.text
    left = "/usr/local/sbin/mustherd-node /var/lib/mustherd-node /var/lib/mustherd /usr/local/src/mustherd"
    for host in names[1:]:
        assert said(herd, host, f"ls -d {left} /usr/local/bin/m*; getent passwd mustherd mustherd-load") == []


KEPT = f"""
sha256sum /etc/hosts /etc/mustherd/muster*.toml /etc/systemd/system/mustherd-* /etc/security/limits.d/mustherd.conf
stat -c '%n %A %U %N' /etc/mustherd/keys/* /usr/local/bin/m* /opt/mustherd/current
readlink /etc/systemd/system/irqbalance.service
grep -H . {FILES}
systemctl is-enabled mustherd-hardware mustherd-governor mustherd-muster mustherd-memcached-0
systemctl is-active mustherd-muster mustherd-memcached-0 mustherd-mutilate-agent
getent passwd mustherd mustherd-load
"""
DRIFTS = (
    # One or more of each role, on the node that has them.
    "sed -i /node2/d /etc/hosts",
    f"echo on > {CPU}/smt/control",
    "systemctl disable mustherd-hardware",
    "ln -sf /lib/systemd/system/irqbalance.service /etc/systemd/system/irqbalance.service",
    f"echo schedutil > {CPU}/cpu1/cpufreq/scaling_governor",
    "rm /etc/security/limits.d/mustherd.conf",
    "echo '# by hand' >> /etc/systemd/system/mustherd-memcached-0.service",
    "sed -i 's/^lease_s = .*/lease_s = 99.0/' /etc/mustherd/muster.toml",
    "chmod 644 /etc/mustherd/keys/*.key_secret",
    "rm /usr/local/bin/mustherd",
    "systemctl stop mustherd-muster",
)
STOPPED = "systemctl stop mustherd-mutilate-agent"


def drift_is_mended(herd: Rehearsal, names: list[str]) -> None:
    """What somebody has changed by hand is found and put right, and a node where nothing was is left alone."""
    before = {host: said(herd, host, KEPT) for host in names[1:]}
    for drift in DRIFTS:
        assert herd.bed.ssh(names[1], drift).returncode == 0, drift
    assert herd.bed.ssh(names[2], STOPPED).returncode == 0
    mended = herd.playbook("provision.yml")
    assert mended.code == 0, mended.text
    assert {host: said(herd, host, KEPT) for host in names[1:]} == before
    assert mended.changed[names[0]] == 0, mended.changes()
    # Only what stands still is started: all else there is as it was left.
    assert mended.changed[names[2]] == 1, mended.changes()
    assert mended.executed[names[2]] <= MOST_TASKS + 3, mended.executed


def the_herd_runs_an_experiment(herd: Rehearsal) -> None:
    """Over CURVE and across the bridge: the control machine conducts, the twin's load is on three musters."""
    keys = herd.folder / "keys/testbed"
    assert {file.stem for file in (keys / "accepted").iterdir()} >= {"muster-10.77.0.2-1", "muster-10.77.0.3"}
    where = ("--listen", herd.bed.control, "--keys", str(keys), "--musters", "3")
    answer = herd.mustherd("experiment", "start", "examples/testbed.yml", "--into", "out", *where, "--json")
    assert answer.returncode in (0, 1), answer.stdout + answer.stderr
    shown = json.loads(answer.stdout)
    assert shown["status"] == "done", shown
    logs = herd.bed.ssh("node1", "journalctl --unit 'mustherd-muster*' --output cat --no-pager").stdout
    assert logs.count("welcomed by the shepherd") >= 2
