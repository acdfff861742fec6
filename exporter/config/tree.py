"""A YAML file as plain data in which every value has its position.

YAML's implicit types are not used: a scalar stays the text that was written (a user named 1234 or ``on``, a group id
beyond 2^53), only an unquoted null is none. ``${NAME}`` is replaced here, inside a scalar that is already one: what
the environment holds can never become YAML structure.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import yaml

from exporter.errors import ConfigProblem, ConfigurationError
from exporter.redaction import withheld

Path = tuple[str | int, ...]
"""Path of a value in the file: ``("clusters", 0, "name")``."""

_MAX_DEPTH = 50
_MAX_REPEATED = 100_000
_MAX_SHOWN = 80
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[^}]*)(?P<end>\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# As YAML has it.
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Position:
    """Position of a value: line and column, counted from 1, its path, and line and column of its key, if it has one."""

    line: int = 1
    column: int = 1
    path: Path = ()
    key: tuple[int, int] | None = None


class Text(str):
    """A scalar's text. `written` is the text in the file: fit to be shown where the text itself may be a secret."""

    __slots__ = ("at", "written")
    at: Position
    written: str

    def __new__(cls, text: str, written: str, at: Position) -> Self:
        self = super().__new__(cls, text)
        self.written = written
        self.at = at
        return self


class Items(list[Any]):
    """The values of a list."""

    def __init__(self, values: list[Any], at: Position) -> None:
        super().__init__(values)
        self.at = at


class Keys(dict[str, Any]):
    """The values of a mapping. Keys without a value, which mean the same as absent ones, are in `empty` instead."""

    def __init__(self, values: Mapping[str, Any], at: Position, empty: Mapping[str, Position] | None = None) -> None:
        super().__init__(values)
        self.at = at
        self.empty = empty or {}

    def text(self, key: str) -> Text | None:
        """Return the value of a key, if that is a scalar."""
        value = self.get(key)
        return value if isinstance(value, Text) else None

    def texts(self, key: str) -> list[Text]:
        """Return the scalars in the list that a key holds."""
        return [item for item in self.listed(key) if isinstance(item, Text)]

    def mappings(self, key: str) -> "list[Keys]":
        """Return the mappings in the list that a key holds."""
        return [item for item in self.listed(key) if isinstance(item, Keys)]

    def positions(self) -> Iterator[tuple[str, Position]]:
        """Yield each key with where its value stands, or would stand."""
        yield from ((key, value.at) for key, value in self.items())
        yield from self.empty.items()

    def given(self, names: tuple[str, ...]) -> list[str]:
        """Return those of the names that have a value."""
        return [name for name in names if name in self]

    def listed(self, key: str) -> list[Any]:
        """Return the items of the list that a key holds."""
        value = self.get(key)
        return value if isinstance(value, Items) else []


@dataclass(frozen=True, slots=True)
class Null:
    """An item of a list that has no value."""

    at: Position


@dataclass(frozen=True, slots=True)
class Invalid:
    """A value whose mistake is reported already; further ones are not reported."""

    at: Position


Value = Text | Items | Keys | Null | Invalid


@dataclass(slots=True)
class Report:
    """Collects the mistakes and warnings of one file."""

    file: str
    mistakes: dict[ConfigProblem, None] = field(default_factory=dict)
    _warnings: list[ConfigProblem] = field(default_factory=list)

    def add(self, at: Position, message: str, *, key: bool = False) -> None:
        """Add a mistake in the value, or in its key, at a position."""
        self.mistakes[self._made(at, message, key=key)] = None

    def warn(self, at: Position, message: str) -> None:
        """Add a warning."""
        self._warnings.append(self._made(at, message, key=False))

    def raise_if_any(self) -> None:
        """Raise ConfigurationError if there are mistakes."""
        if self.mistakes:
            raise ConfigurationError(list(self.mistakes))

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings, in the order of the file."""
        return tuple(map(str, sorted(self._warnings)))

    def where(self, at: Position) -> str:
        """Return FILE:LINE:COL."""
        return f"{self.file}:{at.line}:{at.column}"

    def _made(self, at: Position, message: str, *, key: bool) -> ConfigProblem:
        line, column = at.key if key and at.key else (at.line, at.column)
        return ConfigProblem(self.file, line, column, dotted(at.path), message)


def dotted(path: Path) -> str:
    """Return `path` as people write it: ``clusters[0].name``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in path)
    return text.removeprefix(".")


def shown(text: str) -> str:
    """Return `text` on one line, as it stands in the file, and not too much of it."""
    text = withheld(text.written if isinstance(text, Text) else text)
    text = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
    return text if text.isprintable() else ascii(text)


def parse(source: str, environ: Mapping[str, str], report: Report) -> Keys | None:
    """Return the content of a whole file, or None if it cannot be parsed; mistakes go to `report`."""
    root = _compose(source, report)
    if root is None:
        return None
    value = _Converter(environ, report).convert(root, _position(root.start_mark))
    match value:
        case Keys():
            return value
        case Null():
            report.add(Position(), "the file is empty")
        case Text() | Items():
            report.add(value.at, "the file must hold keys with values, like 'clusters:', at its top level")
    return None


