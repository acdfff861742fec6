"""The base of all sections of a configuration file: the meaning of keys, and which of them exclude each other."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from exporter.config.secrets import FileSecret
from exporter.config.tree import Keys, Position, Report
from exporter.config.values import ValidationContext
from exporter.text import Text as Words

Groups = tuple[tuple[str, ...], ...]


def key(en: str, zh: str = "", default: Any = None, *, factory: Callable[..., Any] | None = None) -> Any:
    """Declare a key that can be left out, with its meaning in English and Chinese.

    `default` is written as people write it. `factory` makes the default instead, of the keys before it if it takes an
    argument, which lacks those with a mistake in them.
    """
    if factory is not None:
        return Field(default_factory=factory, description=en, json_schema_extra={"zh": zh})
    as_written = isinstance(default, str)
    return Field(default=default, validate_default=as_written, description=en, json_schema_extra={"zh": zh})


def needed(en: str, zh: str) -> Any:
    """Declare a key that has to be there."""
    return Field(description=en, json_schema_extra={"zh": zh})


class Section(BaseModel):
    """A frozen, complete part of the configuration, equal to another of the same content wherever that stands.

    The docstring of each section is the text that users read about it, up to its first empty line, in English; `zh` is
    the same in Chinese. A secret that came from a file, by a key ending in ``_file``, is found under the key without
    that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    zh: ClassVar[str] = ""
    # Sets of keys of which exactly one, or at most one, may be given.
    exactly_one: ClassVar[Groups] = ()
    at_most_one: ClassVar[Groups] = ()

    _place: str = PrivateAttr("")

    @property
    def place(self) -> str:
        """FILE:LINE:COL, for later messages; empty where no file was read."""
        return self._place

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        """Report keys that exclude each other, and pass on inherited settings. The values are not validated yet."""

    @classmethod
    def text(cls) -> Words:
        """Return the text about the section for users."""
        return Words(" ".join((cls.__doc__ or "").partition("\n\n")[0].split()), cls.zh)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, given: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if not isinstance(given, Keys):
            return handler(given)
        report = ValidationContext.of(info).report
        cls._check_names(given, report)
        cls.prepare(given, report)
        section = handler(given)
        files = {name: value for name, value in section if isinstance(value, FileSecret)}
        secrets = {name.removesuffix("_file"): secret for name, secret in files.items()}
        if secrets:
            section = section.model_copy(update=dict.fromkeys(files) | secrets)
        section._place = report.where(given.at)  # noqa: SLF001 - of this class
        return section

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written = handler(self)
        return {
            f"{name}_file" if isinstance(getattr(self, name), FileSecret) else name: written[name] for name in written
        }

    @classmethod
    def _check_names(cls, given: Keys, report: Report) -> None:
        for name, at in given.positions():
            if name not in cls.model_fields:
                report.add(at, _unknown(name, cls.model_fields), key=True)
        for names in cls.exactly_one:
            check_one_of(given, names, report)
        for names in cls.at_most_one:
            check_one_of(given, names, report, needed=False)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))


def check_one_of(given: Keys, names: tuple[str, ...], report: Report, *, needed: bool = True) -> None:
    """Report if more than one of `names` is given, or none although one is needed."""
    found = given.given(names)
    if needed and not found:
        report.add(given.at, f"one of {', '.join(names)} is missing")
    for name in found[1:]:
        message = f"does not go with {found[0]}: give only one of {', '.join(names)}"
        report.add(given[name].at, message, key=True)


def report_repeated(report: Report, values: Iterable[tuple[object, Position, str]]) -> None:
    """Report values that are given twice; each comes with its place and its name for a message."""
    first: dict[object, Position] = {}
    for value, at, name in values:
        if first.setdefault(value, at) is not at:
            report.add(at, f"{name} is given twice; the first one is on line {first[value].line}")


def _unknown(name: str, known: Mapping[str, object]) -> str:
    if name == "<<":
        return "merging mappings with '<<' is not supported: write the keys out"
    near = difflib.get_close_matches(name, known, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; known here are {', '.join(known)}"
