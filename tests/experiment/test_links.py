"""An experiment on an inventory: no flags, every link tried first, and whoever has the ports."""

import errno
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import paramiko
import pytest

from mustherd import api
from mustherd.definition import DefinitionError
from mustherd.experiment import links
from mustherd.experiment.links import Link, LinksError
from mustherd.experiment.way import listens
from mustherd.provision.inventory import InventoryError
from mustherd.store.errors import StoreError
from mustherd.store.store import Store
from mustherd.trial import TrialKind, TrialState
from tests import running
from tests.real_herd import RealHerd, herd
from tests.sshd import Sshd
from tests.waiting import until

FROZEN = ["1200000", "1300000", "1400000", "1500000"]


@pytest.fixture
def one(tmp_path: Path) -> Iterator[RealHerd]:
    with herd(tmp_path, 1) as made:
        yield made


def wrong(tried: list[Link]) -> dict[str, str]:
    return {link.name: f"{link.found}; {link.fix}" for link in tried if link.state == "wrong"}


@pytest.mark.process
def test_an_inventory_says_all_that_a_run_needs(tmp_path: Path, one: RealHerd) -> None:
    file = one.file(baseline={"governor": "ondemand"})
    code, out, err = running.run("experiment", "check", file, "--json")
    assert code == 0, out + err
    tried = {link["name"]: link for link in json.loads(out)}
    assert tried["muster-127.0.0.2"]["found"] == "joined; dvfs read, and written back to the same value"
    assert {link["state"] for link in tried.values()} == {"ok"}
    assert one.clocks("muster-127.0.0.2") == FROZEN

    code, result, err = running.complete(tmp_path, one.definition(baseline={"governor": "ondemand"}), name="run")

    assert code in (0, 1), err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
    assert [t.kind for t in finished] == [TrialKind.BASELINE, *[TrialKind.SEARCH] * 4]
    assert {r.applied for t in finished for r in t.readings if t.kind is TrialKind.BASELINE} == {3}
    assert [r.applied for t in finished[1:] for r in t.readings] == [1500, 1800, 2100, 2400]
    until(lambda: one.clocks("muster-127.0.0.2") == FROZEN)


@pytest.mark.process
def test_energy_that_no_meter_measures_is_said_before_a_window_is_measured_in_vain(one: RealHerd) -> None:
    assert wrong(api.links(one.file(objective="energy_joules", policy="nop")))["muster-127.0.0.2 energy"] == (
        "energy_joules has no meter: switched off by the configuration;"
        " objective: machine_cpu_seconds or server_cpu_seconds, or leave it out of this herd"
    )


@pytest.mark.process
def test_a_clock_of_each_core_says_by_which_option(one: RealHerd) -> None:
    found = wrong(api.links(one.file(knobs={"dvfs@core-0": [1500, 1800]})))["muster-127.0.0.2"]
    assert "unknown knob 'dvfs@core-0'" in found
    assert "mustherd_linux: {dvfs_sheep: core} in the inventory, and provision --tags config" in found
    # Of one that isn't there no option makes a place.
    found = wrong(api.links(one.file(knobs={"dvfs@core-99": [1500, 1800]})))["muster-127.0.0.2"]
    assert found.endswith("; the machine has no core-99; its CPUs are 0-3")


