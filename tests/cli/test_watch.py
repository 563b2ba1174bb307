"""`experiment watch`: what it says when the watching ends."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mustherd import api
from mustherd.cli.experiment import watch
from mustherd.report import live


@pytest.mark.parametrize("by", ["Ctrl-C", "its end"])
def test_its_folder_is_named_as_it_is(
    by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Whoever copies the command must get this folder, and a name is no markup of the terminal's.
    folder = Path("/nowhere/a[b]/[red]x[/red]")

    def follow(*_: object) -> None:
        if by == "Ctrl-C":
            raise KeyboardInterrupt

    result = SimpleNamespace(folder=folder, view=lambda: SimpleNamespace(status="stopped"))
    monkeypatch.setattr(api, "open", lambda _: result)
    monkeypatch.setattr(live, "follow", follow)
    watch(folder, web=False)
    said = {"Ctrl-C": "it goes on; watch it again: mustherd experiment watch"}
    assert capsys.readouterr().out == f"{said.get(by, 'stopped; go on: mustherd experiment resume')} {folder}\n"
