"""The configuration, section by section: keys with their defaults and meanings, and the rules between them.

The same classes read the file and serve the rest of the exporter: complete, checked, frozen, comparable part by part.
The messages about mistakes, the JSON Schema and the reference in docs/ are made from them. A missing key and null are
the same.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    GetJsonSchemaHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapSerializer,
    WrapValidator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from exporter.config.files import UnusableFileError, read_file
from exporter.config.secrets import FileSecret, Secret
from exporter.config.section import Section, check_one_of, key, needed, report_repeated
from exporter.config.tree import Items, Keys, Null, Position, Report, Text, shown
from exporter.config.units import parse_duration
from exporter.config.values import (
    ANY_TEXT,
    SOME_TEXT,
    TRUE,
    AcUrl,
    ApiVersion,
    AuthoritiesFile,
    BodySecret,
    BodySecretFile,
    BodySize,
    Boolean,
    Concurrency,
    FilePath,
    Grace,
    HeaderSecret,
    HeaderSecretFile,
    HistoryWindow,
    HpcUrl,
    Id,
    Interval,
    MaxJobs,
    Name,
    Rate,
    Retries,
    Segment,
    SlurmUrl,
    Timeout,
    TimeZone,
    Url,
    ValidationContext,
    scalar,
)
from exporter.sources.collector import catalogue, collected_by_default, collectors_of
from exporter.text import Text as Words

TOKEN_URL = "https://api.scnet.cn/api/user/v3/tokens"  # noqa: S105 - an address, not a token
# The public platform answers logins and everything else on two hosts.
PLATFORM_URL = "https://www.scnet.cn"
# Bytes of a file of names.
_LONGEST_LIST = 1024 * 1024
_TOKEN_OF_REGION = ("token", "token_file", "account")


class PollSettings(Section):
    """Polling interval, timeouts and retries. Times are in seconds, sizes in bytes."""

    zh = "轮询间隔、超时和重试。"

    interval: Interval = key("Pause between two polls of each target.", "同一目标两次轮询之间的间隔。", "60s")
    timeout: Timeout = key("Longest time that one request may take.", "单个请求最多用多长时间。", "15s")
    stale_after: Interval = key(
        "Data older than this disappears from /metrics; not shorter than the interval. Left out: 3 x interval.",
        "数据比这更旧时从 /metrics 消失；不能短于轮询间隔。不写则为间隔的 3 倍。",
        factory=lambda before: 3 * before.get("interval", 0.0),
    )
    max_concurrency: Concurrency = key(
        "Requests in flight at a time: at the top level to all upstreams together, else to this one.",
        "同时进行的请求数：写在顶层时指所有上游合计，否则指该上游。",
        16,
    )
    retries: Retries = key(
        "Further attempts of one poll after a transient failure: 0 gives up after the first.",
        "遇到可能自行恢复的故障时，一次轮询最多再试几次；0 表示立即放弃。",
        2,
    )
    max_body: BodySize = key(
        "Longest answer that is accepted, after decompression: a longer one is a failed poll.",
        "解压后允许的最大响应；更长的响应算作轮询失败。",
        "64MiB",
    )

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        interval, stale_after = _seconds(given, "interval") or cls().interval, _seconds(given, "stale_after")
        # Not those inherited from the top level.
        own = [name for name in given.given(("stale_after", "interval")) if given[name].at.path[:-1] == given.at.path]
        if own and stale_after and stale_after < interval:
            message = "stale_after is shorter than the interval: data would be gone before the next poll"
            report.add(given[own[0]].at, message)


def _seconds(given: Keys, name: str) -> float | None:
    text = given.text(name)
    try:
        return parse_duration(text) if text else None
    except ValueError:
        return None


class Tls(Section):
    """Verification of the upstream's certificate."""

    zh = "如何校验上游的证书。"

    ca_file: AuthoritiesFile | None = key(
        "PEM file of the certificate authorities to trust instead of the system's.",
        "PEM 文件，其中的证书颁发机构代替系统信任的机构。",
    )
    insecure_skip_verify: Boolean = key(
        "Do not verify the certificate at all: the token can be read in transit.",
        "完全不校验证书：途中任何人都能读到令牌。",
        default=False,
    )

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        unverified = given.text("insecure_skip_verify")
        if unverified and unverified.lower() in TRUE:
            message = "certificates are not verified: the secrets can be read on the way; prefer ca_file"
            report.warn(unverified.at, message)


@dataclass(frozen=True)
class Described:
    """Describes a value in the JSON Schema otherwise than its type does."""

    otherwise: Callable[[JsonSchemaValue], JsonSchemaValue]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return self.otherwise(handler(core))


