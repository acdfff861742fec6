"""What people may write, key by key: the source of the checks, of the messages and of the JSON Schema.

Every scalar arrives as text; the type of its key decides how the text is read. Each value is checked by itself here;
how values must fit each other is in `checks`. Left out and null mean the same; the defaults are those of `model`.
"""

import ipaddress
import math
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from exporter.config.durations import parse_duration
from exporter.config.files import UnusableFileError, read_file
from exporter.config.model import COLLECTABLE, Collectable
from exporter.config.secrets import FileSecret, InlineSecret, Secret, UnusableSecretError
from exporter.config.tree import Text, shown


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a value's meaning depends on: the validation context of `Document`. Relative paths start at `folder`."""

    folder: Path
    secrets: dict[tuple[object, ...], FileSecret] = field(default_factory=dict)

    def shared(self, secret: FileSecret) -> FileSecret:
        """Return the one secret that stands for all that come from the same file in the same way."""
        return self.secrets.setdefault(secret.identity, secret)


_MAX_PEM_BYTES = 8 * 1024 * 1024
_VARIABLE = {"type": "string", "pattern": r"\$\{"}


def _scalar(read: Callable[[str], object], kind: str, *, repeats: bool = True) -> BeforeValidator:
    """Read a value from its text.

    `repeats` says that the messages of `read` repeat the text. That is not done with what a variable was replaced
    with: it may be a secret.
    """

    def validate(value: object) -> object:
        text = _text(value, kind)
        try:
            return read(text)
        except ValueError:
            if repeats and isinstance(text, Text) and text != text.written:
                raise ValueError(f"{shown(text)} was replaced with something else than {kind}") from None
            raise

    return BeforeValidator(validate)


def _text(value: object, kind: str) -> str:
    if isinstance(value, str):
        return value
    found = "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else "empty"
    raise ValueError(f"must be {kind}, but is {found}")


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
        raise ValueError("cannot be '.' or '..': it becomes a part of the address that is asked")
    return text


def _whole_id(text: str) -> str:
    # A spreadsheet turns 533686286955839488 into 5.33687E+17: its digits are lost.
    if re.fullmatch(r"[0-9]+\.[0-9]*|[0-9.]+[eE][+-]?[0-9]+", text):
        raise ValueError("is a rounded number: write every digit of the id")
    return text


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise ValueError(f"{shown(text)} is not a whole number")
    return int(text)


def _number(text: str) -> float:
    if not re.fullmatch(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)", text) or math.isinf(float(text)):
        raise ValueError(f"{shown(text)} is not a number")
    return float(text)


def _boolean(text: str) -> bool:
    word = text.lower()
    if word not in ("true", "yes", "on", "false", "no", "off"):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return word in ("true", "yes", "on")


def _collectable(text: str) -> str:
    if text not in COLLECTABLE:
        raise ValueError(f"{shown(text)} cannot be collected; what can is {', '.join(COLLECTABLE)}")
    return text


def _between(low: float, high: float, low_text: str, high_text: str) -> AfterValidator:
    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"must be between {low_text} and {high_text}")
        return value

    return AfterValidator(check)


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be greater than 0; leave it out for no limit")
    return value


def _url(text: str) -> str:
    """Return an address without a trailing slash. The messages do not repeat it: it may hold a password."""
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
    return text.rstrip("/")


