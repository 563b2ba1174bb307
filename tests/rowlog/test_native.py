"""Which parser reads rows: what the environment asks for, and that it is said."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mustherd.cli.app import app
from mustherd.definition.given import read
from mustherd.errors import UserError
from mustherd.experiment.ready import ready
from mustherd.rowlog import native
from mustherd.rowlog.writer import LogWriter


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    yield
    for cached in (native.parser, native.packer):
        cached.cache_clear()


def ask(patch: pytest.MonkeyPatch, asked: str) -> None:
    patch.setenv(native.VARIABLE, asked)
    for cached in (native.parser, native.packer):
        cached.cache_clear()


@pytest.mark.parametrize(("asked", "found"), [("", "c"), ("c", "c"), ("arrow", "arrow")])
def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch, asked: str, found: str) -> None:
    ask(monkeypatch, asked)
    assert native.which() == found
    assert (native.packer() is not None) == (found == "c")
    code, checks = doctor()
    assert native.why().startswith(f"{found} (")
    assert checks["row parser"] == {
        "name": "row parser", "status": "ok", "found": native.why(), "wanted": "c, or arrow", "tag": "mustherd",
    }  # fmt: skip
    assert code in (0, 1)


def doctor() -> tuple[int, dict[str, dict[str, str]]]:
    done = CliRunner().invoke(app, ["herd", "doctor", "--json"])
    return done.exit_code, {check["name"]: check for check in json.loads(done.stdout)}


def test_what_is_no_parser_is_refused_before_anything_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask(monkeypatch, "fast")
    allowed = "MUSTHERD_ROW_PARSER is 'fast': allowed are c, arrow"
    for refused in (
        native.which,
        native.packer,
        lambda: LogWriter(tmp_path / "logs"),
        lambda: ready(read(None, "")[1], tmp_path / "exp", musters=None, listen=None, keys=None),
    ):
        with pytest.raises(UserError, match=allowed):
            refused()
    assert list(tmp_path.iterdir()) == []
    code, checks = doctor()
    assert (code, checks["row parser"]["status"]) == (1, "wrong")
    assert allowed in checks["row parser"]["found"]


def test_c_is_refused_where_it_was_not_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "none.so")
    ask(monkeypatch, "c")
    with pytest.raises(UserError, match="MUSTHERD_ROW_PARSER is 'c', and no parser in C was built here"):
        native.which()
    ask(monkeypatch, "")
    assert native.why() == "arrow (no parser in C was built here)"
