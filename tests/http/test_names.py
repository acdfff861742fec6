"""A name server that does not answer costs one thread for each name, and nothing else waits for it."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from exporter.errors import PollError, UpstreamConnectionError, UpstreamTimeoutError
from exporter.http.names import _numeric
from tests.e2e.process import eventually
from tests.support.http import Network, answering, body_of, get

# Threads that hang are part of it.
pytestmark = pytest.mark.real_time

ANSWER_AT = "answers.example"


class NameServers:
    """Stand in for the system's resolver: names below ``hangs.example`` hang, those below ``fails.example`` fail."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.calls: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._original = socket.getaddrinfo

    def getaddrinfo(self, host: str, *args: Any, **more: Any) -> Any:
        if host == ANSWER_AT:
            self.calls[host] += 1
            return self._original("127.0.0.1", *args, **more)
        if not host.endswith(".example"):
            return self._original(host, *args, **more)
        self.calls[host] += 1
        self.running[host] += 1
        self.most[host] = max(self.most[host], self.running[host])
        if host.endswith("hangs.example"):
            self.release.wait()
        self.running[host] -= 1
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServers]:
    servers = NameServers()
    monkeypatch.setattr(socket, "getaddrinfo", servers.getaddrinfo)
    yield servers
    servers.release.set()


answer = answering(body=b"ok")


async def test_hanging_names_keep_neither_healthy_regions_nor_other_threads_waiting(
    network: Network, names: NameServers
) -> None:
    """More names than the default thread pool has threads, on any machine: it has 32 at most."""
    url = (await network.serve(answer)).replace("127.0.0.1", ANSWER_AT)
    slots = asyncio.Semaphore(1000)
    hung = [network.upstream(f"region-{n}", timeout=1.0, slots=slots) for n in range(40)]
    polls = [
        asyncio.create_task(upstream.call(get(f"http://{upstream.name}.hangs.example:8080/{n}"), body_of))
        for upstream in hung
        for n in range(25)
    ]
    while len(names.running) < len(hung):  # noqa: ASYNC110 - threads start when they do
        await asyncio.sleep(0.01)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 100) == "free"
    assert await network.upstream("healthy", slots=slots, timeout=30).call(get(url), body_of) == b"ok"
    results = await asyncio.wait_for(asyncio.gather(*polls, return_exceptions=True), 100)
    assert {type(result) for result in results} == {UpstreamTimeoutError}
    assert any("a name server of this machine does not answer" in str(result) for result in results)
    assert max(names.most.values()) == 1, "one thread for each name"
    assert set(names.calls.values()) == {1}, "no second look-up is begun while one hangs"


async def test_upstreams_that_share_a_hanging_name_share_its_thread(network: Network, names: NameServers) -> None:
    upstreams = [network.upstream(f"region-{n}", timeout=0.3) for n in range(5)]
    calls = (upstream.call(get("http://hangs.example"), body_of) for upstream in upstreams)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {UpstreamTimeoutError}
    assert names.calls["hangs.example"] == 1


async def test_many_polls_share_one_look_up(network: Network, names: NameServers) -> None:
    url, upstream = (await network.serve(answer)).replace("127.0.0.1", ANSWER_AT), network.upstream(timeout=30)
    assert await asyncio.gather(*(upstream.call(get(url), body_of) for _ in range(100))) == [b"ok"] * 100
    assert names.calls[ANSWER_AT] == 1


async def test_a_name_that_does_not_resolve_is_not_looked_up_again_by_every_poll(
    network: Network, names: NameServers
) -> None:
    upstream = network.upstream(timeout=30, retries=2)
    calls = (upstream.call(get("http://fails.example"), body_of) for _ in range(1000))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {UpstreamConnectionError}
    assert all(isinstance(result, PollError) and "cannot be resolved" in str(result) for result in results)
    assert names.calls["fails.example"] < 100


async def test_after_the_name_server_answers_again_polls_succeed(network: Network, names: NameServers) -> None:
    upstream = network.upstream(timeout=0.3)
    with pytest.raises(UpstreamTimeoutError):
        await upstream.call(get("http://hangs.example"), body_of)
    names.release.set()

    async def resolved() -> bool:
        with pytest.raises(PollError) as caught:
            await upstream.call(get("http://hangs.example"), body_of)
        return "cannot be resolved" in str(caught.value)

    # On a busy machine a thread may take longer than the time limit once more.
    await eventually(resolved, "the name is resolved")


async def test_addresses_of_all_families_are_tried(network: Network) -> None:
    """``localhost`` is often both ::1 and 127.0.0.1, and the server listens at one of them."""
    url = (await network.serve(answer)).replace("127.0.0.1", "localhost")
    assert await network.upstream(timeout=30).call(get(url), body_of) == b"ok"


@pytest.mark.parametrize(
    ("address", "written"),
    [
        (("127.0.0.1", 80), ("127.0.0.1", 80)),
        (("::1", 80, 0, 0), ("::1", 80, 0, 0)),
        (("fe80::1", 80, 7, 1), (f"fe80::1%{socket.if_indextoname(1)}", 80, 7, 1)),
    ],
)
def test_an_address_is_written_with_its_scope(address: tuple[object, ...], written: tuple[object, ...]) -> None:
    assert _numeric(address) == written