def _collector_of(section: str) -> tuple[Any, ...]:
    """Annotate the name of a collector of a section of the configuration."""

    def read(text: str) -> str:
        names = [collector.name for collector in collectors_of(section)]
        if text not in names:
            raise ValueError(f"{shown(text)} cannot be collected; choose from {', '.join(names)}")
        return text

    def described(_schema: JsonSchemaValue) -> JsonSchemaValue:
        return {"type": "string", "enum": [collector.name for collector in collectors_of(section)]}

    return scalar(read, "text"), Described(described), Words("[collectors](#collectors)", "[采集项](#采集项)")


def _some_by_default(section: str) -> Described:
    """Annotate a list of collectors of which some are on by default."""
    return Described(lambda schema: schema | {"default": list(collected_by_default(section))})


def _limit(en: str, zh: str) -> Any:
    """Declare the limit of requests to an upstream."""
    return key(
        f"Limit of requests to {en}, for all shards together. Left out: no limit.",
        f"对{zh}每秒最多发出的请求数，所有分片合计。不写则不限制。",
    )


def _own_poll(en: str, zh: str) -> Any:
    """Declare the settings of a region, cluster, project or account."""
    return key(
        f"Settings for this {en} alone, over those at the top level.",
        f"仅用于该{zh}的设置，优先于顶层的设置。",
        factory=PollSettings,
    )


def _collect(section: str, en: str, zh: str) -> Any:
    """Declare the collectors of a section, of which some are on by default."""
    return key(
        f"Collectors to run for this {en}. Left out: those that are on by default.",
        f"对该{zh}启用的采集项。不写则为默认启用的采集项。",
        factory=lambda: collected_by_default(section),
    )


AccountCollectors = Annotated[tuple[Annotated[str, *_collector_of("accounts")], ...], _some_by_default("accounts")]
RegionCollectors = Annotated[tuple[Annotated[str, *_collector_of("clusters")], ...], _some_by_default("clusters")]
SlurmCollectors = Annotated[tuple[Annotated[str, *_collector_of("slurm")], ...], _some_by_default("slurm")]
ProjectCollectors = Annotated[tuple[Annotated[str, *_collector_of("octopus")], ...], _some_by_default("octopus")]


def _check_collect(given: Keys, section: str, report: Report) -> None:
    """Report names that `collect` repeats, and warn of keys that it leaves unused."""
    if "collect" not in given:
        return
    names = given.texts("collect")
    report_repeated(report, ((name, name.at, shown(name)) for name in names))
    listing = [name for name in names if any(each.lists_jobs for each in collectors_of(section) if each.name == name)]
    for name in listing[1:]:
        report.add(name.at, f"does not go with {listing[0]}, which lists the same jobs: name only one of them")
    if given["collect"] == [] and collected_by_default(section):
        report.warn(given["collect"].at, f"is empty: nothing is asked of this {_ONE_OF[section]}")
    wanted = {each.per.key for each in collectors_of(section) if each.name in names}
    for each in collectors_of(section):
        if each.default and each.per.key not in {"", *wanted} and given.get(each.per.key):
            report.warn(given[each.per.key].at, f"is not used: collect leaves out {each.name}")


_ONE_OF = {"clusters": "region", "slurm": "cluster", "octopus": "project"}


def platform_url(token_url: str) -> str:
    """Return the AC host of the platform whose tokens come from `token_url`: the public one, or the same host."""
    if token_url == TOKEN_URL:
        return PLATFORM_URL
    parts = urlsplit(token_url)
    return f"{parts.scheme}://{parts.netloc}"


