"""`mustherd testbed`, as far as it goes without a bed."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mustherd.cli.app import app
from mustherd.errors import UserError
from mustherd.testbed import daemon
from mustherd.testbed.bed import DEPENDENCIES
from mustherd.testbed.daemon import BedState
from mustherd.testbed.hosts import OFF
from mustherd.testbed.images import BedError
from mustherd.testbed.inventory import unlike, write
from tests import ansible_yaml
from tests.roles.scripts import load

PROJECT = Path(__file__).parents[2]
HOSTS = {"node0": "10.77.0.1", "node1": "10.77.0.2", "node2": "10.77.0.3"}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTHERD_TESTBED_CACHE", str(tmp_path))


def bed(**changes: object) -> BedState:
    given = {
        "pid": os.getpid(),
        "born": daemon._born(os.getpid()),
        "namespace": "bed",
        "control": "10.77.0.254",
        "hosts": HOSTS,
        "key": "/a/key",
        "known_hosts": "/a/known_hosts",
    }
    return BedState(**(given | changes))  # type: ignore[arg-type]


def stored(state: BedState) -> None:
    daemon.folder().mkdir(parents=True)
    (daemon.folder() / "state.json").write_text(json.dumps(state.__dict__))


def test_without_a_bed_it_says_so() -> None:
    assert CliRunner().invoke(app, ["testbed", "status"]).stdout == "no test bed is up\n"
    assert CliRunner().invoke(app, ["testbed", "status", "--json"]).stdout == "null\n"


def test_a_bed_that_is_up_is_shown() -> None:
    stored(bed())
    assert CliRunner().invoke(app, ["testbed", "status"]).stdout.splitlines()[-1] == "node2: 10.77.0.3"
    assert json.loads(CliRunner().invoke(app, ["testbed", "status", "--json"]).stdout)["hosts"] == HOSTS


def test_a_host_that_is_powered_off_is_told() -> None:
    """It was listed as before, and every command failed on it."""
    stored(bed())
    (daemon.folder() / "node2").mkdir()
    (daemon.folder() / "node2" / OFF).touch()
    last = CliRunner().invoke(app, ["testbed", "status"]).stdout.splitlines()[-1]
    assert last == "node2: 10.77.0.3, powered off; fix: mustherd testbed boot node2"
    assert json.loads(CliRunner().invoke(app, ["testbed", "status", "--json"]).stdout)["off"] == ["node2"]


def test_only_a_host_that_is_powered_off_is_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mustherd.testbed.bed.refuse_without_means", lambda: None)
    answer = CliRunner().invoke(app, ["testbed", "boot", "node2"])
    assert str(answer.exception) == "no test bed is up; fix: mustherd testbed up"
    stored(bed())
    answer = CliRunner().invoke(app, ["testbed", "boot", "nod2"])
    assert isinstance(answer.exception, UserError)
    assert answer.exception.exit_code == 2
    assert str(answer.exception) == "host 'nod2': allowed is one of node0, node1, node2"
    answer = CliRunner().invoke(app, ["testbed", "boot", "node2"])
    assert isinstance(answer.exception, BedError)
    assert str(answer.exception).startswith("node2 is not powered off; fix: ")


def test_a_command_that_is_not_there_is_a_mistake_in_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended with 1, a verdict's code, and with what ip says of it."""
    stored(bed())
    monkeypatch.setattr("mustherd.testbed.bed.refuse_without_means", lambda: None)
    answer = CliRunner().invoke(app, ["testbed", "run", "nosuch", "--flag"])
    assert isinstance(answer.exception, UserError)
    assert answer.exception.exit_code == 2
    assert str(answer.exception) == (
        "nosuch: there is no such command on this machine; fix: give the path of one, or for one on a host ssh to"
        " 10.77.0.1, 10.77.0.2, 10.77.0.3"
    )


@pytest.mark.parametrize("changes", [{"born": 1}, {"pid": 2**22 + 1}])
def test_a_bed_whose_keeper_is_gone_is_none(changes: dict[str, object]) -> None:
    stored(bed(**changes))
    assert daemon.state() is None
    assert "mustherd testbed down takes it away" in CliRunner().invoke(app, ["testbed", "status"]).stdout


def test_a_state_that_cannot_be_read_is_none() -> None:
    stored(bed())
    for text in ("", "{}", "[]", "{"):
        (daemon.folder() / "state.json").write_text(text)
        assert daemon.state() is None


