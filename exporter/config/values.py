"""Types of values in configuration files: how a scalar is read as a number, a path or a secret.

Every scalar arrives as text; the type of its key decides how the text is read. A value of that type, as in a
configuration that a program makes, is taken as it is. Each type says in both languages what its values are, and how
they are written in the effective configuration.
"""

import difflib
import ipaddress
import math
import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from exporter.config.files import UnansweredFileError, UnusableFileError, answered, read_file
from exporter.config.secrets import FileSecret, InlineSecret, Secret, UnusableSecretError
from exporter.config.tree import Invalid, Null, Report, Text, shown
from exporter.config.units import format_duration, format_size, parse_duration, parse_size
from exporter.redaction import redact, resembles_secret
from exporter.text import Text as Words

# Of sun_path in unix(7), without the zero at its end.
_LONGEST_SOCKET_PATH = 107
_MAX_PEM_BYTES = 8 * 1024 * 1024
TRUE = ("true", "yes", "on")

VARIABLE = {"type": "string", "pattern": r"\$\{"}
ANY_TEXT = {"type": ["string", "number", "boolean"]}
SOME_TEXT = {"type": "string", "minLength": 1}


@dataclass(frozen=True, slots=True)
class ValidationContext:
    """The validation context of a file's values. Relative paths start at `folder`."""

    folder: Path
    report: Report
    secrets: dict[tuple[object, ...], FileSecret] = field(default_factory=dict)

    def shared(self, secret: FileSecret) -> FileSecret:
        """Return the one secret that stands for all that come from the same file in the same way."""
        return self.secrets.setdefault(secret.identity, secret)

    @staticmethod
    def of(info: ValidationInfo) -> "ValidationContext":
        """Return the context of a validation."""
        return cast("ValidationContext", info.context)


def kind_of(value: object) -> str:
    """Return the word for the kind of a value, for messages about a wrong kind."""
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else "empty"


def text_of(value: object, kind: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be {kind}, but is {kind_of(value)}")  # noqa: TRY004 - pydantic's way
    return value


def scalar(read: Callable[[str], object], kind: str, *, repeats: bool = True) -> BeforeValidator:
    """Read a value from its text.

    `repeats`: the messages of `read` quote the text. The value of a variable is not quoted: it may be a secret.
    """

    def validate(value: object) -> object:
        if not isinstance(value, str | list | dict | Null | Invalid):
            return value
        text = text_of(value, kind)
        try:
            return read(text)
        except ValueError:
            if repeats and isinstance(text, Text) and text != text.written:
                raise ValueError(f"{shown(text)} was replaced with something else than {kind}") from None
            raise

    return BeforeValidator(validate)


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


def _whole(low: int, high: int) -> tuple[Any, ...]:
    """Annotate a whole number within bounds."""
    schema = {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, VARIABLE]}
    return scalar(integer, "a whole number"), between(low, high, str(low), str(high)), WithJsonSchema(schema)


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if text != text.strip():
        raise ValueError("has white space at its beginning or end")
    if not text.isprintable():
        raise ValueError("holds a line break or another invisible character")
    return text


def _segment(text: str) -> str:
    if text in (".", ".."):
        raise ValueError("cannot be '.' or '..': it becomes a part of the address that is requested")
    return text


def _whole_id(text: str) -> str:
    # A spreadsheet turns 533686286955839488 into 5.33687E+17: its digits are lost.
    if re.fullmatch(r"[0-9]+\.[0-9]*|[0-9.]+[eE][+-]?[0-9]+", text):
        raise ValueError("is a rounded number: write every digit of the id")
    return text


def _api_version(text: str) -> str:
    if not re.fullmatch(r"v[0-9]{1,4}(\.[0-9]{1,4}){2}", text):
        raise ValueError(f"{shown(text)} is not a version of Slurm's API like v0.0.42")
    return text


def integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise ValueError(f"{shown(text)} is not a whole number")
    return int(text)


