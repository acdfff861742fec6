"""Tables: what a region answers about a user's queues -> samples."""

from typing import Any

import pytest

from tests.support.collecting import REGION, Answer, Expected, Polled, collecting, envelope, of

STATES = {"R": "running", "Q": "queued", "H": "held", "S": "suspended", "O": "other"}
UNREADABLE: list[Any] = [
    None,
    "",
    "many",
    -1,
    "-1",
    1.5,
    True,
    2**53 + 1,
    10**30,
    [],
    {},
    "1,000",
    "１",
    "--",
    "N/A",
    "007",
]
SPELLINGS = ["{0}", "{0}({1})", "'{0}({1})'", "‘{0}（{1}）’", " {0} ", '"{0}"']
WORDS = {"R": "运行", "Q": "排队", "H": "保留", "S": "挂起", "O": "其他"}


def value(letter: Any, count: Any) -> dict[str, Any]:
    return {"metricName": letter, "metricValue": count}


def queues(*values: Any, name: Any = "debug") -> Answer:
    return envelope([{"name": name, "values": list(values)}])


def counts(name: str = "debug", /, *, others: int | None = 0, **known: int | None) -> dict[str, float]:
    """Return the samples of a queue: by letter, and `others` for the rest; None where there is none."""
    found = {STATES.get(letter, letter): count for letter, count in {**dict.fromkeys(STATES, others), **known}.items()}
    return {f"{name} {state}": count for state, count in found.items() if count is not None}


UNKNOWN = counts(others=None)
CASES: dict[str, tuple[Answer, Expected, int]] = {
    **{
        f"no queues: {answer.body!r}": (answer, {}, 0)
        for answer in (
            *(
                envelope(None),
                envelope([]),
                envelope(b" [ ] "),
                Answer({"code": "0"}),
                Answer({"code": 0, "data": None}),
            ),
            *(Answer(b"null"), Answer(b" null\r\n")),
        )
    },
    **{
        f"null under HTTP {status} is not zero jobs": (Answer(b"null", status), reason, 0)
        for status, reason in ((404, "http: "), (500, "http: "), (503, "http: "), (401, "auth: "))
    },
    **{
        f"no list: {data!r}": (envelope(data), "decode: the answer's data is not a list", 0)
        for data in of("", "no jobs", {}, 0, False, {"name": "debug", "values": []})
    },
    **{
        f"letter {spelling.format(letter, word)}": (
            queues(value(spelling.format(letter, word), 3)),
            counts(**{letter: 3}),
            0,
        )
        for letter, word in WORDS.items()
        for spelling in SPELLINGS
    },
    "small letter": (queues(value("r", 3)), counts(R=3), 0),
    **{
        f"count {sent!r}": (queues(value("R", sent)), counts(R=int(float(sent))), 0)
        for sent in of(0, 7, "7", "0", 2**53, 3.0)
    },
    **{
        f"count {sent!r} is left out and not zero": (queues(value("R", sent), value("Q", 4)), counts(R=None, Q=4), 1)
        for sent in UNREADABLE
    },
    **{
        f"count {sent!r} is left out and not zero": (
            envelope(b'[{"name":"debug","values":[{"metricName":"R","metricValue":%s}]}]' % sent),
            counts(R=None),
            1,
        )
        for sent in (b"1e999", b"[[[]]]")
    },
    **{
        f"value {bad!r} may be of any state": (
            envelope([{"name": "debug", "values": [bad, value("R", 2)]}, {"name": "good", "values": [value("R", 2)]}]),
            UNKNOWN | counts("good", R=2),
            1,
        )
        for bad in of(
            *(7, "R", None, [], {}, {"metricValue": 2}),
            *(value(name, 2) for name in of(7, None, "", "''", "?", ["R"], {}, True)),
        )
    },
    "nothing of no state": (queues(value(None, 0), value("R", 2)), counts(R=2), 1),
    "letter twice": (queues(value("R", 2), value("R(运行)", 3)), counts(R=5), 0),
    "letter twice, once unreadable": (queues(value("R", 2), value("R", "?")), counts(R=None), 1),
    "queue twice": (
        envelope(
            [{"name": "debug", "values": [value("R", 1), value("Q", 1)]}, {"name": "debug", "values": [value("R", 2)]}]
        ),
        counts(R=3, Q=1),
        0,
    ),
    "queue twice, once unreadable": (
        envelope([{"name": "debug", "values": [value("R", 1)]}, {"name": "debug", "values": [value("R", "?")]}]),
        counts(R=None),
        1,
    ),
    **{
        f"row {bad!r} is dropped": (envelope([{"name": "debug", "values": [value("R", 1)]}, bad]), counts(R=1), 1)
        for bad in of(7, None, "debug", [], {}, {"name": None}, {"values": [value("R", 1)]}, {"name": ["q"]})
    },
    "no row can be read": (envelope([7, {}]), "decode: none of the answer's 2 rows can be read", 0),
    **{
        f"values {values!r} are none": (envelope([{"name": "debug", "values": values}]), UNKNOWN, 1)
        for values in of("none", 7, True, {}, None)
    },
    "values are missing": (envelope([{"name": "debug"}]), UNKNOWN, 1),
    "values are there and none": (envelope([{"name": "debug", "values": []}]), counts(), 0),
    **{
        f"name {name!r}": (queues(name=name), counts(shown), 0)
        for name, shown in (
            (7, "7"),
            (7.0, "7"),
            (7.5, "7.5"),
            (True, "true"),
            ("", ""),
            (" a ", " a "),
            ('队"\\\n', '队"\\\n'),
        )
    },
}