class Account(Section):
    """An SCNet login; it gives one token per region.

    Either `access_key` and `secret_key` are set, or `password` and `org_id`; the others are None.
    """

    zh = "SCNet 登录账号。一次登录可得到每个区域的令牌。"
    listed_in: ClassVar = "accounts"
    at_most_one = (("access_key", "access_key_file"), ("secret_key", "secret_key_file"), ("password", "password_file"))
    # The two ways to log in, of which only one may be begun.
    by_key: ClassVar = ("access_key", "access_key_file", "secret_key", "secret_key_file", "token_url")
    by_password: ClassVar = ("password", "password_file", "org_id")

    name: Name = needed(
        "How clusters and users refer to this account, and label account; unique among accounts and, where it collects "
        "something, among clusters and octopus.",
        "区域和用户用这个名字引用该账号，也是标签 account；账号之间不能重名，启用采集项时也不能与 clusters 和 octopus 重名。",
    )
    user: Name = needed(
        "The login at the platform, which may differ from the scheduler user.",
        "平台登录名，可能与调度系统用户名不同。",
    )
    access_key: HeaderSecret | None = key(
        "Access key, for the newer way to log in.", "访问密钥（Access Key），较新的登录方式。"
    )
    access_key_file: HeaderSecretFile | None = key("File that holds the access key.", "存放访问密钥的文件。")
    secret_key: BodySecret | None = key(
        "Secret key that belongs to the access key; it is never sent.",
        "与访问密钥配对的 Secret Key；它绝不会被发送。",
    )
    secret_key_file: BodySecretFile | None = key("File that holds the secret key.", "存放 Secret Key 的文件。")
    token_url: Url = key("Where an access key is exchanged for tokens.", "用访问密钥换取令牌的地址。", TOKEN_URL)
    password: HeaderSecret | None = key(
        "Password, for the older way to log in; needs org_id and url.",
        "密码，较旧的登录方式；需要同时写 org_id 和 url。",
    )
    password_file: HeaderSecretFile | None = key("File that holds the password.", "存放密码的文件。")
    org_id: Name | None = key(
        "Id of the login's organisation; with a password only.",
        "登录所属组织的编号；只与密码一起使用。",
    )
    url: AcUrl = key(
        "The platform's AC address: for logins with a password, and for collect with the platform's token. Left out: "
        f"`{PLATFORM_URL}`, or the host of another token_url.",
        f"平台的 AC 地址：用密码登录的地址，collect 也用平台令牌向它请求。不写则为 `{PLATFORM_URL}`，token_url 是其他地址时为该地址的主机。",
        factory=lambda before: platform_url(before.get("token_url", TOKEN_URL)),
    )
    requests_per_second: Rate | None = _limit("url", " url ")
    tls: Tls = key(
        "How the certificates of token_url and url are verified.", "如何校验 token_url 和 url 的证书。", factory=Tls
    )
    collect: AccountCollectors = key(
        "Collectors to run for this account. Left out: none.",
        "对该账号启用的采集项。不写则不启用。",
        factory=lambda: collected_by_default("accounts"),
    )
    poll: PollSettings = _own_poll("account", "账号")

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        _check_collect(given, cls.listed_in, report)
        by_key, by_password = given.given(cls.by_key), given.given(cls.by_password)
        if by_key and by_password:
            message = f"does not go with {by_key[0]}: log in with a key or with a password"
            report.add(given[by_password[0]].at, message, key=True)
        elif by_password:
            check_one_of(given, ("password", "password_file"), report)
            for name in ("org_id", "url"):
                if name not in given:
                    report.add(given.at, f"{name} is missing: a login with a password needs it")
        elif by_key:
            check_one_of(given, ("access_key", "access_key_file"), report)
            check_one_of(given, ("secret_key", "secret_key_file"), report)
        else:
            report.add(given.at, "needs access_key and secret_key, or password, org_id and url")


class User(Section):
    """A scheduler user whose jobs are counted by queue."""

    zh = "按队列统计作业的调度系统用户。"
    at_most_one = (_TOKEN_OF_REGION,)

    name: Segment = needed(
        "The scheduler user; label user. A name alone stands for {name: ...}.",
        "调度系统用户；标签 user。只写名字等同于 {name: ...}。",
    )
    token: HeaderSecret | None = key(
        "The user's own token. Left out: the region's.", "该用户自己的令牌。不写则使用区域的令牌。"
    )
    token_file: HeaderSecretFile | None = key("File that holds the user's own token.", "存放该用户令牌的文件。")
    account: Name | None = key("Name of the account that gives the user's own token.", "提供该用户令牌的账号的名字。")


def _user(value: object) -> object:
    if isinstance(value, Null):
        raise ValueError("is empty: write a user's name")  # noqa: TRY004 - pydantic's way
    if isinstance(value, Text):
        return Keys({"name": value}, value.at)
    return {"name": value} if isinstance(value, str) else value


# A name stands for a whole user.
OR_NAME = Described(lambda schema: {"anyOf": [ANY_TEXT, schema]})


class All(tuple[Any, ...]):
    """Stands for all members, or all groups, that the platform tells; empty until it did."""

    __slots__ = ()


ALL = All()
ALL_WORD = "all"


