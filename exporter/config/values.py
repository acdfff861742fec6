"""Values as people write them, whatever the file: how a scalar becomes a number, a path, a yes or no.

Every scalar arrives as text; the type of its key decides how the text is read.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema

from exporter.config.durations import parse_duration
from exporter.config.secrets import FileSecret
from exporter.config.sizes import parse_size
from exporter.config.tree import Text, shown
from exporter.redaction import resembles_secret


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a value's meaning depends on: the validation context of `Document`. Relative paths start at `folder`."""

    folder: Path
    secrets: dict[tuple[object, ...], FileSecret] = field(default_factory=dict)

    def shared(self, secret: FileSecret) -> FileSecret:
        """Return the one secret that stands for all that come from the same file in the same way."""
        return self.secrets.setdefault(secret.identity, secret)


VARIABLE = {"type": "string", "pattern": r"\$\{"}


def scalar(read: Callable[[str], object], kind: str, *, repeats: bool = True) -> BeforeValidator:
    """Read a value from its text.

    `repeats` says that the messages of `read` repeat the text. That is not done with what a variable was replaced
    with: it may be a secret.
    """

    def validate(value: object) -> object:
        text = text_of(value, kind)
        try:
            return read(text)
        except ValueError:
            if repeats and isinstance(text, Text) and text != text.written:
                raise ValueError(f"{shown(text)} was replaced with something else than {kind}") from None
            raise

    return BeforeValidator(validate)


def text_of(value: object, kind: str) -> str:
    if isinstance(value, str):
        return value
    found = "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else "empty"
    raise ValueError(f"must be {kind}, but is {found}")


def name(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if text != text.strip():
        raise ValueError("has white space at its beginning or end")
    if not text.isprintable():
        raise ValueError("holds a line break or another invisible character")
    return text


def integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise ValueError(f"{shown(text)} is not a whole number")
    return int(text)


def boolean(text: str) -> bool:
    word = text.lower()
    if word not in ("true", "yes", "on", "false", "no", "off"):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return word in ("true", "yes", "on")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Holds a number within bounds, both included; the texts are how people write them."""

    low: float
    high: float
    low_text: str
    high_text: str

    def __call__(self, value: float) -> float:
        if not self.low <= value <= self.high:
            raise ValueError(f"must be between {self.low_text} and {self.high_text}")
        return value


def between(low: float, high: float, low_text: str, high_text: str) -> AfterValidator:
    return AfterValidator(Bounds(low, high, low_text, high_text))


def path_of(value: object, info: ValidationInfo) -> Path:
    """Return an absolute path."""
    text = text_of(value, "a path")
    if text.startswith("eyJ"):
        raise ValueError("holds a token where a file's path belongs: use the key without _file for it")
    if not text or not text.isprintable():
        raise ValueError("is not a path: it is empty or holds an invisible character")
    return surroundings_of(info).folder / text


def path_of_existing(value: object, info: ValidationInfo) -> Path:
    """Return the absolute path of a file that is to be read. One that is not there is not repeated if it may be a token."""
    path = path_of(value, info)
    if resembles_secret(text_of(value, "a path")) and not os.path.lexists(path):
        raise ValueError("there is no such file, and its name may be a token: that belongs under the key without _file")
    return path


def surroundings_of(info: ValidationInfo) -> Surroundings:
    return cast("Surroundings", info.context)


ANY_TEXT = {"type": ["string", "number", "boolean"]}
SOME_TEXT = {"type": "string", "minLength": 1}

DURATION_SCHEMA = {"anyOf": [{"type": "string", "pattern": r"^([0-9]+(w|d|h|m|s|ms))+$"}, VARIABLE]}
SIZE_SCHEMA = {"anyOf": [{"type": "string", "pattern": r"^[0-9]+([kMG]B|[KMG]iB|B)$"}, VARIABLE]}


def integer_schema(low: int, high: int) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, VARIABLE]})


Name = Annotated[str, scalar(name, "text", repeats=False), WithJsonSchema(ANY_TEXT)]

Boolean = Annotated[
    bool,
    scalar(boolean, "true or false"),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["yes", "no", "on", "off"]}, VARIABLE]}),
]

Duration = Annotated[float, scalar(parse_duration, "a duration like 30s"), WithJsonSchema(DURATION_SCHEMA)]

Size = Annotated[int, scalar(parse_size, "a size like 64MiB"), WithJsonSchema(SIZE_SCHEMA)]

FilePath = Annotated[Path, BeforeValidator(path_of), WithJsonSchema(SOME_TEXT)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def key(description: str, default: Any = None) -> Any:
    """Declare a key that can be left out. `default` is shown to people; a test holds it against `model`."""
    return Field(
        default=None, description=description, json_schema_extra={} if default is None else {"default": default}
    )
