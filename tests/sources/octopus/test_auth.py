"""Tokens from IAM: the login, its answers, and how a project rejects a token."""

import json
from typing import Any

import pytest
from aiohttp import web

from exporter.config import InlineSecret
from exporter.errors import (
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    PollError,
    RejectedError,
    ServerError,
    UpstreamBusyError,
)
from exporter.redaction import redact
from exporter.simulator import Fault
from exporter.simulator.octopus import iso
from exporter.sources.octopus.auth import IamLogin
from tests.support.octopus import AtWork

DAY = 24 * 3600.0


def logins(at_work: AtWork) -> int:
    return at_work.project.requests.counts["iam"]


async def test_the_request_is_the_documented_one(at_work: AtWork) -> None:
    request = at_work.logins().login.request(0.0)
    assert (request.method, request.collector) == ("POST", "token")
    assert request.url == f"{at_work.project.url}/v3/auth/tokens"
    assert request.data is not None
    assert json.loads(request.data) == {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {
                        "domain": {"name": "simulated-company"},
                        "name": "exporter",
                        "password": "simulator-password",
                    }
                },
            },
            "scope": {"project": {"name": "cn-north-11"}},
        }
    }


async def test_a_token_opens_the_project_and_is_kept(at_work: AtWork) -> None:
    token = at_work.iam()
    for _ in range(3):
        assert (await at_work.read_by(token)).complete
    assert logins(at_work) == 1
    assert at_work.refreshes.counts == {("driving", True): 1}
    assert at_work.refreshes.expiries == {("driving", ""): at_work.clock.now() + DAY}
    assert redact(f"got {await token.current()}") == "got <secret>"


@pytest.mark.parametrize(("status", "code"), [(401, "APIG.0301"), (401, "APIG.0307"), (403, "APIG.0307"), (401, "x")])
async def test_each_way_to_reject_a_token_gets_another_one(at_work: AtWork, status: int, code: str) -> None:
    token = at_work.iam()
    at_work.project.faults.add(Fault(kind="error", endpoint="queuing_jobs", status=status, code=code, times=1))
    assert (await at_work.read_by(token)).complete
    assert logins(at_work) == 2


async def test_midway_through_a_queue_as_well(at_work: AtWork) -> None:
    at_work.hold((1, 450))
    token = at_work.iam()
    at_work.project.faults.add(Fault(kind="refused", endpoint="queuing_jobs", offset=200, times=1))
    listing = await at_work.read_by(token)
    assert (listing.complete, logins(at_work)) == (True, 2)


async def test_a_token_of_another_region_is_explained_and_not_asked_for_again_and_again(at_work: AtWork) -> None:
    token = at_work.iam(project="cn-east-3")
    with pytest.raises(PermissionDeniedError, match="another region than base_url"):
        await at_work.read_by(token)
    for _ in range(5):
        with pytest.raises(PermissionDeniedError):
            await at_work.read_by(token)
    assert logins(at_work) <= 3


async def test_a_permission_that_is_missing_costs_no_login(at_work: AtWork) -> None:
    token = at_work.iam()
    at_work.project.faults.add(Fault(kind="error", endpoint="queuing_jobs", status=403, code="octopus.400003"))
    with pytest.raises(PermissionDeniedError):
        await at_work.read_by(token)
    assert logins(at_work) == 1


# Logins that fail


@pytest.mark.parametrize("wrong", [{"password": "sesame"}, {"user": "nobody"}, {"domain": "elsewhere"}])
async def test_a_wrong_login_says_whose_and_where(at_work: AtWork, wrong: dict[str, str]) -> None:
    token = at_work.iam(**wrong)
    with pytest.raises(AuthenticationError) as raised:
        await token.current()
    assert str(raised.value).startswith(f"the login of {token.origin} failed: ")
    assert at_work.project.url in token.origin
    assert "HTTP 401, code 401, The username or password is wrong." in str(raised.value)
    assert raised.value.culprit == token.origin
    assert at_work.refreshes.counts == {("driving", False): 1}


