"""A command finds the shepherd of its own node, where the roles have left who it is."""

import os
from pathlib import Path

import pytest

from mustherd.cli import operator
from mustherd.errors import UserError
from mustherd.experiment.way import listens
from mustherd.shepherd.operate import LOCAL
from mustherd.wire.keys import create
from tests import running
from tests.waiting import until

KEYS = Path("/etc/mustherd/conductor")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "etc/operator.toml"
    file.parent.mkdir()
    file.write_text(f'shepherd = "10.9.9.1:50081"\nkeys = "{KEYS}"\n')
    monkeypatch.setattr(operator, "INSTALLED", file)
    return file


@pytest.mark.parametrize(
    ("shepherd", "keys", "found"),
    [
        (None, None, ("10.9.9.1:50081", KEYS)),
        # The port is the usual one.
        ("10.9.9.1", None, ("10.9.9.1", KEYS)),
        (None, "/my", ("10.9.9.1:50081", Path("/my"))),
        # Another shepherd is none of this node's.
        ("10.9.9.2", None, ("10.9.9.2", None)),
        ("10.9.9.1:9", "/my", ("10.9.9.1:9", Path("/my"))),
        (LOCAL, None, (LOCAL, None)),
    ],
)
def test_what_is_given_counts_and_the_rest_is_what_was_left(
    installed: Path, shepherd: str | None, keys: str | None, found: tuple[str, Path | None]
) -> None:
    assert installed.exists()
    assert operator.found(shepherd, None if keys is None else Path(keys)) == found


def test_without_any_it_is_loopback_as_ever(installed: Path) -> None:
    installed.unlink()
    assert operator.found(None, None) == (LOCAL, None)
    installed.parent.rmdir()
    assert operator.found(None, None) == (LOCAL, None)


@pytest.mark.parametrize("text", ["shepherd = 1\n", "[", "keys = 'x'\n", "shepherd = 'x'\nother = 1\n"])
def test_one_that_says_nothing_is_named(installed: Path, text: str) -> None:
    installed.write_text(text)
    with pytest.raises(UserError, match=r"operator\.toml: .*fix: provision the node again, or give --shepherd"):
        operator.found(None, None)


def test_one_that_others_may_change_is_not_believed(installed: Path) -> None:
    installed.chmod(0o666)
    with pytest.raises(UserError, match="mode 666"):
        operator.found(None, None)


@pytest.mark.root
def test_who_may_not_read_it_is_told_so(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed.chmod(0o600)
    # What another user can't import: this Python may be root's alone.
    listens(LOCAL, 1)
    os.seteuid(65534)
    try:
        with pytest.raises(UserError, match=r"no shepherd listens on 127\.0\.0\.1.* for root alone: with sudo"):
            operator.found(None, None)
        assert operator.found("10.9.9.2", None) == ("10.9.9.2", None)
    finally:
        os.seteuid(0)


@pytest.mark.process
def test_a_command_without_flags_asks_it_with_its_key(
    installed: Path, tmp_path: Path, free_ports: tuple[int, int, int, int]
) -> None:
    keys = tmp_path / "keys"
    create(keys, ["shepherd", "operator"])
    installed.write_text(f'shepherd = "127.0.0.1:{free_ports[3]}"\nkeys = "{keys}"\n')
    running.begin("shepherd", "run", "--ports", ",".join(map(str, free_ports)), "--keys", keys, folder=tmp_path)
    until(lambda: running.here("herd", "status")[0] == 0)
    told = running.here("herd", "status", "-v")
    assert f"shepherd 127.0.0.1:{free_ports[3]}, keys in {keys}, as {installed} says" in told[2]
    assert running.here("knob", "list")[2].endswith("no muster has joined this shepherd\n")
