"""Packages with plug-ins, as far as Python has to find them: modules and what an installer writes beside them."""

import functools
import textwrap
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from mustherd import plugins
from mustherd.definition import schema


def site(folder: Path, package: str, module: str, entries: Mapping[str, Mapping[str, str]]) -> Path:
    """A folder for sys.path with an installed package of one module; `entries` by group, name to attribute."""
    name = package.replace("-", "_")
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(textwrap.dedent(module))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [
        line
        for group, names in entries.items()
        for line in (f"[{group}]", *(f"{each} = {name}:{attribute}" for each, attribute in names.items()), "")
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder


def found(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> None:
    """Let these entry points be what is installed, beside our own."""
    everywhere = entry_points
    plugins.installed.cache_clear()

    def those(*, group: str) -> list[EntryPoint]:
        return [*(e for e in entries if e.group == group), *everywhere(group=group)]

    monkeypatch.setattr(plugins, "entry_points", those)
    # Remembered as in a process of ours: packages' metadata takes 80 ms to read.
    monkeypatch.setattr(plugins, "installed", functools.cache(plugins.installed.__wrapped__))
    # What it says of them is remembered for as long, and not by the tests that come after.
    monkeypatch.setattr(schema, "_schema", functools.cache(schema._schema.__wrapped__))
