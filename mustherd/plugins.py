"""Plug-ins: what this project and other packages offer by name, one entry-point group for each kind.

A package adds a plug-in by one line of its `pyproject.toml`, such as

    [project.entry-points."mustherd.policies"]
    colder = "colder:Colder"

A policy may also be named by its file, `./colder.py:Colder`, and needs no package then. Nothing is imported before its
name is asked for.
"""

import contextlib
import dataclasses
import enum
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from mustherd.daemon import printing_on_stderr
from mustherd.errors import UserError, kind_of, no_text, printable, repr_of, text_of

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint, EntryPoints

POLICIES = "mustherd.policies"
SEARCHES = "mustherd.searches"
PEERS = "mustherd.peers"
"""Searches that are there to be compared with, in replays alone: they needn't keep the contract of a search."""
KNOBS = "mustherd.knobs"
NODES = "mustherd.nodes"
LOADS = "mustherd.loads"
SERVERS = "mustherd.servers"
METRICS = "mustherd.metrics"
METERS = "mustherd.meters"
SOURCES = "mustherd.sources"
KINDS = {
    POLICIES: "policy",
    SEARCHES: "search",
    PEERS: "peer",
    KNOBS: "knob",
    NODES: "node",
    LOADS: "load",
    SERVERS: "server",
    METRICS: "metric",
    METERS: "meter",
    SOURCES: "source",
}
"""What a plug-in of each group is."""
GROUPS = tuple(KINDS)

OURS = "mustherd"

STDLIB = str(Path(re.__file__).parents[1])
"""Where Python's own modules are."""


class PluginError(UserError):
    """A plug-in can't be had; the message names it, its package and what there is instead."""

    exit_code = 3


class UnknownPluginError(PluginError):
    """No plug-in of that name is installed, or more than one."""

    exit_code = 2


@dataclass(frozen=True)
class NoOptions:
    """The `Options` of a plug-in that takes none."""


class OptionError(ValueError):
    """A plug-in refuses an option. `path` is the option's place below the plug-in's options; () means all of them."""

    def __init__(
        self,
        problem: str,
        path: tuple[str | int, ...] = (),
        *,
        allowed: str = "",
        suggestion: str = "",
        unknown: bool = False,
    ) -> None:
        """`unknown`: the option's name is wrong, not its value."""
        super().__init__(problem)
        self.problem = problem
        self.path = path
        self.allowed = allowed
        self.suggestion = suggestion
        self.unknown = unknown

    def __str__(self) -> str:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path).lstrip(".")
        found = ": ".join(filter(None, (place, self.problem)))
        hints = [f"allowed: {self.allowed}"] if self.allowed else []
        hints += [f"did you mean {self.suggestion!r}?"] if self.suggestion else []
        return "; ".join([found, *hints])


