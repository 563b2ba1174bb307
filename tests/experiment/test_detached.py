"""An experiment that is left alone: it outlives its terminal, and is found again."""

import json
import os
import signal
from pathlib import Path

import pytest

from mustherd.experiment.detached import LOG
from mustherd.store.store import Store
from tests import running
from tests.waiting import until

pytestmark = pytest.mark.process


def test_it_outlives_its_terminal_is_watched_and_comes_to_its_end(tmp_path: Path) -> None:
    spec = tmp_path / "mine.yml"
    spec.write_text(running.definition(speed=60, trials=4, repeats=1))
    folder = tmp_path / "left"
    code, out, err = running.run("experiment", "start", spec, "--detach", "--no-report", "--into", folder, cwd=tmp_path)
    assert code == 0, err
    assert out.splitlines() == [
        f"folder: {folder}",
        f"watch: mustherd experiment watch {folder}",
        f"stop: mustherd experiment stop {folder}",
    ]
    with Store.open(folder, read_only=True) as store:
        owner = store.owner()
    assert owner
    # The command that started it is over; what it left is in a session of its own.
    assert os.getsid(owner) != os.getsid(0)
    watcher = running.begin("experiment", "watch", folder, folder=folder)
    code, out, err = watcher.finish()
    assert code == 0, err
    assert "trial" in out
    with Store.open(folder, read_only=True) as store:
        assert store.experiment().status == "done"
    # The command that was left says its last words after the shepherd's.
    until(lambda: (folder / LOG).read_text().endswith(f"folder: {folder}\n"))


@pytest.mark.long
def test_ctrl_c_ends_the_watching_alone(tmp_path: Path) -> None:
    spec = tmp_path / "mine.yml"
    spec.write_text(running.definition(speed=10, trials=8))
    folder = tmp_path / "left"
    code, out, err = running.run("experiment", "start", spec, "--detach", "--json", "--into", folder, cwd=tmp_path)
    assert code == 0, err
    assert json.loads(out) == {"folder": str(folder), "status": "running", "log": str(folder / LOG)}
    watcher = running.begin("experiment", "watch", folder, folder=folder)
    until(lambda: any("trial" in line for line in [watcher.process.stdout.readline()]))  # type: ignore[union-attr]
    watcher.process.send_signal(signal.SIGINT)
    code, out, _ = watcher.finish()
    assert code == 0
    assert "it goes on" in out
    code, _, err = running.run("experiment", "stop", folder)
    assert code == 0, err

    def stopped() -> bool:
        with Store.open(folder, read_only=True) as store:
            return store.owner() is None

    until(stopped)


def test_what_is_wrong_is_said_at_once_and_nothing_is_left(tmp_path: Path) -> None:
    spec = tmp_path / "mine.yml"
    spec.write_text(running.definition(trials=4) + "trails: 3\n")
    code, _, err = running.here("experiment", "start", spec, "--detach", cwd=tmp_path)
    assert (code, "did you mean 'trials'?" in err) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yml"]
    spec.write_text(running.definition(trials=4))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").touch()
    code, _, err = running.here("experiment", "start", spec, "--detach", "--into", tmp_path / "taken", cwd=tmp_path)
    assert code == 2, err
    assert "taken" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yml", "taken"]


def test_the_newest_is_listed_first_and_is_the_one_that_is_meant(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / "experiments" / name
        spec = tmp_path / f"{name}.yml"
        spec.write_text(
            running.definition(musters=1, speed=5000, trials=2, repeats=0).replace("name: ", f"name: {name}-")
        )
        running.run("experiment", "start", spec, "--no-report", "--into", folder, cwd=tmp_path)
    _, out, _ = running.run("experiment", "list", "--json", cwd=tmp_path)
    assert [Path(one["folder"]).name for one in json.loads(out)] == ["two", "one"]
    _, out, _ = running.run("experiment", "show", "--json", cwd=tmp_path)
    assert Path(json.loads(out)["folder"]).name == "two"
