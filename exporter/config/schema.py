"""What people may write, key by key: the source of the checks, of the messages and of the JSON Schema.

Every scalar arrives as text; the type of its key decides how the text is read. Each value is checked by itself here;
how values must fit each other is in `checks`. Left out and null mean the same; the defaults are those of `model`.
"""

import ipaddress
import math
import re
import ssl
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from exporter.config.files import UnusableFileError, read_file
from exporter.config.secrets import FileSecret, InlineSecret, Secret, UnusableSecretError
from exporter.config.tree import shown
from exporter.config.values import (
    ANY_TEXT,
    SOME_TEXT,
    VARIABLE,
    Boolean,
    Duration,
    FilePath,
    Name,
    Section,
    Size,
    between,
    integer,
    integer_schema,
    key,
    path_of_existing,
    scalar,
    surroundings_of,
    text_of,
)
from exporter.sources.collector import collected_by_default, collectors_of

_MAX_PEM_BYTES = 8 * 1024 * 1024


def _segment(text: str) -> str:
    if text in (".", ".."):
        raise ValueError("cannot be '.' or '..': it becomes a part of the address that is asked")
    return text


def _whole_id(text: str) -> str:
    # A spreadsheet turns 533686286955839488 into 5.33687E+17: its digits are lost.
    if re.fullmatch(r"[0-9]+\.[0-9]*|[0-9.]+[eE][+-]?[0-9]+", text):
        raise ValueError("is a rounded number: write every digit of the id")
    return text


def _number(text: str) -> float:
    if not re.fullmatch(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)", text) or math.isinf(float(text)):
        raise ValueError(f"{shown(text)} is not a number")
    return float(text)


def _collectable(text: str) -> str:
    names = [collector.name for collector in collectors_of("clusters")]
    if text not in names:
        raise ValueError(f"{shown(text)} cannot be collected; what can is {', '.join(names)}")
    return text


class _Collectors:
    """Names the collectors in the JSON Schema."""

    def __get_pydantic_json_schema__(self, _core: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "enum": [collector.name for collector in collectors_of("clusters")]}


def _default_collectors(schema: dict[str, Any]) -> None:
    schema["default"] = list(collected_by_default("clusters"))


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
            return InlineSecret(text_of(value, "text"), info.field_name or "secret", header=header)
        except UnusableSecretError as error:
            raise ValueError(f"cannot be used: {error}") from None

    return BeforeValidator(validate)


def _secret_file(*, header: bool = True) -> BeforeValidator:
    def validate(value: object, info: ValidationInfo) -> Secret:
        written = text_of(value, "a path")
        try:
            secret = FileSecret(path_of_existing(written, info), f"{info.field_name} {shown(written)}", header=header)
            return surroundings_of(info).shared(secret)
        except UnusableSecretError as error:
            raise ValueError(f"cannot use {shown(written)}: {error}") from None

    return BeforeValidator(validate)


def _authorities(value: object, info: ValidationInfo) -> Path:
    path = path_of_existing(value, info)
    written = shown(text_of(value, "a path"))
    try:
        pem = read_file(path, max_bytes=_MAX_PEM_BYTES).decode("ascii", "ignore")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except UnusableFileError as error:
        raise ValueError(f"cannot use {written}: {error}") from None
    except (ssl.SSLError, ValueError):
        raise ValueError(f"cannot use {written}: it holds no certificate in PEM form") from None
    return path