def _all_or(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Read the word for all, or else a list."""
    if isinstance(value, All) or (isinstance(value, Text) and value == ALL_WORD):
        return ALL
    if isinstance(value, Text):
        raise ValueError(f"must be a list or the word {ALL_WORD}, but is {shown(value)}")  # noqa: TRY004 - pydantic's way
    return handler(value)


def _written_all(value: Any, handler: SerializerFunctionWrapHandler) -> Any:
    return ALL_WORD if isinstance(value, All) else handler(value)


# In an annotation of a list.
_ALL_OR_LIST = (
    Described(lambda schema: {"anyOf": [{"const": ALL_WORD}, schema]}),
    WrapValidator(_all_or),
    WrapSerializer(_written_all),
)


class Member(Section):
    """Members of a group whose jobs are listed."""

    zh = "要列出作业的用户组成员。"
    exactly_one = (("users", "users_file"),)

    group_id: Id = needed("The group's id, with every digit.", "用户组编号，每一位数字都要写。")
    group: Name = key(
        "Label group, one for each id. Left out: the id.",
        "标签 group，每个编号一个。不写则为编号。",
        factory=lambda before: before.get("group_id"),
    )
    users: Annotated[tuple[Segment, ...], *_ALL_OR_LIST] = key(
        "Scheduler users who are members of the group; label user. The word `all`: all that the platform lists, "
        "requested again every hour.",
        "组内成员的调度系统用户名；标签 user。写 `all` 表示平台给出的全部成员，每小时重新查询一次。",
        factory=tuple,
    )
    users_file: FilePath | None = key(
        "File that names these users instead, one on each line; what follows a `#` is a comment. Read at a start and a reload.",
        "改用文件列出这些用户，每行一个；`#` 之后是注释。启动和重新加载时读取。",
    )


class Cluster(Section):
    """An SCNet region.

    Exactly one of `token` and `account` is set; `users` None is the token's own user.
    """

    zh = "SCNet 区域（计算中心）。"
    listed_in: ClassVar = "clusters"
    exactly_one = (_TOKEN_OF_REGION,)

    name: Name = needed(
        "Label hpc_cluster; unique among clusters, slurm and octopus.",
        "标签 hpc_cluster；在 clusters、slurm 和 octopus 中不能重名。",
    )
    cluster_id: Id = needed(
        "The region's number (clusterId), with every digit.", "区域编号（clusterId），每一位数字都要写。"
    )
    hpc_url: HpcUrl = needed(
        "The region's HPC address (hpcUrls); a path /hpc at its end can be left out.",
        "区域的 HPC 地址（hpcUrls）；末尾的 /hpc 可以不写。",
    )
    ac_url: AcUrl = key(
        "The AC address, for job lists of members and logins; a path /ac at its end can be left out. Left out: hpc_url.",
        "AC 地址，用于成员作业列表和登录；末尾的 /ac 可以不写。不写则与 hpc_url 相同。",
        factory=lambda before: before.get("hpc_url"),
    )
    token: HeaderSecret | None = key("A token of the region; nothing renews it.", "该区域的令牌；不会自动更新。")
    token_file: HeaderSecretFile | None = key(
        "File that holds a token; read again when it changes.", "存放令牌的文件；内容改变后重新读取。"
    )
    account: Name | None = key(
        "Name of the account that gives the token, renewed automatically.", "提供令牌的账号的名字；令牌自动更新。"
    )
    requests_per_second: Rate | None = _limit("the region", "该区域")
    tls: Tls = key("How the region's certificate is verified.", "如何校验区域的证书。", factory=Tls)
    collect: RegionCollectors = _collect("clusters", "region", "区域")
    poll: PollSettings = _own_poll("region", "区域")
    users: tuple[Annotated[User, BeforeValidator(_user), OR_NAME], ...] | None = key(
        "Users whose jobs are counted by queue. Left out: the token's own.",
        "按队列统计哪些用户的作业。不写则为令牌自己的用户。",
    )
    members: Annotated[tuple[Member, ...], *_ALL_OR_LIST] = key(
        "Groups and those of their members whose jobs are listed; the token's owner has to administer them. The word `all`: "
        "all groups that the platform lists for this region, requested again every hour. That takes an account.",
        "要列出作业的用户组及其成员；令牌的所有者必须是组管理员。写 `all` 表示平台给出的该区域的全部用户组，每小时重新查询一次，这需要使用账号。",
        factory=tuple,
    )

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        _check_collect(given, cls.listed_in, report)
        for member in given.mappings("members"):
            _read_users(member, report)
        users = [(user.text("name") if isinstance(user, Keys) else user, user.at) for user in given.listed("users")]
        report_repeated(
            report, ((name, at, f"user {shown(name)}") for name, at in users if name and isinstance(name, Text))
        )
        _check_members(given.mappings("members"), report)
        _check_all(given, report)
        _check_own_tokens(given, report)
        for name in given.texts("collect"):
            if "account" not in given and any(
                each.name == name and each.per.needs_account for each in collectors_of("clusters")
            ):
                report.add(name.at, f"{name} needs an account: the platform's tokens come from its login")


def _check_own_tokens(given: Keys, report: Report) -> None:
    """Report users that share the region's token, where a collector needs to know whose it is."""
    needs = {each.name for each in collectors_of("clusters") if each.per.own_tokens}
    names = needs.intersection(map(str, given.texts("collect")))
    if not names:
        return
    sharing = [user for user in given.listed("users") if not (isinstance(user, Keys) and user.given(_TOKEN_OF_REGION))]
    for user in sharing[1:]:
        if isinstance(user, Keys | Text):
            message = "has no token: {} asks about a token's own user, and the region's is left for one user only"
            report.add(user.at, message.format(", ".join(names)))


def _read_users(member: Keys, report: Report) -> None:
    """Put the names in a group's `users_file` into the place of its `users`."""
    file = member.text("users_file")
    if file is None or "users" in member:
        return
    at = Position(file.at.line, file.at.column, (*file.at.path[:-1], "users"))
    del member["users_file"]
    member["users"] = Items([Text(name, name, at) for name in _names_in(file, report)], at)


def _names_in(file: Text, report: Report) -> list[str]:
    """Return the names in a list of users; where there is none that can be used, a mistake goes to `report`."""
    try:
        content = read_file(Path(report.file).absolute().parent / file, max_bytes=_LONGEST_LIST).decode("utf-8-sig")
    except (UnusableFileError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        report.add(file.at, f"the list of users cannot be read: {why}")
        return []
    names = [name for line in content.splitlines() if (name := line.partition("#")[0].strip())]
    if not names:
        # One that is just being written must not take all members away.
        report.add(file.at, "the list of users is empty: write a user's name on each line")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        report.add(file.at, f"the list of users names {', '.join(map(shown, twice[:3]))} more than once")
    return names


def _check_all(given: Keys, report: Report) -> None:
    """Report where all members are to be found out without an account, whose platform token alone can ask."""
    if "account" in given:
        return
    for word in (given.text("members"), *(member.text("users") for member in given.mappings("members"))):
        if word == ALL_WORD:
            report.add(word.at, f"{ALL_WORD} needs an account: the platform tells members to its own token only")


def _check_members(members: list[Keys], report: Report) -> None:
    by_label: dict[str, tuple[Text, Text]] = {}
    by_id: dict[str, tuple[Text, Text]] = {}
    users: list[tuple[object, Position, str]] = []
    for member in members:
        group_id = member.text("group_id")
        if not group_id:
            continue
        name = f"of group {shown(group_id)}"
        users += [((group_id, user), user.at, f"user {shown(user)} {name}") for user in member.texts("users")]
        label = member.text("group") or group_id
        at = Position(label.at.line, label.at.column, (*member.at.path, "group"))
        other_id, other = by_label.setdefault(label, (group_id, label))
        if other_id != group_id:
            message = (
                f"the group_id on line {other.at.line} has the same label group {shown(label)}: the series of the"
                " two groups would be the same; give them different labels"
            )
            report.add(at, message)
        _, other = by_id.setdefault(group_id, (group_id, label))
        if other != label:
            line = other.at.line
            report.add(at, f"group_id {shown(group_id)} has another label on line {line}: give it one label")
    report_repeated(report, users)


class Slurm(Section):
    """A Slurm cluster of your own, through slurmrestd.

    `unix_socket` is the path of the socket in `url`, empty where that is an address of HTTP.
    """

    zh = "自有的 Slurm 集群，通过 slurmrestd 查询。"
    listed_in: ClassVar = "slurm"
    at_most_one = (("token", "token_file"),)

    name: Name = needed(
        "Label hpc_cluster; unique among clusters, slurm and octopus.",
        "标签 hpc_cluster；在 clusters、slurm 和 octopus 中不能重名。",
    )
    url: SlurmUrl = needed(
        "The address of slurmrestd, or its unix socket like unix:/run/slurmrestd.sock.",
        "slurmrestd 的地址，或它的 unix 套接字，例如 unix:/run/slurmrestd.sock。",
    )
    token: HeaderSecret | None = key(
        "A token by scontrol token; nothing renews it. A unix socket may need none.",
        "由 scontrol token 生成的令牌；不会自动更新。unix 套接字可以不需要令牌。",
    )
    token_file: HeaderSecretFile | None = key(
        "File that holds a token which is renewed externally: read again when it changes and when the token is rejected.",
        "存放令牌的文件，由其他程序更新；内容改变时和令牌被拒绝时重新读取。",
    )
    user_name: Name | None = key(
        "The user that the token is used as (X-SLURM-USER-NAME). Left out: the token's own.",
        "以哪个用户的身份使用令牌（X-SLURM-USER-NAME）。不写则为令牌自己的用户。",
    )
    bearer: Boolean = key(
        "Send the token as Authorization: Bearer, for a proxy that takes only this, instead of X-SLURM-USER-TOKEN.",
        "用 Authorization: Bearer 代替 X-SLURM-USER-TOKEN 发送令牌，用于只接受前者的代理。",
        default=False,
    )
    api_version: ApiVersion | None = key(
        "Version of Slurm's API to use. Left out: the newest of v0.0.45 to v0.0.38 that is served.",
        "使用的 Slurm 接口版本。不写则为 v0.0.45 到 v0.0.38 中服务端提供的最新版本。",
    )
    groups: tuple[Name, ...] | None = key(
        "Slurm accounts whose jobs are followed; label group. Left out: all of them.",
        "要跟踪作业的 Slurm 账户（account）；标签 group。不写则为全部账户。",
    )
    requests_per_second: Rate | None = _limit("the cluster", "该集群")
    tls: Tls = key("How the certificate is verified.", "如何校验证书。", factory=Tls)
    collect: SlurmCollectors = _collect("slurm", "cluster", "集群")
    poll: PollSettings = _own_poll("cluster", "集群")

    @property
    def unix_socket(self) -> str:
        return self.url.removeprefix("unix:") if self.url.startswith("unix:") else ""

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        _check_collect(given, cls.listed_in, report)
        url, token = given.text("url") or "", given.given(("token", "token_file"))
        if not token and url.startswith("http"):
            report.add(given.at, "one of token, token_file is missing: only a unix socket may do without")
        if not token and (bearer := given.text("bearer")) and bearer.lower() in TRUE:
            report.add(bearer.at, "there is no token to send: add token or token_file", key=True)
        report_repeated(report, ((group, group.at, f"group {shown(group)}") for group in given.texts("groups")))


class Iam(Section):
    """A Huawei Cloud login; its tokens are renewed automatically."""

    zh = "华为云登录，令牌会自动更新。"
    exactly_one = (("password", "password_file"),)

    url: Url = needed(
        "The IAM address, like https://iam.cn-north-4.myhuaweicloud.com.",
        "IAM 地址，例如 https://iam.cn-north-4.myhuaweicloud.com。",
    )
    domain: Name = needed("The account (domain) of the user.", "用户所属的账号（domain）。")
    user: Name = needed("The IAM user.", "IAM 用户。")
    password: BodySecret | None = key("The user's password.", "用户的密码。")
    password_file: BodySecretFile | None = key("File that holds the password.", "存放密码的文件。")
    project: Name = needed(
        "The project to scope the token to: a region's name like cn-north-4.",
        "令牌限定的项目，即区域名，例如 cn-north-4。",
    )


class OctopusQueue(Section):
    """A queue of data jobs."""

    zh = "数据作业的队列。"

    queue_type: Name = needed(
        "PROCESSOR, INTERNAL or RESIM; label queue_type.", "PROCESSOR、INTERNAL 或 RESIM；标签 queue_type。"
    )
    cluster_type: Name | None = key("CCE or MODELARTS; label cluster_type.", "CCE 或 MODELARTS；标签 cluster_type。")
    cluster_id: Name | None = key(
        "The cluster's id; label cluster_id. MODELARTS needs it.", "集群编号；标签 cluster_id。MODELARTS 必须写。"
    )

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        if given.text("cluster_type") == "MODELARTS" and "cluster_id" not in given:
            report.add(given.at, "cluster_id is missing: cluster_type MODELARTS needs it")


class OctopusProject(Section):
    """A Huawei Octopus project.

    Exactly one of `token` and `iam` is set.
    """

    zh = "华为云 Octopus 项目。"
    listed_in: ClassVar = "octopus"
    exactly_one = (("token", "token_file", "iam"),)

    name: Name = needed(
        "Label project; unique among clusters, slurm and octopus.",
        "标签 project；在 clusters、slurm 和 octopus 中不能重名。",
    )
    base_url: Url = needed("The Octopus address of the project's region.", "项目所在区域的 Octopus 地址。")
    project_id: Segment = needed(
        "The project's id, which becomes a part of the address.", "项目编号，会成为请求地址的一部分。"
    )
    token: HeaderSecret | None = key("An IAM token.", "IAM 令牌。")
    token_file: HeaderSecretFile | None = key(
        "File that holds an IAM token; read again when it changes.", "存放 IAM 令牌的文件；内容改变后重新读取。"
    )
    iam: Iam | None = key("Login that gives the token.", "用来获取令牌的登录。")
    queues: tuple[OctopusQueue, ...] = needed("The queues to poll.", "要观察的队列。")
    requests_per_second: Rate | None = _limit("the project", "该项目")
    tls: Tls = key("How the certificate is verified.", "如何校验证书。", factory=Tls)
    collect: ProjectCollectors = _collect("octopus", "project", "项目")
    poll: PollSettings = _own_poll("project", "项目")

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        _check_collect(given, cls.listed_in, report)
        queues = given.mappings("queues")
        report_repeated(
            report, ((tuple(map(each.text, OctopusQueue.model_fields)), each.at, "this queue") for each in queues)
        )


class Tracking(Section):
    """Following jobs from poll to poll: transitions, waits, runs."""

    zh = "逐次轮询地跟踪作业：状态变化、等待和运行时间。"

    enabled: Boolean = key(
        "Whether to follow jobs. No state file is needed for it.",
        "是否跟踪作业。没有状态文件也可以跟踪。",
        default=True,
    )
    state_file: FilePath | None = key(
        "File (SQLite) from which counting continues after a restart. Left out: kept in memory, lost at a restart.",
        "状态文件（SQLite），重启后从这里接着计数。不写则保存在内存中，重启后丢失。",
    )
    history_grace: Grace = key(
        "How long a job that left the list waits for its row in the history of ended jobs before it counts as vanished.",
        "作业从列表消失后，最多等多久它在历史作业中的记录；等不到才算消失。",
        "10m",
    )
    history_window: HistoryWindow = key(
        "How far back the history of ended jobs is requested after a time without polls: ends that lie further back are missed.",
        "一段时间没有轮询之后，历史作业最多往回查询多久；更早的结束会漏掉。",
        "1d",
    )
    time_zone: TimeZone = key(
        "Time zone of times that regions send without one, by its IANA name.",
        "区域返回的时间不带时区时，按哪个时区理解（IANA 名称）。",
        "Asia/Shanghai",
    )


class PerJob(Section):
    """Single jobs: series of their own, and their list on the status page."""

    zh = "单个作业：各自的时间序列，以及状态页上的作业列表。"

    enabled: Boolean = key(
        "Whether each listed job has series of its own, and the status page lists jobs with their names.",
        "是否为列出的每个作业提供各自的时间序列，并在状态页上列出带名称的作业。",
        default=False,
    )
    max_jobs: MaxJobs = key(
        "Limit of jobs with series, over the whole process; hpc_exporter_jobs_dropped counts the others. The status page "
        "lists all.",
        "整个进程最多多少个作业有序列；hpc_exporter_jobs_dropped 给出被省略的作业数。状态页列出全部作业。",
        500,
    )


def _family(text: str) -> str:
    names = catalogue()
    if text not in names:
        near = difflib.get_close_matches(text, names, n=1)
        hint = f"did you mean {near[0]}?" if near else "docs/metrics.md lists them"
        raise ValueError(f"{shown(text)} is no metric of this exporter; {hint}")
    return text


FamilyName = Annotated[
    str, scalar(_family, "the name of a metric"), Words("name of a metric", "指标名"), WithJsonSchema(SOME_TEXT)
]


class Metrics(Section):
    """Which metrics are exposed."""

    zh = "显示哪些指标。"

    exclude: tuple[FamilyName, ...] = key(
        "Metrics that are not exposed, by the names in their HELP lines in the text format. Dashboards and alerts that "
        "need one of these stay empty and silent; but HPCExporterDown fires without hpc_exporter_build_info, and "
        "HPCNoSchedulers without hpc_scheduler_info.",
        "不显示的指标，按文本格式中 HELP 行的名字填写。用到这些指标的看板会是空的，告警不会触发；但不显示 hpc_exporter_build_info 时 "
        "HPCExporterDown 会触发，不显示 hpc_scheduler_info 时 HPCNoSchedulers 会触发。",
        factory=tuple,
    )

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        report_repeated(report, ((name, name.at, shown(name)) for name in given.texts("exclude")))


Polled = Cluster | Slurm | OctopusProject | Account
# Their keys, in the order in which they are shown.
POLLED: Final = tuple(part.listed_in for part in (Cluster, Slurm, OctopusProject, Account))


class Config(Section):
    """Configuration of hpc-exporter. At least one of clusters, slurm, octopus and accounts is needed."""

    poll: PollSettings = key(
        "Polling interval, timeouts and retries; each region and project can have settings of its own.",
        "轮询周期、超时与重试；每个区域和项目还可以有自己的设置。",
        factory=PollSettings,
    )
    accounts: tuple[Account, ...] = key("SCNet logins.", "SCNet 登录账号。", factory=tuple)
    clusters: tuple[Cluster, ...] = key("SCNet regions.", "SCNet 区域。", factory=tuple)
    slurm: tuple[Slurm, ...] = key("Slurm clusters of your own.", "自有的 Slurm 集群。", factory=tuple)
    octopus: tuple[OctopusProject, ...] = key("Huawei Octopus projects.", "华为云 Octopus 项目。", factory=tuple)
    tracking: Tracking = key("Following jobs from poll to poll.", "逐次轮询地跟踪作业。", factory=Tracking)
    per_job: PerJob = key("Single jobs.", "单个作业。", factory=PerJob)

    metrics: Metrics = key("Which metrics are exposed.", "显示哪些指标。", factory=Metrics)

    _warnings: tuple[str, ...] = PrivateAttr(())

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings, each with its place."""
        return self._warnings

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        if all(given.get(name) in (None, []) for name in POLLED):
            report.add(given.at, "there is nothing to poll: give at least one of clusters, slurm, octopus and accounts")
        accounts, clusters, slurm, projects = map(given.mappings, ("accounts", "clusters", "slurm", "octopus"))
        # All that is polled shares the label source of the exporter's own metrics.
        collecting = [account for account in accounts if account.get("collect")]
        for parts in (accounts, [*clusters, *slurm, *projects, *collecting]):
            names = filter(None, (part.text("name") for part in parts))
            report_repeated(report, ((name, name.at, f"the name {shown(name)}") for name in names))
        _check_accounts(given, accounts, clusters, report)
        for part in (*accounts, *clusters, *slurm, *projects):
            _inherit_poll(part, given)

    @model_validator(mode="after")
    def _take_warnings(self, info: ValidationInfo) -> Self:
        if info.context is not None:
            self._warnings = ValidationContext.of(info).report.warnings()
        return self

    @property
    def polled(self) -> tuple[Polled, ...]:
        """All that is polled, in the order in which it is shown."""
        return tuple(part for name in POLLED for part in getattr(self, name))

    def with_each(self, changed: Callable[[Polled], Iterable[Polled]]) -> "Config":
        """Return it with `changed(part)` in the place of each part that is polled."""
        parts = {name: tuple(chain.from_iterable(map(changed, getattr(self, name)))) for name in POLLED}
        return self.model_copy(update=parts)

    def secrets(self) -> tuple[Secret, ...]:
        return tuple(_secrets_in(self))

    def file_secrets(self) -> tuple[FileSecret, ...]:
        """Return the secrets whose files have to be watched."""
        return tuple(secret for secret in self.secrets() if isinstance(secret, FileSecret))

    def keeping(self, previous: "Config") -> "Config":
        """Return this configuration with the very file secrets of `previous`, where they are the same files.

        So an object that is in use from before a reload is updated by the watch over `file_secrets`.
        """
        kept: Config = _with_known(self, {secret.identity: secret for secret in previous.file_secrets()})
        return kept


def _check_accounts(given: Keys, accounts: list[Keys], clusters: list[Keys], report: Report) -> None:
    names = [str(name) for account in accounts if (name := account.text("name"))]
    # An account that cannot be read may be the missing one.
    if len(names) != len(given.listed("accounts")) or not isinstance(given.get("accounts", []), list):
        return
    parts = [*clusters, *(user for cluster in clusters for user in cluster.mappings("users"))]
    for part in parts:
        name = part.text("account")
        if name and name not in names:
            report.add(name.at, f"there is no account {shown(name)}: add it under accounts")
    for account in () if any(part.text("account") for part in parts) else accounts:
        if not account.get("collect"):
            message = (
                "is not used: no region has it as `account`; hpc-exporter discover writes the regions that it can see"
            )
            report.warn(account.at, message)


def _inherit_poll(part: Keys, root: Keys) -> None:
    """Let a region or project have the settings of the top level where it has none of its own."""
    general, own = root.get("poll"), part.get("poll", Keys({}, part.at))
    if isinstance(general, Keys) and isinstance(own, Keys):
        part["poll"] = Keys({**general, **own}, own.at, own.empty)


def _secrets_in(part: object) -> Iterator[Secret]:
    if isinstance(part, Secret):
        yield part
    values = part if isinstance(part, tuple) else [value for _, value in part] if isinstance(part, Section) else ()
    for value in values:
        yield from _secrets_in(value)


def _with_known(value: Any, known: Mapping[tuple[object, ...], FileSecret]) -> Any:
    """Return a part of the configuration with the file secrets in `known`; itself where none of its own is among them."""
    if isinstance(value, FileSecret):
        return known.get(value.identity, value)
    if isinstance(value, Section):
        changed = {name: new for name, each in value if (new := _with_known(each, known)) is not each}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, tuple):
        items = tuple(_with_known(item, known) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value