@dataclass(frozen=True)
class InFile:
    """Something in a file of Python that no package has, in place of an entry point."""

    path: str
    """From the current folder."""
    attribute: str

    def load(self) -> Any:
        """Run the file, as an import does, and give what is wanted of it; AttributeError where it isn't there."""
        from importlib.util import module_from_spec, spec_from_file_location  # noqa: PLC0415

        name = f"mustherd_file_{Path(self.path).stem}"
        spec = spec_from_file_location(name, self.path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{self.path} is no Python")
        # Where types are looked up by name: those of a dataclass, say.
        module = sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(module)
        if not hasattr(module, self.attribute):
            raise AttributeError(f"there is no {self.attribute} in it")
        return getattr(module, self.attribute)


@dataclass(frozen=True)
class Plugin:
    """One plug-in, not yet imported."""

    group: str
    name: str
    target: str
    """Where it is, as `module:attribute`."""
    package: str
    version: str
    entry: "EntryPoint | InFile"

    @property
    def is_ours(self) -> bool:
        """Whether it is a part of this project."""
        return self.package == OURS

    @property
    def title(self) -> str:
        """What it is, for a message: search 'annealing' of annealing 1.0."""
        return f"{KINDS[self.group]} {self.name!r} of {self.package} {self.version}".rstrip()

    def load(self) -> Any:
        """The object itself. Raises PluginError where its package can't be imported or lacks it."""
        try:
            with contextlib.nullcontext() if self.is_ours else printing_on_stderr():
                return self.entry.load()
        except (Exception, SystemExit) as error:
            raise PluginError(f"{self.title} ({self.target}) can't be loaded: {said(error)}") from error


def nearest(name: str, among: Iterable[str]) -> str:
    """The name that was meant, if one is near; else ""."""
    from difflib import get_close_matches  # noqa: PLC0415

    return next(iter(get_close_matches(name, list(among), 1)), "")


def said(error: BaseException) -> str:
    """What another package's code raised, in one line, and where in its file."""
    text = f"{type(error).__name__}: {printable(' '.join(text_of(error).split()))}"
    place = _place(error)
    return f"{text} ({place})" if place else text


def number(value: Any) -> float:
    """What another package's code gave as a number, of whatever kind. TypeError for text, as "12", and what is none."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        raise TypeError(f"it gives {value!r:.60}, which is no number")
    return float(value)


def _place(error: BaseException) -> str:
    """The last line of the package's own file that was at work, as FILE:LINE; "" where none was."""
    found = place = ""
    step = error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        if not found and not _is_known(file):
            found = file
        if file == found:
            name = file.partition("-packages/")[2] or Path(file).name
            place = f"{name}:{step.tb_lineno}"
        step = step.tb_next
    return printable(place)


def _is_known(file: str) -> bool:
    """Whether a file of Python is one of ours or of Python's own."""
    own = str(Path(__file__).parent)
    return file.startswith(("<", f"{own}/")) or (file.startswith(STDLIB) and "-packages/" not in file)


@contextlib.contextmanager
def blaming(
    what: str, own: type[Exception] | tuple[type[Exception], ...], make: Callable[[str], Exception]
) -> Iterator[None]:
    """Let `own` errors of another package's code pass; make of any other one that says `what` it couldn't do."""
    try:
        yield
    except own:
        raise
    except (Exception, SystemExit) as error:
        raise make(f"{what}: {said(error)}") from error


@functools.cache
def _everything() -> Any:
    """All entry points of all packages: whoever asks for one group mostly asks for others, and reading takes 80 ms."""
    # Imported when it is asked for: the reader takes 1.4 MB. What it gives is of one type in Python 3.11 and of
    # another from 3.12 on; both have select().
    from importlib.metadata import entry_points as everything  # noqa: PLC0415

    return everything()


def entry_points(*, group: str) -> "EntryPoints":
    """What is installed of a group, as packages' metadata says."""
    found: EntryPoints = _everything().select(group=group)
    return found


@functools.cache
def _of(distribution: "Distribution") -> tuple[str, str]:
    """A package's name and version. Both are asked of its metadata, which are parsed anew at each question."""
    told = distribution.metadata
    return told["Name"], told["Version"]


def forget() -> None:
    """Read anew at the next question what is installed: for a process in which a package came or went."""
    _everything.cache_clear()
    _of.cache_clear()
    installed.cache_clear()


@functools.cache
def installed(group: str) -> tuple[Plugin, ...]:
    """Every plug-in of a group, also those whose name is taken.

    Ours come first, so that no package can take the place of one of them; of two others with one name neither is used.
    """
    found = []
    for entry in entry_points(group=group):
        package, version = _of(entry.dist) if entry.dist is not None else (entry.value.partition(".")[0], "")
        found.append(Plugin(group, entry.name, entry.value, package, version, entry))
    return tuple(sorted(found, key=lambda plugin: (not plugin.is_ours, plugin.name, plugin.package)))


def plugins(group: str) -> dict[str, Plugin]:
    """The plug-ins of a group by name, sorted."""
    found: dict[str, list[Plugin]] = {}
    for each in installed(group):
        found.setdefault(each.name, []).append(each)
    # Which of two packages came first would decide what an experiment is.
    return {name: same[0] for name, same in sorted(found.items()) if len(same) == 1 or same[0].is_ours}


def shared(group: str, name: str) -> str:
    """Why a name can't be used that several packages have; "" for any other."""
    same = [f"{each.package} {each.version}".rstrip() for each in installed(group) if each.name == name]
    if len(same) < 2 or name in plugins(group):
        return ""
    return f"{KINDS[group]} {name!r} is of {' and of '.join(same)}: uninstall all but one"


def in_file(group: str, name: str) -> Plugin | None:
    """What `name` says as FILE.py:CLASS; None for the name of something installed."""
    path, _, attribute = name.rpartition(":")
    if not path.endswith(".py"):
        return None
    return Plugin(group, attribute, name, path, "", InFile(path, attribute))


def plugin(group: str, name: str) -> Plugin:
    """The plug-in called `name`. Raises UnknownPluginError that lists what is installed, or who else has the name."""
    if (found := in_file(group, name)) is not None:
        return found
    there = plugins(group)
    if name not in there:
        if why := shared(group, name):
            raise UnknownPluginError(why)
        near = nearest(name, there)
        hint = f"; did you mean {near!r}?" if near else ""
        raise UnknownPluginError(
            f"no {KINDS[group]} {name!r} is installed; there are: {', '.join(there) or 'none'}{hint}"
        )
    return there[name]


def lacking(kind: object, interface: type) -> list[str]:
    """What a plug-in's class lacks of an interface, a Protocol: the names of methods and attributes."""
    named = {
        name
        for base in interface.__mro__
        if getattr(base, "_is_protocol", False)
        for name in (*vars(base), *getattr(base, "__annotations__", ()))
        if not name.startswith("_")
    }
    return sorted(name for name in named if not _has(kind, name))


def _has(thing: object, name: str) -> bool:
    """Whether it has that attribute, without a run of the property that it may be: one of a node reads hardware."""
    try:
        inspect.getattr_static(thing, name)
    except AttributeError:
        return hasattr(thing, name)
    return True


def keeps(found: Plugin, kind: object, interface: type) -> None:
    """Raise PluginError where a plug-in's class lacks part of an interface.

    A function that makes the objects shows nothing of them beforehand, and passes.
    """
    absent = lacking(kind, interface) if isinstance(kind, type) else [] if callable(kind) else ["a way to call it"]
    if absent:
        where = f"{interface.__module__}.{interface.__qualname__}"
        raise PluginError(f"{found.title} ({found.target}) lacks {', '.join(absent)}: see {where}")


def odd_field(made: Any, kind: type) -> str:
    """What a package's object has in a field of our dataclass for a text or a word that is neither, and what is
    allowed; "" where all is well. Python itself doesn't look, and a word in the place of an enumeration's member is
    not that member. Fields that a package's own class adds are its own."""
    for name, hint in get_type_hints(kind).items():
        value = getattr(made, name)
        if get_origin(hint) is Literal and value not in get_args(hint):
            return f"has {name} {repr_of(value)}; allowed: {', '.join(map(repr, get_args(hint)))}"
        if isinstance(hint, type) and not isinstance(value, hint):
            words = [f"{hint.__name__}.{one.name}" for one in hint] if issubclass(hint, enum.Enum) else ["text"]
            return f"has {name} {repr_of(value)}; allowed: {', '.join(words)}"
    return ""


def options_of(kind: object, given: Mapping[str, object]) -> Any:
    """The options for a plug-in, as its `Options`: a dataclass or a msgspec struct. One without takes none: None.

    Raises OptionError for an option that is unknown or of another type than its field, PluginError where Options can't
    be used.
    """
    with blaming(f"{_called(kind)}.Options can't be used", (ValueError, PluginError), PluginError):
        return _converted(getattr(kind, "Options", None), option_names(kind), given)


def _called(kind: object) -> str:
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', type(kind).__name__)}".lstrip(".")


def _converted(declared: Any, names: Sequence[str], given: Mapping[str, object]) -> Any:
    for name in given:
        if name not in names:
            near = nearest(str(name), names)
            raise OptionError(
                f"unknown option {str(name)!r}",
                (name,),
                allowed=", ".join(names) or "no options",
                suggestion=near,
                unknown=True,
            )
    if declared is None:
        return None
    try:
        return msgspec.convert(dict(given), declared)
    except msgspec.ValidationError as error:
        refusal = _refusal(str(error), given)
        if refusal.path and isinstance(entries := given[str(refusal.path[0])], Mapping):
            raise _in_entry(declared, entries, refusal) from None
        raise OptionError(refusal.problem, refusal.path, allowed=_words(declared, refusal.path)) from None


def _in_entry(declared: Any, entries: Mapping[str, Any], refusal: OptionError) -> OptionError:
    """The refusal of something in a mapping, of which msgspec names no key, with its key and what is allowed there."""
    field, *rest = refusal.path
    hint = get_type_hints(declared, include_extras=True).get(str(field))
    if get_origin(hint) is not dict:
        return refusal
    of_key, of_entry = get_args(hint)
    for key, entry in entries.items():
        try:
            msgspec.convert(key, of_key)
        except msgspec.ValidationError:
            return OptionError(f"its name {refusal.problem.partition(', found')[0]}", (field, key))
        try:
            msgspec.convert(entry, of_entry)
        except msgspec.ValidationError as error:
            problem = _refusal(str(error), entry).problem
            names = getattr(of_entry, "__struct_encode_fields__", ()) if "unknown field" in problem else ()
            return OptionError(problem, (field, key, *rest), allowed=", ".join(names))
    return refusal


def _words(declared: Any, path: tuple[str | int, ...]) -> str:
    """What an option that is one of some words may be; "" for any other."""
    hint = get_type_hints(declared).get(str(path[0])) if len(path) == 1 else None
    return ", ".join(map(str, get_args(hint))) if get_origin(hint) is Literal else ""


def option_names(kind: object) -> list[str]:
    """The names of the options that a plug-in takes. PluginError where its Options are something else."""
    declared: Any = getattr(kind, "Options", None)
    if dataclasses.is_dataclass(declared):
        return [field.name for field in dataclasses.fields(declared)]
    if declared is None:
        return []
    if not (isinstance(declared, type) and issubclass(declared, msgspec.Struct)):
        raise PluginError(f"{_called(kind)}.Options is neither a dataclass nor a msgspec struct")
    return list(declared.__struct_encode_fields__)


TYPES = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list"}
TYPES |= {"object": "a mapping"}
"""Msgspec's words for types, and ours."""


def _refusal(said: str, given: Any) -> OptionError:
    """What msgspec says of a value in `given`, as the option's place, what is wrong there and what was found."""
    what, _, where = said.partition(" - at ")
    steps = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", where.strip("`"))
    path: Sequence[str | int] = [name or int(index) for name, index in steps]
    wanted = re.fullmatch(r"Expected `(.+?)`(.*?)(?:, got `.+`)?", what)
    if wanted is None:
        return OptionError(what[:1].lower() + what[1:], tuple(path))
    kind, bound = wanted.groups()
    bound = bound.partition(", got ")[0]
    found = ""
    if "..." not in where:  # which stands for a key of a mapping
        for part in path:
            given = given[part]
        found = f", found {no_text(given) if kind == 'str' else kind_of(given)}"
    kinds = " or ".join(TYPES.get(one, one) for one in kind.split(" | ") if one != "null")
    return OptionError(f"should be {kinds}{bound.removesuffix('.0')}{found}", tuple(path))
