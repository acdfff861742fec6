"""Groups of an account and their members, as the platform knows them.

Source: ``GET /ac/openapi/v2/groupmembers`` with the platform's token. Its columns are known from one public client
only, and whether a member's row names the region's user is open: ``clusterUserName`` is used where it is there, else
``userName``.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from exporter.errors import DecodeError, RecordError
from exporter.http import Response, excerpt
from exporter.sources.collector import list_of, raise_if_all_rejected, raw_rows, read_row
from exporter.sources.scnet.api import open_envelope
from exporter.sources.values import NULL, Id, Name

GROUPS: Final = "groups"
GROUPS_PATH: Final = "/ac/openapi/v2/groupmembers"


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
    found: dict[tuple[str, str], tuple[str, dict[str, bool]]] = {}
    rows, rejected, lost = 0, 0, 0
    for raw in raw_rows(data):
        try:
            row, members, unread = _read(raw)
        except RecordError:
            rejected += 1
            continue
        rows += 1
        lost += unread
        key = str(row.cluster_id or ""), str(row.group_id)
        known = found.setdefault(key, (str(row.group_display_name), {}))[1]
        for member in members:
            user = str(member.cluster_user_name).strip() or str(member.user_name).strip()
            if user:
                known[user] = known.get(user, True) and not member.cluster_user_name.strip()
    raise_if_all_rejected(range(rows), rejected, data)
    groups = Groups(
        Group(*key, name, tuple(members), frozenset(user for user, by_login in members.items() if by_login))
        for key, (name, members) in found.items()
    )
    groups.rejected = rejected + lost
    return groups


def _read(raw: msgspec.Raw) -> tuple[WireGroup, list[WireMember], int]:
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
    members, unread = list[WireMember](), 0
    for info in infos:
        try:
            member = read_row(info, WireMember)
        except RecordError:
            unread += 1
            continue
        if member.user_name.strip() or member.cluster_user_name.strip():
            members.append(member)
    if not members:
        raise RecordError("none of its members can be read")
    return row, members, unread
