"""A machine is reached as ssh itself would reach it: the account's configuration, bastions, what the inventory says."""

import getpass
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from mustherd.load import ssh_config
from mustherd.load.placement import Place
from mustherd.load.ssh import ChannelError, SshHost, Target, connect
from mustherd.load.ssh_config import SshConfigError, route
from tests.sshd import listening

CONFIG = """
Host node1
  HostName 10.0.0.7
  Port 2222
  User carol
  IdentityFile ~/.ssh/cloud
  ProxyJump bob@bastion
Host bastion
  HostName bastion.example.org
  Port 2200
Host direct
  ProxyCommand nc -x proxy:1080 %h %p
Host loop
  ProxyJump loop
Host *
  UserKnownHostsFile ~/.ssh/herd_hosts
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    (folder / ".ssh/config").write_text(CONFIG)
    (folder / ".ssh/cloud").touch()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr(ssh_config, "SYSTEM", tmp_path / "none")
    return folder


def test_what_the_accounts_configuration_says_holds(home: Path) -> None:
    found = route("node1")
    assert (found.host, found.port, found.user) == ("10.0.0.7", 2222, "carol")
    assert found.keys == (home / ".ssh/cloud",)
    assert found.known_hosts == (home / ".ssh/herd_hosts",)
    assert [(hop.host, hop.port, hop.user) for hop in found.jumps] == [("bastion.example.org", 2200, "bob")]


def test_what_the_inventory_says_beats_it(home: Path) -> None:
    found = route("node1", "dave", 22022, home / "key", ["-o", "ProxyJump=none", "-oUserKnownHostsFile=/k"])
    assert (found.host, found.port, found.user) == ("10.0.0.7", 22022, "dave")
    assert (found.keys, found.known_hosts, found.jumps) == ((home / "key",), (Path("/k"),), ())
    other = route("10.1.1.1", options=["-J", "alice@one:2201,two", "-i", str(home / ".ssh/cloud")])
    assert other.user == getpass.getuser()
    assert other.keys == (home / ".ssh/cloud",)
    assert [(hop.host, hop.port) for hop in other.jumps] == [("one", 2201), ("two", 22)]


def test_root_has_the_keys_of_the_account_that_it_conducts_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sudo mustherd experiment start` on the shepherd's node: the mesh has given carol a key there, and not root."""
    key = tmp_path / "carol/.ssh/id_ed25519"
    key.parent.mkdir(parents=True)
    key.touch()
    monkeypatch.setattr(pwd, "getpwnam", {"carol": SimpleNamespace(pw_dir=str(tmp_path / "carol"))}.__getitem__)
    for user, ours, found in ((0, "carol", (key,)), (1000, "carol", ()), (0, "dave", ())):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert route("node9", ours).keys == found
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert route("node9", "carol", key=home / "key").keys == (home / "key",)


def test_a_command_may_be_the_connection(home: Path) -> None:
    assert route("direct", port=2022).command == "nc -x proxy:1080 direct 2022"
    given = route("node1", options=["-F", "none", "-o", 'ProxyCommand="ip netns exec bed nc %h %p"'])
    assert (given.command, given.jumps, given.host) == ("ip netns exec bed nc node1 22", (), "node1")
    assert route("node1", options=["-o", "ProxyCommand=nc %h %p"]).jumps == ()


@pytest.mark.parametrize(
    ("host", "options", "said"),
    [
        ("loop", [], "more than 8 jumps"),
        ("x", ["-o"], "-o has no value; fix: correct ansible_ssh_common_args"),
        ("x", ["-o", "Port=ssh"], "'ssh' is no port"),
        ("x", ["-F", "/nowhere/config"], "/nowhere/config can't be read"),
        ("x", ["-J", "a:b"], "a:b: no host to jump through"),
    ],
)
def test_what_cannot_be_followed_is_said(home: Path, host: str, options: list[str], said: str) -> None:
    with pytest.raises(SshConfigError, match=said):
        route(host, options=options)


@pytest.mark.process
def test_programs_run_behind_a_bastion(home: Path, tmp_path: Path) -> None:
    for name in ("bastion", "node"):
        (tmp_path / name).mkdir()
    with listening(tmp_path / "bastion", home) as bastion, listening(tmp_path / "node", home) as node:
        (home / ".ssh/config").write_text(
            f"Host inside\n HostName 127.0.0.1\n Port {node.port}\n IdentityFile {node.key}\n ProxyJump hop\n"
            f"Host hop\n HostName 127.0.0.1\n Port {bastion.port}\n IdentityFile {bastion.key}\n"
        )
        far = SshHost(Place(address="10.10.1.3", host="inside"))
        try:
            job = far.start(["echo", "it is inside"])
            assert job.wait(30) == 0
            assert job.output().strip() == "it is inside"
        finally:
            far.close()
        assert bastion.forwarded == [("127.0.0.1", node.port)]
        assert (bastion.commands, node.commands) == ([], [["echo", "it is inside"]])
        # A changed key on the way is as much of a fault as one at its end.
        known = home / ".ssh/known_hosts"
        lines = known.read_text().splitlines()
        swapped = [lines[0].rpartition(" ")[0] + " " + lines[1].rpartition(" ")[2], lines[1]]
        known.write_text("\n".join(swapped) + "\n")
        with (
            pytest.raises(ChannelError, match=rf"host key has changed; .*ssh-keygen -R \[127.0.0.1\]:{bastion.port}"),
            connect(Target("inside", "")),
        ):
            raise AssertionError("an unknown host was accepted")
