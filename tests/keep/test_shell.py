"""A keeper as a process on a simulated herd: it follows, is killed, goes on, and leaves nodes as they were found."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mustherd.keep.store import KeepStore, KeepStoreError
from tests.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.process]

DEFINITION = """\
name: kept
herd: {simulated: {musters: 2, speed: 1}}
workload: {preset: etc, qps: [100k, 800k]}
knobs: {itr-delay: [100, 200, 300], dvfs: [1200, 1700]}
objective: energy_joules
constraints: [read_p99_us <= 500]
"""
TABLE = """\
table:
- {qps: 100000, settings: {itr-delay: 300, dvfs: 1200}}
- {qps: 900000, settings: {itr-delay: 150, dvfs: 1700}}
"""
KEEP = """\
keeper: {limit: 500, safe: {itr-delay: 100, dvfs: 2800}, baseline: {itr-delay: 20, dvfs: 2800}, settle_s: 1,
  first_settle_s: 1, controls: 0}
traffic: [[5, 90000], [5, 800000]]
"""
LEARNT = ({"itr-delay": 300, "dvfs": 1200}, {"itr-delay": 150, "dvfs": 1700})


class Keeping:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "k"
        for name, text in (("table.yml", TABLE), ("definition.yml", DEFINITION), ("keep.yml", KEEP)):
            (folder / name).write_text(text, encoding="utf-8")
        self._log = folder / "keep.log"
        self._where = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["herd", "keep", "table.yml", "--to", "k", "--config", "keep.yml", "--definition", "definition.yml"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mustherd", *words, "--parent", str(os.getpid())],
                cwd=self._where,
                stdout=log,
                stderr=log,
            )

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def decided(self) -> list[tuple[float, str, dict[str, int], str]]:
        assert self.process is not None
        assert self.process.poll() is None, self._log.read_text()
        try:
            with KeepStore(self.folder, read_only=True) as store:
                return store.decisions(1000)
        except KeepStoreError:
            return []  # it has only begun to make its tables

    def state(self) -> Any:
        with KeepStore(self.folder, read_only=True) as store:
            return store.state("nodes", dict[str, Any])


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Keeping]:
    one = Keeping(tmp_path)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.end(signal.SIGKILL)


def learnt(keeping: Keeping, since: int = 0) -> bool:
    """Whether both nodes were at both learnt settings."""
    found = [(name, tuple(sorted(settings.items()))) for _, name, settings, _ in keeping.decided()[since:]]
    return all((f"muster-{n}", tuple(sorted(one.items()))) in found for n in (1, 2) for one in LEARNT)


def test_it_follows_is_killed_and_goes_on(keeping: Keeping) -> None:
    keeping.start()
    until(lambda: learnt(keeping), 120)
    before = len(keeping.decided())
    assert keeping.end(signal.SIGKILL) == -signal.SIGKILL
    keeping.start()
    until(lambda: learnt(keeping, before), 120)
    assert keeping.end(signal.SIGTERM) == 0
    with KeepStore(keeping.folder, read_only=True) as store:
        days = store.days()
        story = [line.text for line in store.story()]
    assert sum(day.kept_s for day in days) > 5
    assert sum(day.used_cpu_s for day in days) > 0
    assert story[-1] == "the keeper ends; nodes go back"
    assert sum("joined" in line for line in story) >= 4
