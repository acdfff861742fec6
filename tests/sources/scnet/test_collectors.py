"""All collectors of a region: addresses, failures, and answers of any content."""

import json
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.sources.collector import collectors_of
from tests.support.collecting import REGION, TOKEN, Answer, assembled, collecting, envelope
from tests.support.http import Network

COLLECTORS = [each.name for each in collectors_of("clusters") if each.default or not each.lists_jobs]
# Configurations allow no others: the rest of the characters cannot be seen.
HARD_NAMES = [
    *("o'brien", 'say "hi"', "a/b", "../../etc", "100%", "%2F", "what?", "a#b", "a&userName=root", "a+b", "a b"),
    *("a=b;c,d:e", "张三", "🚀", "é\u0301"),
]


async def test_a_user_arrives_as_it_was_written_whatever_is_in_it(network: Network) -> None:
    """Over a real socket: what is percent-encoded, and what is made of that on the way, is all that matters."""
    paths: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["token"] == TOKEN
        paths.append(request.raw_path)
        # Lists of ended jobs are those of a scheduler.
        return web.Response(
            body=b'{"code":"0","data":[{"id":7}]}' if request.path.endswith("/cluster") else b'{"code":"0"}'
        )

    config = REGION.replace("[test]", json.dumps(HARD_NAMES, ensure_ascii=False)).replace(
        "https://ac.example.com", "{0}/ac-host"
    )
    assembly = assembled(config.replace("https://hpc.example.com", "{0}").replace("{0}", await network.serve(answer)))
    for target in assembly.regions["kunshan"].targets():
        await target.poll()
    await assembly.close()
    members = "/ac-host/ac/openapi/v2/clusters/11112/groups/533686286955839488/clusterUserNames/"
    for start, end in (("/hpc/openapi/v2/view/queue/jobs?userName=", ""), (members, "/jobs")):
        sent = [path.removeprefix(start).removesuffix(end) for path in paths if path.startswith(start)]
        assert [unquote(name) for name in sent] == HARD_NAMES
        assert not set("".join(sent)) & set("/?#&=+ ;,:\"'\\<>")


@pytest.mark.parametrize("collector", COLLECTORS)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer({"code": "911009", "msg": "x"}), "rejected: "),
        (Answer({"code": "10007", "msg": "x"}), "rejected: "),
        (Answer({"code": "10001", "msg": "x"}), "upstream: "),
        (Answer({"code": "10008", "msg": f"token {TOKEN} expired"}), "auth: "),
        (Answer(b"<html>", 401), "auth: "),
        (Answer(b"<html>", 404), "http: "),
        (Answer(b"<html>", 502), "http: "),
        (Answer(b"", 429), "throttled: "),
        (Answer(b"<html>"), "decode: "),
        (envelope("none"), "decode: "),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_failure_shows_nothing_and_keeps_the_token_to_itself(
    collector: str, answer: Answer, error: str
) -> None:
    async with collecting(REGION, collector) as collecting_it:
        polled = await collecting_it.poll(answer)
    assert polled.outcome(error) == (error, 0)
    assert polled.samples == {}
    assert TOKEN not in polled.error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
AMOUNT = st.one_of(
    *(st.integers(-2, 9), st.integers().map(str), st.floats(0, 9), JSON),
    st.sampled_from(["", " 3 ", "x", None, True, 2**53, 2**64]),
)
ODD_JOB = st.fixed_dictionaries(
    {"id": st.text() | st.integers() | JSON},
    optional={
        "name": st.text() | JSON,
        "status": st.sampled_from(["statR", "statQ", "CANCELLED by 7"]) | JSON,
        **dict.fromkeys(
            ("nodeNumReq", "procNumReq", "gpuNumReq", "dcuNumReq", "cpuCore", "gpuNum", "dcuNumUsed"), AMOUNT
        ),
    },
)
ODD_VALUE = st.fixed_dictionaries({"metricName": st.sampled_from("RQHSOX") | JSON, "metricValue": AMOUNT}) | JSON
ODD_QUEUE = st.fixed_dictionaries({"name": JSON}, optional={"values": st.lists(ODD_VALUE)})
ODD_CORES = st.fixed_dictionaries({"name": st.sampled_from(["已使用", "未使用"]) | JSON}, optional={"y": AMOUNT})
ODD_ROWS = st.lists(ODD_JOB | ODD_QUEUE | ODD_CORES | JSON)


def with_own_ids(rows: list[Any]) -> list[Any]:
    """Return the rows, of which no two with an id are the same job."""
    return [
        {**row, "id": f"{number}-{row['id']}"}
        if isinstance(row, dict) and isinstance(row.get("id"), str | int)
        else row
        for number, row in enumerate(rows)
    ]


@pytest.mark.parametrize("collector", COLLECTORS)
@given(body=st.one_of(st.binary(), JSON.map(json.dumps).map(str.encode), ODD_ROWS.map(json.dumps).map(str.encode)))
@settings(deadline=None, max_examples=25)
async def test_no_answer_does_worse_than_to_fail_a_poll(collector: str, body: bytes) -> None:
    async with collecting(REGION, collector) as collecting_it:
        for answer in (envelope(body), Answer(body)):
            await collecting_it.poll(answer)


@pytest.mark.parametrize(("collector", "prefix"), [("queue_jobs", "hpc_queue_jobs"), ("member_jobs", "hpc_")])
@given(rows=ODD_ROWS.map(with_own_ids))
@example(rows=with_own_ids([{"id": 0}, {"id": 0}]))
@settings(deadline=None, max_examples=25)
async def test_counts_are_never_invented_and_a_long_list_is_read_as_a_short_one_is(
    collector: str, prefix: str, rows: list[Any]
) -> None:
    """Long lists are decoded piece by piece, short ones in one go. Each row is shown or rejected."""
    text = json.dumps(rows).encode()
    outcomes = []
    for data in (text, b"[" + b" " * 300_000 + text[1:]):
        async with collecting(REGION, collector, prefix) as collecting_it:
            outcomes.append(await collecting_it.poll(envelope(data)))
    short, long = outcomes
    assert (long.samples, long.rejected, long.error[:30]) == (short.samples, short.rejected, short.error[:30])
    assert all(value >= 0 and value == int(value) for value in short.samples.values())
    if collector == "member_jobs" and not short.error:
        jobs = sum(value for name, value in short.samples.items() if name.startswith("member_jobs "))
        assert jobs <= len(rows) <= jobs + short.rejected
