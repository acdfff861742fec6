"""Tokens from IAM: one login for all, renewed ahead of the end, replaced when rejected.

A dead account is left alone.
"""

import asyncio
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
    ThrottledError,
    UpstreamBusyError,
)
from exporter.redaction import redact
from exporter.simulator import Fault
from exporter.simulator.octopus import iso
from exporter.sources.octopus.auth import IamLogin
from tests.support.octopus import AtWork

HOUR = 3600.0
DAY = 24 * HOUR


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
    assert at_work.refreshes.counts == {True: 1}
    assert at_work.refreshes.expiries == [at_work.clock.now() + DAY]
    assert redact(f"got {await token.current()}") == "got <secret>"


async def test_many_who_need_a_token_share_one_login(at_work: AtWork) -> None:
    token = at_work.iam()
    assert len(set(await asyncio.gather(*(token.current() for _ in range(20))))) == 1
    assert logins(at_work) == 1


async def test_it_is_renewed_before_it_ends_while_the_others_use_the_old_one(at_work: AtWork) -> None:
    token = at_work.iam()
    old = await token.current()
    await at_work.clock.advance(0.59 * DAY)
    assert await token.current() == old
    await at_work.clock.advance(0.22 * DAY)
    at_work.project.faults.add(Fault(kind="delay", endpoint="iam", seconds=0.05))
    first, *others = await asyncio.gather(*(token.current() for _ in range(5)))
    assert first != old
    assert others == [old] * 4
    assert logins(at_work) == 2


async def test_while_it_cannot_be_renewed_the_old_one_serves_to_its_end(at_work: AtWork) -> None:
    token = at_work.iam()
    old = await token.current()
    at_work.project.faults.add(Fault(kind="error", endpoint="iam", status=500, code="octopus.400100"))
    for _ in range(40):
        await at_work.clock.advance(0.0245 * DAY)
        assert await token.current() == old
    assert logins(at_work) <= 12
    await at_work.clock.advance(0.03 * DAY)
    with pytest.raises(PollError):
        await token.current()


async def test_a_token_that_expired_early_is_replaced_once_for_all(at_work: AtWork) -> None:
    token = at_work.iam()
    await token.current()
    at_work.project.expire_tokens()
    listings = await asyncio.gather(*(at_work.read_by(token) for _ in range(5)))
    assert all(listing.complete for listing in listings)
    assert logins(at_work) == 2


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
    assert at_work.refreshes.counts == {False: 1}


async def test_a_project_that_does_not_exist_is_a_question_that_is_wrong(at_work: AtWork) -> None:
    with pytest.raises(RejectedError, match="is there such a project"):
        await at_work.iam(project="cn-nowhere").current()


async def test_a_dead_account_is_left_alone_and_tried_at_once_when_its_password_changes(at_work: AtWork) -> None:
    at_work.project.faults.add(Fault(kind="error", endpoint="iam", status=401, code="IAM.0011"))
    token = at_work.iam()
    for _ in range(360):
        with pytest.raises(AuthenticationError):
            await token.current()
        await at_work.clock.advance(10.0)
    assert logins(at_work) <= 15
    at_work.project.faults.clear()
    with pytest.raises(AuthenticationError):
        await token.current()
    token._cache.credential_changed()
    await token.current()
    assert at_work.refreshes.counts[True] == 1


async def test_iam_can_throttle_too(at_work: AtWork) -> None:
    at_work.project.faults.add(Fault(kind="status", endpoint="iam", status=429, retry_after=30, times=1))
    token = at_work.iam()
    with pytest.raises(ThrottledError):
        await token.current()
    await at_work.clock.advance(31)
    await token.current()


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


async def test_an_end_that_cannot_be_read_does_not_matter(at_work: AtWork) -> None:
    bodies: list[Any] = [{}, {"token": {}}, {"token": {"expires_at": "soon"}}, [1]]
    for body in bodies:
        assert await answered(at_work, body, X_Subject_Token="MII-token") == "MII-token"
    assert at_work.refreshes.expiries == [None] * 4


@pytest.mark.parametrize(
    "expires_at", ["1970-01-01T00:00:00.000000Z", 0, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
)
async def test_an_absurd_end_is_unknown(at_work: AtWork, expires_at: object) -> None:
    await answered(at_work, {"token": {"expires_at": expires_at}}, X_Subject_Token="MII-token")
    assert at_work.refreshes.expiries == [None]


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


async def test_the_end_is_by_the_clock_of_iam(at_work: AtWork) -> None:
    """Our clock is a day ahead: a token of 24 hours seems to be over, and is not."""
    token = at_work.iam()
    at_work.clock.jump(DAY)
    at_work.project.wall_clock = lambda: at_work.clock.now() - DAY
    at_work.project.office._now = at_work.project.wall_clock
    await token.current()
    held = token._slot.held
    assert held is not None
    left = held.expires_at - at_work.clock.monotonic()
    assert left == pytest.approx(DAY, abs=2)


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
