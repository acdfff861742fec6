"""A rejected token is replaced once and tried once more."""

import pytest
from aiohttp import web

from exporter.errors import AuthenticationError, PermissionDeniedError, PollError, RejectedError, UpstreamTimeoutError
from exporter.http import Endpoint, Response
from tests.support.http import Network


class Tokens:
    """Gives these tokens in turn."""

    origin = "account lab"

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.rejected: list[str] = []

    async def current(self) -> str:
        if not self.tokens:
            raise AuthenticationError("the login failed", culprit="elsewhere")
        return self.tokens[0]

    async def replace(self, rejected: str) -> str | None:
        self.rejected.append(rejected)
        self.tokens.pop(0)
        return self.tokens[0] if self.tokens else None


def decode(response: Response) -> bytes:
    if response.status == 401:
        raise AuthenticationError(f"rejected: {response.body.decode()}", api_code="10008")
    if response.status == 400:
        raise RejectedError("no such user")
    return response.body


async def ask(network: Network, tokens: Tokens, good: str = "good", status: int = 200) -> tuple[bytes, list[str]]:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["token"])
        accepted = request.headers["token"] == good
        return web.Response(status=status if accepted else 401, body=request.headers["token"])

    url = await network.serve(answer)

    return await Endpoint(network.upstream(retries=3), tokens, "schedulers", url).get(decode), seen


async def test_an_accepted_token_is_sent_once(network: Network) -> None:
    assert await ask(network, Tokens("good")) == (b"good", ["good"])


async def test_a_rejected_token_is_replaced_and_tried_once_more(network: Network) -> None:
    tokens = Tokens("old", "good")
    assert await ask(network, tokens) == (b"good", ["old", "good"])
    assert tokens.rejected == ["old"]


async def test_a_second_rejection_is_a_matter_of_permission(network: Network) -> None:
    tokens = Tokens("old-token", "fresh-token", "good")
    with pytest.raises(
        PermissionDeniedError, match=r"^rejected with a fresh token too, .*: rejected: <secret>$"
    ) as error:
        await ask(network, tokens)
    assert tokens.rejected == ["old-token"], "it is not tried again and again"
    assert network.counts.codes == {401: 2}
    assert error.value.api_code == "10008"


async def test_without_another_token_the_rejection_names_the_credential(network: Network) -> None:
    """All polls with one credential fail together: the log says it once, by `culprit`."""
    with pytest.raises(AuthenticationError, match="rejected: <secret>") as error:
        await ask(network, Tokens("old-token"))
    assert error.value.culprit == "account lab"
    assert network.counts.codes == {401: 1}


async def test_without_any_token_nothing_is_sent(network: Network) -> None:
    with pytest.raises(AuthenticationError, match="the login failed") as error:
        await ask(network, Tokens())
    assert error.value.culprit == "account lab"
    assert not network.counts.codes


async def test_other_failures_are_not_the_tokens(network: Network) -> None:
    tokens = Tokens("good")
    with pytest.raises(RejectedError):
        await ask(network, tokens, status=400)
    assert tokens.rejected == []


async def test_a_login_that_fails_for_a_passing_reason_stays_that(network: Network) -> None:
    class Unreachable(Tokens):
        async def replace(self, rejected: str) -> str | None:
            raise UpstreamTimeoutError(f"no answer, instead of {rejected!r}")

    with pytest.raises(UpstreamTimeoutError) as error:
        await ask(network, Unreachable("old"))
    assert isinstance(error.value, PollError)


# Tokens that are not evaluated


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (431, b""),
        (431, b'{"code": 10004}'),
        (400, b"<html><title>400 Request Header Or Cookie Too Large</title></html>"),
        (494, b"<title>Request header too large</title>"),
    ],
)
async def test_a_token_too_long_for_the_server_is_replaced(network: Network, status: int, body: bytes) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["token"])
        too_long = len(request.headers["token"]) > 100
        return web.Response(status=status, body=body) if too_long else web.Response(body=b"fine")

    url = await network.serve(answer)

    def endpoint(tokens: Tokens) -> Endpoint:
        return Endpoint(upstream, tokens, "schedulers", url)

    upstream, tokens = network.upstream(), Tokens("k" * 101, "good")
    assert await endpoint(tokens).get(decode) == b"fine"
    assert tokens.rejected == ["k" * 101]
    with pytest.raises(
        AuthenticationError, match=f"^HTTP {status}: the server does not accept a header as long"
    ) as error:
        await endpoint(Tokens("k" * 102)).get(decode)
    assert error.value.culprit == "account lab"
    with pytest.raises(AuthenticationError, match="as long as the token"):
        await endpoint(Tokens("k" * 103, "k" * 104)).get(decode)
    assert len(seen) == 5


async def test_a_bad_request_is_not_one_of_the_token(network: Network) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=400, body=b"a header is missing")

    url, tokens = await network.serve(answer), Tokens("good", "other")
    with pytest.raises(RejectedError):
        await Endpoint(network.upstream(), tokens, "schedulers", url).get(decode)
    assert tokens.rejected == []
