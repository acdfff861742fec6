"""A rejected token is replaced and tried once more; of two, the one that is accepted is learnt."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest
from aiohttp import web

from exporter.errors import AuthenticationError, PermissionDeniedError, PollError, RejectedError, UpstreamTimeoutError
from exporter.http import EitherToken, Endpoint, Issued, Request, Response, StaticToken, TokenSource
from exporter.http.client import NEGATIVE_CACHE_TTL, AuthFailures
from exporter.text import Text
from tests.support.clock import FakeClock
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
    url, tokens = await network.answer(status=400, body=b"a header is missing"), Tokens("good", "other")
    with pytest.raises(RejectedError):
        await Endpoint(network.upstream(), tokens, "schedulers", url).get(decode)
    assert tokens.rejected == []


# Requests


@pytest.mark.parametrize(
    ("changes", "token", "request_"),
    [
        ({}, "t", Request("jobs", "http://h/", "GET", {"token": "t"}, ("t",))),
        ({}, "", Request("jobs", "http://h/")),
        (
            {"header": "X-Auth", "scheme": "Bearer ", "headers": {"a": "b"}},
            "t",
            Request("jobs", "http://h/", "GET", {"a": "b", "X-Auth": "Bearer t"}, ("t",)),
        ),
        (
            {"json_body": {"user": "名"}, "headers": {"a": "b"}},
            "",
            Request(
                *("jobs", "http://h/", "POST", {"a": "b", "Content-Type": "application/json"}, ()),
                '{"user":"名"}'.encode(),
            ),
        ),
        (
            {"json_body": {}},
            "t",
            Request("jobs", "http://h/", "POST", {"token": "t", "Content-Type": "application/json"}, ("t",), b"{}"),
        ),
    ],
)
def test_a_request_carries_its_token_and_names_it_as_a_secret(
    changes: dict[str, Any], token: str, request_: Request
) -> None:
    endpoint = Endpoint(cast("Any", None), Tokens(), "jobs", "http://h/")
    assert replace(endpoint, **changes).request(token) == request_


# Pasted tokens


class Changing:
    """Stands for a secret whose file is read again and again."""

    origin = "clusters[0].token_file"

    def __init__(self, value: str) -> None:
        self.content = value

    def value(self) -> str:
        return self.content


async def test_a_pasted_token_has_no_other_until_its_file_changes() -> None:
    secret = Changing("old")
    pasted = StaticToken(secret, lambda value: Issued(value, 5.0, "me"))
    assert (await pasted.current(), await pasted.replace("old")) == ("old", None)
    secret.content = "new"
    assert (await pasted.current(), await pasted.replace("old")) == ("new", "new")
    assert (pasted.origin, pasted.issued) == ("clusters[0].token_file", Issued("new", 5.0, "me"))
    assert "new" not in repr(pasted) + repr(pasted.issued)


# Rejections that say nothing of the token


async def test_rejections_are_final_for_a_while_after_a_token_in_vain() -> None:
    clock = FakeClock()
    failures = AuthFailures(clock)
    assert not failures.is_final("a", "token")

    async def is_final_for(seconds: float, url: str, token: str) -> None:
        await clock.advance(seconds - 0.01)
        assert failures.is_final(url, token)
        await clock.advance(0.01)
        assert not failures.is_final(url, token)

    for _ in range(2):
        for seconds in (30, 60, 120, 240, 480, 600, 600):
            failures.record_failure()
            await is_final_for(seconds, "a", "token")
        # An answer to another request says that the token is good: this one may not be made with it.
        failures.record_success("b", "token")
        failures.record_failure()
        assert not failures.is_final("b", "token")
        await is_final_for(NEGATIVE_CACHE_TTL, "a", "token")
        failures.record_success("b", "other")
    for _ in range(1100):
        failures.record_failure()
    await is_final_for(NEGATIVE_CACHE_TTL, "a", "token")


# Requests that wait while their token is replaced


class Slow(Tokens):
    """Is asked for another token until the test lets it answer."""

    def __init__(self, *tokens: str, error: PollError | None = None) -> None:
        super().__init__(*tokens)
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self.error = error

    async def replace(self, rejected: str) -> str | None:
        self.rejected.append(rejected)
        self.asked.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        self.tokens = [token for token in self.tokens if token != rejected] or self.tokens
        return self.tokens[0] if self.tokens[0] != rejected else None


@pytest.mark.parametrize(
    ("tokens", "error", "sent", "result"),
    [
        (("old", "good"), None, ["old"] + ["good"] * 4, "bytes"),
        (("old",), None, ["old"] * 4, "AuthenticationError"),
        (("old", "good"), UpstreamTimeoutError("no answer"), ["old"] * 4, "UpstreamTimeoutError"),
    ],
    ids=["another", "no other", "no answer"],
)
async def test_requests_that_wait_with_a_rejected_token_are_not_sent_before_it_is_replaced(
    network: Network, tokens: tuple[str, ...], error: PollError | None, sent: list[str], result: str
) -> None:
    source = Slow(*tokens, error=error)
    endpoint, seen = await picky(network, source)
    calls = [asyncio.create_task(endpoint.get(decode)) for _ in range(4)]
    async with asyncio.timeout(60):
        while len(source.rejected) < 4:  # noqa: ASYNC110 - nothing is set when they wait
            await asyncio.sleep(0.001)
    assert seen == ["old"]
    source.go.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert (seen, {type(answer).__name__ for answer in answers}) == (sent, {result})


async def test_a_request_whose_token_is_not_to_be_replaced_is_sent_with_it(network: Network) -> None:
    source = Slow("old", "good")
    endpoint, seen = await picky(network, source)
    first = asyncio.create_task(endpoint.get(decode))
    await asyncio.wait_for(source.asked.wait(), 60)
    with pytest.raises(AuthenticationError):
        await endpoint.get_with(source, decode, replaceable=False)
    assert (seen, source.rejected) == (["old", "old"], ["old"])
    source.go.set()
    assert await first == b"fine"


async def picky(network: Network, source: Slow) -> tuple[Endpoint, list[str]]:
    """Return an endpoint that accepts a good token, one request at a time, and a list of the tokens that it sees."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["token"])
        return web.Response(status=200 if request.headers["token"] == "good" else 401, body=b"fine")

    return Endpoint(network.upstream(max_concurrency=1), source, "schedulers", await network.serve(answer)), seen


