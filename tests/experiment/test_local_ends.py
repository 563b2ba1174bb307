"""The processes of a herd on this machine, when they are told to end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.experiment.local_herd import end
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
