"""Discovery of the regions and groups of an account, for its configuration.

Sources: the pages 获取授权区域 (center) and 查询集群信息 (cluster). Groups and their members: ``GET
/ac/openapi/v2/groupmembers`` with the platform's token. Its columns are known from one public client only, and whether a
member's row names the region's user is open: ``clusterUserName`` is used where it is there, else ``userName``.
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from exporter.config import InlineSecret
from exporter.errors import (
    DecodeError,
    PollError,
    RecordError,
    UntrustedCertificateError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.http import Endpoint, Login, Response, StaticToken, TokenProvider, Upstream, excerpt
from exporter.sources.decoding import list_of, raw_rows, read_each, read_row, readable
from exporter.sources.scnet.api import open_envelope
from exporter.sources.scnet.login import RegionToken, read_login
from exporter.sources.scnet.schedulers import Scheduler, ask_schedulers
from exporter.sources.values import NULL, UNREADABLE, Id, Name, as_id
from exporter.text import Text

CENTER: Final = "center"
GROUPS: Final = "groups"
GROUPS_PATH: Final = "/ac/openapi/v2/groupmembers"
# The next address of a region may do where one fails in these ways.
UNREACHABLE = (UpstreamConnectionError, UpstreamTimeoutError, UntrustedCertificateError)


class WireUrl(msgspec.Struct, gc=False):
    """``enable`` is met as text in any case, as a boolean and as 1; where it is missing the address is usable."""

    url: str
    enable: Any = None

    @property
    def enabled(self) -> bool:
        return self.enable is None or str(self.enable).strip().lower() in ENABLED


ENABLED = ("true", "1", "1.0")


class WireUser(msgspec.Struct, gc=False, rename="camel"):
    user_name: Any = None


class WireCenter(msgspec.Struct, gc=False, rename="camel"):
    """An address that cannot be read costs no other."""

    name: Any = None
    cluster_user_info: WireUser | None = None
    hpc_urls: list[msgspec.Raw] | None = None


_center = msgspec.json.Decoder(WireCenter | list[WireCenter])
_url = msgspec.json.Decoder(WireUrl)


@dataclass(frozen=True, slots=True)
class Center:
    """A region as its account sees it; what is not known is empty."""

    name: str
    user: str
    hpc_urls: tuple[str, ...]


class WireMember(msgspec.Struct, rename="camel"):
    """A person's ``fullName`` comes along and is not read."""

    user_name: Name = Name("")
    cluster_user_name: Name = Name("")


class WireGroup(WireMember, rename="camel"):
    """Without ``groupUsersInfos`` the row itself is a member."""

    group_id: Id = Id("")
    group_display_name: Name = Name("")
    cluster_id: Id | None = None
    group_users_infos: msgspec.Raw = NULL


@dataclass(frozen=True, slots=True)
class Group:
    """A group in one region; `cluster_id` is empty where its row names none.

    `members` are scheduler users, in the order of the answer; those in `by_login` are known by their platform login
    only.
    """

    cluster_id: str
    group_id: str
    name: str
    members: tuple[str, ...]
    by_login: frozenset[str] = frozenset()


class Groups(tuple[Group, ...]):  # noqa: SLOT001 - a tuple has no room for them
    """Groups; `rejected` counts the rows of groups and members that could not be read: so some may be missing."""

    rejected = 0


def read_groups(response: Response) -> Groups:
    """Return the groups in an answer; rows that cannot be read are left out.

    Raises PollError, also where none can be read.
    """
    data = open_envelope(response)
    rows, rejected = read_each(data, raw_rows(data), _read_group)
    found: dict[tuple[str, str], tuple[str, dict[str, bool]]] = {}
    for row, members, _ in rows:
        key = str(row.cluster_id or ""), str(row.group_id)
        known = found.setdefault(key, (str(row.group_display_name), {}))[1]
        for member in members:
            user = str(member.cluster_user_name).strip() or str(member.user_name).strip()
            if user:
                known[user] = known.get(user, True) and not member.cluster_user_name.strip()
    groups = Groups(
        Group(*key, name, tuple(members), frozenset(user for user, by_login in members.items() if by_login))
        for key, (name, members) in found.items()
    )
    groups.rejected = rejected + sum(unread for *_, unread in rows)
    return groups


def _read_group(raw: msgspec.Raw) -> tuple[WireGroup, list[WireMember], int]:
    """Return a row, its members, and how many of these could not be read.

    Raises RecordError for one without a usable id, or none of whose members can be read.
    """
    row = read_row(raw, WireGroup)
    if not row.group_id:
        raise RecordError("a group without an id")
    try:
        infos = list_of(row.group_users_infos)
    except DecodeError:
        raise RecordError(f"its members are no list: {excerpt(bytes(row.group_users_infos))}") from None
    if not infos:
        return row, [row], 0
    read = readable(infos, lambda info: read_row(info, WireMember))
    members = [member for member in read if member.user_name.strip() or member.cluster_user_name.strip()]
    if not members:
        raise RecordError("none of its members can be read")
    return row, members, len(infos) - len(read)