Segment = Annotated[Name, AfterValidator(_segment)]
Id = Annotated[Segment, AfterValidator(_whole_id)]
Url = Annotated[
    str, scalar(_url, "an address", repeats=False), WithJsonSchema({"type": "string", "pattern": r"^https?://|\$\{"})
]
HpcUrl = Annotated[Url, _without("/hpc")]
AcUrl = Annotated[Url, _without("/ac")]
Rate = Annotated[
    float,
    scalar(_number, "a number"),
    AfterValidator(_positive),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, VARIABLE]}),
]
Interval = Annotated[Duration, between(0.1, 86_400 * 366, "100ms", "366d")]
Timeout = Annotated[Duration, between(0.001, 3600, "1ms", "1h")]
BodySize = Annotated[Size, between(1024, 1024**3, "1KiB", "1GiB")]
Concurrency = Annotated[int, scalar(integer, "a whole number"), between(1, 1000, "1", "1000"), integer_schema(1, 1000)]
Retries = Annotated[int, scalar(integer, "a whole number"), between(0, 10, "0", "10"), integer_schema(0, 10)]
MaxJobs = Annotated[
    int, scalar(integer, "a whole number"), between(0, 1_000_000, "0", "1000000"), integer_schema(0, 1_000_000)
]
Collected = Annotated[str, scalar(_collectable, "text"), _Collectors()]
HeaderSecret = Annotated[Secret, _secret(), WithJsonSchema(ANY_TEXT)]
HeaderSecretFile = Annotated[Secret, _secret_file(), WithJsonSchema(SOME_TEXT)]
BodySecret = Annotated[Secret, _secret(header=False), WithJsonSchema(ANY_TEXT)]
BodySecretFile = Annotated[Secret, _secret_file(header=False), WithJsonSchema(SOME_TEXT)]
AuthoritiesFile = Annotated[Path, BeforeValidator(_authorities), WithJsonSchema(SOME_TEXT)]


class PollSection(Section):
    """How often and how patiently to ask."""

    interval: Interval | None = key("Pause between two polls of each target.", "60s")
    timeout: Timeout | None = key("Longest time that one request may take.", "15s")
    stale_after: Interval | None = key(
        "Data older than this leaves /metrics; not shorter than the interval. Left out: 3 x interval."
    )
    max_concurrency: Concurrency | None = key(
        "Requests in flight at a time: at the top level to all upstreams together, else to this one.", 16
    )
    retries: Retries | None = key("Further attempts of one poll after a failure that may pass: 0 gives up at once.", 2)
    max_body: BodySize | None = key(
        "Longest answer that is accepted, after decompression: a longer one is a failed poll.", "64MiB"
    )


class TlsSection(Section):
    """How the upstream's certificate is verified."""

    ca_file: AuthoritiesFile | None = key("PEM file of the certificate authorities to trust instead of the system's.")
    insecure_skip_verify: Boolean | None = key(
        "Do not verify the certificate at all: whoever is in between can read the token.", default=False
    )


class AccountSection(Section):
    """An SCNet login; it gives one token per region."""

    name: Name = Field(description="How clusters and users refer to this account; unique among accounts.")
    user: Name = Field(description="The login at the platform, which may differ from the scheduler user.")
    access_key: HeaderSecret | None = key("Access key, for the newer way to log in.")
    access_key_file: HeaderSecretFile | None = key("File that holds the access key.")
    secret_key: BodySecret | None = key("Secret key that belongs to the access key; it is never sent.")
    secret_key_file: BodySecretFile | None = key("File that holds the secret key.")
    token_url: Url | None = key(
        "Where an access key is exchanged for tokens.", "https://api.scnet.cn/api/user/v3/tokens"
    )
    password: HeaderSecret | None = key("Password, for the older way to log in; needs org_id and url.")
    password_file: HeaderSecretFile | None = key("File that holds the password.")
    org_id: Name | None = key("Id of the organisation that the login belongs to; with a password only.")
    url: AcUrl | None = key("AC address to log in at; with a password only.")
    tls: TlsSection | None = key("How the certificate of token_url or url is verified.")


class UserSection(Section):
    """A scheduler user whose jobs are counted by queue."""

    name: Segment = Field(description="The scheduler user; label user. A name alone stands for {name: ...}.")
    token: HeaderSecret | None = key("The user's own token. Left out: the region's.")
    token_file: HeaderSecretFile | None = key("File that holds the user's own token.")
    account: Name | None = key("Name of the account that gives the user's own token.")


class MemberSection(Section):
    """Members of a group whose jobs are listed."""

    group_id: Id = Field(description="The group's id, with every digit.")
    group: Name | None = key("Label group, one for each id. Left out: the id.")
    users: tuple[Segment, ...] = Field(description="Scheduler users who are members of the group; label user.")


def _user(value: object) -> object:
    if value is None:
        raise ValueError("is empty: write a user's name")
    return {"name": value} if isinstance(value, str) else value


