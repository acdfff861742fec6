"""A configuration file as a tree in which every key and value knows its place.

YAML's implicit types are not used: a scalar stays the text that was written (a user named 1234 or ``on``, a group id
beyond 2^53), only an unquoted null is None. ``${NAME}`` is replaced here, inside a scalar that is already one: what
the environment holds can never become YAML structure.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import yaml

from exporter.errors import Mistake
from exporter.redaction import withheld

Path = tuple[str | int, ...]
"""Where in the tree: ``("clusters", 0, "name")``."""

_MAX_DEPTH = 50
_MAX_REPEATED = 100_000
_MAX_SHOWN = 80
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[^}]*)(?P<end>\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and a column, counted from 1."""

    line: int = 1
    column: int = 1


class Text(str):
    """A scalar's text. `written` is what stands in the file: fit to be shown where the text itself may be a secret."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, text: str, written: str) -> Self:
        self = super().__new__(cls, text)
        self.written = written
        return self


@dataclass(frozen=True, slots=True)
class Scalar:
    place: Place
    text: Text | None


@dataclass(frozen=True, slots=True)
class Broken:
    """A value whose mistake is reported already: nothing more is said of it."""

    place: Place


@dataclass(frozen=True, slots=True)
class Items:
    place: Place
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Entry:
    key_place: Place
    node: "Node"


@dataclass(frozen=True, slots=True)
class Keys:
    place: Place
    entries: dict[str, Entry]

    def given(self, key: str) -> Entry | None:
        """Return the entry, unless it is absent or null, which mean the same."""
        entry = self.entries.get(key)
        return None if entry is None or (isinstance(entry.node, Scalar) and entry.node.text is None) else entry

    def text(self, key: str) -> Text | None:
        entry = self.given(key)
        return entry.node.text if entry and isinstance(entry.node, Scalar) else None


Node = Scalar | Broken | Items | Keys


@dataclass(slots=True)
class Report:
    """Collects the mistakes of one file."""

    file: str
    mistakes: list[Mistake] = field(default_factory=list)

    def add(self, place: Place, path: Path, message: str) -> None:
        self.mistakes.append(Mistake(self.file, place.line, place.column, dotted(path), message))

    def where(self, place: Place) -> str:
        return f"{self.file}:{place.line}:{place.column}"


def dotted(path: Path) -> str:
    """Return `path` as people write it: ``clusters[0].name``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in path)
    return text.removeprefix(".")


def shown(text: str) -> str:
    """Return `text` on one line, as it stands in the file, and not too much of it."""
    text = withheld(text.written if isinstance(text, Text) else text)
    text = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
    return text if text.isprintable() else ascii(text)


def find(root: Node, path: Path) -> tuple[Path, Node]:
    """Return the node at `path`, or the deepest one on the way there, with its own path."""
    node = root
    for depth, step in enumerate(path):
        below = _child(node, step)
        if below is None:
            return path[:depth], node
        node = below
    return path, node


def _child(node: Node, step: str | int) -> Node | None:
    if isinstance(node, Keys) and step in node.entries:
        return node.entries[str(step)].node
    if isinstance(node, Items) and isinstance(step, int):
        return node.items[step]
    return None


def plain(node: Node) -> object:
    """Return the tree as dicts, lists and `Text`; keys without a value are left out."""
    match node:
        case Scalar(text=text):
            return text
        case Items(items=items):
            return [plain(item) for item in items]
        case Keys(entries=entries):
            return {key: plain(entry.node) for key, entry in entries.items() if node.given(key)}
        case Broken():
            return Text("", "")


def parse(source: str, environ: Mapping[str, str], report: Report) -> Keys | None:
    """Return the tree of a whole file, or None if it is so broken that there is none; mistakes go to `report`."""
    root = _compose(source, report)
    if root is None:
        return None
    tree = _Converter(environ, report).convert(root, ())
    match tree:
        case Keys():
            return tree
        case Scalar(text=None):
            report.add(Place(), (), "the file is empty")
        case Scalar() | Items():
            report.add(tree.place, (), "the file must hold keys with values, like 'clusters:', at its top level")
    return None


class _Loader(yaml.BaseLoader):
    """Refuses deep nesting before it fills the stack."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=_next_mark(self))
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _next_mark(loader: Any) -> yaml.Mark:
    """Return the place of what comes next. Any, because the stubs leave the parser's methods without types."""
    mark: yaml.Mark = loader.peek_event().start_mark
    return mark


def _compose(source: str, report: Report) -> yaml.Node | None:
    try:
        loader = _Loader(source)
    except yaml.reader.ReaderError as error:
        report.add(_place_of(source, error.position), (), "the file holds a control character: remove it")
        return None
    try:
        if not loader.check_node():
            report.add(Place(), (), "the file is empty")
            return None
        root = loader.get_node()
        if loader.check_node():
            report.add(
                _place(_next_mark(loader)),
                (),
                "a second document starts here ('---'): one file holds one configuration",
            )
    except yaml.MarkedYAMLError as error:
        report.add(*_in_plain_words(error))
    except (ValueError, OverflowError):
        # The library passes an escape like "\UFFFFFFFF" on to chr() as it is.
        report.add(_place(loader.get_mark()), (), _ESCAPE)
    else:
        return root
    return None


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _place_of(source: str, position: int) -> Place:
    before = source[:position]
    return Place(before.count("\n") + 1, position - before.rfind("\n"))


