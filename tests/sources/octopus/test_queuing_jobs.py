"""Tables: pages of a queue -> samples."""

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.collecting import PROJECT, TOKEN, Answer, Expected, Polled, collecting, of

FIXTURES = Path(__file__).parents[2] / "fixtures" / "octopus"
GIB = 2**30
FULL = {"job_type": "A", "processor_name": "B", "resource_spec": "2Core_8GiB", "rank_stamp": 5000}


def page(*rows: Any, total: Any = -1, **more: Any) -> Answer:
    """Return a page of a queue of `total` rows, by default those of the page."""
    info = {"offset": 0, "limit": 200, "total": len(rows) if total == -1 else total}
    return Answer({"payload": {"list": rows, "page_info": info}, **more})


def row(*ids: Any, **fields: Any) -> list[dict[str, Any]]:
    return [{"id": ident, **fields} for ident in ids]


def queue(
    length: int | None,
    jobs: dict[str, int] | int | None = None,
    *,
    complete: bool = True,
    cores: float = 0,
    memory: int = 0,
    unread: int = 0,
    oldest: float | None = None,
) -> dict[str, float]:
    """Return the samples of a queue.

    `jobs` are those of each kind, or of which nothing is known but that they are there.
    """
    samples: dict[str, float | None] = {"queue_length": length, "queue_listing_complete": complete}
    if jobs is not None:
        kinds, unread = ({"  ": jobs}, jobs) if isinstance(jobs, int) else (jobs, unread)
        samples |= {f"queued_jobs {kind}": count for kind, count in kinds.items() if count}
        samples |= {"queued_requested_cpu_cores": cores, "queued_requested_memory_bytes": memory}
        samples |= {"queued_unread_resource_specs": unread, "queued_oldest_rank_timestamp_seconds": oldest}
    return {name: value for name, value in samples.items() if value is not None}


