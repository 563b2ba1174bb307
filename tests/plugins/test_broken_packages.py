"""What a package's fault looks like to who runs an experiment: one line that names it, and no traceback."""

import contextlib
import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mustherd.definition import loads
from mustherd.errors import UserError
from mustherd.experiment.plug_ins import check_plugins
from mustherd.plugins import KNOBS, LOADS, POLICIES, SEARCHES, SERVERS, plugin, said
from tests import running
from tests.plugged import found, site

ROOT = Path(__file__).resolve().parents[2]

SEARCH = """
class Search:
    def __init__(self, problem, *, seed, options):
        self._space = {d.name: list(d.values) for d in problem.space.dimensions}
        self._n = 0
    def ask(self, pending=()):
        self._n += 1
        point = {name: values[self._n] for name, values in self._space.items()}
        if self._n < 3:
            return point
        %s
    def tell(self, observations):
        pass
    def state(self):
        return {"method": "odd", "reason": ""}
"""

POLICY = """
class Policy:
    compares = False
    def __init__(self, experiment, problem):
        self._n = 0
    def observe(self, observations):
        pass
    def propose(self, pending):
        self._n += 1
        if self._n < 3:
            return {}
        %s
    def why_enough(self):
        return "enough"
    def close(self):
        pass
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("module", "line", "words"),
    [
        pytest.param(
            SEARCH,
            'return {**point, "dvfs": 1250}',
            "search 'odd' of odd 1.0 proposes",
            marks=pytest.mark.long,
        ),
        (
            POLICY,
            "import nothing_of_it",
            "failed: policy 'odd' of odd 1.0 can't propose: ModuleNotFoundError: No module named"
            " 'nothing_of_it' (odd.py:12)",
        ),
        (POLICY, "__import__('os')._exit(7)", "failed: the shepherd ended with exit code 7; its log ends with"),
        (POLICY, "raise SystemExit(9)", "failed: policy 'odd' of odd 1.0 can't propose: SystemExit: 9 (odd.py:12)"),
    ],
)
def test_a_fault_in_a_run_ends_it_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, line: str, words: str
) -> None:
    names = {"mustherd.searches": {"odd": "Search"}} if module is SEARCH else {"mustherd.policies": {"odd": "Policy"}}
    folder = site(tmp_path / "site", "odd", module % line, names)
    monkeypatch.setattr(running, "PYTHONPATH", f"{folder}:{ROOT}")
    text = running.definition(musters=1, method="odd" if module is SEARCH else "random", trials=5)
    if module is POLICY:
        text += "policy: odd\n"
    code, _, err = running.complete(tmp_path, text)
    assert code == 3
    assert words in " ".join(err.split())
    assert "Traceback" not in err
    assert "Traceback" not in (tmp_path / "x" / "shepherd.log").read_text()


@pytest.mark.parametrize("text", ["x" * 50_000_000, None])
def test_what_it_says_may_have_no_end_or_break(text: str | None) -> None:
    """One of 50 MB held an experiment's end for minutes; one that breaks was told as our own fault, without a name."""

    class OddError(Exception):
        def __str__(self) -> str:
            if text is None:
                raise ZeroDivisionError
            return text

    error = OddError()
    assert len(said(error)) < 3000
    assert said(error).startswith(f"OddError: {'xxx' if text else '(it breaks when it is asked'}")


WHERE = "of tests (tests.plugins.raising:Thing)"
LOCAL = "herd: {local: {}}\nknobs: {server-cores: [1]}\n"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (
            "policy: odd",
            3,
            f"odd.yml:LINE: policy.name: policy 'odd' {WHERE} can't be loaded: RuntimeError: no such luck"
            " (raising.py:3)",
        ),
        (
            "search: {method: odd}",
            3,
            f"odd.yml:LINE: search.method: search 'odd' {WHERE} can't be loaded: RuntimeError",
        ),
        (
            LOCAL + "workload: {qps: 5, generator: odd}",
            3,
            f"odd.yml:LINE: workload.generator: load 'odd' {WHERE} can't be loaded",
        ),
        (
            LOCAL + "workload: {qps: 5, server: odd}",
            3,
            f"server 'odd' {WHERE} can't be loaded",
        ),
        (
            "knobs: {odd: [1, 2]}",
            2,
            f"odd.yml:LINE: knobs.odd: knob 'odd' {WHERE} can't be loaded: RuntimeError: no such luck (raising.py:3)",
        ),
        (
            "policy: od",
            2,
            "unknown policy 'od'; allowed: collect, follow, latency-predictor, nop, odd, pipeline, stats, tune;"
            " did you mean 'odd'?",
        ),
        ("policy: tune", 0, ""),
    ],
)
def test_a_package_that_cannot_be_imported_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, text: str, code: int, said: str
) -> None:
    groups = (KNOBS, POLICIES, SEARCHES, LOADS, SERVERS)
    found(monkeypatch, *(EntryPoint("odd", "tests.plugins.raising:Thing", group) for group in groups))
    keys = [line.partition(":")[0] for line in text.splitlines()]
    whole = [part for part in re.split(r"(?m)^(?=\S)", running.definition()) if part.partition(":")[0] not in keys]
    definition = "".join(whole) + text + "\n"
    if not code:
        check_plugins(loads(definition, "odd.yml"))
        return
    with pytest.raises(UserError) as caught:
        check_plugins(loads(definition, "odd.yml"))
    line = len(definition.splitlines())
    assert said.replace("LINE", str(line)) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == code


def test_what_a_package_prints_as_it_is_loaded_is_not_among_the_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plan --json` began with it, and no reader took the rest."""
    (tmp_path / "noisy.py").write_text("print('welcome')\nclass Noisy: pass\n")
    assert plugin(POLICIES, f"{tmp_path}/noisy.py:Noisy").load().__name__ == "Noisy"
    assert capsys.readouterr() == ("", "welcome\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_package_that_prints_is_loaded_where_stderr_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its load failed, and with it each command that names it."""
    (tmp_path / "noisy.py").write_text("import sys\nprint('welcome', file=sys.stdout, flush=True)\nclass Noisy: pass\n")
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 (closing it fails)
    monkeypatch.setattr("sys.stderr", full)
    assert plugin(POLICIES, f"{tmp_path}/noisy.py:Noisy").load().__name__ == "Noisy"
    with contextlib.suppress(OSError):
        full.close()
