"""A keeper of an inventory's herd: no flags, signals from elsewhere, and a shepherd that gives way."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.keep.store import KeepStore
from mustherd.wire import keys
from tests import running
from tests.experiment.test_links import FROZEN
from tests.real_herd import RealHerd, herd
from tests.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.process]

TABLE = "table:\n- {qps: 1000, settings: {dvfs: 1500}}\n- {qps: 100000, settings: {dvfs: 2400}}\n"
KEEP = """\
keeper: {{limit: 500, safe: {{dvfs: 2700}}, settle_s: 0.5, first_settle_s: 0.5, controls: 0, retune: false}}
sources:
- {{kind: application, signal: load, file: "{folder}/load-{{muster}}"}}
- {{kind: application, signal: latency, command: [cat, "{folder}/p99"], unit: ms}}
"""


class Kept:
    def __init__(self, folder: Path, one: RealHerd) -> None:
        self.folder, self.one, self.log = folder, one, folder / "keep.log"
        (folder / "table.yml").write_text(TABLE)
        (folder / "keep.yml").write_text(KEEP.format(folder=folder))
        self.load("800")
        (folder / "p99").write_text("0.2\n")
        words = ["herd", "keep", "table.yml", "--to", "kept", "--config", "keep.yml", "-i", str(one.inventory)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mustherd", *words], cwd=folder, stdout=log, stderr=log
            )

    def load(self, qps: str) -> None:
        for name in self.one.names:
            (self.folder / f"load-{name}").write_text(f"{qps}\n")

    def status(self) -> str:
        code, out, err = running.run("herd", "status", "--shepherd", f"127.0.0.1:{self.one.ports.coordinate}")
        assert code == 0, err
        return out

    def at(self, mhz: int) -> None:
        def reached() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return all(self.one.clocks(name) == [f"{mhz}000"] * 4 for name in self.one.names)

        until(reached, 60)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    with herd(tmp_path, 2) as one:
        made = Kept(tmp_path, one)
        yield made
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait()


def test_signals_from_elsewhere_are_followed_on_an_inventory_s_herd(kept: Kept) -> None:
    kept.at(1500)
    kept.load("60 k")
    kept.at(2400)
    # Once in force, and once as what the keeper has stored.
    until(lambda: kept.status().count("dvfs 2400 MHz") == 4)
    assert "60,000/s" in kept.status()
    assert "what is saved isn't known yet: 0 controls so far" in kept.status()
    (kept.folder / "p99").unlink()
    # What isn't seen is not guarded: the settings that need no guard.
    kept.at(2700)
    kept.process.terminate()
    assert kept.process.wait(60) == 0
    until(lambda: all(kept.one.clocks(name) == FROZEN for name in kept.one.names))
    with KeepStore(kept.folder / "kept", read_only=True) as store:
        told = [line.text for line in store.story()]
    assert any("p99: No such file" in text or "ended with 1" in text for text in told)


def test_what_an_inventory_s_herd_lacks_is_said_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / "table.yml").write_text(TABLE)
    words = ("herd", "keep", tmp_path / "table.yml", "--to", tmp_path / "kept")
    code, _, err = running.run(*words, "-i", tmp_path / "none")
    assert code == 2
    assert "none: no such inventory; fix: give its path from the current folder" in err
    code, _, err = running.run(*words, "--ports", "1,2,3,4")
    assert code == 2
    assert "give --inventory or --listen" in err
    keys.create(tmp_path / "keys", ["muster-1"])
    (tmp_path / "keep.yml").write_text("keeper: {limit: 500}\nsources: [{kind: application, signal: load, file: x}]\n")
    code, _, err = running.run(*words, "--listen", "127.0.0.1", "--config", tmp_path / "keep.yml", "--ports", "0,0,0,0")
    assert code == 3
    assert "sources[0] (application): file 'x' should begin with /" in err
    assert not (tmp_path / "kept").exists()
