"""Cycles are counted where the machine lends its counters, and else it is said: on the machine that this runs on."""

import os
import time
from typing import Any

import pytest

from mustherd.node.linux import perf
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from tests.node.linux.kinds import LAB
from tests.node.linux.machine import Machine
from tests.typed import some
from tests.waiting import until

SOFTWARE, CPU_CLOCK = 1, 0
"""An event that every kernel counts, in ns (linux/perf_event.h)."""


@pytest.mark.root
def test_every_cpu_s_counts_are_added_up() -> None:
    counted = perf.Cycles(range(os.cpu_count() or 1), SOFTWARE, CPU_CLOCK)
    assert counted.missing == ""
    before, began = some(counted.read()), time.monotonic()
    until(lambda: some(counted.read()) - before > 1e8)
    after, passed = some(counted.read()), time.monotonic() - began
    # The clock of each CPU runs whether it is busy or not.
    assert after - before == pytest.approx(1e9 * passed * (os.cpu_count() or 1), rel=0.5)
    counted.close()
    assert counted.read() is None


def test_a_cpu_that_is_not_there_is_named_and_nothing_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    counted = perf.Cycles([0, 8191], SOFTWARE, CPU_CLOCK)
    assert counted.missing
    assert counted.read() is None
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_this_machine_counts_cycles_or_says_why_not() -> None:
    node = LinuxNode(LinuxOptions(idle_seconds=0))
    told = node.facts.text["cycles"]
    if "machine_cycles" in node.counts():
        assert told == "counted on every CPU"
        before = node.counts()["machine_cycles"]
        assert sum(range(200_000))
        assert node.counts()["machine_cycles"] > before
    else:
        assert told.startswith("not counted: ")
        assert len(told) > 20
    node.close()
    assert "machine_cycles" not in node.counts()


def test_recorded_files_have_no_cycles(make: type[Machine]) -> None:
    machine: Any = make(LAB)
    node = LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool)
    assert node.facts.text["cycles"] == "not counted: recorded files have no counters"
    assert "machine_cycles" not in node.counts()


def test_where_there_are_too_many_cpus_for_the_files_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf, "MOST_FILES", 0.0)
    counted = perf.Cycles([0], SOFTWARE, CPU_CLOCK)
    assert "takes 1 open files" in counted.missing
    assert counted.read() is None