class _Loader(yaml.BaseLoader):
    """Rejects deep nesting before it fills the stack."""

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
        report.add(position_of(source[: error.position]), "the file holds a control character: remove it")
        return None
    try:
        if not loader.check_node():
            report.add(Position(), "the file is empty")
            return None
        root = loader.get_node()
        if loader.check_node():
            report.add(
                _position(_next_mark(loader)), "a second document starts here ('---'): one file holds one configuration"
            )
    except yaml.MarkedYAMLError as error:
        report.add(*_in_plain_words(error))
    except (ValueError, OverflowError):
        # The library passes an escape like "\UFFFFFFFF" on to chr() as it is.
        report.add(_position(loader.get_mark()), _ESCAPE)
    else:
        return root
    return None


def _position(mark: yaml.Mark, path: Path = (), key: Position | None = None) -> Position:
    return Position(mark.line + 1, mark.column + 1, path, (key.line, key.column) if key else None)


def position_of(before: str) -> Position:
    """Return the position behind the beginning of a file."""
    lines = _BREAK.split(before)
    return Position(len(lines), len(lines[-1]) + 1)


_QUOTE_IT = "put the value in quotes"
_TAG = f"a '!' at the start of a value is not supported: {_QUOTE_IT}"
_MISPLACED_KEY = f"a ':' stands where no key can be: {_QUOTE_IT}, or correct this line or the one above"
_BLOCK = f"a '|' or '>' starts a text of several lines: {_QUOTE_IT} if it is none"
_OPEN_QUOTE = "the quotation mark opened here is never closed"
_INDENTATION = "this line does not fit the ones above: correct its indentation"
_ESCAPE = "a '\\' between double quotes starts an escape that YAML does not know: use single quotes"
# Part of PyYAML's message -> our message. Ours never quote the file: it may hold a secret.
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


def _in_plain_words(error: yaml.MarkedYAMLError) -> tuple[Position, str]:
    problem = error.problem or "it cannot be read"
    # The place of an unclosed bracket or quote is more useful than the end of the file.
    unfinished = problem.startswith(("found unexpected", "expected ','"))
    mark = error.context_mark if unfinished else error.problem_mark
    fallback = f"not valid YAML: {problem.partition(', but')[0]}"
    words = next((words for part, words in _PLAIN_WORDS.items() if part in problem), fallback)
    return _position(mark) if mark else Position(), words


class _Converter:
    """Turns PyYAML's nodes into values, replaces variables, and reports YAML features that are not supported."""

    def __init__(self, environ: Mapping[str, str], report: Report) -> None:
        self._environ = environ
        self._report = report
        self._around: set[int] = set()
        self._seen: set[int] = set()
        self._repeated = 0

    def convert(self, node: yaml.Node, at: Position) -> Value:
        problem = self._problem(node)
        if problem:
            self._report.add(at, problem)
        if problem or self._repeated > _MAX_REPEATED:
            return Invalid(at)
        self._around.add(id(node))
        converted = self._converted(node, at)
        self._around.remove(id(node))
        return converted

    def _converted(self, node: yaml.Node, at: Position) -> Value:
        if isinstance(node, yaml.MappingNode):
            values = dict(self._entries(node, at.path))
            empty = {key: value.at for key, value in values.items() if isinstance(value, Null)}
            return Keys({key: value for key, value in values.items() if key not in empty}, at, empty)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, at)
        items = enumerate(node.value)
        return Items([self.convert(item, _position(item.start_mark, (*at.path, index))) for index, item in items], at)

    def _problem(self, node: yaml.Node) -> str | None:
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

    def _entries(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Value]]:
        first: dict[str, Position] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key, str) or not key or not _is_unicode(key):
                self._report.add(_position(key_node.start_mark, path), "a key must be a word")
                continue
            at = _position(key_node.start_mark, (*path, key))
            if key in first:
                self._report.add(at, f"this key is given twice; the first one is on line {first[key].line}")
            else:
                first[key] = at
                yield key, self.convert(value_node, _position(value_node.start_mark, at.path, at))

    def _scalar(self, node: yaml.ScalarNode, at: Position) -> Text | Null | Invalid:
        if node.style is None and node.value in _NULLS:
            return Null(at)
        mistakes: list[str] = []
        text = _VARIABLE.sub(lambda match: self._replacement(match, mistakes), node.value)
        if not _is_unicode(text):
            mistakes.append("it holds half a character (a lone surrogate)")
        for message in mistakes:
            self._report.add(at, message)
        return Invalid(at) if mistakes else Text(text, node.value, at)

    def _replacement(self, match: re.Match[str], mistakes: list[str]) -> str:
        name = match["name"]
        if name is None:
            return "${"
        if not match["end"]:
            mistakes.append("'${' is never closed by '}': write $${ if a literal ${ is meant")
        elif not _NAME.fullmatch(name):
            mistakes.append("'${...}' does not hold a variable's name: write $${ if a literal ${ is meant")
        elif name in self._environ:
            return self._environ[name]
        else:
            mistakes.append(
                f"the environment variable {shown(name)} is not set: set it, or write $${{ if a literal ${{ is meant"
            )
        return ""


_KINDS = {yaml.ScalarNode: "str", yaml.SequenceNode: "seq", yaml.MappingNode: "map"}


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