FULL_SAMPLES = queue(1, {"A B 2Core_8GiB": 1}, cores=2, memory=8 * GIB, oldest=5)
NOTHING_KNOWN = dict.fromkeys(("job_type", "processor_name", "resource_spec", "rank_stamp", "priority", "source"))
ONE_PAGE: dict[str, tuple[Answer, Expected, int]] = {
    "all fields": (page(*row(1, **FULL)), FULL_SAMPLES, 0),
    "numbers as text": (page(*row("17", **FULL | {"rank_stamp": " 5000 "}), total="1"), FULL_SAMPLES, 0),
    "all but the id missing or null": (page(*row(1), *row(2, **NOTHING_KNOWN)), queue(2, 2), 0),
    "odd fields that are not read": (
        page(*row(1, priority="high", job_id={}, data_id=[1], queue_type=3, new_field=[{}])),
        queue(1, 1),
        0,
    ),
    "kinds as they come": (
        page(*row(1, job_type="TYPE_OF_TOMORROW", processor_name='点云 "\\\n'), *row(2, 3, job_type=7)),
        queue(3, {'TYPE_OF_TOMORROW 点云 "\\\n ': 1, "7  ": 2}, unread=3),
        0,
    ),
    **{
        f"row {bad!r} is rejected": (page(*row(1), bad, *row(3)), queue(3, 2, complete=False), 1)
        for bad in of({}, *row(None, "", " ", [1], 1.5, True, {}), 7, None, [])
    },
    "no row can be read": (page({}, 7), "decode: none of the page's 2 rows can be read", 0),
    **{
        f"one id, then as {ident!r}": (page(*row(1638523853), *row(ident, **more)), queue(2, 1, complete=False), odd)
        for ident in of(1638523853, 1638523853.0, "1638523853", "1638523853.0", " 1638523853 ")
        for more, odd in of(({}, 0), ({"rank_stamp": [], "job_type": "other"}, 1))
    },
    "other ids": (page(*row(7, "007", "07")), queue(3, 3), 0),
    **{
        f"rank_stamp {stamp!r} is unknown": (
            page(*row(1, rank_stamp=stamp), *row(2, rank_stamp=7000)),
            queue(2, 2, oldest=oldest),
            odd,
        )
        for stamp, odd, oldest in [
            *((stamp, 1, None) for stamp in of("2022-01-01 08:08:29", -5, 1.5, True, 2**60, [])),
            *((stamp, 0, 7) for stamp in of("--", "", -1, None, 0, "0")),
        ]
    },
    "oldest rank": (page(*row(1, rank_stamp=9000), *row(2, rank_stamp=7250)), queue(2, 2, oldest=7.25), 0),
    "a row that is rejected may have been the oldest": (
        page(*row(1, rank_stamp=9000), *row(None, rank_stamp=7250)),
        queue(2, 1, complete=False),
        1,
    ),
    "a number that JSON does not know": (
        Answer(b'{"payload":{"list":[{"id":1,"rank_stamp":NaN,"job_type":"NaN"}],"page_info":{"total":1}}}'),
        queue(1, {"NaN  ": 1}, unread=1),
        0,
    ),
    "empty": (page(), queue(0, 0), 0),
    "null for no rows": (Answer({"payload": {"list": None, "page_info": {"total": 0}}}), queue(0, 0), 0),
    **{
        f"{spec or 'nothing'!r} is requested": (
            page(*row(1, resource_spec=spec)),
            queue(1, {f"  {spec}": 1}, cores=cores, memory=memory),
            0,
        )
        for spec, cores, memory in (
            *(("1Core_4GiB", 1, 4 * GIB), ("16Cores_64GiB", 16, 64 * GIB), ("8Core_512MiB", 8, GIB // 2)),
            *(("2Core_1TiB", 2, 2**40), ("1Core_4096KiB", 1, 2**22), ("0.5Core_1.5GiB", 0.5, 3 * GIB // 2)),
            *(("0Core_0GiB", 0, 0), ("999999999Core_999999999TiB", 999999999, 999999999 * 2**40)),
        )
    },
    **{
        f"{spec[:20]!r} is not guessed": (page(*row(1, resource_spec=spec)), queue(1, {f"  {spec}": 1}, unread=1), 0)
        for spec in (
            *("4GiB", "1Core", "1Core_4GB", "1Core_4G", "1Core_4", "1core_4gib", "1Core_4GiB ", " 1Core_4GiB", "4U16G"),
            *(
                "1Core_4GiB\n",
                "1Core_4GiB_1GPU",
                "1Core-4GiB",
                "-1Core_4GiB",
                "1e3Core_4GiB",
                "１Core_4GiB",
                ".5Core_4GiB",
            ),
            *("modelarts.vm.cpu.2u", "1234567890Core_4GiB", "9" * 10_000 + "Core_4GiB"),
        )
    },
    "specs are added up exactly": (
        page(*row(*range(10), resource_spec="0.1Core_1KiB"), *row("a", "b", resource_spec="2Core_8GiB"), *row("c")),
        queue(13, {"  0.1Core_1KiB": 10, "  2Core_8GiB": 2, "  ": 1}, cores=5, memory=10 * 2**10 + 16 * GIB, unread=1),
        0,
    ),
    **{
        f"no page: {body!r}": (Answer(body), "decode: ", 0)
        for body in (
            *(
                b"",
                b"null",
                b"[]",
                b"{",
                b"{}",
                b'"x"',
                b'{"payload": null}',
                b'{"payload": {}}',
                b'{"payload": {"list": 3}}',
            ),
        )
    },
    "error under a success": (
        Answer({"error_code": "octopus.409999", "error_msg": "odd"}),
        "upstream: an error that",
        0,
    ),
    "page under an error": (Answer(page(*row(1)).body, 500), "http: ", 0),
    "the token repeated": (
        Answer({"error_code": "x", "error_msg": f"bad {TOKEN}"}, 403),
        "permission: the token's owner lacks the permission (HTTP 403, code x, bad <secret>)",
        0,
    ),
}
MANY_PAGES: dict[str, tuple[list[Answer], Expected, int]] = {
    "at rest": ([page(*row(1, 2), total=3), page(*row(3), total=3)], queue(3, 3), 0),
    "a row moves to the next page": (
        [page(*row(1, 2), total=4), page(*row(2, 3), total=5), page(*row(4), total=5)],
        queue(5, 4, complete=False),
        0,
    ),
    "a row moves to the page before": (
        [page(*row(1, 2), total=4), page(*row(4), total=3)],
        queue(3, 3, complete=False),
        0,
    ),
    "a row moves to the end": ([page(*row(1, 2), total=4), page(*row(4, 1), total=4)], queue(4, 3, complete=False), 0),
    "a row comes twice": ([page(*row(1, 2), total=3), page(*row(2, 3), total=3)], queue(3, 3, complete=False), 0),
    "a page is lost": (
        [page(*row(1, 2), total=202), Answer({"error_code": "octopus.400100"}, 500)],
        queue(202, complete=False),
        0,
    ),
    "ends too early": ([page(*row(1, 2), total=6), page(total=6)], queue(6, complete=False), 0),
    "the same page again": ([page(*row(1, 2), total=4), page(*row(1, 2), total=4)], queue(4, complete=False), 0),
    "emptied meanwhile": ([page(*row(1, 2), total=4), page(total=0)], queue(0, 2, complete=False), 0),
    "a bad row may be any": ([page(*row(1, 2), {}, total=4), page(*row(3), total=4)], queue(4, 3, complete=False), 1),
    "large pages rejected": (
        [Answer({"error_code": "octopus.400000"}, 400), page(*row(1), total=2), page(*row(2), total=2)],
        queue(2, 2),
        0,
    ),
    "rejected for another reason": (
        [Answer({"error_code": "octopus.400000"}, 400)] * 2,
        "rejected: the request was rejected: a parameter is missing or wrong",
        0,
    ),
    **{
        f"total {total!r} is unknown": ([page(*row(1), total=total), page()], queue(None, 1, complete=False), odd)
        for total, odd in of(("many", 1), (-2, 1), (1.5, 1), ([], 1), ({}, 1), (True, 1), (None, 0), (0, 1))
    },
    "fewer in all than on a page": (
        [page(*row(1, 2), total=1), Answer({"payload": {"list": []}})],
        queue(None, 2, complete=False),
        1,
    ),
    "no total at all": (
        [Answer({"payload": {"list": rows}}) for rows in (row(1, 2), row(3), [])],
        queue(None, 3, complete=False),
        0,
    ),
    "the same page again, and no total": (
        [Answer({"payload": {"list": row(1, 2)}})] * 2,
        queue(None, complete=False),
        0,
    ),
}


async def poll(*answers: Answer) -> Polled:
    async with collecting(PROJECT, "queuing_jobs", "octopus_") as queuing_jobs:
        return await queuing_jobs.poll(*answers)


@pytest.mark.parametrize(("answer", "expected", "rejected"), ONE_PAGE.values(), ids=ONE_PAGE)
async def test_a_queue_of_one_page(answer: Answer, expected: Expected, rejected: int) -> None:
    polled = await poll(answer)
    assert polled.outcome(expected) == (expected, rejected)
    assert len(polled.requests) == 1


@pytest.mark.parametrize(("answers", "expected", "rejected"), MANY_PAGES.values(), ids=MANY_PAGES)
async def test_a_queue_of_several_pages(answers: list[Answer], expected: Expected, rejected: int) -> None:
    polled = await poll(*answers)
    assert polled.outcome(expected) == (expected, rejected)
    assert len(polled.requests) == len(answers)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("a page is lost", "the page at offset 2 was lost: the service failed (HTTP 500, code octopus.400100)"),
        ("ends too early", "it ended after 2 of 6 rows"),
        ("the same page again", "the page at offset 2 holds only rows that came before"),
    ],
)
async def test_why_a_queue_was_not_read_as_a_whole_is_logged_once(case: str, reason: str) -> None:
    answers, _, _ = MANY_PAGES[case]
    async with collecting(PROJECT, "queuing_jobs") as queuing_jobs:
        with structlog.testing.capture_logs() as logs:
            for _ in range(2):
                await queuing_jobs.poll(*answers)
            await queuing_jobs.poll(page(*row(1)))
    assert [line.get("reason", line["event"]) for line in logs] == [reason, "the queue is read as a whole again"]


async def test_the_order_of_the_rows_does_not_show() -> None:
    rows = [*row(1, job_type="b"), *row(2, job_type="a"), *row(3)]
    assert list((await poll(page(*rows))).samples) == list((await poll(page(*reversed(rows)))).samples)


@pytest.mark.parametrize("field", FULL)
@pytest.mark.parametrize("odd", [b"[]", b"{}", b"1e999", b"[[1]]"])
async def test_one_odd_field_costs_that_field(field: str, odd: bytes) -> None:
    (whole,) = row(1, **FULL | {field: "ODD"})
    polled = await poll(Answer(json.dumps(page(whole).body).encode().replace(b'"ODD"', odd)))
    (left,) = row(1, **{name: value for name, value in FULL.items() if name != field})
    assert polled.outcome({}) == ((await poll(page(left))).samples, 1)


@pytest.mark.parametrize("name", ["internal", "processor"])
async def test_the_examples_of_the_page(name: str) -> None:
    expected = queue(1, {"SCENARIO_AUTO_MINING  1Core_4GiB": 1}, cores=1, memory=4 * GIB, oldest=1640966400)
    assert (await poll(Answer((FIXTURES / f"{name}.json").read_bytes()))).outcome({}) == (expected, 0)


THEN = datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)
MILLISECONDS = int(THEN.timestamp()) * 1000


@pytest.mark.parametrize(
    ("told", "understood"),
    [
        (f"{THEN:%Y-%m-%dT%H:%M:%SZ}", True),
        (f"{THEN:%Y-%m-%dT%H:%M:%S}", True),
        (f"{THEN:%Y-%m-%dT%H:%M:%S}.123000Z", True),
        (THEN.astimezone(timezone(timedelta(hours=8))).isoformat(), True),
        *(
            (milliseconds, True)
            for milliseconds in of(MILLISECONDS, MILLISECONDS + 0.5, str(MILLISECONDS), f" {MILLISECONDS} ")
        ),
        *((odd, False) for odd in of(None, "", "now", "9999-99-99T00:00:00", [1], {})),
    ],
    ids=repr,
)
async def test_a_clock_that_is_off_is_noticed_in_every_form_of_the_time(told: Any, understood: bool) -> None:
    with structlog.testing.capture_logs() as logs:
        polled = await poll(page(*row(1), meta_info={"current_time": told}))
    assert polled.outcome({}) == (queue(1, 1), 0)
    # An hour for a machine that is busy; a wrong zone would be eight.
    near = [
        abs(time.time() - line["ours_ahead_by_seconds"] - THEN.timestamp()) < 3600
        for line in logs
        if "clock" in line["event"]
    ]
    assert near == ([True] if understood else [])


@pytest.mark.parametrize("meta", [b"null", b"{}", b"7", b'"x"', b'{"current_time": 1e400}'])
async def test_a_page_without_a_usable_time_is_a_page_all_the_same(meta: bytes) -> None:
    body = b'{"meta_info":%s,"payload":{"list":[{"id":1}],"page_info":{"total":1}}}' % meta
    assert (await poll(Answer(body))).outcome({}) == (queue(1, 1), 0)


WORDS = ["payload", "list", "page_info", "total", "meta_info", "current_time", "id", "error_code"]
JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WORDS), inner),
)


@given(body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
@settings(deadline=None, max_examples=50)
async def test_no_answer_does_worse_than_to_fail_a_poll(body: bytes) -> None:
    await poll(Answer(body))


@given(st.integers(0, 60), st.integers(6, 25))
@settings(deadline=None, max_examples=25)
async def test_a_queue_that_rests_is_the_same_in_pages_of_any_size(entries: int, size: int) -> None:
    rows = row(*range(entries), **FULL)
    pages = [page(*rows[at : at + size], total=entries) for at in range(0, max(entries, 1), size)]
    assert (await poll(*pages)).samples == (await poll(page(*rows))).samples
