"""A knob declared in a file, on a herd of this machine: named by a definition, searched, and put back."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mustherd.store.store import Store
from mustherd.trial import TrialState
from tests import running
from tests.load.command.programs import HERE
from tests.typed import some
from tests.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.long]

DEPTH = """\
import pathlib, sys
file = pathlib.Path(sys.argv[1])
print(file.read_text() if len(sys.argv) == 2 else file.write_text(sys.argv[2]))
"""


@pytest.fixture
def depth(tmp_path: Path) -> Path:
    """What the knob sets."""
    file = tmp_path / "depth"
    file.write_text("7")
    return file


@pytest.fixture
def declared(tmp_path: Path, depth: Path) -> Path:
    argv = [sys.executable, "-c", DEPTH, str(depth)]
    file = tmp_path / "knobs.toml"
    file.write_text(
        f"[linux.own.depth]\nread = {json.dumps(argv)}\nwrite = {json.dumps([*argv, '{value}'])}\n"
        "unit = 'levels'\nlow = 1\nhigh = 20\n"
        "[ranges]\ndepth = {low = 2, high = 12}\n"
    )
    file.chmod(0o600)
    return file


def definition(own: Path, **knobs: list[int]) -> dict[str, Any]:
    load = [*HERE, "knock", "{host}", "{port}", "{seconds}", "{qps}"]
    return {
        "name": "own",
        "herd": {"local": {"own": str(own)}},
        "workload": {
            "server": {"command": [*HERE, "serve", "{port}"], "stop": "INT"},
            "load": {
                "command": load, "results": "json", "loop": "open", "begins": "^begins",
                "metrics": {"requests": {"at": "count"}, "read_p99_us": {"at": "latency.p99"}},
            },
            "qps": 50, "settle_seconds": 0.1, "ramp_seconds": 0, "window_seconds": 1,
        },
        "knobs": knobs,
        "objective": "read_p99_us",
        "search": {"method": "grid"},
        "trials": 2,
        "repeats": 0,
        "gates": {"window_tolerance": 1, "attempts": 6, "achieved_ratio": 0.2},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"depth": [1, 9]}, "knobs.depth[0]: node-0 does not allow 1; allowed: 2..12 levels"),
        ({"depht": [3]}, "unknown knob 'depht'; allowed: "),
    ],
)
def test_what_the_file_does_not_allow_is_refused_with_its_line(
    tmp_path: Path, declared: Path, knobs: dict[str, list[int]], said: str
) -> None:
    file = tmp_path / "own.yml"
    file.write_text(yaml.safe_dump(definition(declared, **knobs)))
    code, _, err = running.run("experiment", "start", file)
    assert (code, said in " ".join(err.split())) == (2, True), err


def test_a_file_that_others_may_write_is_refused(tmp_path: Path, declared: Path) -> None:
    declared.chmod(0o666)
    file = tmp_path / "own.yml"
    file.write_text(yaml.safe_dump(definition(declared, depth=[3])))
    code, _, err = running.run("experiment", "start", file)
    assert code == 2
    assert "herd.local.own" in err
    assert "only root or who runs this can change" in " ".join(err.split())


def test_it_is_set_in_each_trial_and_put_back(tmp_path: Path, declared: Path, depth: Path) -> None:
    text = yaml.safe_dump(definition(declared, depth=[3, 9]), sort_keys=False)
    code, result, err = running.complete(tmp_path, text, name="run", timeout_s=120)
    assert code in (0, 1), err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = [t for t in store.trials() if t.state is TrialState.FINISHED]
    assert {t.settings.get("depth", 7) for t in finished} == {3, 7, 9}
    assert depth.read_text() == "7"


def test_one_whose_server_is_killed_fails(tmp_path: Path, declared: Path, depth: Path) -> None:
    """It came to a verdict, from trials without a server."""
    text = {
        **definition(declared, **{"depth": [3, 5, 9, 11], "server-cores": [1]}),
        "trials": 40,
        "search": {"method": "grid", "repetitions": 10},
        "gates": {"window_tolerance": 1, "attempts": 1, "achieved_ratio": 0.2},
    }
    run = running.start(tmp_path, yaml.safe_dump(text), name="run")
    until((run.folder / "load" / "0002.txt").exists, 60)
    running.kill(some(run.child("programs", "serve")))
    code, _, err = run.finish()
    assert code == 3, err
    assert "was killed by signal 9 (SIGKILL)" in err
    assert str(run.folder / "herd" / "muster-1" / "server.log") in err
    assert f"; go on once that is mended: mustherd experiment resume {run.folder}\n" in err
    with Store.open(run.folder, read_only=True) as store:
        assert store.experiment().status == "failed"
    assert depth.read_text() == "7"


SLOW = """\
if [ "$1" = get ]; then sleep 1.5; exec cat {depth}; fi
[ "$2" != 3 ] || touch {writing}; sleep 4; echo -n "$2" > {depth}
"""


@pytest.fixture
def slow(tmp_path: Path, depth: Path, request: pytest.FixtureRequest) -> Path:
    """Such a knob, whose commands take longer than a muster may be silent, and than a lease. One muster has each."""
    script = tmp_path / "slow.sh"
    script.write_text(SLOW.format(depth=depth, writing=tmp_path / "writing"))
    file = tmp_path / "slow.toml"
    file.write_text(
        f"[linux.own.{request.param}]\nread = ['bash', '{script}', 'get']\n"
        f"write = ['bash', '{script}', 'set', '{{value}}']\n"
        f"low = 1\nhigh = 20\ntimeout_seconds = 30\n[ranges]\n{request.param} = {{low = 2, high = 12}}\n"
    )
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("slow", ["width"], indirect=True)
def test_one_whose_commands_take_seconds_costs_no_trial_and_its_windows_are_as_long_as_they_were_asked(
    tmp_path: Path, slow: Path, depth: Path
) -> None:
    asked = definition(slow, width=[3])
    asked["trials"], asked["workload"]["window_seconds"], asked["gates"]["window_tolerance"] = 1, 2, 0.5
    code, result, err = running.complete(tmp_path, yaml.safe_dump(asked), name="run", timeout_s=240)
    assert code in (0, 1), err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        trials = store.trials()
    assert {t.state for t in trials} == {TrialState.FINISHED}, [(t.reason, t.detail) for t in trials]
    assert [(t.attempt, t.settings.get("width", 7)) for t in trials] == [(1, 7), (1, 3)]
    assert depth.read_text() == "7"
    log = (Path(result["folder"]) / "muster-1.log").read_text()
    assert log.count("width: bash took ") == 1


@pytest.mark.parametrize("slow", ["height"], indirect=True)
def test_one_that_is_being_written_goes_back_when_the_shepherd_is_killed(
    tmp_path: Path, slow: Path, depth: Path
) -> None:
    run = running.start(tmp_path, yaml.safe_dump(definition(slow, height=[3])), name="run")
    until((tmp_path / "writing").exists, 120)
    running.kill(some(run.child("shepherd")))
    until(lambda: depth.read_text() == "3", 60)
    until(lambda: depth.read_text() == "7", 60)
    run.finish(120)
    assert depth.read_text() == "7"
