"""The part of docs/reference/python.md that is made from the code: public names, their signatures and docstrings."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import ModuleType

from pydantic import BaseModel

import mustherd
import mustherd.data

RUNS = ("run", "resume", "arun", "aresume", "ExperimentFailedError")
LOOKS = ("open", "watch", "stop", "list_experiments", "replay", "calibrate")
DEFINITIONS = ("Experiment", "check", "plan", "Plan", "DefinitionError", "UserError")
RESULTS = ("Result", "Best", "Verdict", "Trial")
EVENTS = (
    "Event", "PhaseChanged", "MusterChanged", "TrialStarted", "TrialEnded", "Progress", "VerdictReached",
    "ExperimentEnded", "Noted",
)  # fmt: skip
HERDS = ("HerdClient", "LoadByHand")
DATA = (
    "open", "ExperimentFolder", "Log", "merged", "merged_frames", "differences", "differences_of", "windows", "medians",
    "DataError",
)  # fmt: skip
"""What mustherd.data has."""

NAMES = (*RUNS, *LOOKS, *DEFINITIONS, *RESULTS, *EVENTS, *HERDS)

WIDTH = 100
"""Characters of a signature that is written in one line."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def reference(names: tuple[str, ...], module: ModuleType = mustherd) -> str:
    """The reference of some of a module's names."""
    return "\n\n".join(part for name in names for part in _entry(name, module) if part)


TABLES: dict[str, Callable[[], str]] = {
    "runs": lambda: reference(RUNS),
    "looks": lambda: reference(LOOKS),
    "definitions": lambda: reference(DEFINITIONS),
    "results": lambda: reference(RESULTS),
    "events": lambda: reference(EVENTS),
    "herds": lambda: reference(HERDS),
    "data": lambda: reference(DATA, mustherd.data),
}


def _entry(name: str, module: ModuleType) -> Iterator[str]:
    value = getattr(module, name)
    yield f"### `{module.__name__}.{name}`"
    if inspect.isclass(value):
        tree = _source(value)
        assert isinstance(tree, ast.ClassDef)
        yield ast.get_docstring(tree) or ""
        lines = [line for base in _bases(value) for line in _members(base)]
        if issubclass(value, BaseModel):
            # Its keys have a reference of their own.
            lines = [line for line in lines if ": " not in line.split("`")[1]]
        yield "\n".join(lines)
    elif callable(value):
        tree = _source(value)
        assert isinstance(tree, Function)
        yield f"```python\n{'await ' if isinstance(tree, ast.AsyncFunctionDef) else ''}{_signature(name, tree)}\n```"
        yield ast.get_docstring(tree) or ""
    else:
        yield f"One of {', '.join(f'`{part.__name__}`' for part in value.__args__)}."


def _source(value: object) -> ast.stmt:
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(value))).body  # type: ignore[arg-type]
    return tree


def _bases(value: type) -> list[ast.ClassDef]:
    """A class of ours with those that it comes from, these first."""
    trees = [_source(base) for base in reversed(value.__mro__) if base.__module__.startswith("mustherd.")]
    return [tree for tree in trees if isinstance(tree, ast.ClassDef)]


def _members(tree: ast.ClassDef) -> Iterator[str]:
    """Fields with what is said below them, properties and methods, as they stand in the source."""
    for node, after in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            said = str(after.value.value) if told else ""  # type: ignore[attr-defined]
            name, shown = node.target.id, f"{node.target.id}: {_unquoted(node.annotation)}"
        elif isinstance(node, Function):
            name, said = node.name, ast.get_docstring(node) or ""
            is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
            shown = f"{name}: {_unquoted(node.returns)}" if is_property else _signature(name, node, width=10_000)
        else:
            continue
        if name == "__init__" and said:
            shown = shown.replace("__init__", tree.name, 1)
        elif name.startswith("_"):
            continue
        yield f"- `{shown}`{_said(said)}"


def _said(text: str) -> str:
    """What is said of a member, to stand behind a colon."""
    words = " ".join(text.split()).removesuffix(".")
    # A name or an abbreviation at the beginning keeps its capitals.
    head = words.split(" ")[0]
    return f": {words if head[1:] != head[1:].lower() or not words else words[0].lower() + words[1:]}" if words else ""


def _signature(name: str, tree: Function, width: int = WIDTH) -> str:
    given = tree.args
    given.args = [argument for argument in given.args if argument.arg not in ("self", "cls")]
    for argument in (*given.args, *given.kwonlyargs, *(a for a in (given.vararg, given.kwarg) if a)):
        argument.annotation = argument.annotation and ast.Name(_unquoted(argument.annotation))
    returns = _unquoted(tree.returns)
    end = "" if returns == "None" else f" -> {returns}"
    defaults = [*[None] * (len(given.args) - len(given.defaults)), *given.defaults]
    parts = [_argument(*pair) for pair in zip(given.args, defaults, strict=True)]
    parts += [f"*{_argument(given.vararg, None)}"] if given.vararg else ["*"] if given.kwonlyargs else []
    parts += [_argument(*pair) for pair in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    parts += [f"**{_argument(given.kwarg, None)}"] if given.kwarg else []
    line = f"{name}({', '.join(parts)}){end}"
    return line if len(line) <= width else "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){end}"])


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + (f" = {ast.unparse(default)}" if default is not None else "")


def _unquoted(annotation: ast.expr | None) -> str:
    if annotation is None:
        return "None"
    return str(annotation.value) if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
