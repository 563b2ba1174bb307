"""A YAML file as plain values that remember where they stood.

YAML is read by its events alone: nothing is constructed from tags, nesting and size are bounded before anything is
built, and every key and value keeps its line. Plain words follow YAML 1.2's core schema, so that `off` stays a word
and `1e6` is a number; numbers in hex stay recognisable, because a register's word means something else than a number.
"""

import re
from typing import NamedTuple, NoReturn

import yaml

from mustherd.definition.errors import DefinitionError, Finding, Others, Path, dotted
from mustherd.errors import shown

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_NODES = 5_000
"""Values of a document, each use of an alias counted with all that it stands for."""
MAX_SCALAR = 4096
MAX_NUMBER = 40
"""Characters of a plain word that may still be a number."""

INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)", re.ASCII)
HEX = re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
REAL = re.compile(r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)", re.ASCII)
WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


ODD_SPACE = re.compile("[\u00a0\u2000-\u200b\u202f\u205f\u3000]")
"""Spaces that are none to YAML."""

UNCLOSED = {
    "while scanning a quoted scalar": "the quote that begins here has no end",
    "while parsing a flow sequence": "the list that begins here with '[' has no ']' where it must end",
    "while parsing a flow mapping": "the mapping that begins here with '{' has no '}' where it must end",
}
"""PyYAML's words for what it was reading where something was never closed, and ours."""


class Hex(int):
    """An integer that was written in hex."""


Scalar = str | int | float | bool | None
Plain = Scalar | tuple["Plain", ...] | dict[str, "Plain"]
"""A document's value without its places; lists are tuples."""


class Spot(NamedTuple):
    """A place in a file, from 1; 0 where there is none."""

    line: int = 0
    column: int = 0


class YamlNode:
    """A value with its place, and with those of its keys where it is a mapping."""

    __slots__ = ("content", "height", "keys", "size", "spot", "text")

    def __init__(
        self,
        spot: Spot,
        content: "Scalar | list[YamlNode] | dict[str, YamlNode]",
        text: str = "",
        keys: "Keys | None" = None,
    ) -> None:
        children: list[YamlNode] = []
        if isinstance(content, dict):
            children = list(content.values())
        elif isinstance(content, list):
            children = content
        self.spot = spot
        self.content = content
        self.keys = keys or {}
        self.text = text
        self.size: int = 1 + sum(child.size for child in children)
        self.height: int = 1 + max((child.height for child in children), default=0)

    def plain(self) -> Plain:
        """The value without its places."""
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.content.items()}
        if isinstance(self.content, list):
            return tuple(node.plain() for node in self.content)
        return self.content


Keys = dict[str, Spot]


class Source:
    """What a definition came from, a file's text or Python's values, kept to say where in it something is wrong."""

    def __init__(self, file: str = "", root: YamlNode | None = None, text: str = "") -> None:
        self.file = file
        self._root = root
        self._text = text

    def __eq__(self, other: object) -> bool:
        # Where a definition was written is no part of what it says.
        return isinstance(other, Source)

    __hash__ = None  # type: ignore[assignment]

    def error(self, findings: list[Finding]) -> DefinitionError:
        """The findings as one error: the first in file order, with the others."""
        wrong_keys = {finding.path for finding in findings if finding.at_key}
        # What a key of that name would have to hold is no help where there is no such key.
        worth = [f for f in findings if f.at_key or not any(f.path[: len(p)] == p for p in wrong_keys)]
        worth = [f._replace(path=self._written(f.path)) for f in worth]
        placed = [(self._locate(finding), finding) for finding in worth]
        first, *others = sorted(placed, key=lambda p: (p[0][0], dotted(p[1].path)))
        return self._placed(*first, others=tuple(self._placed(*other) for other in others))

    def _placed(self, place: tuple[Spot, str], finding: Finding, others: Others = ()) -> DefinitionError:
        spot, value = place
        return DefinitionError(
            finding.problem,
            file=self.file,
            line=spot.line,
            column=spot.column if spot.line else 0,
            key=dotted(finding.path),
            value=value,
            allowed=finding.allowed,
            suggestion=finding.suggestion,
            excerpt=line_of(self._text, spot.line),
            others=others,
        )

    def has(self, path: Path) -> bool:
        """Whether there is something at `path`."""
        node = self._root
        for part in path:
            content = node.content if node is not None else None
            node = content.get(str(part)) if isinstance(content, dict) else None
        return node is not None

    def _written(self, path: Path) -> Path:
        """The path in the file: a generator is `load` there, and a command's options stand in the place of its name."""
        if path[:1] != ("workload",):
            return path
        if path[1:2] == ("generator",) and not self.has(path[:2]) and self.has(("workload", "load")):
            path = ("workload", "load", *path[2:])
        is_named = path[2:3] != ("options",) or self.has(path[:3])
        return path if is_named or not self.has((*path[:2], "command")) else (*path[:2], *path[3:])

    def _locate(self, finding: Finding) -> tuple[Spot, str]:
        """The place of a finding, or of the nearest thing around it that is in the file, and the value there."""
        node = self._root
        if node is None:
            return Spot(), ""
        spot = node.spot
        for part in finding.path:
            content = node.content
            if isinstance(content, dict) and part in content:
                spot, node = node.keys[str(part)], content[str(part)]
            elif isinstance(content, list) and isinstance(part, int) and part < len(content):
                node = content[part]
                spot = node.spot
            else:
                return spot, ""
        return (spot if finding.at_key else node.spot), shown(node.text)


