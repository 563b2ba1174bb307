"""What a killed muster leaves: a command that still runs, and claims that its guardian has settled."""

import contextlib
import errno
import os
import signal
from pathlib import Path

import psutil
import pytest

from mustherd import programs
from mustherd.muster.guardian import Guardian
from mustherd.muster.journal import Journal, left_changed
from mustherd.node.knob import Site
from mustherd.terms import NODE
from tests.fakes import ClaimedKnob, FakeNode
from tests.waiting import until


@pytest.mark.process
def test_what_a_killed_muster_still_ran_sets_nothing_after_all_was_put_back(tmp_path: Path) -> None:
    """A command that takes seconds goes on when its muster is killed, and would set its value behind the guardian's."""
    late, journal = tmp_path / "late", Journal(tmp_path / "state")
    made = Guardian(FakeNode().knobs, journal, 3.0, close=lambda: None)
    pid = os.fork()
    if not pid:
        with programs.told(made.runs):
            programs.printed(["sh", "-c", f"echo > {tmp_path / 'begun'}; (sleep 2; echo > {late}); :"], 60)
        os._exit(0)
    until((tmp_path / "begun").exists)
    [program] = until(lambda: psutil.Process(pid).children())
    inner = program.children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    made._put_back("its muster was killed")
    journal.close()
    psutil.wait_procs([program, *inner], timeout=1)
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in (program, *inner))
    assert not late.exists()


@pytest.mark.process
def test_a_program_that_has_ended_is_none_that_runs() -> None:
    told: list[int] = []
    with programs.told(told.append):
        programs.printed(["true"], 10)
        with pytest.raises(programs.ProgramError):
            programs.printed(["false"], 10)
    programs.printed(["true"], 10)
    assert len(told) == 4
    assert min(told[0], told[2]) > 0
    assert told[1] == told[3] == 0


@pytest.mark.process
def test_a_knob_s_command_ends_with_whoever_ran_it(tmp_path: Path) -> None:
    """Where muster and guardian are both killed nobody is left to end it, and it set its value after the next life."""
    begun = tmp_path / "begun"
    pid = os.fork()
    if not pid:
        with contextlib.suppress(programs.ProgramError):
            programs.printed(["sh", "-c", f"echo $$ > {begun}; sleep 60; :"], 60, ends_with_us=True)
        os._exit(0)
    program = psutil.Process(until(lambda: begun.exists() and int(begun.read_text() or 0)))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until(lambda: not program.is_running() or program.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("full", [False, True])
def test_what_a_guardian_has_put_back_nobody_puts_back_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """A person may have set something else meanwhile, which the next owner would have written over; `full`: the disk of
    the journal was."""
    site = Site(tmp_path, f"{NODE}.dvfs")
    knob = ClaimedKnob(FakeNode().dvfs.info, 2600, site=site)
    journal = Journal(tmp_path / "one")
    journal.claim([knob])
    made = Guardian([knob], journal, 3.0, close=lambda: None)
    pid = os.fork()
    if not pid:  # the muster, of whose claims the guardian has a copy of before
        journal.tell = made._keep
        journal.record({(NODE, "dvfs"): 2600})
        os._exit(0)
    os.waitpid(pid, 0)
    assert made._shared.originals() == {(NODE, "dvfs"): 2600}
    with monkeypatch.context() as patch:
        if full:
            patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        made._put_back("its muster was killed")
    journal.close()
    assert left_changed(tmp_path / "one") == {}
    again = Journal(tmp_path / "one")
    again.claim([knob])
    assert again.originals() == {}
    again.close()
    other = Journal(tmp_path / "other")
    other.claim([knob])
    assert other.originals() == {}
    other.close()
