"""A file that somebody else could have written is neither believed nor written through."""

import os
import socket
from pathlib import Path

import pytest

from mustherd import guard
from mustherd.guard import GuardError

OWN = os.geteuid()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "file"
    path.parent.mkdir(mode=0o755)
    path.write_text("content")
    path.chmod(0o644)
    return path


def test_what_only_its_owner_can_change_is_read(file: Path) -> None:
    guard.require(file)
    assert guard.read(file, 100) == b"content"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_change(file: Path, mode: int) -> None:
    file.chmod(mode)
    for look in (guard.require, lambda path: guard.read(path, 100)):
        with pytest.raises(GuardError, match=f"^{file} belongs to user {OWN} with mode {mode:o}: only"):
            look(file)


def test_somebody_else_s_file(file: Path) -> None:
    with pytest.raises(GuardError, match=f"belongs to user {OWN} with mode 755: only user 12345 may"):
        guard.require(file, {12345}, whole=False)


def test_a_folder_in_which_others_can_replace_it(file: Path) -> None:
    file.parent.chmod(0o777)
    with pytest.raises(GuardError, match=f"{file}: {file.parent} belongs"):
        guard.require(file)
    # With the sticky bit they can't, but what is in it has to be an owner's.
    file.parent.chmod(0o1777)
    guard.require(file)


def test_a_folder_further_up_counts_for_who_has_powers_to_lose(file: Path) -> None:
    file.parent.parent.chmod(0o777)
    guard.require(file, whole=False)
    with pytest.raises(GuardError, match=f"{file}: {file.parent.parent} belongs"):
        guard.require(file, whole=True)


def test_a_link_is_judged_with_the_way_to_it_and_behind_it(file: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(Path("..") / "folder" / "file")
    guard.require(link, whole=True)
    (tmp_path / "elsewhere").chmod(0o777)
    with pytest.raises(GuardError, match=f"{link}: {tmp_path / 'elsewhere'} belongs"):
        guard.require(link, whole=True)
    (tmp_path / "elsewhere").chmod(0o755)
    file.chmod(0o666)
    with pytest.raises(GuardError, match=f"{link}: .*file belongs"):
        guard.require(link, whole=True)


def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        guard.require(tmp_path / "a")


def test_a_file_with_another_name_is_read_and_not_written(file: Path) -> None:
    file.with_name("other").hardlink_to(file)
    assert guard.read(file, 100) == b"content"
    with pytest.raises(GuardError, match="another name"):
        guard.open_file(file, os.O_RDWR)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "socket"])
def test_nothing_but_a_file_is_opened_and_none_of_it_waits(file: Path, kind: str) -> None:
    odd = file.with_name(kind)
    listener = None
    if kind == "link":
        odd.symlink_to(file)
    elif kind == "pipe":
        os.mkfifo(odd)
    elif kind == "folder":
        odd.mkdir()
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(odd))
    with pytest.raises((OSError, GuardError)):
        guard.read(odd, 100)
    with pytest.raises((OSError, GuardError)):
        guard.open_file(odd, os.O_RDWR | os.O_CREAT)
    if listener is not None:
        listener.close()
    assert file.read_text() == "content"


def test_a_private_file_is_closed_to_readers_too(file: Path) -> None:
    with pytest.raises(GuardError, match=rf"mode 644.*chmod 600 {file}"):
        guard.read(file, 100, private=True)
    file.chmod(0o600)
    assert guard.read(file, 100, private=True) == b"content"


def test_a_file_that_is_far_too_large_is_not_read(file: Path) -> None:
    assert guard.read(file, 7) == b"content"
    with pytest.raises(GuardError, match="more than 6 bytes"):
        guard.read(file, 6)


def test_what_is_made_is_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        guard.own_folder(tmp_path / "made")
        os.close(guard.open_file(tmp_path / "made" / "file", os.O_RDWR | os.O_CREAT))
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "made" / "file").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_others_may_write_is_not_made_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose").chmod(0o777)
    with pytest.raises(GuardError, match="mode 777"):
        guard.own_folder(tmp_path / "loose")


def test_the_user_behind_sudo_is_trusted_by_root_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert guard.owners() == {0, 1234}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert guard.owners() == {0, 1000}