class _Frame:
    """A collection under construction."""

    def __init__(self, spot: Spot, anchor: str | None, *, mapping: bool) -> None:
        self.spot = spot
        self.anchor = anchor
        self.mapping = mapping
        self.items: list[YamlNode] = []
        self.entries: dict[str, YamlNode] = {}
        self.keys: Keys = {}
        self.key: str | None = None

    def path_part(self) -> str | int | None:
        return self.key if self.mapping else len(self.items)


class _Composer:
    """Builds the tree from YAML's events, within bounds."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.frames: list[_Frame] = []
        self.anchors: dict[str, YamlNode | None] = {}
        self.size = 0
        self.root: YamlNode | None = None
        self.spot = Spot(1, 1)

    def fail(self, problem: str, allowed: str = "") -> NoReturn:
        path: Path = tuple(part for f in self.frames if (part := f.path_part()) is not None)
        raise DefinitionError(
            problem, file=self.file, line=self.spot.line, column=self.spot.column, key=dotted(path), allowed=allowed
        )

    def take(self, event: yaml.Event) -> None:
        if event.start_mark is not None:
            self.spot = Spot(event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent):
            if self.root is not None:
                self.fail("a second document begins here", allowed="one document per file")
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "")
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()

    def _refuse_tag(self, tag: str | None) -> None:
        if tag is not None:
            self.fail(f"the tag '{shown(tag)}' is not used here", allowed="plain values, lists and mappings")

    def _name(self, anchor: str | None, node: YamlNode | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = node

    def _alias(self, anchor: str) -> None:
        if self._wants_key():
            self.fail("a key is written out, not an alias")
        if anchor not in self.anchors:
            self.fail(f"'*{shown(anchor)}' stands for nothing: there is no '&{shown(anchor)}' before it")
        node = self.anchors[anchor]
        if node is None:
            self.fail(f"'*{shown(anchor)}' contains itself")
        self._add(node)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        text: str = event.value
        self._refuse_tag(event.tag)
        if len(text) > MAX_SCALAR:
            self.fail(f"a value of {len(text)} characters is too long", allowed=f"{MAX_SCALAR} characters")
        if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
            self.fail("half of a surrogate pair is not text")
        if self._wants_key():
            frame = self.frames[-1]
            if text in frame.keys:
                before = frame.keys[text].line
                frame.key = text
                self.fail(f"the key '{shown(text)}' is there twice, first on line {before}")
            frame.key = text
            frame.keys[text] = self.spot
            return
        node = YamlNode(self.spot, text if event.style else resolve(text), text)
        self._name(event.anchor, node)
        self._add(node)

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        self._refuse_tag(event.tag)
        if self._wants_key():
            self.fail("a key is a word, not a list or a mapping")
        if len(self.frames) >= MAX_DEPTH:
            self.fail("nested too deeply", allowed=f"{MAX_DEPTH} levels")
        self._name(event.anchor, None)
        self.frames.append(_Frame(self.spot, event.anchor, mapping=isinstance(event, yaml.MappingStartEvent)))

    def _close(self) -> None:
        frame = self.frames.pop()
        # The children were counted as they came.
        self.size -= sum(node.size for node in (*frame.items, *frame.entries.values()))
        node = YamlNode(frame.spot, frame.entries if frame.mapping else frame.items, keys=frame.keys)
        self._name(frame.anchor, node)
        self._add(node)

    def _wants_key(self) -> bool:
        return bool(self.frames) and self.frames[-1].mapping and self.frames[-1].key is None

    def _add(self, node: YamlNode) -> None:
        self.size += node.size
        if self.size > MAX_NODES:
            self.fail("too many values", allowed=f"{MAX_NODES} values, aliases counted with what they stand for")
        if len(self.frames) + node.height > MAX_DEPTH + 1:
            self.fail("nested too deeply", allowed=f"{MAX_DEPTH} levels")
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        if frame.mapping and frame.key is not None:
            frame.entries[frame.key] = node
            frame.key = None
        else:
            frame.items.append(node)


def resolve(text: str) -> Scalar:
    """What a plain (unquoted) word means."""
    if text in WORDS:
        return WORDS[text]
    if len(text) <= MAX_NUMBER:
        if INTEGER.fullmatch(text):
            return int(text)
        if HEX.fullmatch(text):
            return Hex(text, 16)
        if REAL.fullmatch(text):
            return float(text)
    return text


def line_of(text: str, line: int) -> str:
    """A line of a text by its number, from 1; empty where there is none."""
    lines = text.split("\n", line)
    return lines[line - 1].rstrip("\r") if 0 < line <= len(lines) else ""


def decode(raw: bytes, file: str) -> str:
    """The text of a file; DefinitionError when it is no UTF-8 or too large."""
    if len(raw) > MAX_BYTES:
        raise DefinitionError("the file is too large", file=file, allowed=f"{MAX_BYTES // 1024} KiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        raise DefinitionError(
            f"byte 0x{raw[error.start]:02x} is no UTF-8 text", file=file, line=before.count(b"\n") + 1, column=column
        ) from None


def parse(text: str, file: str) -> YamlNode:
    """The document in `text`; DefinitionError says where it is no document that we read."""
    if len(text) > MAX_BYTES:
        raise DefinitionError("the file is too large", file=file, allowed=f"{MAX_BYTES // 1024} KiB")
    composer = _Composer(file)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        # What isn't closed is where it was opened, not where the file ended.
        unclosed = error.context in UNCLOSED and error.context_mark is not None
        mark = (error.context_mark if unclosed else error.problem_mark) or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else composer.spot
        if (odd := _odd_space(text)) and not unclosed:
            (line, column), sign = odd
            said = f"this is no YAML: a space here is U+{ord(sign):04X}, which only looks like one; write a plain space"
            raise DefinitionError(said, file=file, line=line, column=column, excerpt=line_of(text, line)) from None
        said = f"this is no YAML: {UNCLOSED[error.context] if unclosed and error.context else _said(error)}"
        raise DefinitionError(said, file=file, line=line, column=column, excerpt=line_of(text, line)) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        code = error.character if isinstance(error.character, int) else ord(error.character)
        problem = f"the character U+{code:04X} can't stand in a YAML file"
        raise DefinitionError(problem, file=file, line=line, column=column) from None
    except DefinitionError as error:
        # The composer knows places alone.
        error.excerpt = error.excerpt or line_of(text, error.line)
        raise
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML lets ValueError through for escapes beyond Unicode and for a version number of thousands of digits.
        line, column = composer.spot
        raise DefinitionError("this is no YAML: a number or an escape is out of range", file=file, line=line) from None
    if composer.root is None:
        raise DefinitionError("the file is empty", file=file, line=1, column=1, allowed="an experiment's keys")
    return composer.root


def _odd_space(text: str) -> tuple[Spot, str] | None:
    """The first space of a text that YAML doesn't take for one, as web pages and word processors write them."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := ODD_SPACE.search(line):
            return Spot(number, found.start() + 1), found[0]
    return None


def _said(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "it can't be read"
    if "'\\t'" in problem:
        return "a tab can't indent; use spaces"
    if problem.startswith("mapping values are not allowed"):
        return "a ':' is not expected here; is the line above indented rightly, or does a value need quotes?"
    context = f"{error.context}: " if error.context else ""
    return shown(context + problem, 200)