@dataclass(frozen=True, slots=True)
class Found:
    """A region with all that could be asked about it; `problem` says why something is missing."""

    cluster_id: str
    name: str
    user: str = ""
    hpc_url: str = ""
    schedulers: tuple[Scheduler, ...] = ()
    problem: str = ""
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Discovery:
    """The regions of an account.

    `groups_problem` says why its groups are not known, and `elsewhere` are those of no region here.
    """

    regions: list[Found]
    groups_problem: str = ""
    elsewhere: tuple[Group, ...] = ()


def read_center(response: Response) -> Center:
    """Return the region in the answer to ``center``. Raises PollError."""
    data = open_envelope(response)
    try:
        answer = _center.decode(data)
    except UNREADABLE:
        said = excerpt(bytes(data))
        raise DecodeError(
            Text(f"the answer does not describe a region: {said}", f"响应中没有区域信息：{said}")
        ) from None
    if isinstance(answer, list):
        if not answer:
            raise DecodeError(Text("the answer describes no region", "响应中没有任何区域"))
        answer = answer[0]
    user = answer.cluster_user_info.user_name if answer.cluster_user_info else None
    return Center(as_id(answer.name) or "", as_id(user) or "", tuple(enabled(answer.hpc_urls or [])))


def enabled(rows: list[msgspec.Raw]) -> Iterator[str]:
    """Yield the addresses of HTTP that are in use, without the ``/hpc`` that their paths begin with."""
    for row in rows:
        try:
            url = _url.decode(row)
        except UNREADABLE:
            continue
        if url.enabled and re.match("https?://", url.url.strip(), re.IGNORECASE):
            yield re.sub("(?<=[^/:])/+hpc$", "", url.url.strip().rstrip("/")).rstrip("/")


async def discover(upstream: Upstream, login: Login, ac_url: str, now: float) -> Discovery:
    """All regions of the account, by id, with its groups there. Raises PollError where the login itself fails."""
    answer = await upstream.call(login.request(now), read_login)
    regions = sorted(answer.regions.values(), key=lambda region: region.cluster_id)
    # Simultaneously: a region that hangs costs its own time only.
    (groups, problem), found = await asyncio.gather(
        find_groups(upstream, answer.platform, ac_url),
        asyncio.gather(*(find(upstream, region, ac_url) for region in regions)),
    )
    of_region = {region.cluster_id: [each for each in groups if belongs(each, region, regions)] for region in regions}
    placed = {group for of in of_region.values() for group in of}
    return Discovery(
        [replace(region, groups=tuple(of_region[region.cluster_id])) for region in found],
        problem,
        tuple(group for group in groups if group not in placed),
    )


def belongs(group: Group, region: RegionToken, regions: list[RegionToken]) -> bool:
    """Whether a group is one of a region: it says so, or says nothing while there is no other region."""
    return group.cluster_id == region.cluster_id or (not group.cluster_id and len(regions) == 1)


async def find_groups(upstream: Upstream, token: str | None, ac_url: str) -> tuple[tuple[Group, ...], str]:
    """Return the groups that the platform's token sees, and why some are missing where that is known; never fails."""
    if token is None:
        return (), "the login gives no token of the platform itself"
    try:
        groups = await ask_groups(upstream, StaticToken(InlineSecret(token, "the login")), ac_url)
    except PollError as error:
        return (), str(error)
    return groups, f"{groups.rejected} rows of their list could not be read" if groups.rejected else ""


async def ask_groups(upstream: Upstream, tokens: TokenProvider, ac_url: str) -> Groups:
    """Return the groups and members that a platform token sees. Raises PollError."""
    return await Endpoint(upstream, tokens, GROUPS, f"{ac_url}{GROUPS_PATH}").get(read_groups)


async def find(upstream: Upstream, region: RegionToken, ac_url: str) -> Found:
    """Discover one region; never fails."""
    if region.token is None:
        problem = "its token cannot be sent" if region.unsendable else "the account is disabled in this region"
        return Found(region.cluster_id, region.cluster_name, problem=problem)
    tokens = StaticToken(InlineSecret(region.token, "the login"))
    try:
        center = await ask_center(upstream, tokens, ac_url)
    except PollError as error:
        return Found(region.cluster_id, region.cluster_name, problem=str(error))
    name = center.name or region.cluster_name
    problem, address = "it has no HPC address that is enabled", ""
    for hpc_url in center.hpc_urls:
        try:
            found = await ask_schedulers(upstream, tokens, hpc_url)
        except PollError as error:
            if not address:
                problem, address = f"its schedulers could not be read: {error}", hpc_url
            if not isinstance(error, UNREACHABLE):
                break
        else:
            return Found(region.cluster_id, name, center.user, hpc_url, tuple(found))
    return Found(region.cluster_id, name, center.user, address, problem=problem)


async def ask_center(upstream: Upstream, tokens: TokenProvider, ac_url: str) -> Center:
    """Ask with a region's token: with the platform's own the answer is an internal error."""
    return await Endpoint(upstream, tokens, CENTER, f"{ac_url}/ac/openapi/v2/center").get(read_center)
