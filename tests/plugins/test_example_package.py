"""A package with one plug-in of each kind, installed as any other: through its suites, and in real experiments."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mustherd.experiment.verdict import SEARCH_OVER
from mustherd.plugins import GROUPS, PEERS
from mustherd.store.store import Store
from mustherd.trial import TrialKind, TrialState
from tests import running
from tests.typed import some

EXAMPLE = Path(__file__).parent / "example"
ROOT = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
PROJECT: dict[str, Any] = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
PLUGINS: dict[str, dict[str, str]] = PROJECT["project"]["entry-points"]

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it was installed into."""
    package, folder = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("site")
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (package / file.name).write_text(file.read_text())
    subprocess.run([*PIP, "--target", str(folder), str(package)], check=True, capture_output=True)
    return folder


@pytest.fixture
def there(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It is installed where processes of ours run."""
    monkeypatch.setattr(running, "PYTHONPATH", f"{site}:{ROOT}")
    return site


@pytest.fixture
def described(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It is installed there with the second entry point that the page of nodes shows: a knob that is no Linux knob."""
    described = tmp_path / "site"
    shutil.copytree(site, described)
    [entries] = described.glob("*.dist-info/entry_points.txt")
    entries.write_text(
        entries.read_text().replace("[mustherd.knobs]", "[mustherd.knobs]\nfan-speed = fan_node:FanSpeed")
    )
    monkeypatch.setattr(running, "PYTHONPATH", f"{described}:{ROOT}")
    return described


def test_it_has_one_of_each_kind_in_one_file_and_one_entry_point() -> None:
    assert PLUGINS.keys() == set(GROUPS) - {PEERS}
    files = []
    for names in PLUGINS.values():
        [(_, target)] = names.items()
        files.append(target.partition(":")[0])
    assert len(set(files)) == len(files)
    assert sorted(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]) == sorted(
        f"{f}.py" for f in files
    )


def test_what_is_installed_is_listed_and_can_be_used(there: Path) -> None:
    code, out, err = running.run("plugins", "list", "--json")
    assert (code, err) == (0, "")
    rows = [row for row in json.loads(out)["plugins"] if row["package"] == "mustherd-example"]
    assert {row["group"]: {row["name"]: row["where"]} for row in rows} == PLUGINS
    assert not any(row["problem"] for row in rows)


def test_its_own_suite_passes(site: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-c", os.devnull,
         "--rootdir", EXAMPLE, EXAMPLE / "test_example.py"],
        env={**os.environ, "PYTHONPATH": f"{site}:{ROOT}", "MUSTHERD_BUDGETS": ""},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    ran = re.search(r"(\d+) passed in", done.stdout)
    assert ran is not None
    assert int(ran[1]) > 50


def test_its_search_and_its_metric_tune_a_simulated_herd(tmp_path: Path, there: Path) -> None:
    text = running.definition(method="neighbours", trials=6).replace(
        "search: {method: neighbours", "objective: tail_ratio\nsearch: {options: {reach: 2}, method: neighbours"
    )
    code, result, err = running.complete(tmp_path, text)
    assert code in (0, 1), err
    assert result["objective"] == "tail_ratio"
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
    assert len(finished) > 6
    for trial in finished:
        assert trial.load_report is not None
        latencies = trial.load_report.read_us
        assert trial.metrics["tail_ratio"] == pytest.approx(latencies["p99"] / latencies["p50"])


def test_its_policy_cools_simulated_nodes_though_it_waits_for_what_is_under_way(tmp_path: Path, there: Path) -> None:
    text = running.definition(trials=20, musters=2) + "policy: colder\n"
    text = text.replace("  itr-delay: [2, 20, 50, 100, 150, 200, 250, 300, 350, 400]\n", "")
    code, result, err = running.complete(tmp_path, text)
    assert code == 0, err
    assert result["best"]["knobs"]["dvfs"] < 2800
    with Store.open(Path(result["folder"]), read_only=True) as store:
        tried = [t.settings["dvfs"] for t in store.trials(TrialKind.SEARCH, TrialState.FINISHED)]
        over = some(store.last_event(SEARCH_OVER))
    assert tried == sorted(tried, reverse=True), "a step at a time"
    assert len(tried) > 3
    assert over.data["text"] in ("a limit broke", "the lowest clock was tried")
    assert result["saving_percent"] > 5


