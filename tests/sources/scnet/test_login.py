"""The two ways to log in: what is sent, and what comes of each answer."""

import hashlib
import hmac
import json
from contextlib import suppress
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from exporter.config import InlineSecret
from exporter.errors import AuthenticationError, DecodeError, PollError, ServerError, UpstreamBusyError
from exporter.http import Issued, Response
from exporter.sources.scnet.login import (
    AccessKeyLogin,
    PasswordLogin,
    RegionToken,
    read_login,
    read_renewal,
    renewal,
    signature,
)
from exporter.text import Text
from tests.support.collecting import of
from tests.support.http import Network

NOW = 1_700_000_000.0


def secret(text: str) -> InlineSecret:
    return InlineSecret(text, "secret", header=False)


def answer(body: object, status: int = 200, *, server_time: float | None = NOW) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if server_time is None else {"Date": formatdate(server_time, usegmt=True)}
    return Response(status, raw, CIMultiDict(headers), NOW)


def envelope(data: Any, code: str | int = "0") -> dict[str, Any]:
    return {"code": code, "msg": "said", "data": data}


@pytest.mark.parametrize(
    ("user", "access_key", "secret_key", "timestamp", "expected"),
    [
        # Computed with: printf '%s' '{"accessKey":"ak","timestamp":"1700000000","user":"alice"}' | openssl dgst -sha256 -hmac sk
        ("alice", "ak", "sk", "1700000000", "6ab594fbf69d2dea41aa3200727090b4356c0cfbe8ff6313ae96af67405bd3ca"),
        ("张三", "AK-1", "密钥", "1", "41fdf19985669aae5d4c9372c3f1c77b999a639dcd291b0da4886b24cd43e095"),
    ],
)
def test_the_signature_of_known_inputs(
    user: str, access_key: str, secret_key: str, timestamp: str, expected: str
) -> None:
    assert signature(user, access_key, secret_key, timestamp) == expected


@given(
    st.text("abcABC019-_.@", min_size=1),
    st.text("abcXYZ019+/=", min_size=1),
    st.text(min_size=1),
    st.integers(0, 2**33),
)
def test_the_signature_is_the_documented_one(user: str, access_key: str, secret_key: str, timestamp: int) -> None:
    """Lowercase hex of HMAC-SHA256 over exactly these characters: compact, the keys in this order."""
    secret_key = secret_key.encode(errors="replace").decode()
    text = '{"accessKey":"' + access_key + '","timestamp":"' + str(timestamp) + '","user":"' + user + '"}'
    expected = "".join(f"{byte:02x}" for byte in hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).digest())
    assert signature(user, access_key, secret_key, str(timestamp)) == expected


async def test_an_access_key_login_on_the_wire(network: Network) -> None:
    """POST without a body; user, accessKey, timestamp in whole seconds and signature as headers, and no secret key."""
    seen: list[tuple[web.Request, bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request, await request.read()))
        return web.json_response(envelope([]))

    url = await network.serve(handler) + "/api/user/v3/tokens"
    login = AccessKeyLogin("alice", secret("ak"), secret("sk"), url)
    await network.upstream().call(login.request(1_700_000_000.9), read_login)
    [(request, body)] = seen
    assert (request.method, request.raw_path, body) == ("POST", "/api/user/v3/tokens", b"")
    sent = {name: request.headers[name] for name in ("user", "accessKey", "timestamp", "signature")}
    assert sent == {
        "user": "alice",
        "accessKey": "ak",
        "timestamp": "1700000000",
        "signature": "6ab594fbf69d2dea41aa3200727090b4356c0cfbe8ff6313ae96af67405bd3ca",
    }
    assert "sk" not in request.headers.values()
    assert "token" not in request.headers


async def test_a_password_login_on_the_wire(network: Network) -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response(envelope([]))

    login = PasswordLogin("alice", secret("open sesame"), "sugon", await network.serve(handler))
    await network.upstream().call(login.request(NOW), read_login)
    [request] = seen
    assert (request.method, request.raw_path) == ("POST", "/ac/openapi/v2/tokens")
    assert {name: request.headers[name] for name in ("user", "password", "orgId")} == {
        "user": "alice",
        "password": "open sesame",
        "orgId": "sugon",
    }