def is_private(url: str) -> bool:
    """Whether what is sent to `url` cannot be read on the way: https, or this very machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost" or host.endswith(".localhost")
    return parts.scheme == "https" or loopback


def _without(suffix: str) -> AfterValidator:
    return AfterValidator(lambda url: url.removesuffix(suffix).rstrip("/"))


def _secret(*, header: bool = True) -> BeforeValidator:
    def validate(value: object, info: ValidationInfo) -> Secret:
        try:
            return InlineSecret(_text(value, "text"), info.field_name or "secret", header=header)
        except UnusableSecretError as error:
            raise ValueError(f"cannot be used: {error}") from None

    return BeforeValidator(validate)


def _secret_file(*, header: bool = True) -> BeforeValidator:
    def validate(value: object, info: ValidationInfo) -> Secret:
        written = _text(value, "a path")
        try:
            secret = FileSecret(_path(written, info), f"{info.field_name} {shown(written)}", header=header)
            return _surroundings(info).shared(secret)
        except UnusableSecretError as error:
            raise ValueError(f"cannot use {shown(written)}: {error}") from None

    return BeforeValidator(validate)


def _path(value: object, info: ValidationInfo) -> Path:
    """Return an absolute path."""
    text = _text(value, "a path")
    if text.startswith("eyJ"):
        raise ValueError("holds a token where a file's path belongs: use the key without _file for it")
    if not text or not text.isprintable():
        raise ValueError("is not a path: it is empty or holds an invisible character")
    return _surroundings(info).folder / text


def _surroundings(info: ValidationInfo) -> Surroundings:
    return cast("Surroundings", info.context)


def _authorities(value: object, info: ValidationInfo) -> Path:
    path = _path(value, info)
    written = shown(_text(value, "a path"))
    try:
        pem = read_file(path, max_bytes=_MAX_PEM_BYTES).decode("ascii", "ignore")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except UnusableFileError as error:
        raise ValueError(f"cannot use {written}: {error}") from None
    except (ssl.SSLError, ValueError):
        raise ValueError(f"cannot use {written}: it holds no certificate in PEM form") from None
    return path


_TEXT = {"type": ["string", "number", "boolean"]}
_STRING = {"type": "string", "minLength": 1}
_DURATION = {"anyOf": [{"type": "string", "pattern": r"^([0-9]+(w|d|h|m|s|ms))+$"}, _VARIABLE]}


def _integer_schema(low: int, high: int) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, _VARIABLE]})


Name = Annotated[str, _scalar(_name, "text", repeats=False), WithJsonSchema(_TEXT)]
Segment = Annotated[Name, AfterValidator(_segment)]
Id = Annotated[Segment, AfterValidator(_whole_id)]
Url = Annotated[
    str, _scalar(_url, "an address", repeats=False), WithJsonSchema({"type": "string", "pattern": r"^https?://|\$\{"})
]
HpcUrl = Annotated[Url, _without("/hpc")]
AcUrl = Annotated[Url, _without("/ac")]
Boolean = Annotated[
    bool,
    _scalar(_boolean, "true or false"),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["yes", "no", "on", "off"]}, _VARIABLE]}),
]
Rate = Annotated[
    float,
    _scalar(_number, "a number"),
    AfterValidator(_positive),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _VARIABLE]}),
]
_Duration = Annotated[float, _scalar(parse_duration, "a duration like 30s"), WithJsonSchema(_DURATION)]
Interval = Annotated[_Duration, _between(0.1, 86_400 * 366, "100ms", "366d")]
Timeout = Annotated[_Duration, _between(0.001, 3600, "1ms", "1h")]
Concurrency = Annotated[
    int, _scalar(_integer, "a whole number"), _between(1, 1000, "1", "1000"), _integer_schema(1, 1000)
]
Retries = Annotated[int, _scalar(_integer, "a whole number"), _between(0, 10, "0", "10"), _integer_schema(0, 10)]
MaxJobs = Annotated[
    int, _scalar(_integer, "a whole number"), _between(0, 1_000_000, "0", "1000000"), _integer_schema(0, 1_000_000)
]
Collected = Annotated[
    Collectable, _scalar(_collectable, "text"), WithJsonSchema({"type": "string", "enum": list(COLLECTABLE)})
]
HeaderSecret = Annotated[Secret, _secret(), WithJsonSchema(_TEXT)]
HeaderSecretFile = Annotated[Secret, _secret_file(), WithJsonSchema(_STRING)]
BodySecret = Annotated[Secret, _secret(header=False), WithJsonSchema(_TEXT)]
BodySecretFile = Annotated[Secret, _secret_file(header=False), WithJsonSchema(_STRING)]
FilePath = Annotated[Path, BeforeValidator(_path), WithJsonSchema(_STRING)]
AuthoritiesFile = Annotated[Path, BeforeValidator(_authorities), WithJsonSchema(_STRING)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def _key(description: str, default: Any = None) -> Any:
    """Declare a key that can be left out. `default` is shown to people; a test holds it against `model`."""
    return Field(
        default=None, description=description, json_schema_extra={} if default is None else {"default": default}
    )


class PollSection(Section):
    """How often and how patiently to ask."""

    interval: Interval | None = _key("Pause between two polls of each target.", "60s")
    timeout: Timeout | None = _key("Longest time that one request may take.", "15s")
    stale_after: Interval | None = _key("Data older than this leaves /metrics. Left out: 3 x interval.")
    max_concurrency: Concurrency | None = _key("Requests in flight at a time: to all upstreams, or to this one.", 16)
    retries: Retries | None = _key("Further attempts of one poll after a transient failure.", 2)


class TlsSection(Section):
    """How the upstream's certificate is verified."""

    ca_file: AuthoritiesFile | None = _key("PEM file of the certificate authorities to trust instead of the system's.")
    insecure_skip_verify: Boolean | None = _key(
        "Do not verify the certificate at all: whoever is in between can read the token.", default=False
    )


class AccountSection(Section):
    """An SCNet login; it gives one token per region."""

    name: Name = Field(description="How clusters refer to this account.")
    user: Name = Field(description="The platform login.")
    access_key: HeaderSecret | None = _key("Access key, for the newer way to log in.")
    access_key_file: HeaderSecretFile | None = _key("File that holds the access key.")
    secret_key: BodySecret | None = _key("Secret key that belongs to the access key; it is never sent.")
    secret_key_file: BodySecretFile | None = _key("File that holds the secret key.")
    token_url: Url | None = _key(
        "Where an access key is exchanged for tokens.", "https://api.scnet.cn/api/user/v3/tokens"
    )
    password: HeaderSecret | None = _key("Password, for the older way to log in; needs org_id and url.")
    password_file: HeaderSecretFile | None = _key("File that holds the password.")
    org_id: Name | None = _key("Organisation of the login; with a password only.")
    url: AcUrl | None = _key("AC address to log in at with a password.")
    tls: TlsSection | None = _key("How the certificate of token_url or url is verified.")