LOCAL = """\
name: pages
herd: {local: {}}
workload:
  server: {name: page, options: {folder: /usr/share}}
  qps: 20
  settle_seconds: 0.1
  ramp_seconds: 0.2
  window_seconds: 1
knobs: {server-cores: [1, 2]}
objective: read_p50_us
search: {method: grid}
trials: 2
repeats: 0
gates: {window_tolerance: 1, attempts: 20}
"""


def test_another_server_under_another_load_on_this_machine(tmp_path: Path, there: Path) -> None:
    code, result, err = running.complete(tmp_path, LOCAL)
    assert code in (0, 1), err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
        [muster] = store.musters().values()
    assert muster.facts.text["server"].startswith("http.server of Python")
    assert "memcached-threads" not in {knob.name for knob in muster.knobs}
    assert len(finished) == 3
    for trial in finished:
        assert trial.load_report is not None
        assert trial.load_report.generator == "pages"
        assert trial.load_report.requests > 5
        assert trial.metrics["read_p50_us"] > 0


BUDGET = Path("/proc/sys/net/core/netdev_budget")


@pytest.mark.skipif(not os.access(BUDGET, os.W_OK), reason="this machine's knob takes root")
def test_its_knob_is_set_on_this_machine_as_its_page_says_and_put_back(tmp_path: Path, there: Path) -> None:
    page = (ROOT / "docs" / "extend" / "knob.md").read_text()
    found = re.search(r"^```yaml file=try\.yml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    before = BUDGET.read_text()
    code, result, err = running.complete(tmp_path, some(found)[1])
    assert code in (0, 1), err
    assert BUDGET.read_text() == before
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = store.trials(TrialKind.SEARCH, TrialState.FINISHED)
    assert sorted(trial.settings["napi-budget"] for trial in finished) == [100, 600]
    for trial in finished:
        [reading] = [reading for reading in trial.readings if reading.knob == "napi-budget"]
        assert reading.running == trial.settings["napi-budget"]
        assert reading.held


@pytest.mark.parametrize(
    ("text", "knob", "told"),
    [
        (running.definition(), "napi-budget: [100, 600]", r"napi-budget': a simulated node has no model.*local: \{\}"),
        (running.definition(), "fan-speed: [off, 600]", r"fan-speed': a simulated node has no model.*inventory"),
        (LOCAL, "fan-speed: [off, 600]", r"fan-speed': it is no knob of a Linux machine.*inventory"),
    ],
)
def test_a_herd_that_has_no_such_knob_says_what_to_do(
    tmp_path: Path, described: Path, text: str, knob: str, told: str
) -> None:
    file = tmp_path / "odd.yml"
    file.write_text(re.sub(r"^knobs:.*\n(  .*\n)*", f"knobs: {{{knob}}}\n", text, flags=re.MULTILINE))
    code, _, err = running.run("experiment", "check", file)
    assert code == 2, err
    line = next(number for number, found in enumerate(file.read_text().splitlines(), 1) if "knobs:" in found)
    assert re.search(rf"odd\.yml:{line}: knobs\..*{told}", " ".join(err.split())), err


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "extend").glob("*.md")), ids=lambda page: page.stem)
def test_each_program_is_the_one_that_its_page_shows(page: Path) -> None:
    shown = re.findall(r"^```python file=(\S+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert shown
    for file, program in shown:
        code = (EXAMPLE / file).read_text()
        assert program in (code, code.split("\n", 2)[2]), f"{file} differs from {page}"