async def test_a_project_that_does_not_exist_is_a_question_that_is_wrong(at_work: AtWork) -> None:
    with pytest.raises(RejectedError, match="is there such a project"):
        await at_work.iam(project="cn-nowhere").current()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(kind="status", endpoint="iam", status=502), ServerError),
        (Fault(kind="error", endpoint="iam", status=500, code="octopus.400100"), UpstreamBusyError),
        (Fault(kind="empty", endpoint="iam"), DecodeError),
        (Fault(kind="disconnect", endpoint="iam"), PollError),
    ],
)
async def test_trouble_at_iam_is_the_poll_error_that_it_is(
    at_work: AtWork, fault: Fault, kind: type[PollError]
) -> None:
    at_work.project.faults.add(fault)
    with pytest.raises(kind):
        await at_work.iam().current()


async def answered(at_work: AtWork, body: Any, **headers: str) -> str:
    async def handler(_request: web.Request) -> web.Response:
        return web.json_response(body, status=201, headers={name.replace("_", "-"): headers[name] for name in headers})

    return await at_work.iam(url=await at_work.network.serve(handler)).current()


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"token": {}}, [1]),
        *(
            {"token": {"expires_at": end}}
            for end in ("soon", "1970-01-01T00:00:00.000000Z", 0, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
        ),
    ],
)
async def test_an_end_that_cannot_be_read_or_is_absurd_is_unknown(at_work: AtWork, body: Any) -> None:
    assert await answered(at_work, body, X_Subject_Token="MII-token") == "MII-token"
    assert at_work.refreshes.expiries == {}


async def test_an_end_without_an_offset_is_in_utc(at_work: AtWork) -> None:
    await answered(at_work, {"token": {"expires_at": "2033-05-18T03:33:20.000000"}}, X_Subject_Token="MII-token")
    assert at_work.refreshes.expiries == {("driving", ""): 2e9}


@pytest.mark.parametrize("length", [9 * 1024, 16 * 1024])
async def test_a_token_longer_than_common_limits_of_headers_travels_both_ways(at_work: AtWork, length: int) -> None:
    long = "MII" + "k" * (length - 3)

    async def project(request: web.Request) -> web.Response:
        if request.path.endswith("/auth/tokens"):
            return web.json_response({"token": {}}, status=201, headers={"X-Subject-Token": long})
        if request.headers["X-Auth-Token"] != long:
            return web.json_response({"error_code": "APIG.0301", "error_msg": "bad token"}, status=401)
        return web.json_response({"payload": {"list": [], "page_info": {"offset": 0, "limit": 10, "total": 0}}})

    url = await at_work.network.serve(project)
    assert (await at_work.read(pages=at_work.new_pages(at_work.iam(url=url), url))).complete


@pytest.mark.parametrize("header", [{}, {"X_Subject_Token": " "}, {"X_Subject_Token": "düster"}])
async def test_an_answer_without_a_usable_token_is_not_quoted(at_work: AtWork, header: dict[str, str]) -> None:
    with pytest.raises(DecodeError, match="holds no token in its header") as raised:
        await answered(at_work, {"token": {"expires_at": iso(2e9), "secret": "sesame"}}, **header)
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize("password", ['pass"word\\1', "пароль-密码", "plain-password"])
async def test_the_password_is_never_repeated(at_work: AtWork, password: str) -> None:
    async def repeat(request: web.Request) -> web.Response:
        said = (await request.text()).partition('"password": "')[2][:60]
        return web.json_response({"error": {"code": 400, "message": f"bad: {said} {password}"}}, status=400)

    token = at_work.iam(url=await at_work.network.serve(repeat), password=password)
    with pytest.raises(RejectedError) as raised:
        await token.current()
    assert password not in str(raised.value)
    assert json.dumps(password)[1:-1] not in str(raised.value)
    assert "<secret>" in str(raised.value)


def test_the_password_does_not_show_itself() -> None:
    login = IamLogin(
        "https://iam.example.com", "company", "exporter", InlineSecret("sesame", header=False), "cn-north-11"
    )
    assert "sesame" not in repr(login)
    assert "sesame" not in repr(login.request(0.0))