@pytest.mark.process
def test_of_a_muster_that_is_missing_it_is_said_whether_its_node_is_up(
    one: RealHerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that was powered off was to be mended by starting units on it."""
    monkeypatch.setattr(links, "JOIN_S", 0.1)
    one.stop()
    file = one.file()
    answers: list[OSError] = [OSError(errno.EHOSTUNREACH, "No route to host"), ConnectionRefusedError()]
    connect = socket.create_connection

    def asked(address: tuple[str, int], *rest: Any, **more: Any) -> socket.socket:
        if address == ("127.0.0.2", links.SSH_PORT):
            raise answers.pop(0)
        return connect(address, *rest, **more)

    monkeypatch.setattr(socket, "create_connection", asked)
    assert wrong(api.links(file))["muster-127.0.0.2"].startswith(
        "has not joined within 0.1 s, and its node 127.0.0.2 does not answer at ssh's port 22 either: No route to host;"
        " see that the node is up and in the network (ssh 127.0.0.2); "
    )
    assert wrong(api.links(file))["muster-127.0.0.2"].startswith("has not joined within 0.1 s; start it: ")


@pytest.mark.process
def test_what_is_missing_is_said_at_once_with_its_fix(
    tmp_path: Path, one: RealHerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "JOIN_S", 0.1)
    one.stop()
    one.mutilate.unlink()
    file = one.file()
    into = tmp_path / "never"
    with pytest.raises(LinksError) as caught:
        api.run(file, into=into)
    assert not into.exists()
    said = str(caught.value)
    assert "muster-127.0.0.2: has not joined within 0.1 s; fix: start it: mustherd herd start" in said
    assert f"{one.mutilate} is not installed here" in said
    # A folder that is taken is refused before any of them is tried.
    into.mkdir()
    (into / "notes").touch()
    with pytest.raises(StoreError, match="is not an empty folder"):
        api.run(file, into=into)


@pytest.mark.process
@pytest.mark.long
def test_until_it_begins_its_status_says_what_is_tried(tmp_path: Path) -> None:
    herd = RealHerd(tmp_path, [1])
    file = herd.file()
    into = tmp_path / "soon"
    begun = running.begin("experiment", "start", file, "--into", into, folder=tmp_path)
    # Its muster is waited for, and doesn't come.
    tried = f"by process {begun.process.pid}: the links of its herd are tried"
    until(lambda: tried in running.here("experiment", "status", into)[1])
    told = json.loads(running.here("experiment", "status", into, "--json")[1])
    assert (told["folder"], told["status"]) == (str(into), "beginning")
    assert tried in told["status_detail"]
    code, out, err = running.here("experiment", "show", into)
    assert (code, out) == (2, "")
    assert f"{into} does not exist yet: its experiment is about to begin" in err
    # A second one is told who begins it already.
    assert (
        f"{into} is being run by process {begun.process.pid}"
        in running.run("experiment", "start", file, "--into", into)[2]
    )
    begun.process.kill()
    assert begun.finish()[2] == "first the herd's links are tried, without load: some seconds\n"
    assert "no experiment has been started there" in running.here("experiment", "status", into)[2]


@pytest.mark.process
def test_nobody_who_leads_the_load(tmp_path: Path, one: RealHerd) -> None:
    one.inventory.write_text(one.inventory.read_text().replace("loadgen_leader", "others"))
    file = tmp_path / "real.yml"
    file.write_text(one.definition())
    with pytest.raises(LinksError, match="load: nobody leads it; fix: put one host into loadgen_leader"):
        api.run(file, into=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # Whoever only watches loads nobody.
    file.write_text(one.definition(policy="nop", knobs={}))
    assert wrong(api.links(file)) == {}
    # A load that comes from elsewhere than the nodes is missed without asking one.
    file.write_text(one.definition(workload={"server": "redis"}, knobs={}, policy="nop"))
    with pytest.raises(InventoryError, match="nobody leads the load; fix: put one host into loadgen_leader"):
        api.run(file, into=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.herd
class TestLogins:
    """Of a herd none of whose musters runs: only what the load needs is looked at here."""

    @pytest.fixture
    def leader(self, tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> RealHerd:
        monkeypatch.setattr(links, "JOIN_S", 0.0)
        made = RealHerd(tmp_path, [1])
        self.by_ssh = {
            "ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": sshd.port,
            "ansible_user": "anyone", "ansible_ssh_private_key_file": str(sshd.key),
        }  # fmt: skip
        return made

    def tried(self, herd: RealHerd, **leader: Any) -> dict[str, str]:
        herd.write(**{**self.by_ssh, **leader})
        return wrong(api.links(herd.file(workload={"qps": 1000, "window_seconds": 1})))

    def test_a_program_off_the_path_of_a_non_interactive_login(self, leader: RealHerd) -> None:
        found = self.tried(leader)
        assert "ssh 127.0.0.1" not in found
        assert (
            "mutilate is not installed on 127.0.0.1, or not on the path of a non-interactive ssh (/"
            in (found["load of muster-127.0.0.2"])
        )

    def test_a_host_key_that_nobody_knows(self, leader: RealHerd, tmp_path: Path) -> None:
        (tmp_path / "home/.ssh/known_hosts").write_text("")
        assert "log in once by hand to learn its key" in self.tried(leader)["ssh 127.0.0.1"]

    def test_a_key_that_the_node_does_not_take(self, leader: RealHerd, tmp_path: Path) -> None:
        paramiko.RSAKey.generate(2048).write_private_key_file(str(tmp_path / "other"))
        found = self.tried(leader, ansible_ssh_private_key_file=str(tmp_path / "other"))["ssh 127.0.0.1"]
        assert "refused the login; give the account and the key that it knows" in found

    def test_nobody_there(self, leader: RealHerd) -> None:
        assert "see that it is up" in self.tried(leader, ansible_port=1)["ssh 127.0.0.1"]

    def test_a_port_that_somebody_else_has(self, leader: RealHerd) -> None:
        with socket.create_server(("127.0.0.1", leader.ports.control)):
            found = self.tried(leader)
        assert found[f"127.0.0.1, port {leader.ports.control} (control)"].startswith("Address already in use; see who")

    def test_an_address_that_is_another_machine_s(self, leader: RealHerd) -> None:
        found = self.tried(leader, herd_address="192.0.2.1")
        # What would be tried from there is not complained of here.
        assert found.keys() == {"address 192.0.2.1"}
        assert "run this on the inventory's shepherd" in found["address 192.0.2.1"]

    def test_a_reservation_that_is_over(self, leader: RealHerd) -> None:
        leader.write()
        over, ahead = (wrong(api.links(leader.file(budget={"until": f"{year}-05-04 18:00"}))) for year in (2020, 2090))
        assert "which is over" in over["budget.until"]
        assert "budget.until" not in ahead

    def test_keys_that_the_roles_would_have_brought(self, leader: RealHerd) -> None:
        with socket.create_server(("0.0.0.0", leader.ports.control)):  # noqa: S104 - as a shepherd of the roles'
            found = self.tried(leader, herd_address="0.0.0.0")  # noqa: S104 - nobody listens: it has no keys
        assert "mustherd herd provision -i INVENTORY brings them" in found["keys"]
        # Who has a port would give way to whoever has them.
        assert not [name for name in found if "port" in name]


@pytest.mark.long
@pytest.mark.process
def test_a_shepherd_that_waits_as_a_unit_gives_way_and_comes_back(
    tmp_path: Path, one: RealHerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = ",".join(map(str, msgspec.structs.astuple(one.ports)))
    script = (
        "import sys; from mustherd.experiment import way; way.AWAY_S = 1.0; way.LOOK_S = 0.2;"
        "from mustherd.cli import main; sys.argv[0] = 'mustherd'; main()"
    )
    with (tmp_path / "unit.log").open("wb") as log:
        unit = subprocess.Popen([sys.executable, "-c", script, "shepherd", "run", "--ports", ports], stderr=log)
    try:
        until(lambda: listens("127.0.0.1", one.ports.coordinate))
        file = one.file(knobs={"dvfs": [1500]}, trials=1)
        assert wrong(api.links(file)) == {}
        result = api.run(file, into=tmp_path / "run", report=False)
        assert result.status == "done"
        until(lambda: b"listening" in (tmp_path / "unit.log").read_bytes().split(b"back when")[-1])
        assert unit.poll() is None
    finally:
        unit.terminate()
        assert unit.wait(20) == 0


def test_an_inventory_that_is_not_there_is_said_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "typo.yml"
    file.write_text(
        "name: typo\nherd:\n  inventory: mien\nworkload: {qps: 1000}\nknobs: {dvfs: [1500, 1800]}\n"
        "objective: read_p99_us\n"
    )
    with pytest.raises(DefinitionError, match=r"typo[.]yml:3: herd[.]inventory: mien: no such inventory; allowed: the"):
        api.links(file)
