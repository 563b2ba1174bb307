"""A whole experiment over an inventory: a muster as a daemon, the load's leader and agent reached by ssh."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mustherd.load.server import free_port
from mustherd.store.store import Store
from mustherd.trial import TrialState
from tests import running
from tests.load.mutilate import pretend
from tests.sshd import Sshd

REPEATED = 2

DEFINITION = """\
name: over-ssh
herd: {{inventory: {inventory}}}
workload:
  qps: 1000
  settle_seconds: 0.1
  ramp_seconds: 0
  window_seconds: 1
  mutilate: {{program: {program}, agent_port: {agent_port}, connections: 4}}
knobs: {{memcached-threads: [1, 2]}}
objective: server_cpu_seconds
constraints: [read_p99_us <= 5000]
search: {{method: grid}}
trials: 2
repeats: 0
gates: {{window_tolerance: 1, attempts: 20, same_failure: 20}}
"""


@pytest.fixture
def mutilate(tmp_path: Path) -> Path:
    """A program that prints what mutilate would; the second leader falls out with its agents."""
    count = tmp_path / "leaders"
    second = f"echo x >> {count}; [ $(wc -l < {count}) = 2 ] && export PRETEND=refused"
    return pretend.install(tmp_path / "mutilate", f'case "$*" in *--time*) {second} ;; esac\n')


@pytest.fixture
def muster(tmp_path: Path) -> Iterator[int]:
    """A muster on this machine whose memcached has the port that is given."""
    port = free_port()
    config = tmp_path / "muster.toml"
    config.write_text(
        f'muster = "muster-127.0.0.1"\nstate = "{tmp_path / "state"}"\n'
        "[ranges.memcached-threads]\nlow = 1\nhigh = 8\n"
        f"[process.memcached]\nport = {port}\nthreads = 2\n"
    )
    process = subprocess.Popen([sys.executable, "-m", "mustherd", "muster", "run", "--config", config])
    try:
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


@pytest.mark.process
@pytest.mark.memcached
def test_leader_and_agent_are_reached_by_ssh(tmp_path: Path, sshd: Sshd, mutilate: Path, muster: int) -> None:
    by_ssh = {
        "ansible_host": "127.0.0.1",
        "ansible_port": sshd.port,
        "ansible_user": "anyone",
        "ansible_ssh_private_key_file": str(sshd.key),
        "herd_address": "127.0.0.1",
        "memcached_mutilate_agent_units": False,
    }
    groups = {
        "musters": {"server": {"herd_address": "127.0.0.1", "memcached_mutilate_port": muster}},
        "loadgen_leader": {"leader": by_ssh},
        "loadgen_agents": {"agent": by_ssh},
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"children": {name: {"hosts": of} for name, of in groups.items()}}}))
    text = DEFINITION.format(inventory=inventory, program=mutilate, agent_port=free_port())

    code, result, err = running.complete(tmp_path, text, name="run")

    assert code in (0, 1), err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
        others = [t for t in store.trials() if t.state is not TrialState.FINISHED]
    assert len(finished) == 3
    for trial in finished:
        assert trial.load_report is not None
        assert trial.load_report.generator == "mutilate"
        assert trial.metrics["server_cpu_seconds"] >= 0
    assert [t.reason for t in others] == ["server-unreachable"], "the leader that fell out with its agent"
    started = [words for words in sshd.commands if words[0] == str(mutilate)]
    assert any("--agentmode" in words for words in started)
    assert any("--agent=127.0.0.1" in words for words in started)
    # One life of the agent, and another after the leader that died.
    assert sum("--agentmode" in words for words in started) >= REPEATED
