"""Sources that are given for a rehearsal: what is missing is named before anything is done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.testbed.images import BedError
from tests.testbed.upstreams import missing, sources

ROOT = Path(__file__).parents[2]


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("mutilate", ["mutilate/SConstruct", "mutilate/.git", "mutilate/HEAD"])
def test_what_is_missing_is_named(tmp_path: Path, mutilate: str) -> None:
    assert [text.split()[0] for text in missing(tmp_path)] == ["mutilate", "memcached-VERSION.tar.gz"]
    put(tmp_path, mutilate)
    assert [text.split()[0] for text in missing(tmp_path)] == ["memcached-VERSION.tar.gz"]
    put(tmp_path, "memcached-1.6.45.tar.gz")
    assert missing(tmp_path) == []


def test_an_empty_folder_stands_for_no_source(tmp_path: Path) -> None:
    (tmp_path / "mutilate").mkdir()
    (tmp_path / "memcached-1.6.45.tar.gz").mkdir()
    assert len(missing(tmp_path)) == 2


def test_a_folder_without_any_is_refused_and_one_of_them_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCES", raising=False)
    assert sources() is None
    monkeypatch.setenv("SOURCES", str(tmp_path))
    with pytest.raises(BedError, match=r"nothing to build from; fix: put mutilate .* or memcached-VERSION"):
        sources()
    put(tmp_path, "memcached-1.6.45.tar.gz")
    assert sources() == tmp_path


@pytest.mark.process
@pytest.mark.parametrize(
    ("names", "code", "said"),
    [
        ((), 2, "missing mutilate"),
        (("mutilate/SConstruct",), 2, "missing memcached-VERSION.tar.gz"),
        (("mutilate/SConstruct", "memcached-1.6.45.tar.gz"), 0, ""),
    ],
)
def test_the_tier_asks_first(tmp_path: Path, names: tuple[str, ...], code: int, said: str) -> None:
    put(tmp_path, *names)
    done = subprocess.run(
        [sys.executable, "-m", "tests.testbed.upstreams"],
        cwd=ROOT, env={**os.environ, "SOURCES": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == (1 if code else 0)
