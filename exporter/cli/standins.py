"""Stand-ins for all that a captured answer must not show: the same value has the same one everywhere.

Nothing is kept because it looks harmless: text stays only under keys whose values are words of the API, and where it is a number,
a time or empty. Ids keep their form and their length.
"""

import base64
import hmac
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from exporter.redaction import redact, resembles_secret
from exporter.sources.collector import registry

USERS: Final = frozenset({"username", "clusterusername", "computeuser", "user", "owner", "jobowner", "strjobowner"})
PERSONS: Final = frozenset({"fullname", "accountname", "realname", "name_of_person"})
GROUPS: Final = frozenset({"groupdisplayname", "groupname", "account"})
IDS: Final = frozenset({"id", "userid", "groupid", "clusterid", "jobid", "jobmanagerid", "strjobid", "orgid"})
SCHEDULERS: Final = frozenset({"strclusteridlist", "strclusternamelist", "strjobmanagerid", "clusterids"})
JOB_NAMES: Final = frozenset({"jobname", "job_name"})
# Values of these are words of the API, or names of queues, schedulers and regions.
WORDS: Final = frozenset(
    {
        *(
            "code",
            "msg",
            "message",
            "metricname",
            "status",
            "jobstate",
            "jobstatus",
            "state",
            "accountstatus",
            "reason",
        ),
        *(
            "jobmanagertype",
            "jobmanagername",
            "enable",
            "version",
            "queue",
            "queuename",
            "text",
            "partition",
            "grouprole",
        ),
        *("clustername", "computercenter", "role", "timetype", "sort", "queue_type", "cluster_type", "job_type"),
        *("processor", "resource_spec", "isquerybyqueuetime", "alg", "typ"),
    }
)
KINDS: Final = (("user", USERS), ("person", PERSONS), ("group", GROUPS), ("job", JOB_NAMES))
SAYS_NOTHING: Final = frozenset({"", "true", "false", "none", "null"})
_NUMBER: Final = re.compile(r"[-+]?[0-9]*\.?[0-9]+%?|--?|N/A", re.IGNORECASE)
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.+Z-]*)?|([0-9]+-)?[0-9]{1,3}:[0-9]{2}(:[0-9]{2})?")
_WORDS: Final = re.compile(r"[\w .,:;%()\[\]【】|+-]{0,80}")
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,40}")
_PATH: Final = re.compile(r"(?:/[\w.~-]+){2,}")
# An id, with what Slurm adds to those of arrays.
_ID: Final = re.compile(r"[0-9_\[\](),.%: -]*")
_HEADER: Final = re.compile(r"[A-Za-z0-9 ,:;=/+.-]{0,60}")
_DIGITS: Final = re.compile(r"[0-9]{3,}")
# Unix seconds and milliseconds of our years.
_MOMENT: Final = re.compile(r"(1[5-9]|2[0-2])[0-9]{8}([0-9]{3})?")
_LONG_NUMBER: Final = 9  # digits, from which on a number may be that of a telephone
JWT_HEADER: Final = '{"alg":"HS256","typ":"JWT"}'
HEADERS: Final = frozenset({"content-type", "date", "retry-after", "content-encoding", "allow"})
TOKENS: Final = frozenset({"token", "x-auth-token", "x-subject-token", "x-slurm-user-token", "authorization"})


