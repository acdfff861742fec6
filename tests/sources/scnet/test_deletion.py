"""The one call that destroys: what can be sent at all, how it looks on the wire, and how its answers are read."""

import asyncio
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.errors import PollError, RejectedError, UpstreamConnectionError
from exporter.sources.scnet._deletion import Deletion, UnsafeNameError, check_job_id, check_user, delete_jobs
from tests.support.http import Network

SCHEDULER = "1638523853"
# Names as people have them, and text that is likely to be unsafe.
NAMES = st.text(st.sampled_from("abz09_.-[],;: %&=+#\n王ａ１ﷺ"), max_size=8) | st.text(max_size=8)


def jobs_named(parameters: str) -> list[tuple[str, str, str]]:
    """Return the parameters as a careless region reads them: (scheduler, user, job)."""
    [info] = parse_qs(parameters, strict_parsing=True)["strJobInfoMap"]
    found = []
    for part in info.split(";"):
        scheduler, user_and_job = part.split(",")
        user, job_id, nothing = user_and_job.split(":")
        assert nothing == ""
        found.append((scheduler, user, job_id))
    return found


@given(NAMES, NAMES, st.lists(NAMES, min_size=1, max_size=4))
@example("1", "test", ["19:;1,bob:20"])
@example("1", "a\ufdfa", ["19"])
@example("1", "test", ["19\n"])
def test_whatever_can_be_sent_names_exactly_the_jobs_that_were_meant(
    scheduler: str, user: str, job_ids: list[str]
) -> None:
    try:
        deletion = Deletion(scheduler, user, tuple(job_ids))
    except UnsafeNameError:
        return
    assert jobs_named(deletion.parameters) == [(scheduler, user, job_id) for job_id in job_ids]
    assert deletion.parameters.startswith("jobMethod=5&")
    assert deletion.parameters.isascii()


@given(st.text(st.sampled_from("abcXYZ0189_.-[]"), min_size=1, max_size=20))
def test_usual_names_are_not_rejected(name: str) -> None:
    check_user(name)
    if any(char.isalnum() for char in name):
        check_job_id(name)


@given(st.text(min_size=1))
def test_a_name_with_a_separator_is_always_rejected(text: str) -> None:
    for separator in ",;:":
        with pytest.raises(UnsafeNameError):
            check_job_id(f"19{separator}{text}")
        with pytest.raises(UnsafeNameError):
            check_user(f"{text}{separator}")


@pytest.mark.parametrize("user", ["a\ufdfa", "\ufb01", "a" * 65])
def test_a_user_that_may_arrive_as_another_one_is_rejected(user: str) -> None:
    """Letters that software turns into several characters, with blanks among them; and a name that may be cut off."""
    with pytest.raises(UnsafeNameError):
        check_user(user)


def test_a_deletion_of_nothing_cannot_be_made() -> None:
    with pytest.raises(UnsafeNameError):
        Deletion(SCHEDULER, "test", ())


def test_the_form_is_that_of_the_pages_python_sample() -> None:
    assert Deletion(SCHEDULER, "test", ("35918",)).parameters == (
        "jobMethod=5&strJobInfoMap=1638523853%2Ctest%3A35918%3A"
    )


class Endpoint:
    """Answers DELETE as told, and keeps what came."""

    def __init__(self, body: bytes = b'{"code":"0"}', status: int = 200) -> None:
        self.body = body
        self.status = status
        self.seen: list[tuple[str, str, str, str | None]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        self.seen.append((request.method, request.raw_path, body, request.headers.get("Content-Type")))
        return web.Response(body=self.body, status=self.status, content_type="application/json")


async def deleted(network: Network, endpoint: Endpoint, *, in_query: bool = False) -> str:
    url = await network.serve(endpoint.answer)
    deletion = Deletion(SCHEDULER, "test", ("197", "196"))
    return await delete_jobs(network.upstream(retries=3), url, deletion, "token", in_query=in_query)


FORM = "jobMethod=5&strJobInfoMap=1638523853%2Ctest%3A197%3A%3B1638523853%2Ctest%3A196%3A"


async def test_several_jobs_travel_in_one_form(network: Network) -> None:
    endpoint = Endpoint()
    await deleted(network, endpoint)
    assert endpoint.seen == [("DELETE", "/hpc/openapi/v2/jobs", FORM, "application/x-www-form-urlencoded")]


async def test_in_the_query_there_is_no_body(network: Network) -> None:
    endpoint = Endpoint()
    await deleted(network, endpoint, in_query=True)
    [(method, path, body, _)] = endpoint.seen
    assert (method, path, body) == ("DELETE", f"/hpc/openapi/v2/jobs?{FORM}", "")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        # The example of the page 删除作业.
        (
            '{"1638523853":"jobManagerId : 1638523853, delete the jobs [test:19:] successfully!"}',
            "jobManagerId : 1638523853, delete the jobs [test:19:] successfully!",
        ),
        ('{"1":"one","2":"two\\u001b[31m"}', "one; two [31m"),
        ('{"1":"one","2":null,"3":7}', "one"),
        ('"text"', "text"),
        ("null", ""),
        ("[1]", ""),
    ],
)
async def test_what_the_region_says_is_one_printable_line(network: Network, data: str, said: str) -> None:
    assert await deleted(network, Endpoint(b'{"code":"0","msg":"success","data":%s}' % data.encode())) == said


@pytest.mark.parametrize(
    ("body", "status"), [(b'{"code":"10001"}', 200), (b"", 503), (b"oops", 200), (b'{"code":"10013"}', 200)]
)
async def test_it_is_never_repeated_by_itself(network: Network, body: bytes, status: int) -> None:
    endpoint = Endpoint(body, status)
    with pytest.raises(PollError):
        await deleted(network, endpoint)
    assert len(endpoint.seen) == 1


async def test_it_is_not_repeated_where_the_answer_is_lost(network: Network) -> None:
    connections = 0

    async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")

    url = await network.serve_raw(hang_up)
    with pytest.raises(UpstreamConnectionError):
        await delete_jobs(network.upstream(retries=3), url, Deletion(SCHEDULER, "test", ("1",)), "token")
    assert connections == 1


async def test_a_rejection_is_a_rejection(network: Network) -> None:
    with pytest.raises(RejectedError, match="invalid"):
        await deleted(network, Endpoint(b'{"code":"10004","msg":"x"}'))
