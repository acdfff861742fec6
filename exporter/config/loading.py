"""Loads the configuration file, and finds everything that is wrong with it in one go."""

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from exporter.config import checks, tree
from exporter.config.build import build
from exporter.config.files import MissingFileError, UnusableFileError, read_file
from exporter.config.model import Config
from exporter.config.schema import Document
from exporter.config.tree import Broken, Entry, Items, Keys, Node, Place, Report, Scalar, shown
from exporter.config.values import Section, Surroundings
from exporter.errors import ConfigurationError

_MAX_BYTES = 4 * 1024 * 1024
# Where people meet it first: they started the exporter without having written anything.
_WITHOUT_FILE = "; hpc-exporter discover writes one, hpc-exporter demo needs none"
_S = TypeVar("_S", bound=Section)


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the configuration in the file at `path`; ``${NAME}`` in it is looked up in `environ`.

    Blocks: it reads the file and every file that it names.

    Raises:
        ConfigurationError: with every mistake in it.

    """
    return build(*load_document(path, Document, checks.check, environ, advice=_WITHOUT_FILE))


def load_document(
    path: Path,
    document_type: type[_S],
    check: Callable[[Keys, Report], None],
    environ: Mapping[str, str] = os.environ,
    *,
    advice: str = "",
) -> tuple[_S, Keys, Report]:
    """Return what a file of any kind holds, with its tree and its report; `check` adds what `document_type` cannot say.

    `advice` is what to tell those who have no such file.

    Blocks: it reads the file and every file that it names.

    Raises:
        ConfigurationError: with every mistake in it.

    """
    report = Report(str(path))
    source = _read(path, report, advice)
    root = None if source is None else tree.parse(source, environ, report)
    document = None
    if root is not None:
        document = _validate(document_type, root, path.absolute().parent, report)
        check(root, report)
    if report.mistakes or root is None or document is None:
        raise ConfigurationError(report.mistakes)
    return document, root, report


def _read(path: Path, report: Report, advice: str) -> str | None:
    try:
        content = read_file(path, max_bytes=_MAX_BYTES)
    except UnusableFileError as error:
        hint = advice if isinstance(error, MissingFileError) else ""
        report.add(Place(), (), f"the configuration cannot be read: {error}{hint}")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        report.add(place, (), "this byte is not UTF-8: save the file as UTF-8")
        return None


def _validate(document_type: type[_S], root: Keys, folder: Path, report: Report) -> _S | None:
    try:
        return document_type.model_validate(tree.plain(root), context=Surroundings(folder))
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            _report(detail, document_type, root, report)
    return None


def _report(detail: ErrorDetails, document_type: type[Section], root: Keys, report: Report) -> None:
    path, node = tree.find(root, detail["loc"])
    entry = _entry(root, detail["loc"])
    match detail["type"]:
        case "extra_forbidden" if entry:
            report.add(entry.key_place, detail["loc"], _unknown_key(document_type, detail["loc"]))
        case "missing" if isinstance(node, Keys | Scalar):
            report.add(node.place, detail["loc"], "is missing" if entry is None else "is empty")
        case _ if not isinstance(node, Broken):
            report.add(node.place, path, _in_plain_words(detail, node))


def _entry(root: Keys, path: tree.Path) -> Entry | None:
    _, parent = tree.find(root, path[:-1])
    return parent.entries.get(str(path[-1])) if isinstance(parent, Keys) and path else None


def _unknown_key(document_type: type[Section], path: tree.Path) -> str:
    key = str(path[-1])
    known = list(_section_at(document_type, path[:-1]).model_fields)
    if key == "<<":
        return "merging mappings with '<<' is not supported: write the keys out"
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; known here are {', '.join(known)}"


def _section_at(document_type: type[Section], path: tree.Path) -> type[BaseModel]:
    section: type[BaseModel] = document_type
    for step in path:
        if isinstance(step, str):
            section = _section_in(section.model_fields[step].annotation) or section
    return section


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a key's type consists of: a type has at most one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)


def _in_plain_words(detail: ErrorDetails, node: Node) -> str:
    found = {Scalar: "text", Items: "a list", Keys: "a mapping"}.get(type(node), "something else")
    if isinstance(node, Scalar) and node.text is None:
        found = "empty"
    match detail["type"]:
        case "value_error":
            return str(detail["ctx"]["error"])
        case "tuple_type":
            return f"must be a list, but is {found}: start each value with '- ', or write [a, b]"
        case "model_type" | "model_attributes_type":
            return f"must be a mapping of 'key: value' lines, but is {found}"
    return f"cannot be used: {shown(detail['msg'])}"