def test_a_release_that_is_not_known_is_refused() -> None:
    answer = CliRunner().invoke(app, ["testbed", "up", "--release", "sarge"])
    assert isinstance(answer.exception, UserError)
    assert answer.exception.exit_code == 2, "a mistake in the command"
    assert str(answer.exception) == "release 'sarge': allowed is one of bookworm, trixie, jammy, noble"


def test_its_inventory_is_one_like_any_other(tmp_path: Path) -> None:
    file = write(bed(), tmp_path / "mine", project=PROJECT)
    children = ansible_yaml.load(file.read_text())["all"]["children"]
    groups = {name: list(group["hosts"]) for name, group in children.items()}
    assert (groups["shepherd"], groups["musters"]) == (["node0"], ["node1", "node2"])
    shared = ansible_yaml.load((tmp_path / "mine/group_vars/all.yml").read_text())
    kind = ansible_yaml.load((tmp_path / "mine/group_vars/generic.yml").read_text())
    named = {name: values for group in children.values() for name, values in group["hosts"].items() if values}
    hostvars = {name: shared | kind | values for name, values in named.items()}
    check = load("common/filter_plugins/mustherd_inventory.py")
    assert [problem for name in hostvars for problem in check.inventory_problems(groups, hostvars, name)] == []
    # ssh reaches the hosts through the bed's namespace, and takes no other host for one of them.
    words = shlex.split(shared["ansible_ssh_common_args"])
    assert words[words.index("-F") + 1] == "none"
    assert "UserKnownHostsFile=/a/known_hosts" in words
    dial = next(word for word in words if word.startswith("ProxyCommand="))
    assert dial.startswith("ProxyCommand=ip netns exec bed ")
    assert dial.endswith(" -m mustherd.testbed.proxy_command %h %p")


def test_an_inventory_that_was_kept_may_be_another_bed_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    up = bed(namespace=daemon.namespace())
    write(up, folder, project=PROJECT)
    assert unlike(up, folder) == ""
    fewer = bed(namespace=up.namespace, hosts={"node0": "10.77.0.1", "node1": "10.77.0.2"})
    assert unlike(fewer, folder) == "it names 10.77.0.3, which this bed has not"
    more = bed(namespace=up.namespace, hosts={**HOSTS, "node3": "10.77.0.4"})
    assert unlike(more, folder) == "it leaves out node3"
    monkeypatch.setenv("MUSTHERD_TESTBED_CACHE", str(tmp_path / "other"))
    assert unlike(bed(namespace=daemon.namespace()), folder) == "it leads to the bed of another cache folder"


def test_one_host_is_a_whole_herd(tmp_path: Path) -> None:
    file = write(bed(hosts={"node0": "10.77.0.1"}), tmp_path / "mine", project=PROJECT)
    children = ansible_yaml.load(file.read_text())["all"]["children"]
    assert list(children["musters"]["hosts"]) == ["node0"]


def test_what_it_needs_is_said_the_same_everywhere() -> None:
    packages = " ".join(DEPENDENCIES)
    assert f'/packages.sh" {packages}\n' in (PROJECT / "tests/testbed/install-nspawn.sh").read_text()
    assert f"apt-get install {packages}\n" in (PROJECT / "docs/how-to/rehearse.md").read_text()


def test_beds_of_two_caches_have_nothing_in_common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = daemon.namespace(), daemon.sockets(), daemon.folder()
    monkeypatch.setenv("MUSTHERD_TESTBED_CACHE", str(tmp_path / "other"))
    other = daemon.namespace(), daemon.sockets(), daemon.folder()
    assert not set(one) & set(other)
    assert all(str(name).startswith(("mustherd-bed-", "/run/mustherd-bed-")) for name in (*one[:2], *other[:2]))
    assert len(str(other[1])) < 40, "sockets below it have to fit into 108 characters"


@pytest.mark.process
def test_what_is_under_way_is_not_cleared_by_a_second_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cleared: list[str] = []
    monkeypatch.setattr(daemon, "refuse_without_means", lambda: None)
    monkeypatch.setattr(daemon, "_clear", lambda: cleared.append("x"))
    # Another process, from before it listens until its end.
    script = (
        "import sys; from mustherd.testbed import daemon\nwith daemon._alone(): print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        assert CliRunner().invoke(app, ["testbed", "status"]).stdout == "a test bed is coming up or going down\n"
        for act in (lambda: daemon.up(1, ["bookworm"]), daemon.down):
            with pytest.raises(BedError, match="coming up or going down in"):
                act()
        assert cleared == []
        first.communicate()
    assert CliRunner().invoke(app, ["testbed", "status"]).stdout == "no test bed is up\n"
    daemon.down()
    assert cleared == ["x"]
