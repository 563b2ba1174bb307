"""Units are started, enabled and restarted in one call: what is not so is named, and why one does not stay up."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.roles.scripts import ROLES

pytestmark = pytest.mark.process

PROGRAM = (ROLES / "common/files/mustherd_units.py").read_text().replace("PAUSE_S = 1.0", "PAUSE_S = 0.0")

SYSTEMCTL = """#!{python}
import json, pathlib, sys
file = pathlib.Path({file!r})
units = json.loads(file.read_text())
verb, *words = sys.argv[1:]
named = [word for word in words if not word.startswith("--")]
with open({file!r} + ".asked", "a") as asked:
    print(" ".join([verb, *named]), file=asked)
unknown = {{"ActiveState": "inactive", "UnitFileState": ""}}
if verb == "show":
    lines = [[f"{{key}}={{value}}" for key, value in units.get(name, unknown).items()] for name in named]
    print("\\n\\n".join(map("\\n".join, lines)))
for name in named:
    if verb in ("enable", "restart") and name in units:
        units[name]["ActiveState"] = "failed" if units[name].get("dies") else "active"
        units[name]["UnitFileState"] = "enabled"
file.write_text(json.dumps(units))
"""


class Systemd:
    """A stand-in of systemctl and journalctl over a file of units."""

    def __init__(self, folder: Path) -> None:
        self.file, self.path = folder / "units.json", folder / "bin"
        self.path.mkdir()
        for name, text in (
            ("systemctl", SYSTEMCTL.format(python=sys.executable, file=str(self.file))),
            ("journalctl", "#!/bin/sh\necho no such port\n"),
        ):
            (self.path / name).write_text(text)
            (self.path / name).chmod(0o755)

    def holds(self, **units: tuple[str, str]) -> None:
        """Each unit's name to whether it runs and is enabled."""
        states = {
            name: {"ActiveState": active, "UnitFileState": enabled, "NeedDaemonReload": "no"}
            for name, (active, enabled) in units.items()
        }
        self.file.write_text(json.dumps(states))

    def breaks(self, name: str) -> None:
        """From now on it ends as soon as it has started."""
        units = json.loads(self.file.read_text())
        units[name]["dies"] = "yes"
        self.file.write_text(json.dumps(units))

    def said(self, *words: str, code: int = 0) -> list[str]:
        """What the program prints, run as a role runs it."""
        done = subprocess.run(
            [sys.executable, "-", *words],
            input=PROGRAM,
            env={**os.environ, "PATH": f"{self.path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return (done.stderr if code else done.stdout).splitlines()

    def asked(self) -> list[str]:
        """What was changed, since this was asked last."""
        file = Path(f"{self.file}.asked")
        lines = file.read_text().splitlines()
        file.unlink()
        return [line for line in lines if not line.startswith("show")]


@pytest.fixture
def systemd(tmp_path: Path) -> Systemd:
    return Systemd(tmp_path)


def test_what_does_not_run_or_come_back_is_started_and_named(systemd: Systemd) -> None:
    systemd.holds(a=("active", "enabled"), b=("inactive", "enabled"), c=("active", "disabled"))
    assert systemd.said("start", "--look", "a", "b", "c") == ["b", "c"]
    assert systemd.asked() == []
    assert systemd.said("start", "a", "b", "c") == ["b", "c"]
    assert systemd.asked() == ["daemon-reload", "enable b c"]
    assert systemd.said("start", "a", "b", "c") == []
    assert systemd.asked() == []


@pytest.mark.long
def test_a_unit_s_file_that_has_changed_is_read_again(systemd: Systemd) -> None:
    systemd.holds(a=("active", "enabled"))
    systemd.file.write_text(systemd.file.read_text().replace('"no"', '"yes"'))
    assert "".join(systemd.said("start", "a")) == ""
    assert systemd.asked() == ["daemon-reload"]


def test_what_does_not_stay_up_is_told_with_its_journal(systemd: Systemd) -> None:
    systemd.holds(a=("inactive", "disabled"), b=("inactive", "disabled"))
    systemd.breaks("b")
    assert systemd.said("start", "a", "b", code=1) == ["b did not stay up: no such port"]


@pytest.mark.long
def test_only_what_runs_is_restarted(systemd: Systemd) -> None:
    systemd.holds(a=("active", "enabled"), b=("inactive", "enabled"))
    assert systemd.said("restart", "a", "b", "not-there") == ["a"]
    assert systemd.asked() == ["daemon-reload", "restart a"]
    systemd.holds(a=("inactive", "enabled"))
    assert "".join(systemd.said("restart", "a")) == ""
