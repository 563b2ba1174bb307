"""Following an experiment from elsewhere."""

import io
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from mustherd.report import live
from mustherd.report.view import View
from mustherd.store.errors import StoreError
from mustherd.store.store import Store
from mustherd.trial import Trial, TrialKind, TrialState
from tests.experiment import physics
from tests.report.conftest import Make


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0.01)


def test_a_piped_view_tells_every_trial_once(make: Make, spoilt: list[Trial]) -> None:
    store = make(trials=[], done=False)
    over = threading.Event()
    console = Console(file=io.StringIO(), width=40)
    follower = threading.Thread(target=live.follow, args=(store.folder, console, over.is_set))
    follower.start()
    for trial in spoilt:
        physics.fill(store, [trial])
    over.set()
    follower.join()
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "[1/46] trial 1 baseline on muster-0",
        "[1/46] trial 2 search on muster-0",
        "[2/46] trial 3 search on muster-0",
        "[2/46] trial 4 search on muster-0",
    ]
    assert lines[1].endswith("achieved 100 %, invalid: knob-not-held")
    assert "itr-delay 400 us, dvfs 1200 MHz: energy 1571 J, read p99 2230 us, achieved 78.6 %, over limit" in lines[2]


def test_lines_say_what_was_the_best_at_its_time(make: Make) -> None:
    store = make(done=False)
    console = Console(file=io.StringIO())
    # Nobody owns the experiment, so the look is over at once.
    live.follow(store.folder, console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 46
    assert [line.split()[2] for line in lines if line.endswith("* best")] == [
        str(t.number) for t in View.of(store).improvements()
    ]


def test_a_phase_is_told_between_its_trials_and_those_before(make: Make) -> None:
    store = make(trials=physics.experiment(searches=12)[:15], done=False)
    store.set_phase("search")
    console = Console(file=io.StringIO())
    with store.own():
        live.follow(store.folder, console, lambda: True)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    began = lines.index("phase: search")
    assert " baseline on " in lines[began - 1]
    assert " search on " in lines[began + 1]


def test_the_view_fits_the_window_and_shows_what_goes_on(make: Make) -> None:
    store = make(trials=physics.experiment(searches=12)[:15], done=False)
    store.set_phase("search")
    store.set_muster("muster-1", state="missing")
    store.event("muster-missing", "muster-1 is missing since 3 s")
    store.start(store.add(Trial(number=16, kind=TrialKind.SEARCH, settings={"itr-delay": 2, "dvfs": 1200})), "muster-0")
    store.add(Trial(number=17, kind=TrialKind.SEARCH, settings={}))
    for width, height in ((120, 40), (80, 24), (60, 20)):
        console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height)
        with store.own():
            console.print(live.frame(View.of(store), console))
        assert isinstance(console.file, io.StringIO)
        lines = Text.from_ansi(console.file.getvalue()).plain.splitlines()
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        text = "\n".join(lines)
        assert "toy  search" in lines[0]
        assert "15/46 trials" in text
        assert "▶ run" in text
        assert "best so far, not compared with the default yet: itr" in text
        assert "muster-1 missing" in text
        assert "muster-1 is missing since 3 s" in text
    assert View.of(store).progress().eta_seconds is None
    with store.own():
        eta = View.of(store).progress().eta_seconds
    assert eta == pytest.approx(store.wall_seconds() / 15 * 31)


def test_a_window_is_followed_to_the_end(make: Make) -> None:
    store = make(done=False)
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40)
    looks = iter([False, False, True])
    live.follow(store.folder, console, lambda: next(looks))
    assert isinstance(console.file, io.StringIO)
    assert "46/46 trials" in console.file.getvalue()


def test_an_experiment_that_is_not_there(make: Make) -> None:
    store = make(done=False)
    nowhere = store.folder / "nowhere"
    console = Console(file=io.StringIO())
    with pytest.raises(StoreError, match="holds no experiment"):
        live.follow(nowhere, console)
    looks = iter([False, True])
    live.follow(nowhere, console, lambda: next(looks))


def test_a_view_before_anything_has_happened(make: Make) -> None:
    store = make(trials=[], resolved={"constraints": [], "gates": {"achieved_ratio": 0}}, done=False)
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    console.print(live.frame(View.of(store), console))
    assert isinstance(console.file, io.StringIO)
    assert "no setting is measured yet" in console.file.getvalue()
    failed = physics.trial(1, TrialKind.BASELINE, {}, state=TrialState.FAILED, reason="x")
    failed.metrics = {}
    physics.fill(store, [failed])
    assert live.line_of(View.of(store).ended()[0], View.of(store), console) == (
        "trial 1 baseline on muster-0: as found: failed: x"
    )


def test_a_view_reads_the_trials_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store, trials, times = make(done=False), Store.trials, 0

    def counted(self: Store, *kind: Any, **options: Any) -> list[Trial]:
        nonlocal times
        times += 1
        return trials(self, *kind, **options)

    monkeypatch.setattr(Store, "trials", counted)
    assert View.of(store).so_far.best is not None
    assert times == 1


@pytest.mark.process
def test_lists_and_views_start_without_the_heavy_libraries() -> None:
    code = (
        "import sys; import mustherd.report.table, mustherd.report.live, mustherd.report.json;"
        "import mustherd.report.compare, mustherd.report.html;"
        "heavy = ('matplotlib', 'pandas', 'numpy', 'scipy', 'pyarrow', 'jinja2');"
        "print([m for m in heavy if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"


FULL = """
import os, shutil, subprocess, sys, threading
from pathlib import Path
from rich.console import Console
from mustherd.report import live
from tests.waiting import until

disk = Path(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
folder = disk / "x"
shutil.copytree(sys.argv[1], folder)
said = disk.parent / "said"
over = threading.Event()
with said.open("w") as file:
    follower = threading.Thread(target=live.follow, args=(folder, Console(file=file), over.is_set))
    follower.start()
    told = lambda: said.read_text().splitlines()
    until(lambda: len(told()) == 4)
    ballast = disk / "ballast"
    there = os.statvfs(disk)
    ballast.write_bytes(bytes(there.f_bfree * there.f_frsize - 8192))
    until(lambda: live.NO_ROOM in told()[-1])
    ballast.unlink()
    until(lambda: live.ROOM_AGAIN in told()[-1])
    over.set()
    follower.join()
print(*told()[4:], sep="\\n")
"""


@pytest.mark.process
def test_a_full_disk_is_told_and_its_end_too(make: Make, spoilt: list[Trial], tmp_path: Path) -> None:
    store = make(trials=spoilt, done=False)
    (tmp_path / "disk").mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", FULL]
    done = subprocess.run(
        [*command, str(store.folder), str(tmp_path / "disk")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{live.NO_ROOM} ({tmp_path}/disk/x)", live.ROOM_AGAIN]
