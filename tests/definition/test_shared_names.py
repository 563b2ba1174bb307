"""A name that two packages have is no unknown one: who names it in a definition is told both."""

import functools
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mustherd import plugins
from mustherd.definition.errors import DefinitionError
from mustherd.definition.read import load
from mustherd.plugins import Plugin

TWICE = {plugins.SEARCHES: "ice", plugins.SERVERS: "oven", plugins.KNOBS: "fan"}
ALL = "knobs: {dvfs: [2200 MHz]}\nworkload: {qps: 100}\n"


@pytest.fixture
def twice(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plugins.installed

    def installed(group: str) -> tuple[Plugin, ...]:
        name = TWICE.get(group)
        entry = EntryPoint(name or "", "nowhere:Nothing", group)
        more = [Plugin(group, name, entry.value, package, "2", entry) for package in ("early", "late") if name]
        return (*before(group), *more)

    monkeypatch.setattr(plugins, "installed", functools.cache(installed))


@pytest.mark.usefixtures("twice")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("search: {method: ice}\n" + ALL, "search 'ice' is of early 2 and of late 2: uninstall all but one"),
        (
            "knobs: {dvfs: [2200 MHz]}\nworkload: {qps: 100, server: {name: oven}}\n",
            "server 'oven' is of early 2 and of late 2: uninstall all but one",
        ),
        (
            "knobs: {fan: [1]}\nworkload: {qps: 100}\n",
            "knob 'fan' is of early 2 and of late 2: uninstall all but one",
        ),
    ],
)
def test_both_packages_are_told(tmp_path: Path, text: str, said: str) -> None:
    """'unknown method 'ice'; did you mean ...' was said."""
    file = tmp_path / "try.yml"
    file.write_text("name: try\nherd: {local: {}}\nobjective: read_p99_us\n" + text)
    with pytest.raises(DefinitionError) as refused:
        load(file)
    assert said in str(refused.value)