class _OrName:
    """Says in the JSON Schema what `_user` accepts."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [ANY_TEXT, handler(core)]}


UserEntry = Annotated[UserSection, BeforeValidator(_user), _OrName()]


class ClusterSection(Section):
    """An SCNet region. Give exactly one of token, token_file and account."""

    name: Name = Field(description="Label hpc_cluster; unique among clusters and octopus.")
    cluster_id: Id = Field(description="The region's number (clusterId), with every digit.")
    hpc_url: HpcUrl = Field(description="The region's HPC address (hpcUrls); a path /hpc at its end can be left out.")
    ac_url: AcUrl | None = key(
        "The AC address, for job lists of members and logins; a path /ac at its end can be left out. Left out: hpc_url."
    )
    token: HeaderSecret | None = key("A token of the region; nothing renews it.")
    token_file: HeaderSecretFile | None = key("File that holds a token; read again when it changes.")
    account: Name | None = key("Name of the account that gives the token, renewed by itself.")
    requests_per_second: Rate | None = key(
        "At most so many requests to the region, by all shards together. Left out: no limit."
    )
    tls: TlsSection | None = key("How the region's certificate is verified.")
    collect: tuple[Collected, ...] | None = Field(
        default=None,
        description="Collectors to run for this region. Left out: those that are on by default.",
        json_schema_extra=_default_collectors,
    )
    poll: PollSection | None = key("Settings for this region alone, over those at the top level.")
    users: tuple[UserEntry, ...] | None = key("Users whose jobs are counted by queue. Left out: the token's own.")
    members: tuple[MemberSection, ...] | None = key(
        "Groups and those of their members whose jobs are listed; the token's owner has to administer them."
    )


class IamSection(Section):
    """A Huawei Cloud login; the tokens are renewed by itself. Give exactly one of password and password_file."""

    url: Url = Field(description="The IAM address, like https://iam.cn-north-4.myhuaweicloud.com.")
    domain: Name = Field(description="The account (domain) of the user.")
    user: Name = Field(description="The IAM user.")
    password: BodySecret | None = key("The user's password.")
    password_file: BodySecretFile | None = key("File that holds the password.")
    project: Name = Field(description="The project to scope the token to: a region's name like cn-north-4.")


class OctopusQueueSection(Section):
    """A queue of data jobs."""

    queue_type: Name = Field(description="PROCESSOR, INTERNAL or RESIM; label queue_type.")
    cluster_type: Name | None = key("CCE or MODELARTS; label cluster_type.")
    cluster_id: Name | None = key("The cluster's id; label cluster_id. MODELARTS needs it.")


class OctopusSection(Section):
    """A Huawei Octopus project. Give exactly one of token, token_file and iam."""

    name: Name = Field(description="Label project; unique among clusters and octopus.")
    base_url: Url = Field(description="The Octopus address of the project's region.")
    project_id: Segment = Field(description="The project's id, which becomes a part of the address.")
    token: HeaderSecret | None = key("An IAM token.")
    token_file: HeaderSecretFile | None = key("File that holds an IAM token; read again when it changes.")
    iam: IamSection | None = key("Login that gives the token.")
    queues: tuple[OctopusQueueSection, ...] = Field(description="The queues to watch.")
    requests_per_second: Rate | None = key(
        "At most so many requests to the project, by all shards together. Left out: no limit."
    )
    tls: TlsSection | None = key("How the certificate is verified.")
    poll: PollSection | None = key("Settings for this project alone, over those at the top level.")


class TrackingSection(Section):
    """Following jobs from poll to poll: transitions, waits, runs."""

    enabled: Boolean | None = key("Whether to follow jobs. No state file is needed for it.", default=True)
    state_file: FilePath | None = key(
        "File (SQLite) from which counting goes on after a restart. Left out: kept in memory, lost at a restart."
    )


class PerJobSection(Section):
    """Series of single jobs."""

    enabled: Boolean | None = key("Whether each listed job has series of its own.", default=False)
    max_jobs: MaxJobs | None = key(
        "At most so many jobs over the whole process; hpc_exporter_jobs_dropped tells how many were left out.", 500
    )


class Document(Section):
    """Configuration of hpc-exporter. At least one of clusters, octopus and accounts is needed."""

    poll: PollSection | None = key(
        "How often and how patiently to ask; each region and project can have settings of its own."
    )
    accounts: tuple[AccountSection, ...] | None = key("SCNet logins.")
    clusters: tuple[ClusterSection, ...] | None = key("SCNet regions.")
    octopus: tuple[OctopusSection, ...] | None = key("Huawei Octopus projects.")
    tracking: TrackingSection | None = key("Following jobs from poll to poll.")
    per_job: PerJobSection | None = key("Series of single jobs.")