class StandIns:
    """The stand-ins of one capture; `key` makes those of ids."""

    def __init__(self, key: bytes, *, keep_job_names: bool = False) -> None:
        self._key = key
        self._keep_job_names = keep_job_names
        self._known: dict[tuple[str, str], str] = {}
        self._counts = Counter[str]()
        self._taken: set[str] = set()
        paths = [each.path for each in registry().values()]
        words = {word for path in paths for word in urlsplit(path).path.split("/")}
        more = "api user v3 auth tokens next state center groupmembers history page-list"
        self._segments = {word for word in words if "{" not in word} | set(more.split())

    def of(self, kind: str, value: str) -> str:
        """Return the stand-in of a value: its kind and a number."""
        if not value or re.fullmatch(rf"{kind}-[0-9]+", value):
            return value
        if (kind, value) not in self._known:
            self._counts[kind] += 1
            self._known[kind, value] = f"{kind}-{self._counts[kind]}"
        return self._known[kind, value]

    def id_of(self, text: str) -> str:
        """Return an id of the same form and length; of one that is a number what has no three digits in a row stays."""
        if _ID.fullmatch(text):
            return _DIGITS.sub(lambda digits: self._digits(digits[0]), text)
        made = hmac.digest(self._key, text.encode(), "sha512").hex() * (len(text) // 128 + 1)
        return "".join(_of_the_same_kind(*pair) for pair in zip(text, made, strict=False))

    def _digits(self, digits: str) -> str:
        known = self._known.get(("id", digits))
        attempt = 0
        while known is None:
            made = hmac.digest(self._key, f"{attempt}/{digits}".encode(), "sha256").hex()
            number = str(int(made, 16))[: len(digits)]
            if (number not in self._taken and number[0] != "0") or attempt > 1000:  # noqa: PLR2004 - all may be taken
                known = number
            attempt += 1
        self._known["id", digits] = known
        self._taken.add(known)
        return known

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return headers that say how an answer is to be read; of those with credentials the name."""
        kept = {}
        for name, value in headers.items():
            if name.lower() in HEADERS:
                kept[name] = value if _HEADER.fullmatch(value) else self.of("text", value)
            elif name.lower() in TOKENS or name in ("user", "accessKey", "signature", "timestamp", "password", "orgId"):
                kept[name] = self.of("user", value) if name == "user" else self.token(value)
        return kept

    def token(self, token: str) -> str:
        """Return the stand-in of a credential: of a JWT one with stand-ins in its claims."""
        parts = token.strip().split(".")
        if len(parts) == 3:  # noqa: PLR2004 - header, claims, signature
            try:
                claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
                made = self._encoded(json.dumps(self.value(claims)))
            except ValueError:
                return self.of("token", token)
            return f"{self._encoded(JWT_HEADER)}.{made}.{self.of('signature', parts[2])}"
        return self.of("token", token)

    @staticmethod
    def _encoded(text: str) -> str:
        """Return JSON as a part of a token. The blank keeps it from being taken for the part of a real one."""
        return base64.urlsafe_b64encode(f" {text}".encode()).rstrip(b"=").decode()

    def value(self, value: Any, key: str = "", beside: Mapping[str, Any] | None = None) -> Any:
        """Return any JSON value with stand-ins; `key` is that which it stands under, `beside` what stands beside it."""
        match value:
            case dict():
                return {self._name(name): self.value(each, name, value) for name, each in value.items()}
            case list():
                return [self.value(each, key, beside) for each in value]
            case bool() | None:
                return value
            case str():
                return self.text(value, key.lower(), beside or {})
            case int() if key.lower() in IDS or self._telephone(str(value)):
                return int(self.id_of(str(value)))
        return value

    def _name(self, name: str) -> str:
        """Return a key; one that is no word of an API may be a name or an id."""
        if name.isdecimal():
            return self.id_of(name)
        known = next((stand_in for (_, value), stand_in in self._known.items() if value == name), "")
        plain = _KEY.fullmatch(name) and not resembles_secret(name)
        return known or (name if plain else self.of("key", name))

    @staticmethod
    def _telephone(text: str) -> bool:
        digits = text.lstrip("-")
        return digits.isdecimal() and len(digits) >= _LONG_NUMBER and not _MOMENT.fullmatch(digits)

    def text(self, text: str, key: str, beside: Mapping[str, Any]) -> str:
        """Return the stand-in of a text under a key in lower case."""
        if key == "token" or text.startswith("eyJ"):
            return self.token(text)
        if key in IDS | SCHEDULERS:
            return self.id_of(text)
        kind = next((kind for kind, keys in KINDS if key in keys), "")
        if key == "name" and {"status", "jobStatus", "jobState"} & beside.keys():
            kind = "job"
        if kind:
            return text if kind == "job" and self._keep_job_names else self.of(kind, text)
        plain = self._plain(text)
        if plain is not None:
            return plain
        is_word = key in WORDS or (key == "name" and {"values", "y", "clusterUserInfo"} & beside.keys())
        return self._words(text) if is_word else self.of("text", text)

    def _plain(self, text: str) -> str | None:
        """Return a text whose form says what it is, with stand-ins in it; None for any other."""
        if self._telephone(text):
            return self.id_of(text)
        if _TIME.fullmatch(text) or _NUMBER.fullmatch(text) or text.strip().lower() in SAYS_NOTHING:
            return text
        if "://" in text:
            return self.address(text)
        if text.startswith("/"):
            return f"/{self.of('path', text)}"
        return self._nested(text) if text[0] in "{[" else None

    def _nested(self, text: str) -> str:
        """Return JSON in a text with stand-ins."""
        try:
            return json.dumps(self.value(json.loads(text)), ensure_ascii=False)
        except ValueError:
            return self.of("text", text)

    def _words(self, text: str) -> str:
        """Return words of the API, without identities and numbers that may come along."""
        text = redact(text)
        for (kind, value), stand_in in self._known.items():
            if kind not in ("id", "text") and len(value) > 2:  # noqa: PLR2004 - shorter ones are parts of words
                text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", stand_in, text)
        text = _PATH.sub(lambda path: f"/{self.of('path', path[0])}", text).replace("/path-", "path-")
        text = _DIGITS.sub(lambda digits: self.id_of(digits[0]) if self._telephone(digits[0]) else digits[0], text)
        return text if _WORDS.fullmatch(text) and not resembles_secret(text) else self.of("text", text)

    def address(self, url: str) -> str:
        """Return the stand-in of a URL: another host, and of its path the words of the API."""
        parts = urlsplit(url)
        path = "/".join(self._segment(segment) for segment in parts.path.split("/"))
        return f"https://{self.of('host', parts.netloc)}.example{path}"

    def target(self, url: str) -> str:
        """Return path and query of a request."""
        parts = urlsplit(url)
        path = "/".join(self._segment(segment) for segment in parts.path.split("/"))
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        query = "&".join(f"{self._name(name)}={quote(str(self.value(value, name)), safe='')}" for name, value in pairs)
        return f"{path}?{query}" if query else path

    def _segment(self, segment: str) -> str:
        text = unquote(segment)
        if not text or text in self._segments or text in ("hpc", "ac", "efile", "ai", "eshell"):
            return segment
        return self.id_of(text) if text.isdecimal() else quote(self.of("user", text), safe="")


def _of_the_same_kind(character: str, chosen: str) -> str:
    """Return a digit for a digit, a letter for a letter, and anything else as it is."""
    number = int(chosen, 16)
    if character.isdecimal():
        return str(number % 10)
    if character.isalpha():
        return "abcdefghijklmnop"[number].upper() if character.isupper() else "abcdefghijklmnop"[number]
    return character
