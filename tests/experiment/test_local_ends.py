"""The processes of a herd on this machine, when they are told to end."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mustherd.definition import loads
from mustherd.experiment.local_herd import LocalHerd, Operator, end
from tests.waiting import until

SLOW = """
import pathlib, signal, sys, time
def stop(number, frame):
    time.sleep(2)  # fixed: how long it takes to put its node back
    pathlib.Path(sys.argv[1], "back").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[1], "ready").touch()
signal.pause()
"""


@pytest.mark.process
def test_a_ctrl_c_while_they_end_leaves_none_behind(tmp_path: Path) -> None:
    """It left a muster at putting its node back, and the experiment told that node as not as it was found."""
    muster = subprocess.Popen([sys.executable, "-c", SLOW, tmp_path])
    until((tmp_path / "ready").exists)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            end([muster], 60.0)
        assert muster.poll() == 0
        assert (tmp_path / "back").exists()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        muster.kill()
        muster.wait()


DEFINITION = """\
name: mine
herd: {local: {}}
workload:
  server: {command: [my-server, "{port}"]}
  load: {command: [my-load, "{seconds}"], metrics: {requests: {at: "([0-9]+)"}}}
knobs: {server-cores: [1]}
objective: server_cpu_seconds
"""


def test_what_its_muster_says_of_a_server_stands_at_the_users_own_line(tmp_path: Path) -> None:
    """It named a file that MustHerd had written."""

    class Ended:
        def poll(self) -> int:
            return 2

    herd = LocalHerd(tmp_path, loads(DEFINITION, "mine.yml"), Operator())
    musters: Any = {"muster-1": Ended()}
    herd._musters = musters
    config = tmp_path / "herd" / "muster-1" / "muster.toml"
    (tmp_path / "muster-1.log").write_text(f"begins\nmustherd: {config}: process: my-server ended with 1\n")
    assert herd.refused() == "mine.yml:4: workload.server: my-server ended with 1"
