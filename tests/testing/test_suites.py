"""The suites fail what breaks a contract, and pass what keeps it: a suite that lets all through would test nothing."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from mustherd import testing
from mustherd.testing.knob import KnobContract
from mustherd.testing.load import LoadContract, ServerContract
from mustherd.testing.node import NodeContract
from tests.testing import wrong_choices, wrong_loads, wrong_parts, wrong_sources

ROOT = Path(__file__).parents[2]
CLASSES = {
    f"{module.__name__}.{name}": kind
    for module in (wrong_parts, wrong_choices, wrong_loads, wrong_sources)
    for name, kind in vars(module).items()
    if name.startswith("Test")
}


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Class to the tests of its suite that failed, all run in a process of their own."""
    told = tmp_path_factory.mktemp("suites") / "told.xml"
    modules: list[ModuleType] = [wrong_parts, wrong_choices, wrong_loads, wrong_sources]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-c", os.devnull,
         "--rootdir", ROOT, f"--junitxml={told}", *(str(module.__file__) for module in modules)],
        cwd=ROOT, env={**os.environ, "MUSTHERD_BUDGETS": ""}, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    found: dict[str, set[str]] = {}
    for case in ElementTree.parse(told).iter("testcase"):  # noqa: S314 - pytest wrote it
        broken = found.setdefault(case.attrib["classname"], set())
        if case.find("failure") is not None or case.find("error") is not None:
            broken.add(case.attrib["name"].partition("[")[0])
    return found


@pytest.mark.process
@pytest.mark.parametrize("name", CLASSES)
def test_a_suite_fails_what_breaks_its_contract_and_nothing_else(failed: dict[str, set[str]], name: str) -> None:
    caught_by = CLASSES[name].caught_by
    if caught_by:
        assert caught_by in failed[name]
    else:
        assert failed[name] == set()


def test_each_suite_has_one_that_keeps_it_and_some_that_do_not() -> None:
    suites = {kind.__mro__[2] for kind in CLASSES.values()}
    for suite in suites:
        caught = [kind.caught_by for kind in CLASSES.values() if kind.__mro__[2] is suite]
        assert caught.count("") == 1
        assert len(caught) > 3
        assert all(hasattr(suite, name) for name in caught if name)


def test_every_suite_shows_the_values_of_what_failed() -> None:
    modules = {file.stem for file in Path(str(testing.__file__)).parent.glob("*.py")} - {"__init__"}
    assert set(testing.SUITES) == modules


@pytest.mark.parametrize(
    ("suite", "page"),
    [(LoadContract, "load"), (ServerContract, "load"), (KnobContract, "knob"), (NodeContract, "node")],
)
def test_the_page_of_a_suite_names_each_fixture_that_it_needs(suite: type, page: str) -> None:
    text = (ROOT / f"docs/extend/{page}.md").read_text()
    needed = re.findall(r"def (\w+)\(self.*\n +\"{3}.*\"{3}\n +raise NotImplementedError", inspect.getsource(suite))
    assert needed
    assert [name for name in needed if f"`{name}`" not in text and f"def {name}(" not in text] == []
