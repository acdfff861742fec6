"""Replaces everything in captured answers that may be private by stand-ins; equal values have equal stand-ins everywhere.

Text is kept only if it is known to be harmless: under keys whose values are words of the API, and where it is a number, a time
or empty. Of messages, words are kept that any service uses. Ids keep their form and their length.
"""

import base64
import hmac
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from exporter.http.message import PHONE
from exporter.redaction import redact, resembles_secret
from exporter.sources.collector import registry

# The kind of a value by its key, in lower case without signs; see `StandIns.text`.
_KEYS: Final = {
    "user": "username clusterusername computeuser user owner jobowner strjobowner sun",
    "person": "fullname accountname realname",
    "group": "groupdisplayname groupname account",
    "job": "jobname",
    "id": "id userid uid gid groupid clusterid jobid jobmanagerid strjobid orgid projectid workspaceid processorid dataid "
    "arrayjobid hetjobid strclusteridlist strclusternamelist strjobmanagerid clusterids",
    # Queues, schedulers and regions.
    "name": "queue queuename partition partitions text clustername computercenter jobmanagername",
    "word": "code errorcode metricname status statuses jobstate jobstatus state stateflags accountstatus reason statereason "
    "jobmanagertype enable version role grouprole timetype sort queuetype clustertype jobtype jobtypes outputtype outputtypes "
    "isquerybyqueuetime alg typ",
    "message": "msg message errormsg errormessage error description",
    "amounts": "tresreqstr tresallocstr trespernode tresperjob trespersocket trespertask gresdetail resourcespec arraytaskstring release",
}
KINDS: Final = {key: kind for kind, keys in _KEYS.items() for key in keys.split()}
# Of a key `name`, the keys beside it tell the kind.
NAMED: Final = {
    "job": {"status", "jobStatus", "jobState", "job_state"},
    "name": {"values", "y", "clusterUserInfo", "partition", "total_nodes"},
}
# Numbers under these keys are personal, and under those amounts or times, however long they are.
_PERSONAL: Final = re.compile(
    r"phone|mobile|^tel|fax|contact|card(no|num)|idcard|passport|identity|wechat|weixin|^qq|email"
)
_AMOUNT: Final = re.compile(
    r"sec|num|cpu|gpu|dcu|mem|core|node|max|min|usage|threshold|quota|total|priority|balance|limit|rank"
    r"|time|date|stamp|at$|expire|last|^exp$|^iat$|^nbf$"
)
# Words of messages; none that is a name in Chinese spelling.
_ENGLISH: Final = (
    "access account allowed allocation already and api app are argument array at auth authentication authorization authorized "
    "available backend bad been before begin by cannot cluster code connect connected connection could credentials data decrypt "
    "denied dependency disabled does due empty environment error exceeded exist exists expired expires fail failed failure "
    "field for forbidden format found frozen gateway group header held host http https iam id in incorrect information internal "
    "interface into invalid is job jobs jwt key level limit limited list load login longer lost malformed method missing must "
    "no node nodes none not null number of on operate operation or page parameter parameters password path permission "
    "permissions please priority project protocol published quota queue rate reached reason refused region rejected released "
    "request required resource resources server service session signature slurm specified state state status submit success "
    "successful successfully system terminated that the throttled throttling threshold time timeout timed to token too try "
    "unable unauthorized unavailable unknown unset updated url user username valid verification version was while wrong x-auth-token "
    "you your running idle mixed down drain allocated up inactive completed queued secret unexpected query retry later after"
)
VOCABULARY: Final = frozenset(_ENGLISH.split())
_CHINESE: Final = (
    "接口 请求 成功 失败 错误 异常 用户 未登录 登录 令牌 无效 过期 已过期 没有 无 权限 不存在 存在 不能 不允许 参数 缺失 不合法 "
    "内部 服务 服务器 系统 网络 连接 中断 超时 繁忙 稍后 重试 请 联系 管理员 的 未 已 被 拒绝 访问 调用 操作 查询 作业 任务 队列 区域 "
    "中心 账号 账户 密码 校验 认证 授权 状态 正常 冻结 欠费 禁用 停用 不可用 可用 为空 不 是 或 和 在 该 此 当前 数据 列表 格式 "
    "频繁 限制 超过 上限 次数 运行 排队 保留 挂起 其他 已使用 未使用 组 成员"
)
_PHRASES: Final = re.compile(f"({'|'.join(sorted(_CHINESE.split(), key=len, reverse=True))})")
_CHUNK: Final = re.compile(r"[\w.@:/\\~%+=&?#$-]+", re.ASCII)
_FOREIGN: Final = re.compile(r"[^\x00-\x7f]+")
_STAND_IN: Final = re.compile(r"(?:user|person|group|account|text|path|host)-[0-9]+")
_NUMBER: Final = re.compile(r"[-+]?[0-9]*\.?[0-9]+%?|--?|N/A", re.IGNORECASE)
_CLOCK: Final = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
_TIME: Final = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[T ]{_CLOCK} ?(?:Z|[+-][0-9]{{2}}:?[0-9]{{2}})?)?|(?:[0-9]{{1,4}}-)?[0-9]?{_CLOCK}"
)
_SAYS_NOTHING: Final = frozenset({"", "true", "false", "none", "null"})
_WORD: Final = re.compile(r"[A-Za-z_]{1,40}|(?:octopus|APIGW?)\.[0-9]{4,6}")
_NAME: Final = re.compile(r"(?!.*\..*\.)[\w.【】()（）+ -]{1,60}")
_AMOUNTS: Final = re.compile(r"[\w.,:/=()%\[\]-]{0,200}", re.ASCII)
_KEY: Final = re.compile(r"(?!.*[0-9]{5})[A-Za-z][A-Za-z0-9_-]{0,40}")
_URL: Final = re.compile(r"[A-Za-z]+://(?P<host>[^/?#\s]+)(?P<path>[^?#\s]*)\S*")
# An id, with what Slurm adds to those of arrays.
_ID: Final = re.compile(r"[0-9_\[\](),.%: -]*")
_DIGITS: Final = re.compile(r"[0-9]{3,}")
# Of a list: tens of thousands of jobs are no file that people read.
ROWS: Final = 500
_LONG: Final = 9  # digits, from which on a number may be personal
_LONG_IN_MESSAGE: Final = 6
JWT_HEADER: Final = '{"alg":"HS256","typ":"JWT"}'
# Headers that say how an answer is to be read, and the form of their values.
HEADERS: Final = {
    "content-type": re.compile(r"[a-z]+/[a-z.+-]{1,30}(; ?charset=\"?[A-Za-z0-9_-]{1,12}\"?)?"),
    "content-encoding": re.compile(r"gzip|deflate|br|zstd|identity"),
    "allow": re.compile(r"(?:(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)(?:, ?)?){0,7}"),
}
TOKENS: Final = frozenset({"token", "x-auth-token", "x-subject-token", "x-slurm-user-token", "authorization"})
CREDENTIALS: Final = TOKENS | {"accesskey", "signature", "timestamp", "password", "orgid"}
# Paths that no collector has as its own.
PATHS: Final = (
    *("/api/user/v3/tokens", "/v3/auth/tokens", "/ac/openapi/v2/tokens", "/ac/openapi/v2/tokens/next"),
    *("/ac/openapi/v2/center", "/ac/openapi/v2/groupmembers", "/ac/openapi/v2/jobs/history/page-list"),
    *(f"/slurm/{{version}}/{name}/" for name in ("jobs", "jobs/state", "partitions", "nodes")),
)