# Two kinds of tokens


class Kind:
    """The tokens of one kind, KIND-N of the Nth login; `given` says whether a login gives any."""

    origin = "account lab"

    def __init__(self, name: str, logins: list[int]) -> None:
        self.name, self.logins, self.given = name, logins, True
        self.failure: PollError | None = None

    @property
    def issued(self) -> Issued:
        return Issued(f"{self.name}-{len(self.logins)}" if self.given else "")

    async def current(self) -> str:
        if self.failure is not None:
            raise self.failure
        return self.issued.value

    async def replace(self, rejected: str) -> str | None:
        if rejected == self.issued.value:
            self.logins.append(1)
        return self.issued.value


class Pair:
    """Region and platform tokens of one login, and a server that accepts those that are in `good`."""

    def __init__(self, network: Network) -> None:
        self.clock, self.good, self.sent = FakeClock(), "rp", list[str]()
        logins = [1]
        self.region, self.platform = Kind("r", logins), Kind("p", logins)
        first, second = (cast("TokenSource", kind) for kind in (self.region, self.platform))
        self.tokens = EitherToken(first, second, self.clock)
        self.network, self.upstream = network, network.upstream(clock=self.clock)
        self.valid = logins

    async def start(self) -> "Pair":
        self.url = await self.network.serve(self.handle)
        return self

    async def handle(self, request: web.Request) -> web.Response:
        token = request.headers["token"]
        self.sent.append(token)
        kind, _, number = token.partition("-")
        return web.Response(status=200 if kind in self.good and int(number) == len(self.valid) else 401, body=kind)

    async def ask(self, path: str = "/a") -> tuple[str, str]:
        """Return the tokens that were sent, and "ok" or the class and kind of token of the error."""

        def decoded(response: Response) -> bytes:
            if response.status == 401:
                raise AuthenticationError(Text("rejected", "被拒绝"), api_code=response.body.decode())
            return response.body

        self.sent.clear()
        try:
            await Endpoint(self.upstream, self.tokens, "jobs", self.url + path).get(decoded)
        except PollError as error:
            return " ".join(self.sent), f"{error.reason} {error.api_code}"
        return " ".join(self.sent), "ok"


@pytest.fixture
async def pair(network: Network) -> Pair:
    return await Pair(network).start()


async def test_of_two_tokens_the_one_that_is_accepted_is_learnt(pair: Pair) -> None:
    pair.good = "p"
    assert (pair.tokens.origin, await pair.tokens.current()) == ("account lab", "r-1")
    assert await pair.ask() == ("r-1 p-1", "ok")
    assert await pair.ask("/b") == ("p-1", "ok")
    assert (await pair.tokens.current(), await pair.tokens.replace("r-1")) == ("p-1", "p-1")
    # It is known: a login comes before the other kind.
    await pair.clock.advance(NEGATIVE_CACHE_TTL)
    pair.good = "r"
    assert await pair.ask() == ("p-1 p-2 r-2", "ok")
    assert await pair.ask() == ("r-2", "ok")
    pair.good = "p"
    await pair.clock.advance(NEGATIVE_CACHE_TTL)
    assert (await pair.ask())[1] == "ok"
    pair.platform.given, pair.good = False, "r"
    assert (await pair.ask())[1] == "ok"
    assert await pair.ask() == (f"r-{len(pair.valid)}", "ok")


async def test_a_request_that_neither_token_helps_is_sent_with_both_again_after_a_while(pair: Pair) -> None:
    pair.good = ""
    assert await pair.ask() == ("r-1 p-1 r-1 r-2 p-2", "permission r")
    assert await pair.ask() == ("r-2", "permission r")
    assert await pair.ask("/b") == ("r-2 p-2 r-2 p-2", "permission r")
    assert await pair.ask("/b") == ("r-2", "permission r")
    await pair.clock.advance(NEGATIVE_CACHE_TTL - 1)
    assert await pair.ask() == ("r-2 r-3", "permission r")
    await pair.clock.advance(1)
    assert (await pair.ask())[0].startswith("r-3 p-3")
    assert await pair.ask() == ("r-3", "permission r")
    pair.tokens.reset()
    assert await pair.ask() == ("r-3 p-3 r-3 p-3", "permission r")


@pytest.mark.parametrize("given", [True, False])
async def test_without_the_first_token_nothing_is_sent(pair: Pair, given: bool) -> None:
    pair.region.failure, pair.platform.given = AuthenticationError("disabled", api_code="x"), given
    assert await pair.ask() == ("", "auth x")
    pair.region.failure = None
    pair.good = "" if given else "p"
    assert (await pair.ask())[1] == "permission r"
