"""From a login to all that a configuration needs to know of its regions."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from exporter.config import InlineSecret
from exporter.errors import AuthenticationError, DecodeError, PollError
from exporter.http import Response
from exporter.simulator import Fault
from exporter.sources.scnet.discovery import Center, Found, Group, discover, read_center, read_groups
from exporter.sources.scnet.login import AccessKeyLogin
from exporter.sources.scnet.schedulers import Scheduler
from exporter.sources.values import Id, Name
from tests.support.http import Network
from tests.support.platform import AtWork, at_work


def answer(data: object, code: str | int = "0") -> Response:
    body = data if isinstance(data, bytes) else json.dumps({"code": code, "msg": "", "data": data}).encode()
    return Response(200, body, CIMultiDict(), 0.0)


def url(address: object, enable: object = "true") -> dict[str, Any]:
    return {"url": address, "enable": enable, "version": "2.0"}


def test_a_centre_as_the_page_has_it() -> None:
    center = {
        "id": 11112,
        "name": "华东一区【昆山】",
        "clusterUserInfo": {"userName": "test", "homePath": "/public/home/test"},
        "hpcUrls": [url("https://hpc.example.com:65106/hpc")],
        "efileUrls": [url("https://efile.example.com")],
    }
    expected = Center("华东一区【昆山】", "test", ("https://hpc.example.com:65106",))
    assert read_center(answer(center)) == expected
    assert read_center(answer([center], 0)) == expected


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ([], ""),
        (None, ""),
        ([url("https://a", "false"), url("https://b", False), url("https://c", 0), url("https://d", "FALSE")], ""),
        ([url("https://a", False), {"url": "https://b"}], "https://b"),
        ([url("https://a", False), url("https://b", None)], "https://b"),
        ([url("https://a", 0), url("https://b", 1)], "https://b"),
        ([url("https://a", "0"), url("https://b", " 1 ")], "https://b"),
        ([url("https://a", "maybe"), url("https://b", 1.0)], "https://b"),
        (["https://x", None, 7, url(7), url("https://a")], "https://a"),
        ([url(" https://a/hpc ")], "https://a"),
        ([url("https://a", "false"), url("https://b", "true"), url("https://c", "true")], "https://b"),
        ([url("https://a", False), url("https://b", True)], "https://b"),
        ([url("https://a", "TRUE")], "https://a"),
        ([url(None), url(""), url("https://a")], "https://a"),
        ([url("ftp://x"), url("hpc.example.com:65106"), url(" HTTP://a")], "HTTP://a"),
        ([url("https://a/hpc")], "https://a"),
        ([url("https://a/hpc/")], "https://a"),
        ([url("https://a//hpc//")], "https://a"),
        ([url("https://a/")], "https://a"),
        ([url("https://a/x/hpc")], "https://a/x"),
        ([url("https://hpc")], "https://hpc"),
    ],
)
def test_the_first_enabled_address_without_what_its_paths_begin_with(urls: object, expected: str) -> None:
    assert next(iter(read_center(answer({"hpcUrls": urls})).hpc_urls), "") == expected


@pytest.mark.parametrize("data", [None, [], 7, "text", {"hpcUrls": "x"}, {"clusterUserInfo": []}, [None], b"<html>"])
def test_what_is_no_centre_is_said_to_be_none(data: object) -> None:
    with pytest.raises(DecodeError):
        read_center(answer(data))


def test_a_centre_that_says_nothing_is_unknown_not_wrong() -> None:
    assert read_center(answer({})) == Center("", "", ())


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["id", "name", "clusterUserInfo", "userName", "hpcUrls", "url", "enable"]), inner)))  # fmt: skip
def test_whatever_a_centre_is_raises_nothing_but_poll_errors(data: object) -> None:
    try:
        center = read_center(answer(data))
    except PollError:
        return
    assert isinstance(center, Center)


# Groups


ID = 533686286955839489


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
    **{
        f"a member twice, {which} with the region's name": ([infos(*members)], (ALONE,))
        for which, members in (
            ("then", ({"userName": "test"}, {"userName": "lab", "clusterUserName": "test"})),
            ("first", ({"userName": "lab", "clusterUserName": "test"}, {"userName": "test"})),
        )
    },
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


def test_a_failure_of_the_groups_is_one() -> None:
    with pytest.raises(PollError, match="10009"):
        read_groups(answer([row()], "10009"))


# Against a simulated platform


@pytest.fixture
async def three() -> AsyncIterator[AtWork]:
    async with at_work(3) as lab:
        yield lab


async def found_by(lab: AtWork, *, patience: float = 5.0) -> list[Found]:
    upstream = lab.network.upstream("lab", clock=lab.clock, timeout=patience)
    found = (await discover(upstream, lab.login(), lab.first.ac_url, lab.clock.now())).regions
    # Those of the regions are the subject of other tests.
    return [replace(region, groups=()) for region in found]


async def test_groups_are_of_the_region_that_their_row_names(three: AtWork) -> None:
    kunshan = three.first
    three.simulator.platform.faults.add(
        Fault(kind="code", code="0", endpoint="groups", data=[
            {"groupId": 7, "groupDisplayName": "a", "clusterId": kunshan.cluster_id, "clusterUserName": "test"},
            {"groupId": 8, "groupDisplayName": "b", "clusterId": 99, "clusterUserName": "test"},
            {"groupId": 9, "groupDisplayName": "c", "clusterUserName": "test"},
        ])
    )  # fmt: skip
    upstream = three.network.upstream("lab", clock=three.clock)
    found = await discover(upstream, three.login(), three.platform.url, three.clock.now())
    assert [[group.group_id for group in region.groups] for region in found.regions] == [["7"], [], []]
    assert ([group.group_id for group in found.elsewhere], found.groups_problem) == (["8", "9"], "")


async def test_all_regions_with_their_addresses_users_and_schedulers(three: AtWork) -> None:
    assert await found_by(three) == [
        Found(
            str(region.cluster_id),
            region.spec.title,
            "test",
            region.hpc_url,
            tuple(Scheduler(Id(each.id), Name(each.name), Name(each.type)) for each in region.spec.schedulers),
        )
        for region in three.regions
    ]
    assert three.count("login") == 1
    assert three.first.requests.counts["center"] == 3, "one address serves all regions"
    assert [region.requests.counts["schedulers"] for region in three.regions] == [1, 1, 1]


@pytest.mark.parametrize("style", ["401", "10008"])
async def test_a_region_that_rejects_its_token_is_no_reason_to_log_in_again(three: AtWork, style: Any) -> None:
    three.regions[1].set_quirks(refusal_style=style)
    three.regions[1].faults.add(Fault(kind="refused", endpoint="schedulers"))
    _, xian, harbin = await found_by(three)
    assert (xian.hpc_url, xian.user, xian.schedulers) == (three.regions[1].hpc_url, "test", ())
    assert xian.problem.startswith("its schedulers could not be read: ")
    assert harbin.schedulers
    assert three.count("login") == 1


async def test_a_disabled_region_is_told_and_not_asked(three: AtWork) -> None:
    three.simulator.disable("lab", "xian")
    kunshan, xian, harbin = await found_by(three)
    assert xian == Found("11136", three.regions[1].spec.title, problem="the account is disabled in this region")
    assert kunshan.schedulers
    assert harbin.schedulers
    assert three.count("center") == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(kind="code", endpoint="center", code="10001"), "internal error"),
        (Fault(kind="status", endpoint="center", status=404), "HTTP 404"),
        (Fault(kind="wrong_shape", endpoint="center", data=[]), "describes no region"),
        (Fault(kind="hang", endpoint="center"), "no complete answer"),
        (Fault(kind="disconnect", endpoint="center"), "hung up"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
async def test_a_region_that_fails_is_told_with_the_reason(three: AtWork, fault: Fault, words: str) -> None:
    three.first.faults.add(fault)
    async with asyncio.timeout(100):
        regions = await found_by(three, patience=0.2 if fault.kind == "hang" else 60)
    assert len(regions) == 3
    for region in regions:
        assert words in region.problem
        assert (region.hpc_url, region.schedulers) == ("", ())
        assert region.name.startswith(("华东", "西北", "东北")), "what the login says of it stays"


async def test_a_region_that_hangs_costs_its_own_time_only(three: AtWork) -> None:
    three.regions[1].faults.add(Fault(kind="hang", endpoint="schedulers"))
    async with asyncio.timeout(100):
        kunshan, xian, harbin = await found_by(three, patience=3)
    assert kunshan.schedulers
    assert harbin.schedulers
    assert "no complete answer" in xian.problem


async def test_a_rejected_login_is_raised(three: AtWork) -> None:
    upstream = three.network.upstream(clock=three.clock)
    with pytest.raises(AuthenticationError):
        await discover(upstream, three.login(secret_key="wrong"), three.first.ac_url, three.clock.now())


async def test_a_region_without_an_enabled_address_says_so(network: Network) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path.endswith("/center"):
            return web.json_response({"code": 0, "data": {"name": "one", "hpcUrls": [url("https://a", "false")]}})
        return web.json_response({"code": 0, "data": [{"clusterId": 1, "clusterName": "eins", "token": "t"}]})

    address = await network.serve(handler)
    login = AccessKeyLogin("a", InlineSecret("ak"), InlineSecret("sk"), f"{address}/tokens")
    [region] = (await discover(network.upstream(), login, address, 0.0)).regions
    assert region == Found("1", "one", "", "", (), "it has no HPC address that is enabled")


@pytest.mark.parametrize("rejected", [False, True])
async def test_the_next_address_is_taken_where_the_first_cannot_be_reached(network: Network, rejected: bool) -> None:
    """One that answers is the last that is asked, whatever it answers."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path.endswith("/center"):
            urls = [url("http://127.0.0.1:1"), {"url": f"{address}/a/hpc"}, url(f"{address}/b/hpc")]
            return web.json_response({"code": 0, "data": {"hpcUrls": urls}})
        if request.path == "/a/hpc/openapi/v2/cluster":
            if rejected:
                return web.Response(status=401)
            return web.json_response({"code": 0, "data": {"id": 7, "text": "seven"}})
        return web.json_response({"code": 0, "data": [{"clusterId": 1, "clusterName": "eins", "token": "t"}]})

    address = await network.serve(handler)
    login = AccessKeyLogin("a", InlineSecret("ak"), InlineSecret("sk"), f"{address}/tokens")
    [region] = (await discover(network.upstream(), login, address, 0.0)).regions
    if rejected:
        assert region.problem.startswith("its schedulers could not be read: cannot connect to 127.0.0.1:1")
    else:
        assert (region.hpc_url, [each.id for each in region.schedulers]) == (f"{address}/a", ["7"])
    assert ("/a/hpc/openapi/v2/cluster" in asked, "/b/hpc/openapi/v2/cluster" in asked) == (True, False)
