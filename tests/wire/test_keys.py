import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mustherd.wire import keys
from mustherd.wire.endpoints import MusterEndpoint, OperatorEndpoint
from mustherd.wire.keys import KeysError
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint


def test_pairs_are_made_once_private_and_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    assert keys.create(folder, ["shepherd", "muster-1"]) == ["shepherd", "muster-1"]
    before = {f: f.read_bytes() for f in folder.rglob("*.key*")}
    assert keys.create(folder, ["shepherd", "muster-1", "muster-2"]) == ["muster-2"]
    assert {f: f.read_bytes() for f in before} == before
    assert (folder.stat().st_mode & 0o777) == 0o700
    for secret in folder.glob("*.key_secret"):
        assert (secret.stat().st_mode & 0o777) == 0o600
    assert sorted(f.stem for f in (folder / "accepted").iterdir()) == ["muster-1", "muster-2"]
    assert not list((folder / "accepted").glob("*secret"))


BROKEN: dict[str, Callable[[str], str]] = {
    "cut short": lambda key: key[:30],
    "cut to a whole number of groups": lambda key: key[:35],
    "one too long": lambda key: key + "0",
    "with a blank in it": lambda key: key[:20] + " " + key[21:],
    "beyond 32 bits": lambda key: "#####" + key[5:],
    "empty": lambda key: "",
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("shepherd.key", "public"),
        ("muster-1.key_secret", "public"),
        ("muster-1.key_secret", "secret"),
        ("shepherd.key_secret", "secret"),
        ("accepted/muster-1.key", "public"),
    ],
)
def test_a_key_that_is_none_is_named_with_its_file(tmp_path: Path, place: str, kind: str, how: str) -> None:
    keys.create(tmp_path, ["shepherd", "muster-1"])
    file = tmp_path / place
    text = file.read_text()
    key = next(line.split('"')[1] for line in text.splitlines() if f"{kind}-key" in line)
    file.write_text(text.replace(key, BROKEN[how](key)))
    load = keys.for_member if place in ("shepherd.key", "muster-1.key_secret") else None
    with pytest.raises(KeysError, match=rf"{place}: its {kind} key is none"):
        load(tmp_path, "muster-1") if load else keys.for_shepherd(tmp_path)


def test_every_key_that_is_made_is_one(tmp_path: Path) -> None:
    names = [f"muster-{n}" for n in range(20)]
    keys.create(tmp_path, ["shepherd", *names])
    assert {member.name for member in keys.accepted_in(tmp_path).values()} >= set(names)


def test_the_umask_is_as_before(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        keys.create(tmp_path, ["a"])
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_key_that_is_not_accepted_is_made_all_the_same(tmp_path: Path) -> None:
    keys.create(tmp_path, ["guest"], accept=False)
    assert not (tmp_path / "accepted" / "guest.key").exists()


@pytest.mark.parametrize("place", ["muster-1.key", "muster-1.key_secret", "accepted/muster-1.key"])
def test_no_key_is_written_through_a_link(tmp_path: Path, place: str) -> None:
    folder, target = tmp_path / "keys", tmp_path / "target"
    keys.create(folder, ["shepherd"])
    (folder / place).symlink_to(target)
    if place.startswith("accepted"):
        # The name is ours: what was there is replaced.
        keys.create(folder, ["muster-1"])
        assert not (folder / place).is_symlink()
    else:
        with pytest.raises(KeysError, match=rf"{folder / place}: a link, which no key is written to; remove it"):
            keys.create(folder, ["muster-1"])
    assert not target.exists()


def test_a_secret_behind_a_link_of_one_s_own_is_read(tmp_path: Path) -> None:
    """As container platforms hand secrets out."""
    keys.create(tmp_path / "kept", ["shepherd", "muster-1"])
    (tmp_path / "used").mkdir()
    for name in ("shepherd.key", "muster-1.key_secret"):
        (tmp_path / "used" / name).symlink_to(tmp_path / "kept" / name)
    assert keys.for_member(tmp_path / "used", "muster-1") == keys.for_member(tmp_path / "kept", "muster-1")


def test_zeromq_s_own_tools_read_the_files(tmp_path: Path) -> None:
    import zmq.auth

    keys.create(tmp_path, ["shepherd", "muster-1"])
    found = keys.for_member(tmp_path, "muster-1")
    assert zmq.auth.load_certificate(tmp_path / "muster-1.key_secret") == (found.public, found.secret)
    assert zmq.auth.load_certificate(tmp_path / "shepherd.key") == (found.shepherd, None)


def test_accepted_keys_that_others_could_add_to_are_refused(tmp_path: Path) -> None:
    keys.create(tmp_path, ["shepherd", "muster-1"])
    (tmp_path / "accepted" / "muster-1.key").chmod(0o666)
    with pytest.raises(KeysError, match=r"muster-1.key belongs to user .* with mode 666"):
        keys.for_shepherd(tmp_path)
    (tmp_path / "accepted" / "muster-1.key").chmod(0o600)
    (tmp_path / "accepted").chmod(0o777)
    with pytest.raises(KeysError, match=r"accepted belongs to user .* with mode 777"):
        keys.for_shepherd(tmp_path)


@pytest.mark.parametrize("name", ["../x", "A", "", "x\n", "a/b", ".hidden"])
def test_names_that_are_no_file_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeysError, match="key name"):
        keys.create(tmp_path, [name])
    assert not list(tmp_path.iterdir())


