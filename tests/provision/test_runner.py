"""Playbooks run from Python: progress, one message per host, signals given back."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.provision.failures import Step, failure_of
from mustherd.provision.project import Project
from mustherd.provision.runner import KEPT_RUNS, ProvisionError, run

HOSTS = """[all]
one ansible_connection=local
two ansible_connection=local
three ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=9 ansible_ssh_common_args='-F none -o ConnectTimeout=2'
[all:vars]
ansible_python_interpreter=/usr/bin/python3
"""
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Reach it
      ansible.builtin.ping:
    - name: Change something
      ansible.builtin.command: "true"
      tags: [change]
    - name: Fail and be rescued
      block:
        - name: Fail
          ansible.builtin.fail: {msg: "this does not count"}
      rescue:
        - name: Go on
          ansible.builtin.debug: {msg: "{{ word | default('') }}"}
    - name: Fail on one
      ansible.builtin.fail:
        msg: "no space left. Where: {{ inventory_hostname }}. Fix: free some"
      when: inventory_hostname == 'two'
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "ansible.cfg").write_text("[defaults]\nhost_key_checking = False\n[ssh_connection]\nretries = 0\n")
    (tmp_path / "hosts").write_text(HOSTS)
    (tmp_path / "site.yml").write_text(PLAYBOOK)
    # By these two a folder is known to be a project.
    (tmp_path / "provision.yml").touch()
    (tmp_path / "roles").mkdir()
    return tmp_path


def test_each_host_that_is_not_done_has_one_message(project: Path) -> None:
    steps: list[Step] = []
    held = signal.getsignal(signal.SIGINT)
    outcome = run("site.yml", project / "hosts", project=Project(project, project), on_step=steps.append)
    assert signal.getsignal(signal.SIGINT) is held
    assert outcome.code != 0
    assert [failure.host for failure in outcome.failures] == ["three", "two"]
    lost, failed = outcome.failures
    assert (failed.task, failed.message, failed.fix) == ("Fail on one", "no space left. Where: two.", "free some")
    assert lost.task == "Reach it"
    assert "cannot be reached" in lost.message
    assert "ssh" in lost.fix
    assert outcome.changed == {"one": 1, "two": 1}
    assert Step("one", "all", "Change something", "changed") in steps
    assert Step("", "all", "Reach it", "started") in steps
    assert Step("three", "all", "Reach it", "unreachable") in steps
    assert outcome.artifacts.is_relative_to(project / "artifacts")


@pytest.mark.long
def test_a_folder_is_a_project_too(project: Path) -> None:
    outcome = run("site.yml", project / "hosts", project=project)
    assert outcome.failures
    assert outcome.artifacts.is_relative_to(project / "artifacts")


def test_nothing_of_the_user_s_environment_is_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-of-the-environment")
    (project / "site.yml").write_text(
        "- hosts: one\n  gather_facts: false\n  tasks:\n    - ansible.builtin.debug:\n"
        "        msg: \"{{ lookup('ansible.builtin.env', 'AWS_SECRET_ACCESS_KEY') | length }} characters\"\n"
    )
    outcome = run("site.yml", project / "hosts", project=Project(project, project))
    kept = [file for file in outcome.artifacts.rglob("*") if file.is_file()]
    # It is there for whoever asks for it.
    assert any(b"26 characters" in file.read_bytes() for file in kept)
    assert [file for file in kept if b"hunter2" in file.read_bytes()] == []
    assert (project / "artifacts").stat().st_mode & 0o077 == 0


@pytest.mark.long
@pytest.mark.process
def test_ctrl_c_stops_a_run_and_says_how_to_go_on(project: Path) -> None:
    (project / "playbooks").mkdir()
    (project / "playbooks/stop.yml").write_text(
        "- hosts: one\n  gather_facts: false\n  tasks:\n    - name: Take long\n"
        "      ansible.builtin.command: sleep 20\n"
    )
    command = [sys.executable, "-m", "mustherd", "herd", "stop", "-i", "hosts"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("Take long" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "interrupted: what is done stays done; the same command goes on"


def test_tags_limit_and_variables_reach_ansible(project: Path) -> None:
    steps: list[Step] = []
    outcome = run(
        "site.yml",
        project / "hosts",
        project=Project(project, project),
        tags=["change"],
        limit="one",
        extra_vars={"word": "x"},
        on_step=steps.append,
    )
    assert outcome.code == 0
    assert outcome.failures == ()
    assert {step.host for step in steps if step.host} == {"one"}
    assert {step.task for step in steps} == {"Change something"}


def test_a_run_without_hosts_says_why(project: Path) -> None:
    outcome = run("site.yml", project / "hosts", project=Project(project, project), limit="nobody")
    assert outcome.code != 0
    assert outcome.failures[0].host == "localhost"
    assert "nobody" in outcome.failures[0].message
    assert "\x1b" not in outcome.failures[0].message


def test_what_is_not_there_is_named(project: Path) -> None:
    with pytest.raises(ProvisionError, match=r"absent\.yml: no such playbook"):
        run("absent.yml", project / "hosts", project=Project(project, project))
    with pytest.raises(ProvisionError, match="no such inventory"):
        run("site.yml", project / "nowhere", project=Project(project, project))


def test_artifacts_are_bounded() -> None:
    assert 0 < KEPT_RUNS <= 100


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"msg": "plain"}, "plain"),
        ({"msg": "non-zero return code", "stderr": "boom"}, "boom"),
        ({"results": [{"failed": False, "msg": "fine"}, {"failed": True, "msg": "item"}], "msg": "All"}, "item"),
        ({}, "no message"),
        ({"msg": "x" * 10000}, "x" * 1500),
    ],
)
def test_the_most_telling_words_are_taken(result: dict[str, object], message: str) -> None:
    failure = failure_of({"event": "runner_on_failed", "event_data": {"host": "h", "task": "t", "res": result}})
    assert failure is not None
    assert failure.message == message
    assert failure.fix


@pytest.mark.parametrize(
    ("event", "result", "fix"),
    [
        (
            "failed",
            {
                "failed_modules": {"ansible.legacy.setup": {"msg": "The module interpreter '/opt/py' was not found."}},
                "msg": "The following modules failed to execute: ansible.legacy.setup.",
            },
            "install Python 3",
        ),
        ("failed", {"msg": "MODULE FAILURE", "module_stderr": "/bin/sh: 1: /usr/bin/python3: not found"}, "Python 3"),
        ("failed", {"msg": "Missing sudo password"}, "without a password"),
        ("failed", {"module_stderr": "sudo: a password is required\n", "msg": "MODULE FAILURE"}, "without a password"),
        ("failed", {"module_stderr": "/bin/sh: 1: sudo: not found\n", "msg": "MODULE FAILURE"}, "install sudo"),
        ("unreachable", {"msg": "Host key verification failed."}, "ssh-keygen -R"),
        ("unreachable", {"msg": "ann@10.0.0.1: Permission denied (publickey)."}, "ansible_user"),
        ("unreachable", {"msg": "ssh: Could not resolve hostname node9: Temporary failure"}, "correct ansible_host"),
        ("failed", {"msg": "non-zero return code", "stderr": "cp: x: No space left on device"}, "free space"),
        ("failed", {"msg": "Timed out waiting for last boot time check (timeout=900)"}, "console"),
        ("unreachable", {"msg": "Failed to connect: Connection timed out"}, "see that the host is up"),
        ("failed", {"msg": "something new"}, "artifacts"),
    ],
)
def test_what_is_known_has_a_fix_of_its_own(event: str, result: dict[str, object], fix: str) -> None:
    failure = failure_of({"event": f"runner_on_{event}", "event_data": {"host": "h", "task": "t", "res": result}})
    assert failure is not None
    assert fix in failure.fix
    assert "failed to execute" not in failure.message


def test_a_host_without_python_says_so(project: Path) -> None:
    (project / "bare").write_text(
        "[all]\nbare ansible_connection=local ansible_python_interpreter=/nonexistent/python3\n"
    )
    (project / "facts.yml").write_text("- hosts: all\n  gather_facts: true\n")
    [failure] = run("facts.yml", project / "bare", project=Project(project, project)).failures
    assert "'/nonexistent/python3' was not found" in failure.message
    assert "install Python 3" in failure.fix


def test_a_check_that_finds_more_than_one_thing_names_each_with_its_mend() -> None:
    result = {"msg": "no shepherd. Where: groups. Fix: add one\nno account. Where: host h. Fix: give ansible_user"}
    failure = failure_of({"event": "runner_on_failed", "event_data": {"host": "h", "task": "t", "res": result}})
    assert failure is not None
    assert failure.message == "no shepherd. Where: groups. no account. Where: host h."
    assert failure.fix == "add one; give ansible_user"


def test_an_ignored_failure_is_none() -> None:
    event = {"event": "runner_on_failed", "event_data": {"host": "h", "ignore_errors": True, "res": {"msg": "x"}}}
    assert failure_of(event) is None
