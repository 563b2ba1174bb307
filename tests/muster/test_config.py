import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.muster.config import Config, ConfigError, load
from mustherd.node.ranges import Range
from mustherd.terms import KnobInfo
from mustherd.wire.ports import Ports

GOOD = 'muster = "muster-1"\nstate = "/var/lib/mustherd"\n'


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "muster.toml"
    file.write_text(text)
    return file


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD))
    assert config == Config(muster="muster-1", state="/var/lib/mustherd")
    assert config.ports == Ports()
    assert config.ranges == {}


def test_everything(tmp_path: Path) -> None:
    text = GOOD + (
        'shepherd = "10.0.0.1"\nkeys = "/etc/mustherd/keys"\ngroups = ["rack-1"]\nlease_s = 5\n'
        "[ports]\npulse = 1\n[ranges]\ndvfs = {low = 1200, high = 2600}\nitr-delay = {values = [1, 2]}\n"
        "[twin]\nspeed = 10\n"
    )
    config = load(written(tmp_path, text))
    assert config.ports == Ports(pulse=1)
    assert config.ranges == {"dvfs": Range(low=1200, high=2600), "itr-delay": Range(values=(1, 2))}
    assert config.nodes == {"twin": {"speed": 10}}


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        ('muster = "muster-1"\n', "top level", "state"),
        (GOOD + "mutser = 1\n", "top level", "mutser"),
        ('muster = "Muster 1"\nstate = "x"\n', "muster", "matching regex"),
        ('muster = "../x"\nstate = "x"\n', "muster", "matching regex"),
        (GOOD + "lease_s = 0.1\n", "lease_s", ">= 1.0"),
        (GOOD + 'lease_s = "long"\n', "lease_s: long", "Expected a number, got a text"),
        (GOOD + "[ports]\npulse = 0\n", "ports.pulse", ">= 1"),
        (GOOD + "[ports]\npuls = 1\n", "ports", "puls"),
        (GOOD + "[ranges]\ndvfs = 1200\n", "ranges", "Expected a table, got a whole number"),
        (GOOD + "[ranges]\ndvfs = {low = -1}\n", "ranges", ">= 0"),
        (GOOD + "[ranges]\ndvfs = {lowest = 1}\n", "ranges", "lowest"),
        (GOOD + 'groups = ["a b"]\n', "groups", "matching regex"),
        (GOOD + "ports = [1, 2]\n", "ports: [1, 2]", "Expected a table, got a list"),
        (GOOD + 'groups = "web"\n', "groups: web", "Expected a list, got a text"),
        ("muster = ", "not TOML", ""),
    ],
)
def test_wrong_input_is_one_line_with_file_key_and_what_is_allowed(
    tmp_path: Path, text: str, key: str, what: str
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: {key}")
    assert what in message
    assert "\n" not in message


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_only_a_file_is_read(tmp_path: Path, kind: str) -> None:
    """An experiment's folder has one, which every command that looks at the folder reads."""
    file = tmp_path / "muster.toml"
    if kind == "a pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="not a regular file"):
        load(file)


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the muster's configuration"):
        load(tmp_path / "absent.toml")
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"odd\.toml"):
        load(tmp_path / "odd.toml")


small = st.integers(0, 60)


@given(
    own=st.builds(Range, values=st.lists(small, max_size=3).map(tuple), low=small, high=st.integers(-1, 60)),
    node=st.builds(
        KnobInfo,
        name=st.just("k"),
        sheep=st.just("s"),
        unit=st.just("u"),
        values=st.lists(small, max_size=3).map(tuple),
        low=small,
        high=st.integers(-1, 60),
        step=st.integers(1, 7),
    ),
)
def test_what_is_left_is_what_both_allow(own: Range, node: KnobInfo) -> None:
    left = own.narrow(node)
    for value in range(-2, 70):
        mine = value in own.values or own.low <= value <= own.high
        assert left.allows(value) == (mine and node.allows(value))