def test_rows_are_found_by_their_id_and_the_platforms_own_is_none_of_them() -> None:
    rows = [
        {"clusterName": "ac", "clusterId": "0", "token": "platform"},
        {"clusterName": "西安", "clusterId": 11136, "token": "xian"},
        {"clusterName": None, "clusterId": "11112", "token": "kunshan"},
        {"clusterName": "哈尔滨", "clusterId": "11225", "token": None},
        {"clusterName": "乌镇", "clusterId": "11250", "token": ""},
        {"clusterName": "without an id", "token": "lost"},
        "no row at all",
    ]
    for order in (rows, rows[::-1]):
        assert read_login(answer(envelope(order, 0))).regions == {
            "11136": RegionToken("11136", "西安", "xian"),
            "11112": RegionToken("11112", "", "kunshan"),
            "11225": RegionToken("11225", "哈尔滨", None),
            "11250": RegionToken("11250", "乌镇", None),
        }


@pytest.mark.parametrize("cluster_id", ["11112", 11112, 11112.0, "11112.0", " 11112 ", "11112.00"])
def test_a_regions_id_is_met_as_text_and_as_a_number(cluster_id: object) -> None:
    assert set(read_login(answer(envelope([{"clusterId": cluster_id, "token": "t"}]))).regions) == {"11112"}


def test_an_id_above_what_floats_hold_stays_exact() -> None:
    rows = [{"clusterId": 533686286955839489, "token": "t"}]
    assert set(read_login(answer(envelope(rows))).regions) == {"533686286955839489"}


@pytest.mark.parametrize(
    ("name", "expected"), [(7, "7"), (7.0, "7"), (None, ""), (["x"], ""), ({}, ""), (True, ""), (" 昆山 ", "昆山")]
)
def test_a_name_of_any_type_costs_no_token(name: object, expected: str) -> None:
    rows = [{"clusterId": "1", "clusterName": name, "token": "t"}]
    assert read_login(answer(envelope(rows))).regions == {"1": RegionToken("1", expected, "t")}


@pytest.mark.parametrize("token", ["t\n", "t\r\n", " t", "\tt \n\n"])
def test_white_space_around_a_token_is_none_of_it(token: str) -> None:
    assert read_login(answer(envelope([{"clusterId": 1, "token": token}]))).regions["1"].token == "t"
    assert read_renewal(answer(envelope(token))).value == "t"


UNSENDABLE = ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "a\tb", "令牌", "a\x7fb", "t\u00a0t", "\ud83d\ude00"]


@pytest.mark.parametrize("token", UNSENDABLE)
def test_a_token_that_no_header_can_hold_is_none_and_said_to_be(token: str) -> None:
    response = answer(envelope([{"clusterId": 1, "token": token}, {"clusterId": 2, "token": "good"}]))
    assert read_login(response).regions["1"] == RegionToken("1", "", None, unsendable=True)
    tokens = AccessKeyLogin("alice", secret("ak"), secret("sk"), "https://x", "lab").read(response)
    assert isinstance(tokens["1"], Text)
    assert "account lab gives a token for region 1 that cannot be sent" in tokens["1"].en
    assert token not in tokens["1"].en
    assert tokens["2"] == Issued("good")
    with pytest.raises(DecodeError, match="holds no token"):
        read_renewal(answer(envelope(token)))


@pytest.mark.parametrize(
    ("token", "unsendable"),
    [*((none, False) for none in ("", "  ", None)), *((odd, True) for odd in of(7, True, [], {}))],
)
def test_a_token_that_is_no_text_is_none(token: object, unsendable: bool) -> None:
    """Only one that is missing says that the account is disabled."""
    found = read_login(answer(envelope([{"clusterId": 1, "token": token}]))).regions
    assert found == {"1": RegionToken("1", "", None, unsendable=unsendable)}


def test_of_a_region_named_twice_the_usable_row_counts() -> None:
    rows = [
        {"clusterId": 1, "clusterName": "null", "token": None},
        {"clusterId": "1", "clusterName": "broken", "token": "a\nb"},
        {"clusterId": 1.0, "clusterName": "usable", "token": "t"},
        {"clusterId": "1", "clusterName": "second", "token": "u"},
    ]
    for order, name in ((rows, "usable"), (rows[::-1], "second")):
        assert read_login(answer(envelope(order))).regions["1"].cluster_name == name
    assert read_login(answer(envelope(rows[:2]))).regions["1"].unsendable
    assert read_login(answer(envelope(rows[1::-1]))).regions["1"].unsendable


@pytest.mark.parametrize(
    "row",
    [
        {"clusterId": "0", "clusterName": "ac"},
        {"clusterId": 0},
        {"clusterId": 0.0},
        {"clusterId": None, "clusterName": "ac"},
        {"clusterName": "AC"},
    ],
)
def test_the_platforms_token_is_known_by_its_id_or_its_name(row: dict[str, Any]) -> None:
    rows = [{"clusterId": 1, "token": "region"}, {**row, "token": "platform\n"}, {**row, "token": None}]
    for order in (rows, rows[::-1]):
        found = read_login(answer(envelope(order)))
        assert found.platform == "platform"
        assert set(found.regions) == {"1"}