async def poll(answer: Answer) -> Polled:
    async with collecting(REGION, "queue_jobs", "hpc_queue_jobs") as queue_jobs:
        return await queue_jobs.poll(answer)


@pytest.mark.parametrize(("answer", "expected", "rejected"), CASES.values(), ids=CASES)
async def test_queues(answer: Answer, expected: Expected, rejected: int) -> None:
    assert (await poll(answer)).outcome(expected) == (expected, rejected)


async def test_the_example_of_the_page(page_example: dict[str, bytes]) -> None:
    polled = await poll(Answer(page_example["queue_jobs"]))
    assert polled.outcome({}) == (counts(R=2), 0)
    assert polled.requests == ["/hpc/openapi/v2/view/queue/jobs?userName=test"]


@pytest.mark.parametrize("letter", ["X", "PENDING", "运行"])
async def test_an_unknown_letter_may_stand_for_one_that_is_not_sent(letter: str) -> None:
    """The three jobs may be running, so 0 running would be wrong; the two that are queued are two all the same."""
    known = [value(each, 1) for each in STATES]
    for values, expected, rejected in [
        ([value(letter, 3), value("Q", 2)], counts(others=None, Q=2, unknown=3), 0),
        ([value(letter, 3), *known], counts(others=1, unknown=3), 0),
        ([value(letter, 0), value("Q", 2)], counts(Q=2), 0),
        ([value(letter, "?"), value("Q", 2)], counts(others=None, Q=2), 1),
    ]:
        polled = await poll(queues(*values))
        assert (polled.outcome(expected), polled.unknown_states) == ((expected, rejected), 1)


async def test_a_queue_that_was_there_once_has_no_jobs_where_it_is_missing() -> None:
    async with collecting(REGION, "queue_jobs", "hpc_queue_jobs") as queue_jobs:
        for answer, expected, rejected in of(
            (queues(value("R", 2)), counts(R=2), 0),
            (queues(value("R", 2)), counts(R=2), 0),
            (queues(name="large"), counts("large") | counts(), 0),
            (envelope([{"name": "large", "values": []}, {}]), counts("large"), 1),
            (envelope([{"name": "large", "values": []}, {"name": "debug", "values": None}]), counts("large"), 1),
            (Answer({"code": "10001"}), "upstream: ", 0),
            (envelope(None), counts("large") | counts(), 0),
        ):
            assert (await queue_jobs.poll(answer)).outcome(expected) == (expected, rejected)


async def test_queues_of_one_name_are_added_up_as_far_as_both_are_known() -> None:
    """Two schedulers may each have a queue of the name."""
    rows = [("a", {"R": 1, "X": 4}), ("b", {"Q": 1}), ("a", {"R": 2, "H": 3, "X": 1})]
    answer = envelope([{"name": name, "values": [value(*each) for each in known.items()]} for name, known in rows])
    expected = {"a running": 3, "a unknown": 5, **counts("b", Q=1)}
    assert (await poll(answer)).outcome(expected) == (expected, 0)


async def test_the_order_of_the_answer_does_not_show() -> None:
    """An unchanged answer must give unchanged bytes, or every scrape compresses everything again."""
    rows = [{"name": name, "values": [value("R", 1), value("Q", 2)]} for name in "abc"]
    assert list((await poll(envelope(rows))).samples) == list((await poll(envelope(rows[::-1]))).samples)
