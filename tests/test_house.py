"""The house's rules that can be read off the source: sizes, one helper of each kind, names that somebody uses."""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE_LINES, CLASS_LINES = 450, 250

UNUSED = {
    "exhaustive_optimum": "the twin's true optimum, for who checks a search against it",
    "handle_error": "socketserver calls it",
    "request_queue_size": "socketserver reads it",
    "http_open": "urllib.request calls it",
    "on_broken_pipe": "rich calls it",
    "ignore_aliases": "PyYAML calls it",
    "yaml_implicit_resolvers": "PyYAML reads it",
    "make_inventory": "typer calls it, as a command",
    "set_": "typer calls it, as a command",
    "LiveTwin": "a simulated herd under traffic, which benchmarks drive",
    "LoadGuesser": "the reference's rule, which live control will be measured against",
}
"""Names that stand once in the package, and who uses them all the same. An entry that is no longer needed fails."""


def sources(*tops: str) -> Iterator[Path]:
    for top in tops:
        yield from sorted((ROOT / top).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_modules_and_classes_are_of_a_size_to_be_read() -> None:
    large: dict[str, int] = {}
    for path in sources("mustherd", "tests", "roles"):
        text = path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > MODULE_LINES:
            large[name_of(path)] = lines
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and (lines := (node.end_lineno or 0) - node.lineno + 1) > CLASS_LINES:
                large[f"{name_of(path)} {node.name}"] = lines
    assert not large


def test_a_name_that_stands_once_is_used_by_nobody() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in sources("mustherd")}
    times = Counter(word for text in texts.values() for word in re.findall(r"\w+", text))
    for other in (ROOT / "pyproject.toml", *(ROOT / "mustherd").rglob("templates/*")):
        times.update(re.findall(r"\w+", other.read_text(encoding="utf-8")))
    once = {
        name: name_of(path)
        for path, text in texts.items()
        if "testing" not in path.parts
        for name in defined(ast.parse(text))
        if times[name] == 1
    }
    assert set(once) == set(UNUSED), once


def defined(tree: ast.AST) -> Iterator[str]:
    """Names of functions, classes and values, but for those that Python, a base class or a decorator knows."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.ClassDef(bases=[ast.Name(id="Enum" | "IntEnum" | "StrEnum")]):
                continue
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                if not name.startswith(("__", "do_")) and not (node.decorator_list and name.startswith("_")):
                    yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if not name.startswith("__"):
                    yield name
        yield from defined(node)


@pytest.mark.parametrize(
    ("pattern", "home", "why"),
    [
        (
            r"\.(part|new|tmp|draft)\b[\"']",
            "mustherd/files.py",
            "files.draft puts it there at once",
        ),
        (r"\bfsync\(", "mustherd/files.py", "files.sync and files.sync_folder put it on disk"),
        (r"\bPR_SET_PDEATHSIG\b", "mustherd/daemon.py", "daemon.end_with ends with the parent"),
        (r"\bbasicConfig\(", "mustherd/log_lines.py", "log_lines.log_to_stderr sets the log up"),
    ],
)
def test_there_is_one_helper_of_a_kind(pattern: str, home: str, why: str) -> None:
    found = {name_of(path) for path in sources("mustherd") if re.search(pattern, path.read_text(encoding="utf-8"))}
    assert found <= {home, *PROTOCOLS}, why


PROTOCOLS = {"mustherd/rowlog/ledger.py", "mustherd/load/host.py", "mustherd/testbed/mirror.py"}
"""Drafts that are part of a protocol: parts of a log get their names when the ledger has committed them."""


def test_imports_point_downwards_in_a_contract_that_leaves_nothing_out() -> None:
    """What import-linter checks (`make check`): that every package is in a layer, and what a muster must not import."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers, light, *_ = linter["contracts"]
    assert (layers["type"], layers["exhaustive"], layers["containers"]) == ("layers", True, ["mustherd"])
    assert not layers.get("ignore_imports")
    assert {f"mustherd.{name}" for name in ("muster", "herd", "wire", "node", "terms")} <= set(light["source_modules"])
    assert {"numpy", "pandas", "scipy", "pyarrow", "pydantic"} <= set(light["forbidden_modules"])
    assert not light.get("ignore_imports")
    ranks = {one: rank for rank, layer in enumerate(layers["layers"]) for one in layer.split(" | ")}
    upwards = []
    for path in sources("mustherd"):
        mine = (path.relative_to(ROOT / "mustherd").parts[0]).removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            theirs = (module or "").removeprefix("mustherd.").partition(".")[0]
            if module and module.startswith("mustherd.") and mine in ranks and ranks[theirs] < ranks[mine]:
                upwards.append(f"{name_of(path)} imports {module}")
    assert upwards == []


def test_no_test_sleeps_for_a_fixed_time() -> None:
    """It waits for what it waits for. Where the time itself is meant, the line says so: `# fixed: why`."""
    found = []
    for path in sources("tests"):
        if path.is_relative_to(ROOT / "tests/benchmarks"):
            continue
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in naps(ast.parse(text)):
            if "# fixed: " not in lines[node.lineno - 1]:
                found.append(f"{name_of(path)}:{node.lineno}")
    assert found == []


def naps(tree: ast.AST, polls: bool = False) -> Iterator[ast.Call]:
    """Calls of `sleep` with a constant, but for those in a loop that looks again after each."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and not polls and ast.unparse(node.func) in ("time.sleep", "sleep"):
            [given] = node.args
            if isinstance(given, ast.Constant):
                yield node
        yield from naps(node, polls or isinstance(node, ast.While))