def test_a_secret_that_others_can_read_is_refused_with_the_mend(tmp_path: Path) -> None:
    keys.create(tmp_path, ["shepherd", "muster-1"])
    secret = tmp_path / "muster-1.key_secret"
    secret.chmod(0o640)
    with pytest.raises(KeysError, match=rf"mode 640.*chmod 600 {secret}"):
        keys.for_member(tmp_path, "muster-1")
    secret.chmod(0o600)
    assert keys.for_member(tmp_path, "muster-1").shepherd is not None


def test_a_secret_of_somebody_else_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sudo on the shepherd's node another key would be made, which no muster knows."""

    def refused(*_: object, **__: object) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    keys.create(tmp_path, ["shepherd", "muster-1"])
    monkeypatch.setattr("mustherd.guard.read", refused)
    with pytest.raises(KeysError, match=r"Permission denied; run it with sudo, or as the user") as refusal:
        keys.for_member(tmp_path, "muster-1")
    assert "keys create" not in str(refusal.value)


def test_missing_damaged_or_no_accepted_keys_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="mustherd keys create"):
        keys.for_member(tmp_path, "muster-1")
    keys.create(tmp_path, ["shepherd"], accept=False)
    with pytest.raises(KeysError, match="nobody could join"):
        keys.for_shepherd(tmp_path)
    (tmp_path / "accepted" / "odd.key").write_text("nonsense")
    with pytest.raises(KeysError, match=r"odd\.key"):
        keys.for_shepherd(tmp_path)


def test_secrets_are_not_in_the_text_of_keys(tmp_path: Path) -> None:
    keys.create(tmp_path, ["shepherd", "operator"])
    found = keys.for_shepherd(tmp_path)
    assert found.secret.decode() not in repr(found)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",  # noqa: S104
        "10.0.0.1",
        "192.168.1.2",
        "::",
        "*",
        "example.org",
        "shepherd",
        "127.0.0.1.example.org",
        "",
    ],
)
def test_beyond_loopback_only_with_keys(host: str) -> None:
    for make in (
        lambda: ShepherdEndpoint(host, Ports(0, 0, 0, 0)),
        lambda: MusterEndpoint("muster-1", host, Ports()),
        lambda: OperatorEndpoint(host, 50081),
    ):
        with pytest.raises(KeysError, match="beyond loopback only with keys"):
            make()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    keys.require_for(host, None)


@pytest.mark.process
def test_a_muster_process_loads_nothing_heavy() -> None:
    code = (
        "import sys; import mustherd.muster.muster, mustherd.muster.service, mustherd.node.twin.node;"
        "print(' '.join(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"asyncio", "pandas", "numpy", "scipy", "sklearn", "skopt", "pydantic", "ansible", "matplotlib", "rich"}
    assert heavy & set(loaded) == set()
    assert "typer" not in loaded
    assert "mustherd" in loaded