class UserSection(Section):
    """A scheduler user whose jobs are counted by queue."""

    name: Segment = Field(description="The scheduler user; label user.")
    token: HeaderSecret | None = _key("The user's own token. Left out: the region's.")
    token_file: HeaderSecretFile | None = _key("File that holds the user's own token.")
    account: Name | None = _key("Name of the account that gives the user's own token.")


class MemberSection(Section):
    """Members of a group whose jobs are listed."""

    group_id: Id = Field(description="The group's id, with every digit.")
    group: Name | None = _key("Label group. Left out: the id.")
    users: tuple[Segment, ...] = Field(description="Scheduler users who are members of the group.")


def _user(value: object) -> object:
    if value is None:
        raise ValueError("is empty: write a user's name")
    return {"name": value} if isinstance(value, str) else value


class _OrName:
    """Says in the JSON Schema what `_user` accepts."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [_TEXT, handler(core)]}


UserEntry = Annotated[UserSection, BeforeValidator(_user), _OrName()]


class ClusterSection(Section):
    """An SCNet region. Give exactly one of token, token_file and account."""

    name: Name = Field(description="Label hpc_cluster.")
    cluster_id: Id = Field(description="The region's number (clusterId).")
    hpc_url: HpcUrl = Field(description="The region's HPC address.")
    ac_url: AcUrl | None = _key("The region's AC address. Left out: hpc_url.")
    token: HeaderSecret | None = _key("A token of the region.")
    token_file: HeaderSecretFile | None = _key("File that holds a token; read again when it changes.")
    account: Name | None = _key("Name of the account that gives the token, renewed by itself.")
    requests_per_second: Rate | None = _key("At most so many requests to the region. Left out: no limit.")
    tls: TlsSection | None = _key("How the region's certificate is verified.")
    collect: tuple[Collected, ...] | None = _key("What to ask for. Left out: everything.", list(COLLECTABLE))
    poll: PollSection | None = _key("Settings for this region alone, over those at the top level.")
    users: tuple[UserEntry, ...] | None = _key("Users to count jobs by queue for. Left out: the token's own.")
    members: tuple[MemberSection, ...] | None = _key("Group members whose jobs are listed.")


class IamSection(Section):
    """A Huawei Cloud login; the tokens are renewed by itself. Give exactly one of password and password_file."""

    url: Url = Field(description="The IAM address, like https://iam.cn-north-4.myhuaweicloud.com.")
    domain: Name = Field(description="The account (domain) of the user.")
    user: Name = Field(description="The IAM user.")
    password: BodySecret | None = _key("The user's password.")
    password_file: BodySecretFile | None = _key("File that holds the password.")
    project: Name = Field(description="The project to scope the token to: a region's name like cn-north-4.")


class OctopusQueueSection(Section):
    """A queue of data jobs."""

    queue_type: Name = Field(description="PROCESSOR, INTERNAL or RESIM; label queue_type.")
    cluster_type: Name | None = _key("CCE or MODELARTS; label cluster_type.")
    cluster_id: Name | None = _key("The cluster's id; MODELARTS needs it.")


class OctopusSection(Section):
    """A Huawei Octopus project. Give exactly one of token, token_file and iam."""

    name: Name = Field(description="Label project.")
    base_url: Url = Field(description="The Octopus address.")
    project_id: Segment = Field(description="The project's id.")
    token: HeaderSecret | None = _key("An IAM token.")
    token_file: HeaderSecretFile | None = _key("File that holds an IAM token; read again when it changes.")
    iam: IamSection | None = _key("Login that gives the token.")
    queues: tuple[OctopusQueueSection, ...] = Field(description="The queues to watch.")
    requests_per_second: Rate | None = _key("At most so many requests to the project. Left out: no limit.")
    tls: TlsSection | None = _key("How the certificate is verified.")
    poll: PollSection | None = _key("Settings for this project alone, over those at the top level.")


class TrackingSection(Section):
    """Following jobs from poll to poll: transitions, waits, runs."""

    enabled: Boolean | None = _key("Whether to follow jobs.", default=True)
    state_file: FilePath | None = _key("Database that survives a restart. Left out: kept in memory.")


class PerJobSection(Section):
    """Series of single jobs."""

    enabled: Boolean | None = _key("Whether to export them.", default=False)
    max_jobs: MaxJobs | None = _key("At most so many jobs over the whole process.", 500)


class Document(Section):
    """Configuration of hpc-exporter. At least one of clusters, octopus and accounts is needed."""

    poll: PollSection | None = _key("How often and how patiently to ask.")
    accounts: tuple[AccountSection, ...] | None = _key("SCNet logins.")
    clusters: tuple[ClusterSection, ...] | None = _key("SCNet regions.")
    octopus: tuple[OctopusSection, ...] | None = _key("Huawei Octopus projects.")
    tracking: TrackingSection | None = _key("Following jobs from poll to poll.")
    per_job: PerJobSection | None = _key("Series of single jobs.")