class StandIns:
    """The stand-ins of one capture; `key` makes those of ids and jobs."""

    def __init__(self, key: bytes, *, keep_job_names: bool = False) -> None:
        self._key = key
        self._keep_job_names = keep_job_names
        self._known: dict[tuple[str, str], str] = {}
        self._counts = Counter[str]()
        self._taken: set[str] = set()
        # Names of users, persons, groups and accounts.
        self._names: dict[str, str] = {}
        paths = {urlsplit(each.path).path for each in registry().values() if each.per.section != "slurm"}
        self._paths = [_template(path) for path in sorted({*paths, *PATHS}, key=len, reverse=True)]
        self._fields = {*_fields(msgspec.Struct), "code", "msg", "message", "data", "list", "total", "token", "errors"}

    def of(self, kind: str, value: str) -> str:
        """Return the stand-in of a value: its kind and a number, of a job a hash."""
        if not value:
            return value
        if (kind, value) not in self._known:
            self._counts[kind] += 1
            name = hmac.digest(self._key, value.encode(errors="replace"), "sha256").hex()[:8]
            self._known[kind, value] = f"{kind}-{name if kind == 'job' else self._counts[kind]}"
            if kind in ("user", "person", "group", "account"):
                self._names[value.casefold()] = self._known[kind, value]
        return self._known[kind, value]

    def id_of(self, text: str) -> str:
        """Return an id of the same form and length; of one that is a number what has no three digits in a row stays."""
        if _ID.fullmatch(text):
            return _DIGITS.sub(lambda digits: self._digits(digits[0]), text)
        made = hmac.digest(self._key, text.encode(errors="replace"), "sha512").hex() * (len(text) // 128 + 1)
        return "".join(_of_the_same_kind(*pair) for pair in zip(text, made, strict=False))

    def _digits(self, digits: str) -> str:
        """Return as many other digits, which stand in for no others as long as there are some left."""
        if ("id", digits) not in self._known:
            made = ""
            for attempt in range(1000):
                made = str(int(hmac.digest(self._key, f"{attempt}/{digits}".encode(), "sha256").hex(), 16))[
                    : len(digits)
                ]
                if made not in self._taken:
                    break
            self._known["id", digits] = made
            self._taken.add(made)
        return self._known["id", digits]

    # Requests and answers.

    def target(self, url: str) -> str:
        """Return path and query of a request, as they are below the configured address."""
        parts = urlsplit(url)
        path = next((self._filled(*found) for found in self._matches(parts.path)), None)
        if path is None:
            path = "/".join(map(self._segment, parts.path.split("/")))
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        query = "&".join(f"{self._name(name)}={quote(str(self.value(value, name)), safe='')}" for name, value in pairs)
        return f"{path}?{query}" if query else path

    def _matches(self, path: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        for template, pattern in self._paths:
            if found := pattern.search(path):
                yield template, found.groupdict()

    def _filled(self, template: str, values: Mapping[str, str]) -> str:
        def of(name: str, value: str) -> str:
            if name in ("list", "version"):
                return value if re.fullmatch(r"[a-z-]{1,20}|v[0-9.]{1,8}", value) else self.of("text", value)
            return quote(self.text(unquote(value), _plain_key(name), {}), safe="")

        return template.format(**{name: of(name, value) for name, value in values.items()})

    def _segment(self, segment: str) -> str:
        text = unquote(segment)
        if not text or text in ("hpc", "ac", "efile", "ai", "eshell"):
            return segment
        return self.id_of(text) if text.isdecimal() else quote(self.of("text", text), safe="")

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return headers that say how an answer is to be read; of those with credentials the name."""
        kept = {}
        for name, value in headers.items():
            if name.lower() in CREDENTIALS:
                kept[name] = self.token(value)
            elif name.lower() in ("user", "x-slurm-user-name"):
                kept[name] = self.of("user", value)
            elif name.lower() in ("date", "retry-after"):
                kept[name] = (
                    value if value.isdecimal() and len(value) < _LONG else _date(value) or self.of("text", value)
                )
            elif (form := HEADERS.get(name.lower())) is not None:
                kept[name] = value if form.fullmatch(value) else self.of("text", value)
        return kept

    def token(self, token: str) -> str:
        """Return the stand-in of a credential: of a JWT one with stand-ins in its claims."""
        parts = token.strip().split(".")
        if len(parts) == 3:  # noqa: PLR2004 - header, claims, signature
            try:
                claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
                made = self._encoded(json.dumps(self.value(claims)))
            except (ValueError, RecursionError):
                return self.of("token", token)
            return f"{self._encoded(JWT_HEADER)}.{made}.{self.of('signature', parts[2])}"
        return self.of("token", token)

    @staticmethod
    def _encoded(text: str) -> str:
        """Return JSON as a part of a token. The blank keeps it from being taken for the part of a real one."""
        return base64.urlsafe_b64encode(f" {text}".encode()).rstrip(b"=").decode()

    # Values.

    def value(self, value: Any, key: str = "", beside: Mapping[str, Any] | None = None) -> Any:
        """Return any JSON value with stand-ins; `key` is that which it stands under, `beside` what stands beside it."""
        match value:
            case dict():
                # Slurm has some numbers in objects: what they are says the key of these.
                return {
                    self._name(name): self.value(each, key if name == "number" else name, value)
                    for name, each in value.items()
                }
            case list():
                return [self.value(each, key, beside) for each in value[:ROWS]]
            case str():
                return self.text(value, _plain_key(key), beside or {})
            case int() | float() if not isinstance(value, bool):
                return self._number(value, _plain_key(key))
        return value

    def _number(self, value: float, key: str) -> float | None:
        if not math.isfinite(value):
            return None
        text = f"{value:.0f}"
        return type(value)(self.id_of(text)) if self._personal(text, key) else value

    def _name(self, name: str) -> str:
        """Return a key; one that is no word of an API may be a name or an id."""
        if name in self._fields:
            return name
        if name.isdecimal():
            return self.id_of(name)
        plain = _KEY.fullmatch(name) and not resembles_secret(name)
        return self._names.get(name.casefold()) or (name if plain else self.of("key", name))

    @staticmethod
    def _personal(number: str, key: str) -> bool:
        """Whether a number may be an id or that of a telephone: by its key, or because it is long."""
        digits = number.lstrip("+-").partition(".")[0].removesuffix("%")
        if not digits.isdecimal():
            return False
        if KINDS.get(key) == "id" or _PERSONAL.search(key) or PHONE.fullmatch(digits):
            return True
        return len(digits) >= _LONG and not _AMOUNT.search(key)

    def text(self, text: str, key: str, beside: Mapping[str, Any]) -> str:
        """Return the stand-in of a text; `key` is in lower case without signs."""
        kind = KINDS.get(key, "")
        if key == "name":
            kind = next((kind for kind, keys in NAMED.items() if keys & beside.keys()), "")
        if key == "token" or text.startswith("eyJ"):
            return self.token(text)
        if kind == "id" or (_PERSONAL.search(key) and _ID.fullmatch(text)):
            return self.id_of(text)
        if kind in ("user", "person", "group", "job"):
            return text if kind == "job" and self._keep_job_names else self.of(kind, text)
        if (plain := self._plain(text, key)) is not None:
            return plain
        of_kind = {"name": self._kept_name, "word": self._word, "message": self._message, "amounts": self._amounts}
        return of_kind[kind](text) if kind in of_kind else self.of("text", text)

    def _plain(self, text: str, key: str) -> str | None:
        """Return a text whose form says what it is, with stand-ins in it; None for any other."""
        if _NUMBER.fullmatch(text) and self._personal(text, key):
            return re.sub(r"[0-9]+", lambda part: self.id_of(part[0]), text)
        if _NUMBER.fullmatch(text) or _TIME.fullmatch(text) or text.strip().lower() in _SAYS_NOTHING:
            return text
        if (url := _URL.fullmatch(text)) is not None:
            # Another host, and of the path the words of the API.
            path = "/".join(map(self._segment, url["path"].split("/")))
            return f"https://{self.of('host', url['host'])}.example{path}"
        if text.startswith("/"):
            return f"/{self.of('path', text)}"
        return self._nested(text) if text[0] in "{[" else None

    def _nested(self, text: str) -> str | None:
        """Return JSON in a text with stand-ins; None where it is none."""
        try:
            return json.dumps(self.value(json.loads(text)), ensure_ascii=False)
        except (ValueError, RecursionError):
            return None

    def _renamed(self, text: str) -> str:
        """Return a text with stand-ins for the names that are known; shorter ones are parts of words."""
        folded = text.casefold()
        for name in sorted((name for name in self._names if name in folded), key=len, reverse=True):
            if name.isascii() and len(name) > 2 and name not in VOCABULARY:  # noqa: PLR2004
                text = re.sub(
                    rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", self._names[name], text, flags=re.IGNORECASE
                )
            elif not name.isascii() and len(name) > 1:
                text = re.sub(re.escape(name), self._names[name], text, flags=re.IGNORECASE)
        return text

    def _kept_name(self, text: str) -> str:
        """Return the name of a queue, scheduler or region."""
        text = self._renamed(redact(text))
        if not _NAME.fullmatch(text) or resembles_secret(text):
            return self.of("text", text)
        return _DIGITS.sub(lambda found: self.id_of(found[0]) if len(found[0]) >= _LONG_IN_MESSAGE else found[0], text)

    def _amounts(self, text: str) -> str:
        kept = _AMOUNTS.fullmatch(text) and not resembles_secret(text) and self._renamed(text) == text
        return text if kept else self.of("text", text)

    def _word(self, text: str) -> str:
        known = _WORD.fullmatch(text) and not resembles_secret(text)
        return self._renamed(text) if known else self._message(text)

    def _message(self, text: str) -> str:
        """Return the words that any service says; others may be names."""
        text = _FOREIGN.sub(self._foreign, self._renamed(redact(text)))
        return _CHUNK.sub(
            lambda chunk: self._chunk(chunk[0].rstrip(".:")) + chunk[0][len(chunk[0].rstrip(".:")) :], text
        )

    def _chunk(self, chunk: str) -> str:
        if len(chunk) < 2 or chunk.lower() in VOCABULARY or _STAND_IN.fullmatch(chunk):  # noqa: PLR2004
            return chunk
        if chunk.isdecimal():
            return self.id_of(chunk) if len(chunk) >= _LONG_IN_MESSAGE or ("id", chunk) in self._known else chunk
        return chunk if _TIME.fullmatch(chunk) else self.of("text", chunk)

    def _foreign(self, run: re.Match[str]) -> str:
        """Return a run of Chinese with stand-ins for all but common phrases."""
        pieces = _PHRASES.split(run[0])
        return "".join(
            piece if at % 2 or not any(map(str.isalnum, piece)) else f" {self.of('text', piece)} "
            for at, piece in enumerate(pieces)
        )


def _plain_key(key: str) -> str:
    return re.sub(r"[_-]", "", key).lower()


def _date(value: str) -> str:
    """Return a date of HTTP, or nothing where it is none."""
    try:
        return parsedate_to_datetime(value).strftime("%a, %d %b %Y %H:%M:%S GMT")
    except (ValueError, OverflowError):
        return ""


def _fields(struct: type[msgspec.Struct]) -> Iterable[str]:
    """Yield the names of the fields that the exporter reads of answers."""
    for each in struct.__subclasses__():
        if each.__module__.startswith("exporter.sources."):
            yield from (field.encode_name for field in msgspec.structs.fields(each))
        yield from _fields(each)


def _template(path: str) -> tuple[str, re.Pattern[str]]:
    """Return a path of the API, and what it looks like at the end of that of a request."""
    return path, re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path)) + "$")


def _of_the_same_kind(character: str, chosen: str) -> str:
    """Return a digit for a digit, a letter for a letter, and anything else as it is."""
    number = int(chosen, 16)
    if character.isdecimal():
        return str(number % 10)
    if character.isalpha():
        return "abcdefghijklmnop"[number].upper() if character.isupper() else "abcdefghijklmnop"[number]
    return character
