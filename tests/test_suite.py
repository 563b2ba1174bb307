"""The suite's own rules: what a mark allows, which tiers run unasked, and what files of tests may cost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import budgets, marks

ROOT = Path(__file__).parents[1]
MINUTES, WORKERS = 6, 2
CHECKS_S = 30
"""Static checks in make test, on two quiet cores."""

CASES = """
import subprocess, sys
from multiprocessing import get_context
import pytest, zmq

def bind():
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    socket.bind("tcp://127.0.0.1:*")
    socket.close()
    context.term()

@pytest.fixture
def ours():
    subprocess.run([sys.executable, "-c", ""], check=True)

def test_python(): subprocess.run([sys.executable, "-c", ""], check=True)
def test_shell(): subprocess.run(["sh", "-c", "mustherd --help"], check=False, capture_output=True)
def test_fixture(ours): pass
def test_multiprocessing():
    process = get_context("fork").Process(target=len, args=("",))
    process.start()
    process.join()
def test_bind(): bind()
@pytest.mark.herd
def test_marked_too_little(): bind(); subprocess.run([sys.executable, "-c", ""], check=True)
@pytest.mark.process
def test_marked_process(): bind(); subprocess.run([sys.executable, "-c", ""], check=True)
@pytest.mark.herd
def test_marked_herd(): bind()
def test_of_others(): subprocess.run(["true"], check=True)
@pytest.mark.vm
def test_tier(): pass
@pytest.mark.vm
@pytest.mark.kernel
def test_two_tiers(): pass
"""


def outcomes(folder: Path, *options: str) -> dict[str, str]:
    """Each of CASES to what became of it, in a run of its own."""
    (folder / "test_cases.py").write_text(CASES)
    ini = folder / "pytest.ini"
    ini.write_text("\n    ".join(["[pytest]\nmarkers =", "process", "herd", *sorted(marks.TIERS)]))
    plain = ("-p", "no:cacheprovider", "-p", "no:randomly", "-v", "-c", ini, "--rootdir", folder)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.marks", *plain, *options, "test_cases.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("test_cases.py::")]
    assert lines, done.stdout + done.stderr
    return {words[0].partition("::")[2]: words[1] for words in lines}


@pytest.mark.process
def test_a_test_that_starts_something_unmarked_fails(tmp_path: Path) -> None:
    found = outcomes(tmp_path)
    unmarked = {"test_python", "test_shell", "test_fixture", "test_multiprocessing", "test_bind"}
    assert {name for name, word in found.items() if word == "FAILED"} == {*unmarked, "test_marked_too_little"}
    passed = {"test_marked_process", "test_marked_herd", "test_of_others"}
    assert {name for name, word in found.items() if word == "PASSED"} == passed


@pytest.mark.process
@pytest.mark.parametrize(
    ("expression", "expected"),
    [("vm", {"test_tier"}), ("vm or kernel", {"test_tier", "test_two_tiers"}), ("kernel and vm", {"test_two_tiers"})],
)
def test_a_tier_runs_where_it_is_named(tmp_path: Path, expression: str, expected: set[str]) -> None:
    assert set(outcomes(tmp_path, "-m", expression)) == expected


def test_budgets_leave_make_test_within_its_minutes() -> None:
    own, others = budgets.budgets()
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(own) <= files, "a budget for a file that is not there"
    seconds = sum(own.values()) + others * len(files - set(own))
    assert seconds / WORKERS + CHECKS_S <= 60 * MINUTES


def test_a_file_is_over_its_budget_by_far_and_by_its_machine() -> None:
    own = {"a": 10.0}
    assert budgets.over({"a": 19.9, "b": 1.9}, own, 1.0, 1.0) == []
    assert [text.split()[0] for text in budgets.over({"a": 20.1, "b": 2.1}, own, 1.0, 1.0)] == ["a", "b"]
    assert budgets.over({"a": 59.0, "b": 5.9}, own, 1.0, 3.0) == []


def test_a_machine_is_slow_that_takes_long_for_the_work_or_shares_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0))
    for work_s, load, slowness in [(0.5, 0.0, 1.0), (1.0, 1.0, 1.0), (3.0, 0.5, 3.0), (1.0, 4.0, 4.0), (2.0, 2.0, 4.0)]:
        monkeypatch.setattr(budgets, "piece_of_work", lambda work_s=work_s: work_s * budgets.REFERENCE_S)
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load * cores, 0.0, 0.0))
        assert budgets.Watch().slowness == pytest.approx(slowness)


@pytest.mark.process
def test_a_run_over_budget_fails_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_slow.py").write_text("def test_slow():\n    assert sum(range(10**7)) > 0\n")
    (tmp_path / "conftest.py").write_text(
        "from pathlib import Path\nfrom tests import budgets\n"
        "budgets.budgets = lambda: ({}, 1e-3)\n"
        "def pytest_configure(config): budgets.watch(config)\n"
    )
    codes = []
    for asked in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", tmp_path / "pytest.ini", tmp_path],
            cwd=ROOT,
            env={"MUSTHERD_BUDGETS": asked, "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        codes.append(done.returncode)
    assert codes == [0, 1], done.stdout + done.stderr
    assert "make it cheaper" in done.stdout
