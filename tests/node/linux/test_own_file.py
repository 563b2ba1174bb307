"""A file that declares knobs for herds on this machine: what it may say, and whose it may be."""

import os
from pathlib import Path

import pytest

from mustherd.errors import UserError
from mustherd.guard import GuardError
from mustherd.muster.config import ConfigError, load
from mustherd.muster.nodes import check
from mustherd.node.linux import own_file

BACKLOG = '[linux.own.backlog]\nsysctl = "net.core.netdev_max_backlog"\nunit = "packets"\nlow = 100\nhigh = 9000\n'
RANGE = "[ranges]\nbacklog = {low = 500, high = 5000}\n"
FULL = '[linux.own.full]\nsysctl = "a.b"\ntexts = ["no", "yes"]\n[ranges]\nfull = {modes = true}\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "knobs.toml"
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_it_offers_each_knob_within_its_range(tmp_path: Path) -> None:
    [info] = own_file.read(written(tmp_path, BACKLOG + RANGE)).infos()
    assert (info.name, info.allowed_text()) == ("backlog", "500..5000 packets")
    [info] = own_file.read(written(tmp_path, FULL)).infos()
    assert info.values == (0, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 'y", "not TOML"),
        ("", "it declares no knob; allowed: [linux.own.NAME] and [ranges]"),
        (BACKLOG, "ranges: backlog needs one, as in backlog = {low = 0, high = 10}"),
        (BACKLOG + RANGE.replace("backlog", "baclog"),
         "ranges.baclog: no knob here has that name; allowed: backlog; did you mean 'backlog'?"),
        (RANGE, "ranges.backlog: no knob here has that name; allowed: those of [linux.own.NAME], of which there"),
        (BACKLOG + RANGE + "full = {low = 0}\n", "ranges.full: no knob here has that name; allowed: backlog"),
        ("muster = 'm'\n" + BACKLOG + RANGE, "muster: no such table; allowed: [linux.own.NAME]"),
        ("[linux]\nroot = '/x'\n" + BACKLOG + RANGE, "linux.root: no such table"),
        ("linux = 5\n", "linux: no such table"),
        (BACKLOG.replace("9000", "'9000'") + RANGE, "linux.own.backlog.high: should be"),
        (BACKLOG + "settle_seconds = '1 s'\n" + RANGE,
         "linux.own.backlog.settle_seconds: should be a number, found '1 s'"),
        (BACKLOG.replace("sysctl", "sysctls") + RANGE, "linux.own.backlog: object contains unknown field"),
        (BACKLOG + RANGE.replace("5000", "9001"), "ranges.backlog: 9001 is not allowed: the knob has 100..9000"),
        (BACKLOG + "[ranges]\nbacklog = {values = [50]}\n", "ranges.backlog: 50 is not allowed"),
        (BACKLOG + "[ranges]\nbacklog = {low = 60, high = 90}\n", "ranges.backlog: it leaves no value"),
        (BACKLOG + "[ranges]\nbacklog = {low = 600, high = 500}\n", "ranges.backlog: it leaves no value"),
        (BACKLOG.replace("backlog", "dvfs") + RANGE, "linux.own.dvfs: there is a knob of that name already"),
        (BACKLOG.replace("backlog", "governor") + RANGE, "linux.own.governor: there is a knob of that name already"),
        (BACKLOG.replace("backlog", "server-cores") + RANGE, "linux.own.server-cores: there is a knob of that name"),
    ],
)  # fmt: skip
def test_what_it_may_not_say_is_refused_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        own_file.read(file)
    assert str(caught.value).startswith(f"{file}: {said}"), caught.value
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml: No such file"):
        own_file.read(tmp_path / "none.toml")


@pytest.mark.root
@pytest.mark.parametrize("loose", ["mode", "owner", "folder", "link"])
def test_one_that_somebody_else_could_have_written_declares_nothing(tmp_path: Path, loose: str) -> None:
    folder = tmp_path / "of-another"
    folder.mkdir()
    file = written(folder, BACKLOG + RANGE)
    if loose == "mode":
        file.chmod(0o622)
    if loose == "owner":
        os.chown(file, 65534, 65534)
    if loose == "folder":
        os.chown(folder, 65534, 65534)
    if loose == "link":
        os.chown(folder, 65534, 65534)
        (tmp_path / "link.toml").symlink_to(file)
        file = tmp_path / "link.toml"
    with pytest.raises(GuardError, match="knobs of a real machine must be in a file that only root"):
        own_file.read(file)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (BACKLOG + RANGE.replace("5000", "9001"), "ranges.backlog: 9001 is not allowed"),
        (BACKLOG.replace("backlog", "dvfs"), "linux.own.dvfs: there is a knob of that name already"),
    ],
)
def test_a_muster_s_configuration_is_held_to_the_same_without_a_look_at_the_machine(
    tmp_path: Path, lines: str, said: str
) -> None:
    file = written(tmp_path, f'muster = "m"\nstate = "{tmp_path}"\n[linux]\n{lines}')
    with pytest.raises(ConfigError) as caught:
        check(load(file), file)
    assert str(caught.value).startswith(f"{file}: {said}")