def _number(text: str) -> float:
    if not re.fullmatch(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", text) or math.isinf(float(text)):
        raise ValueError(f"{shown(text)} is not a number")
    return float(text)


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be greater than 0; leave it out for no limit")
    return value


def boolean(text: str) -> bool:
    word = text.lower()
    if word not in (*TRUE, "false", "no", "off"):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return word in TRUE


def _zone(text: str) -> ZoneInfo:
    _name(text)
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        near = difflib.get_close_matches(text, available_timezones(), n=1, cutoff=0.8)
        example = f"did you mean {near[0]}?" if near else "write one like Asia/Shanghai"
        raise ValueError(f"{shown(text)} is not the name of a time zone; {example}") from None


def _url(value: object, info: ValidationInfo) -> str:
    """Return an address without a trailing slash. The messages do not repeat it: it may hold a password."""
    text = text_of(value, "an address")
    try:
        parts = urlsplit(text)
        _ = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError:
        raise ValueError("is not an address like https://host:port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isprintable() or " " in text:
        raise ValueError("is not an address like https://host:port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or a password: they would be sent to the wrong place")
    if parts.query or parts.fragment or text[-1] in "?#":
        raise ValueError("must end before '?' or '#'")
    if isinstance(text, Text) and parts.scheme == "http" and not _is_this_machine(parts.hostname):
        message = "http is not encrypted: the token can be read on the way; use https"
        ValidationContext.of(info).report.warn(text.at, message)
    return text.rstrip("/")


def _slurm_url(value: object, info: ValidationInfo) -> str:
    """Return an address of HTTP, or that of a unix socket."""
    text = text_of(value, "an address")
    if not text.startswith("unix:"):
        return _url(value, info)
    path = "/" + text.removeprefix("unix:").lstrip("/")
    if not text.startswith("unix:/") or not text.isprintable() or path == "/":
        raise ValueError("is not the address of a unix socket like unix:/run/slurmrestd.sock")
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"is too long for a unix socket, whose path may have {_LONGEST_SOCKET_PATH} bytes")
    return f"unix:{path}"


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _without(suffix: str) -> AfterValidator:
    """Take the suffix off an address, unless it is its host."""
    return AfterValidator(lambda url: re.sub(rf"(?<=[^/]){suffix}$", "", url).rstrip("/"))


def _path(value: object, info: ValidationInfo) -> Path:
    """Return an absolute path."""
    if isinstance(value, Path):
        return value
    text = text_of(value, "a path")
    if text.startswith("eyJ"):
        raise ValueError("holds a token where a file's path belongs: use the key without _file for it")
    if not text or not text.isprintable():
        raise ValueError("is not a path: it is empty or holds an invisible character")
    return ValidationContext.of(info).folder / text


def _path_of_existing(value: object, info: ValidationInfo) -> Path:
    """Return the absolute path of a file that is to be read.

    One that is not there is not repeated if it may be a token.
    """
    path = _path(value, info)
    if resembles_secret(text_of(value, "a path")) and not _is_there(path):
        raise ValueError("there is no such file, and its name may be a token: that belongs under the key without _file")
    return path


def _is_there(path: Path) -> bool:
    try:
        return answered(path, lambda: os.path.lexists(path))
    except UnansweredFileError:
        return True


def _secret(*, header: bool = True) -> BeforeValidator:
    def validate(value: object, info: ValidationInfo) -> Secret:
        try:
            if isinstance(value, Secret):
                return value
            return InlineSecret(text_of(value, "text"), info.field_name or "secret", header=header)
        except UnusableSecretError as error:
            raise ValueError(f"cannot be used: {error}") from None

    return BeforeValidator(validate)


def _secret_file(*, header: bool = True) -> BeforeValidator:
    def validate(value: object, info: ValidationInfo) -> Secret:
        written = text_of(value, "a path")
        try:
            secret = FileSecret(_path_of_existing(written, info), f"{info.field_name} {shown(written)}", header=header)
            return ValidationContext.of(info).shared(secret)
        except UnusableSecretError as error:
            raise ValueError(f"cannot use {shown(written)}: {error}") from None

    return BeforeValidator(validate)


def _authorities(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    path = _path_of_existing(value, info)
    try:
        read_authorities(path)
    except UnusableFileError as error:
        raise ValueError(f"cannot use {shown(text_of(value, 'a path'))}: {error}") from None
    return path


def read_authorities(path: Path) -> str:
    """Return the certificates in a CA file. Blocks. Raises UnusableFileError."""
    pem = read_file(path, max_bytes=_MAX_PEM_BYTES).decode("ascii", "ignore")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise UnusableFileError("it holds no certificate in PEM form") from None
    return pem


def _written_secret(secret: Secret) -> str:
    return _without_secrets(secret.path) if isinstance(secret, FileSecret) else "<secret>"


def _without_secrets(value: str | Path) -> str:
    """Return a path or an address; a token may have been pasted into one. Names are never secrets."""
    return redact(str(value))


_SECRET, _SECRET_FILE, _FILE = (
    Words("secret", "密钥"),
    Words("path of a secret", "密钥文件的路径"),
    Words("path", "路径"),
)
_HIDDEN, _SAFE = PlainSerializer(_written_secret), PlainSerializer(_without_secrets)
_DURATION_SCHEMA = {"anyOf": [{"type": "string", "pattern": r"^([0-9]+(w|d|h|m|s|ms))+$"}, VARIABLE]}
_SIZE_SCHEMA = {"anyOf": [{"type": "string", "pattern": r"^[0-9]+([kMG]B|[KMG]iB|B)$"}, VARIABLE]}
_RATE_SCHEMA = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, VARIABLE]}
_BOOLEAN_SCHEMA = {"anyOf": [{"type": "boolean"}, {"enum": ["yes", "no", "on", "off"]}, VARIABLE]}
_SLURM_URL_SCHEMA = {"type": "string", "pattern": r"^https?://|^unix:/|\$\{"}
_URL_SCHEMA = {"type": "string", "pattern": r"^https?://|\$\{"}