_QUOTE_IT = "put the value in quotes"
_TAG = f"a '!' at the start of a value is not supported: {_QUOTE_IT}"
_MISPLACED_KEY = f"a ':' stands where no key can be: {_QUOTE_IT}, or mend this line or the one above"
_BLOCK = f"a '|' or '>' starts a text of several lines: {_QUOTE_IT} if it is none"
_OPEN_QUOTE = "the quotation mark opened here is never closed"
_INDENTATION = "this line does not fit the ones above: mend its indentation"
_ESCAPE = "a '\\' between double quotes starts an escape that YAML does not know: use single quotes"
# Part of the library's words -> ours. None of ours repeats what the file says: it may be a part of a secret.
_PLAIN_WORDS = {
    "nested too deeply": f"values are nested more than {_MAX_DEPTH} deep",
    "found character '\\t'": "a tab stands where YAML allows only spaces: indent with spaces",
    "cannot start any token": f"a value cannot start with this character: {_QUOTE_IT}",
    "mapping values are not allowed": _MISPLACED_KEY,
    "mapping keys are not allowed": _MISPLACED_KEY,
    "sequence entries are not allowed": "a '-' stands where no list can be: start the list on a line of its own",
    "could not find expected ':'": "this line is not 'key: value', or its indentation does not fit",
    "found undefined alias": f"'*' refers to an anchor that is not there: {_QUOTE_IT}",
    "second occurrence": f"this anchor ('&') is there already: give it another name, or {_QUOTE_IT}",
    "alphabetic or numeric": f"'&' or '*' at the start of a value needs a name: {_QUOTE_IT}",
    "tag": _TAG,
    "expected URI": _TAG,
    "escape": _ESCAPE,
    "chomping or indentation": _BLOCK,
    "expected a comment or a line break": _BLOCK,
    "unexpected end of stream": _OPEN_QUOTE,
    "unexpected document separator": _OPEN_QUOTE,
    "expected ',' or ']'": "the list that starts here lacks a ',' or its closing ']'",
    "expected ',' or '}'": "the mapping that starts here lacks a ',' or its closing '}'",
    "expected the node content": "a value is missing here, or a bracket or comma is too much",
    "expected <block end>": _INDENTATION,
    "<document start>": _INDENTATION,
}


def _in_plain_words(error: yaml.MarkedYAMLError) -> tuple[Place, Path, str]:
    problem = error.problem or "it cannot be read"
    # Where something begins that never ends says more than where the file does.
    unfinished = problem.startswith(("found unexpected", "expected ','"))
    mark = error.context_mark if unfinished else error.problem_mark
    fallback = f"not valid YAML: {problem.partition(', but')[0]}"
    words = next((words for part, words in _PLAIN_WORDS.items() if part in problem), fallback)
    return _place(mark) if mark else Place(), (), words


class _Converter:
    """Turns PyYAML's nodes into ours, replaces variables, and reports what YAML allows and we do not."""

    def __init__(self, environ: Mapping[str, str], report: Report) -> None:
        self._environ = environ
        self._report = report
        self._around: set[int] = set()
        self._seen: set[int] = set()
        self._repeated = 0

    def convert(self, node: yaml.Node, path: Path) -> Node:
        complaint = self._complaint(node)
        if complaint:
            self._report.add(_place(node.start_mark), path, complaint)
        if complaint or self._repeated > _MAX_REPEATED:
            return Broken(_place(node.start_mark))
        self._around.add(id(node))
        converted = self._converted(node, path)
        self._around.remove(id(node))
        return converted

    def _converted(self, node: yaml.Node, path: Path) -> Node:
        place = _place(node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return Keys(place, dict(self._entries(node, path)))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, place)
        return Items(place, tuple(self.convert(item, (*path, index)) for index, item in enumerate(node.value)))

    def _complaint(self, node: yaml.Node) -> str | None:
        if node.tag != f"tag:yaml.org,2002:{_KINDS[type(node)]}":
            return _TAG
        if id(node) in self._around:
            return "an alias ('*') refers to something that it is part of"
        self._repeated += id(node) in self._seen
        self._seen.add(id(node))
        if self._repeated == _MAX_REPEATED:
            self._repeated += 1
            return f"aliases ('*') repeat more than {_MAX_REPEATED} values: write them out, or use fewer"
        return None

    def _entries(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Entry]]:
        first: dict[str, Place] = {}
        for key_node, value_node in node.value:
            place = _place(key_node.start_mark)
            key = key_node.value
            if not isinstance(key, str) or not key or not _is_unicode(key):
                self._report.add(place, path, "a key must be a word")
            elif key in first:
                message = f"this key is given twice; the first one is on line {first[key].line}"
                self._report.add(place, (*path, key), message)
            else:
                first[key] = place
                yield key, Entry(place, self.convert(value_node, (*path, key)))

    def _scalar(self, node: yaml.ScalarNode, path: Path, place: Place) -> Scalar | Broken:
        if node.style is None and node.value in _NULLS:
            return Scalar(place, None)
        mistakes: list[str] = []
        text = _VARIABLE.sub(lambda match: self._replacement(match, mistakes), node.value)
        if not _is_unicode(text):
            mistakes.append("it holds half a character (a lone surrogate)")
        for message in mistakes:
            self._report.add(place, path, message)
        return Broken(place) if mistakes else Scalar(place, Text(text, node.value))

    def _replacement(self, match: re.Match[str], mistakes: list[str]) -> str:
        name = match["name"]
        if name is None:
            return "${"
        if not match["end"]:
            mistakes.append("'${' is never closed by '}': write $${ if a literal ${ is meant")
        elif not _NAME.fullmatch(name):
            mistakes.append("'${...}' does not hold a variable's name: write $${ if a literal ${ is meant")
        elif name not in self._environ:
            mistakes.append(
                f"the environment variable {shown(name)} is not set: set it, or write $${{ if a literal ${{ is meant"
            )
        return self._environ.get(name, "")


_KINDS = {yaml.ScalarNode: "str", yaml.SequenceNode: "seq", yaml.MappingNode: "map"}


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
