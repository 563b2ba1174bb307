"""Keys are handed out to a node in one call: what is not as it is to be is made so and named, and nothing else."""

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.roles.scripts import ROLES

PROGRAM = ROLES / "common/files/mustherd_hand_out.py"
USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name

pytestmark = pytest.mark.process


class Node:
    """Its folder of keys, and what is to be there."""

    def __init__(self, folder: Path) -> None:
        self.keys = folder / "keys"
        own = [USER, GROUP]
        self.wanted: dict[str, Any] = {
            "folders": {str(self.keys): [*own, "0750"], str(self.keys / "accepted"): [*own, "0750"]},
            "files": {
                str(self.keys / "a.key_secret"): [*own, "0600", 'secret "\\\n\u00e9\U0001f511\n'],
                str(self.keys / "accepted/b.key"): [*own, "0640", "b\n"],
            },
            "links": {str(folder / "link"): "keys/accepted"},
            "alone": [str(self.keys / "accepted")],
        }

    def said(self, *words: str, code: int = 0, before: str = "") -> list[str]:
        """What it prints, run as the role runs it, after another program's lines."""
        program = f"{PROGRAM.read_text()}\n{before}main({json.dumps(json.dumps(self.wanted))})\n"
        done = subprocess.run([sys.executable, "-", *words], input=program, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return (done.stdout or done.stderr).splitlines()

    @property
    def all(self) -> list[str]:
        return [name for part in ("folders", "files", "links") for name in self.wanted[part]]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_all_of_it_is_made_once(node: Node) -> None:
    assert node.said("--look") == node.all
    assert not node.keys.exists()
    assert node.said() == node.all
    secret = node.keys / "a.key_secret"
    assert secret.read_text() == 'secret "\\\n\u00e9\U0001f511\n'
    assert oct(secret.stat().st_mode)[-3:] == "600"
    assert oct(node.keys.stat().st_mode)[-3:] == "750"
    assert (node.keys.parent / "link/b.key").read_text() == "b\n"
    assert node.said() == []
    assert {path.name for path in node.keys.iterdir()} == {"a.key_secret", "accepted"}


def test_what_is_not_so_is_mended_and_named_alone(node: Node) -> None:
    node.said()
    secret, accepted = node.keys / "a.key_secret", node.keys / "accepted/b.key"
    secret.chmod(0o644)
    accepted.write_text("another\n")
    stranger = node.keys / "accepted/c.key"
    stranger.write_text("c\n")
    wrong = [str(secret), str(accepted), str(stranger)]
    assert node.said("--look") == wrong
    assert oct(secret.stat().st_mode)[-3:] == "644"
    assert node.said() == wrong
    assert oct(secret.stat().st_mode)[-3:] == "600"
    assert accepted.read_text() == "b\n"
    assert not stranger.exists()
    assert node.said() == []


def test_a_link_in_a_file_s_place_is_replaced_and_where_it_leads_is_left(node: Node) -> None:
    node.said()
    secret, elsewhere = node.keys / "a.key_secret", node.keys.parent / "elsewhere"
    elsewhere.write_text("mine\n")
    secret.unlink()
    secret.symlink_to(elsewhere)
    assert node.said() == [str(secret)]
    assert not secret.is_symlink()
    assert elsewhere.read_text() == "mine\n"


def test_an_account_that_is_not_there_is_named_and_nothing_secret_is(node: Node) -> None:
    node.wanted["files"][str(node.keys / "a.key_secret")][0] = "nobody-has-this-name"
    assert str(node.keys / "a.key_secret") in node.said("--look")
    [line] = node.said(code=1)
    lacking = f"no account nobody-has-this-name with group {GROUP}; fix: run the role without tags"
    assert line == f"{node.keys}/a.key_secret: {lacking}"
    assert not (node.keys / "a.key_secret").exists()


def test_a_link_in_a_folder_s_place_is_refused_and_nothing_written_through_it(node: Node) -> None:
    elsewhere = node.keys.parent / "elsewhere"
    elsewhere.mkdir()
    node.keys.symlink_to(elsewhere)
    for words in ((), ("--look",)):
        [line] = node.said(*words, code=1)
        assert line == f"{node.keys}: it is a link to {elsewhere}, and has to be a folder; fix: remove the link"
    assert list(elsewhere.iterdir()) == []


def test_what_fails_is_said_with_its_file_and_fix(node: Node) -> None:
    node.keys.mkdir()
    (node.keys / "accepted").write_text("in the way")
    [line] = node.said(code=1)
    assert line == f"{node.keys}/accepted: File exists; fix: move away what is in the way of a folder"


LIMITED = """\
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))
"""


def test_a_file_that_cannot_be_written_whole_is_named(node: Node) -> None:
    """What fails on an open file has no name, and it was told `None: No space left on device`."""
    [line] = node.said(before=LIMITED, code=1)
    assert line == f"{node.keys}/a.key_secret: File too large; fix: make it possible by hand"
    assert not (node.keys / "a.key_secret").exists()


def checked(folder: Path, keys: Path, code: int = 0) -> str:
    """What `--check` of the role's part says, for a muster with these keys on the control machine."""
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "herd_address": "10.10.1.2"}
    groups: dict[str, object] = {"musters": {"hosts": {"node1": {}}}, "shepherd": {"hosts": {"boss": {}}}}
    facts = {"python": {"executable": sys.executable}, "distribution_release": "bookworm", "service_mgr": "none"}
    mine = {"mustherd_keys": str(keys), "mustherd_etc": str(folder / "etc"), "mustherd_user": USER}
    play = {
        "hosts": "node1",
        "gather_facts": False,
        "vars": {"ansible_facts": facts, **mine},
        "vars_files": [str(ROLES / "common/vars/main.yml")],
        "tasks": [{"ansible.builtin.import_role": {"name": "mustherd", "tasks_from": "keys"}}],
    }
    hosts = {"node1": host, "boss": host | {"herd_address": "10.10.1.1"}}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts, "children": groups}}))
    (folder / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            folder / "play.yml",
            "-i",
            folder / "hosts.json",
            "--check",
        ],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_ROLES_PATH": str(ROLES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def test_a_check_with_a_node_whose_keys_are_not_made_yet_goes_on(tmp_path: Path) -> None:
    """It failed, and what it said was censored."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "shepherd.key").write_text("s\n")
    assert "skipping: [node1]" in checked(tmp_path, keys)
    for name in ("muster-10.10.1.2.key", "muster-10.10.1.2.key_secret"):
        (keys / name).write_text("m\n")
    assert "changed: [node1]" in checked(tmp_path, keys)
    etc = tmp_path / "etc"
    assert not etc.exists()
    etc.symlink_to(keys)
    said = (
        f"keys cannot be handed out: {etc}: it is a link to {keys}, and has to be a folder. Where: node1. Fix: remove"
    )
    assert f"{said} the link, then run again with tag keys" in checked(tmp_path, keys, code=2)


def test_a_file_that_its_program_refuses_is_not_put_in_place(node: Node) -> None:
    """Such as a unit that systemd cannot read, or a configuration that the package cannot."""
    file = node.keys / "accepted/b.key"
    wanted = node.wanted["files"][str(file)]
    wanted.append('grep -q b "$1" && test "$(basename "$1")" = b.key')
    node.said()
    assert file.read_text() == "b\n"
    wanted[3] = "c\n"
    [line] = node.said(code=1)
    assert line.startswith(f"{file}: it was refused and is as it was")
    assert file.read_text() == "b\n"
    # Only looked at: what its program needs may not be there yet.
    assert node.said("--look") == [str(file)]
