"""The reference of the configuration in Markdown, made of its models and of the texts and examples beside this file."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from exporter.config.model import OR_NAME, Account, Config
from exporter.config.section import Section
from exporter.config.values import Bounds
from exporter.metrics.family import Text
from exporter.sources.collector import Collector, registry

Language = Literal["en", "zh"]
FOLDER: Final = Path(__file__).parent

# Already code; YAML, paths of addresses, names of keys and metrics, of labels, and words of the APIs.
_CODE: Final = re.compile(
    r"`[^`]*`|\{[^}]*\}|(?<![\w:/])/(?:metrics|hpc|ac)\b|\b(?:[a-z]+(?:_[a-z]+)+|url)\b"
    r"|(?<=[Ll]abel )\w+|(?<=标签 )\w+|\b(?:PROCESSOR|INTERNAL|RESIM|CCE|MODELARTS)\b"
)
_COLUMNS: Final = Text("key | value | default | meaning", "键 | 值 | 默认 | 含义")
_BOUNDS: Final = Text("{}, `{}` to `{}`", "{}，`{}` 到 `{}`")
_LIST_OF: Final = Text("list: {}", "列表：{}")
_REQUIRED: Final = Text("required", "必填")
_SECTION: Final = Text("see {}", "见 {}")
_NAME_OR_SECTION: Final = Text("list: name, or see {}", "列表：名字，或见 {}")
_ALSO: Final = Text("Also {}, with the same keys.", "{} 的键与此相同。")
_EXACTLY_ONE: Final = Text("Exactly one of {}.", "{} 必须写一个，且只能写一个。")
_AT_MOST_ONE: Final = Text("At most one of {}.", "{} 最多写一个。")
_EITHER: Final = Text(
    "Either {}, or {}: those of the one do not go with those of the other.",
    "要么用 {}，要么用 {}：两组不能混用。",
)
_COLLECTORS: Final = Text("Collectors", "采集项")
_ABOUT_COLLECTORS: Final = Text(
    "The values of `collect`. A collector requests one endpoint in one way. Those that are not on by default are "
    "optional: if a region answers 404 or 405, the endpoint is not there, and is requested again once an hour.",
    "`collect` 可以写的名字。一个采集项以一种方式请求一个接口。默认不启用的采集项是可选的：区域返回 404 或 405 "
    "表示没有这个接口，之后每小时再请求一次。",
)
_ABOUT_LISTS: Final = Text(
    "The jobs of a region come from one of three lists. `member_jobs` requests the jobs of each member, needs a group's "
    "administrator and has no times. `live_jobs` requests those of all members in all regions of an `account` in one list, page by "
    "page, with the platform's token: tens of requests a minute become a few. All regions of the account depend on that list, but "
    "each has a target of its own, so that it goes stale and recovers independently; those with the same interval are polled "
    "together. It shows the configured `members`; without any, all users in the list, with an empty group. If the platform rejects "
    "requests for the jobs of the account's groups, or silently omits them, a warning says so and the jobs of the account's own user "
    "remain. Omissions are checked for while no region has jobs of several users: the own lists of up to five members are "
    "requested, once an hour; if one has jobs that are missing from the list, or may not be read, members without jobs in the list "
    "are absent, otherwise 0. `own_jobs` requests the jobs of "
    "each token's own user, without an administrator: of resources it has only cores, and the group is empty. Users need "
    "tokens of their own there, except for one, who has the region's. Times without a zone are read in `tracking.time_zone`.",
    "一个区域的作业来自三种列表之一。`member_jobs` 逐个请求成员的作业，需要组管理员，不提供时间。`live_jobs` 用平台令牌分页请求"
    "一个 `account` 在所有区域、所有成员的作业，每分钟几十次请求减少到几次。该账号的所有区域都依赖这个列表，但各有自己的目标，"
    "各自过期、各自恢复；轮询间隔相同的区域同时轮询。列出配置的 `members`；没有配置时列出其中的所有用户，组为空。平台拒绝给出账号"
    "所在用户组的作业，或略去而不说明时，会有警告，此时只有账号本人的作业。是否略去，在没有任何区域列出多个用户的作业时检查：每小时一次，"
    "请求最多五名成员各自的列表；其中有该列表没有的作业，或无权读取时，列表中没有作业的成员就没有数据，否则为 0。`own_jobs` 请求每个令牌所属用户自己的作业，不需要管理员：资源只有核数，"
    "组为空；除一名使用区域令牌的用户外，其他用户都要有自己的令牌。不带时区的时间按 `tracking.time_zone` 理解。",
)
_COLLECTOR_COLUMNS: Final = Text(
    "section | collector | default | for each | gives | metrics", "配置 | 采集项 | 默认 | 每个 | 提供 | 指标"
)
_YES, _NO = Text("yes", "是"), Text("no", "否")
_COMMA, _AND = Text(", ", "、"), Text(" and ", " 和 ")


@dataclass(frozen=True)
class Key:
    """One key. `path` is like ``clusters[].users``; `section` is that which it holds, or each item of its list."""

    path: str
    name: str
    text: Text
    value: Text | None
    is_list: bool
    is_required: bool
    default: Any
    bounds: Bounds | None
    section: type[Section] | None
    or_name: bool


@dataclass
class Part:
    """A section, the places where it stands (an empty one for the document itself), and its keys."""

    section: type[Section]
    paths: list[str] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)


def parts() -> dict[type[Section], Part]:
    """Return the document itself and all its sections, in the order in which they come first."""
    found: dict[type[Section], Part] = {}
    _survey(Config, "", found)
    return found


def keys() -> list[Key]:
    """Every key of every section."""
    return [key for part in parts().values() for key in part.keys]


def examples() -> Mapping[str, str]:
    """Return the YAML of an example for each section, by its path."""
    _, *documents = (FOLDER / "examples.yml").read_text(encoding="utf-8").split("--- # ")
    return dict(document.rstrip().split("\n", 1) for document in documents)


def document(language: Language) -> str:
    """Return the whole page."""
    introduction = (FOLDER / f"configuration.{language}.md.in").read_text(encoding="utf-8").strip()
    return "\n\n".join([introduction, *_Page(language).paragraphs()]) + "\n"


def coded(text: str) -> str:
    """`text` with names as code."""
    return _CODE.sub(lambda match: match[0] if match[0][0] == "`" else f"`{match[0]}`", text)


def _survey(section: type[Section], path: str, found: dict[type[Section], Part]) -> None:
    part = found.setdefault(section, Part(section))
    part.paths.append(path)
    if len(part.paths) > 1:
        return
    for name, each in section.model_fields.items():
        key = _key(f"{path}.{name}".lstrip("."), each)
        part.keys.append(key)
        if key.section is not None:
            _survey(key.section, f"{key.path}[]" if key.is_list else key.path, found)


def _key(path: str, of: FieldInfo) -> Key:
    extra = of.json_schema_extra if isinstance(of.json_schema_extra, dict) else {}
    value, marks, is_list = _value(of.annotation, tuple(of.metadata))
    is_section = isinstance(value, type) and issubclass(value, Section)
    bounds = (getattr(mark, "func", None) for mark in marks)
    return Key(
        path=path,
        name=path.rpartition(".")[2],
        text=Text(of.description or "", str(extra["zh"])),
        value=next((mark for mark in reversed(marks) if isinstance(mark, Text)), None),
        is_list=is_list,
        is_required=of.is_required(),
        default=of.default,
        bounds=next((mark for mark in bounds if isinstance(mark, Bounds)), None),
        section=value if is_section else None,
        or_name=OR_NAME in marks,
    )


def _value(kind: Any, marks: tuple[Any, ...], *, is_list: bool = False) -> tuple[Any, tuple[Any, ...], bool]:
    """Return the type of a key or of each item of its list, what it is annotated with, and whether it is a list."""
    inner = get_args(kind)
    if get_origin(kind) is Annotated:
        return _value(inner[0], (*inner[1:], *marks), is_list=is_list)
    if get_origin(kind) in (Union, UnionType):
        return _value(next(choice for choice in inner if choice is not type(None)), marks, is_list=is_list)
    return _value(inner[0], (), is_list=True) if get_origin(kind) is tuple else (kind, marks, is_list)


class _Page:
    def __init__(self, language: Language) -> None:
        self._language = language
        self._parts = parts()
        self._examples = examples()

    def paragraphs(self) -> Iterator[str]:
        for part in self._parts.values():
            yield from self._section(part)
        yield f"## {self._say(_COLLECTORS)}"
        yield self._say(_ABOUT_COLLECTORS)
        yield self._table(_COLLECTOR_COLUMNS, (self._collector(each) for each in registry().values()))
        yield self._say(_ABOUT_LISTS)

    def _say(self, text: Text) -> str:
        said: str = getattr(text, self._language)
        return said

    def _listed(self, texts: list[str] | tuple[str, ...]) -> str:
        *some, last = (f"`{text}`" for text in texts)
        return self._say(_AND).join([self._say(_COMMA).join(some), last] if some else [last])

    def _table(self, columns: Text, rows: Iterator[str]) -> str:
        head = self._say(columns)
        return "\n".join([f"| {head} |", "|" + "---|" * (head.count("|") + 1), *rows])

    def _section(self, part: Part) -> Iterator[str]:
        path, *also = part.paths
        if path:
            yield f"{'###' if '.' in path else '##'} `{path}`"
            yield coded(self._say(part.section.text()))
        if also:
            yield self._say(_ALSO).format(self._listed(also))
        yield self._table(_COLUMNS, map(self._row, part.keys))
        rules = [f"- {rule}" for rule in self._rules(part.section)]
        if rules:
            yield "\n".join(rules)
        if path:
            yield f"```yaml\n{self._examples[path]}\n```"

    def _rules(self, section: type[Section]) -> Iterator[str]:
        for text, groups in ((_EXACTLY_ONE, section.exactly_one), (_AT_MOST_ONE, section.at_most_one)):
            yield from (self._say(text).format(self._listed(names)) for names in groups)
        if section is Account:
            yield self._say(_EITHER).format(self._listed(Account.by_key), self._listed(Account.by_password))

    def _row(self, key: Key) -> str:
        # Keys of the top level have a heading of their own.
        anchor = f'<a id="{key.path.replace("[]", "")}"></a>' if "." in key.path else ""
        cells = (f"{anchor}`{key.name}`", self._value(key), self._default(key), coded(self._say(key.text)))
        return f"| {' | '.join(cells)} |"

    def _default(self, key: Key) -> str:
        if key.is_required:
            return self._say(_REQUIRED)
        if key.default is None or not isinstance(key.default, str | int):
            return ""
        return f"`{key.default if isinstance(key.default, str) else json.dumps(key.default)}`"

    def _value(self, key: Key) -> str:
        """Return the kind of value of a key."""
        if key.section is not None:
            path = self._parts[key.section].paths[0]
            anchor = re.sub(r"[^\w-]", "", path)
            return self._say(_NAME_OR_SECTION if key.or_name else _SECTION).format(f"[`{path}`](#{anchor})")
        assert key.value is not None, f"what is a value of {key.path}?"  # noqa: S101 - a mistake of ours
        value = coded(self._say(key.value))
        if key.bounds is not None:
            value = self._say(_BOUNDS).format(value, key.bounds.low_text, key.bounds.high_text)
        return self._say(_LIST_OF).format(value) if key.is_list else value

    def _collector(self, collector: Collector) -> str:
        cells = (
            f"`{collector.per.section}`",
            f"`{collector.name}`",
            self._say(_YES if collector.default else _NO),
            self._say(collector.per.text),
            self._say(collector.gives),
            self._say(_COMMA).join(f"`{family.name}`" for family in collector.families),
        )
        return f"| {' | '.join(cells)} |"
