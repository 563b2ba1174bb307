"""What `herd status` shows of a keeper's folder."""

from pathlib import Path

import pytest
from rich.console import Console

from mustherd.cli.kept import kept_in, print_kept
from mustherd.keep.store import KeepStore


def test_a_lost_signal_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = {"mode": "safe", "settings": {"dvfs": 2800}, "load": 0.0, "lost": "load", "hold_until": None, "why": ""}
    with KeepStore(tmp_path) as store:
        store.save({"nodes": {"muster-1": node}}, [])
    kept = kept_in(str(tmp_path))
    assert kept is not None
    print_kept(kept, Console(width=200, no_color=True))
    [row] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("muster-1")]
    assert row.split() == ["muster-1", "safe", "not", "seen", "dvfs", "2800", "MHz", "load", "lost"]
