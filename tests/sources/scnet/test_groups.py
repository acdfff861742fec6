"""Table: answers to ``groupmembers`` -> groups with their members."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from exporter.errors import DecodeError, PollError
from exporter.http import Response
from exporter.sources.scnet.groups import Group, read_groups

ID = 533686286955839489


def answer(data: Any, code: Any = "0") -> Response:
    body = data if isinstance(data, bytes) else json.dumps({"code": code, "msg": "", "data": data}).encode()
    return Response(200, body, CIMultiDict(), 0.0)


def row(**changes: Any) -> dict[str, Any]:
    whole = {
        "groupId": ID, "groupDisplayName": "physics", "groupRole": "admin", "clusterId": 11112, "clusterUserName": "test",
        "userName": "lab", "accountName": "lab",
        "groupUsersInfos": [
            {"userName": "lab", "fullName": "王小明", "groupRole": "admin", "clusterUserName": "test"},
            {"userName": "b", "fullName": "李四", "groupRole": "member", "clusterUserName": "bob"},
        ],
    }  # fmt: skip
    return {key: value for key, value in (whole | changes).items() if value is not ...}


def infos(*members: Any) -> dict[str, Any]:
    return row(groupUsersInfos=list(members))


PHYSICS = Group("11112", str(ID), "physics", ("test", "bob"))
ALONE = Group("11112", str(ID), "physics", ("test",))
BY_LOGIN = Group("11112", str(ID), "physics", ("lab",), frozenset({"lab"}))

CASES: dict[str, tuple[Any, tuple[Group, ...]]] = {
    "as described": ([row()], (PHYSICS,)),
    "ids as text": ([row(groupId=str(ID), clusterId="11112")], (PHYSICS,)),
    "in a page": ({"total": 1, "list": [row()]}, (PHYSICS,)),
    "a single one": (row(), (PHYSICS,)),
    "none": (None, ()),
    "an empty list": ([], ()),
    "no infos: the row itself": ([row(groupUsersInfos=...)], (ALONE,)),
    "null infos: the row itself": ([row(groupUsersInfos=None)], (ALONE,)),
    "empty infos: the row itself": ([row(groupUsersInfos=[])], (ALONE,)),
    "a row for each member": (
        [row(groupUsersInfos=...), row(groupUsersInfos=[], clusterUserName="bob"), row(groupUsersInfos=...)],
        (PHYSICS,),
    ),
    "members without the region's name": ([infos({"userName": "lab"})], (BY_LOGIN,)),
    "a member twice, once with the region's name": (
        [infos({"userName": "test"}, {"userName": "lab", "clusterUserName": "test"})],
        (ALONE,),
    ),
    "numbers as names": ([infos({"clusterUserName": 7})], (Group("11112", str(ID), "physics", ("7",)),)),
    "blank and odd members are left out": (
        [infos({"clusterUserName": " "}, 7, None, {"clusterUserName": []}, {"clusterUserName": "test"})],
        (ALONE,),
    ),
    "no name, no region": (
        [row(groupDisplayName=None, clusterId=None)],
        (Group("", str(ID), "", ("test", "bob")),),
    ),
    "two regions": (
        [row(), row(clusterId=11136)],
        (PHYSICS, Group("11136", str(ID), "physics", ("test", "bob"))),
    ),
    "an odd row beside": ([7, row(groupId=5.3e17), row(groupId=None), row(groupUsersInfos="x"), row()], (PHYSICS,)),
}  # fmt: skip


@pytest.mark.parametrize(("data", "groups"), CASES.values(), ids=CASES)
def test_groups(data: Any, groups: tuple[Group, ...]) -> None:
    assert read_groups(answer(data)) == groups
    assert "王小明" not in repr(read_groups(answer(data)))


@pytest.mark.parametrize("data", ["text", 7, [7], [row(groupId=None)], [row(groupId=5.3e17)], [infos(7)], b"<html>"])
def test_an_answer_of_which_nothing_can_be_read_says_nothing(data: Any) -> None:
    with pytest.raises(DecodeError):
        read_groups(answer(data))


def test_a_failure_is_one() -> None:
    with pytest.raises(PollError, match="10009"):
        read_groups(answer([row()], "10009"))