def test_a_region_that_is_called_as_the_platform_is_stays_a_region() -> None:
    rows = [{"clusterId": 5, "clusterName": "ac", "token": "region"}, {"clusterId": 0, "token": "platform"}]
    found = read_login(answer(envelope(rows)))
    assert (found.platform, found.regions["5"].token) == ("platform", "region")


@pytest.mark.parametrize("data", [None, []])
def test_an_account_without_regions_has_none(data: object) -> None:
    assert read_login(answer(envelope(data))).regions == {}


@pytest.mark.parametrize("code", ["10008", "10009", "911406", "10003", "10004", "10007", "911009", "4711", 4711])
def test_every_rejection_of_a_login_is_one_of_the_credential(code: str | int) -> None:
    with pytest.raises(AuthenticationError, match=f"code {code}, said") as caught:
        read_login(answer(envelope(None, code)))
    assert "the token was rejected" not in str(caught.value), "there was none"
    assert "clock" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"code":"77","msg":""}'])
def test_a_rejection_by_the_http_status_alone(status: int, body: bytes) -> None:
    with pytest.raises(AuthenticationError):
        read_login(answer(body, status))


@pytest.mark.parametrize(("offset", "words"), [(-7200, "7200 s ahead of"), (600, "600 s behind")])
def test_a_rejection_names_the_clock_where_it_is_off(offset: float, words: str) -> None:
    with pytest.raises(AuthenticationError, match=f"this machine's clock is {words} the server's.*set it"):
        read_login(answer(envelope(None, "10008"), server_time=NOW + offset))


@pytest.mark.parametrize("code", ["10001", "10012", "10013", "911404"])
def test_a_passing_failure_is_no_rejection(code: str) -> None:
    with pytest.raises(UpstreamBusyError):
        read_login(answer(envelope(None, code)))


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b'[{"clusterId":"1","token":"sesame"}]', 200, DecodeError),
        (b'"sesame"', 200, DecodeError),
        (b"sesame", 200, DecodeError),
        (b'{"code":"0","data":"sesame"}', 200, DecodeError),
        (b'{"code":"0","data":{"clusterId":"1","token":"sesame"}}', 200, DecodeError),
        (b"sesame", 500, ServerError),
        (b"sesame", 404, PollError),
    ],
)
def test_no_error_quotes_an_answer_that_may_hold_tokens(body: bytes, status: int, error: type[PollError]) -> None:
    with pytest.raises(error) as caught:
        read_login(answer(body, status))
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'"sesame"', 200), (b"sesame", 200), (b'{"code":"0","data":{"next":"sesame"}}', 200), (b"sesame", 502)],
)
def test_no_error_quotes_the_answer_to_a_renewal(body: bytes, status: int) -> None:
    with pytest.raises(PollError) as caught:
        read_renewal(answer(body, status))
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "data", ["next", {"token": "next"}, [{"token": "next"}], [{"token": "next"}, {"token": "other"}]]
)
def test_a_renewal_answers_in_three_forms(data: object) -> None:
    assert read_renewal(answer(envelope(data))).value == "next"


@pytest.mark.parametrize("data", [None, "", {}, [], {"token": None}, {"token": ""}, [{}], [None], 7, True, [["next"]]])
def test_a_renewal_without_a_token_is_none(data: object) -> None:
    with pytest.raises(DecodeError, match="holds no token"):
        read_renewal(answer(envelope(data)))


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(
    lambda value: json.dumps({"code": 0, "data": value}).encode()
), st.sampled_from([200, 204, 400, 401, 429, 500, 503]))  # fmt: skip
def test_whatever_is_answered_raises_nothing_but_poll_errors(body: bytes, status: int) -> None:
    for read in (read_login, read_renewal):
        with suppress(PollError):
            read(answer(body, status))


async def test_secrets_are_not_in_a_requests_repr_and_are_taken_out_of_what_it_comes_to(network: Network) -> None:
    by_key = AccessKeyLogin("alice", secret("access-sesame"), secret("secret-sesame"), "https://x").request(NOW)
    by_password = PasswordLogin("alice", secret("pass-sesame"), "sugon", "https://x").request(NOW)
    renewing = renewal(network.upstream(), "https://x").request("token-sesame")
    assert "sesame" not in repr((by_key, by_password, renewing))
    assert by_key.headers["signature"] not in repr(by_key)
    assert set(by_key.secrets) >= {"access-sesame", "secret-sesame", by_key.headers["signature"]}
    assert (by_password.secrets, renewing.secrets) == (("pass-sesame",), ("token-sesame",))
