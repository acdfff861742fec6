"""Loads the configuration file and reports all of its mistakes; writes the effective configuration."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from exporter.config.files import MissingFileError, UnusableFileError, read_file
from exporter.config.model import Config
from exporter.config.section import Section
from exporter.config.tree import Invalid, Keys, Position, Report, parse, position_of, shown
from exporter.config.values import ValidationContext, kind_of
from exporter.errors import ConfigurationError

_MAX_BYTES = 4 * 1024 * 1024
# Added for a first start without a configuration.
_WITHOUT_FILE = "; hpc-exporter discover writes one, hpc-exporter demo needs none"
_S = TypeVar("_S", bound=Section)


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the configuration in the file at `path`; ``${NAME}`` in it is looked up in `environ`.

    Blocks: it reads the file and every file that it names.

    Raises:
        ConfigurationError: with every mistake in it.

    """
    return load_document(path, Config, environ, advice=_WITHOUT_FILE)[0]


def effective_yaml(config: Config) -> str:
    """Return `config` with every default as a configuration file; a secret's file is named, any other is ``<secret>``.

    Each type in `exporter.config.values` says how it is written.
    """
    content = config.model_dump(exclude_none=True)
    for account in content["accounts"]:
        # Its default does not go with a login by password.
        if "org_id" in account:
            del account["token_url"]
    return yaml.safe_dump(_literal(content), sort_keys=False, allow_unicode=True)


def load_document(
    path: Path, document_type: type[_S], environ: Mapping[str, str] = os.environ, *, advice: str = ""
) -> tuple[_S, Keys, Report]:
    """Return the content of a configuration file of any kind, its raw form, and a report for further mistakes.

    `advice` is added to the message about a missing file.

    Blocks: it reads the file and every file that it names.

    Raises:
        ConfigurationError: with every mistake in it.

    """
    report = Report(str(path))
    source = _read(path, report, advice)
    root = None if source is None else parse(source, environ, report)
    document = (
        None if root is None else _validated(document_type, root, ValidationContext(path.absolute().parent, report))
    )
    report.raise_if_any()
    if root is None or document is None:
        raise ConfigurationError([])
    return document, root, report


def _read(path: Path, report: Report, advice: str) -> str | None:
    try:
        content = read_file(path, max_bytes=_MAX_BYTES)
    except UnusableFileError as error:
        hint = advice if isinstance(error, MissingFileError) else ""
        report.add(Position(), f"the configuration cannot be read: {error}{hint}")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        report.add(position_of(before), "this byte is not UTF-8: save the file as UTF-8")
        return None


def _validated(document_type: type[_S], root: Keys, context: ValidationContext) -> _S | None:
    try:
        return document_type.model_validate(root, context=context)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _report(detail, context.report)
    return None


def _report(detail: ErrorDetails, report: Report) -> None:
    """Report a mistake, unless the section did so, or it results from another."""
    value = detail["input"]
    match detail["type"]:
        case "missing":
            name = str(detail["loc"][-1])
            at = value.empty.get(name)
            missing = Position(value.at.line, value.at.column, (*value.at.path, name))
            report.add(at or missing, "is missing" if at is None else "is empty")
        case "extra_forbidden" | "default_factory_not_called":
            pass
        case _ if not isinstance(value, Invalid):
            report.add(value.at, _in_plain_words(detail))


def _in_plain_words(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "value_error":
            return str(detail["ctx"]["error"])
        case "tuple_type":
            return f"must be a list, but is {kind_of(detail['input'])}: start each value with '- ', or write [a, b]"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must be a mapping of 'key: value' lines, but is {kind_of(detail['input'])}"
    return f"cannot be used: {shown(detail['msg'])}"


def _literal(value: Any) -> Any:
    """Escape text that looks like a variable, which would be replaced when the file is loaded again."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, dict):
        return {key: _literal(each) for key, each in value.items()}
    return [_literal(each) for each in value] if isinstance(value, list | tuple) else value