Name = Annotated[str, scalar(_name, "text", repeats=False), Words("text", "文本"), WithJsonSchema(ANY_TEXT)]
Segment = Annotated[Name, AfterValidator(_segment)]
Id = Annotated[Segment, AfterValidator(_whole_id), Words("id", "编号")]
Boolean = Annotated[
    bool, scalar(boolean, "true or false"), Words("true or false", "是或否"), WithJsonSchema(_BOOLEAN_SCHEMA)
]
Duration = Annotated[
    float,
    scalar(parse_duration, "a duration like 30s"),
    Words("duration", "时长"),
    PlainSerializer(format_duration),
    WithJsonSchema(_DURATION_SCHEMA),
]
Interval = Annotated[Duration, between(0.1, 86_400 * 366, "100ms", "366d")]
Grace = Annotated[Duration, between(0, 86_400, "0", "1d")]
HistoryWindow = Annotated[Duration, between(900, 86_400, "15m", "1d")]
TimeZone = Annotated[
    ZoneInfo,
    scalar(_zone, "the name of a time zone"),
    Words("name of a time zone", "时区名"),
    PlainSerializer(str),
    WithJsonSchema(SOME_TEXT),
]
Timeout = Annotated[Duration, between(0.001, 3600, "1ms", "1h")]
BodySize = Annotated[
    int,
    scalar(parse_size, "a size like 64MiB"),
    between(1024, 1024**3, "1KiB", "1GiB"),
    Words("size", "大小"),
    PlainSerializer(format_size),
    WithJsonSchema(_SIZE_SCHEMA),
]
Concurrency = Annotated[int, *_whole(1, 1000), Words("whole number of requests", "整数（请求数）")]
Retries = Annotated[int, *_whole(0, 10), Words("whole number of attempts", "整数（次数）")]
MaxJobs = Annotated[int, *_whole(0, 1_000_000), Words("whole number of jobs", "整数（作业数）")]
Rate = Annotated[
    float,
    scalar(_number, "a number"),
    AfterValidator(_positive),
    Words("number above 0: requests per second", "大于 0 的数：每秒请求数"),
    WithJsonSchema(_RATE_SCHEMA),
]
Url = Annotated[str, BeforeValidator(_url), Words("address", "地址"), _SAFE, WithJsonSchema(_URL_SCHEMA)]
SlurmUrl = Annotated[
    str,
    BeforeValidator(_slurm_url),
    Words("address, or `unix:` and a path", "地址，或 `unix:` 加路径"),
    _SAFE,
    WithJsonSchema(_SLURM_URL_SCHEMA),
]
ApiVersion = Annotated[
    str,
    scalar(_api_version, "a version like v0.0.42"),
    Words("version like v0.0.42", "版本号，例如 v0.0.42"),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^v[0-9]+(\.[0-9]+){2}$"}, VARIABLE]}),
]
HpcUrl = Annotated[Url, _without("/hpc")]
AcUrl = Annotated[Url, _without("/ac")]
HeaderSecret = Annotated[Secret, _secret(), _SECRET, _HIDDEN, WithJsonSchema(ANY_TEXT)]
HeaderSecretFile = Annotated[Secret, _secret_file(), _SECRET_FILE, _HIDDEN, WithJsonSchema(SOME_TEXT)]
BodySecret = Annotated[Secret, _secret(header=False), _SECRET, _HIDDEN, WithJsonSchema(ANY_TEXT)]
BodySecretFile = Annotated[Secret, _secret_file(header=False), _SECRET_FILE, _HIDDEN, WithJsonSchema(SOME_TEXT)]
FilePath = Annotated[Path, BeforeValidator(_path), _FILE, _SAFE, WithJsonSchema(SOME_TEXT)]
AuthoritiesFile = Annotated[Path, BeforeValidator(_authorities), _FILE, _SAFE, WithJsonSchema(SOME_TEXT)]
