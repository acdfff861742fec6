"""From what SCNet sends to records: leniently where the value is clear, dropping what is not, inventing nothing."""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import DecodeError, PollError
from exporter.http import Response
from exporter.records import Job, JobListing, JobState, QueueCounts, QueueStatistics, Scheduler, Schedulers
from exporter.sources.scnet import wire
from exporter.sources.scnet.envelope import open_envelope

R, Q, H, S, O = JobState.RUNNING, JobState.QUEUED, JobState.HELD, JobState.SUSPENDED, JobState.OTHER  # noqa: E741 - the API's letters
ZEROS = {R: 0, Q: 0, H: 0, S: 0, O: 0}


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(value if isinstance(value, bytes) else json.dumps(value).encode())


def queue(*values: object, name: object = "debug") -> QueueStatistics:
    return wire.queue_statistics("test", raw([{"name": name, "values": list(values)}]))


def value(letter: object, count: object) -> dict[str, object]:
    return {"metricName": letter, "metricValue": count}


def job(**fields: object) -> JobListing:
    return wire.job_listing(raw([{"id": "1", "status": "statR", **fields}]))


# Queue statistics


def test_the_pages_example_of_queue_statistics(page_example: dict[str, bytes]) -> None:
    data = open_envelope(Response(200, page_example["queue_jobs"], {}, 0.0))
    assert wire.queue_statistics("test", data) == QueueStatistics(
        "test", (QueueCounts("debug", {**ZEROS, R: 2}),), 0, 0
    )


@pytest.mark.parametrize("data", [b"null", b"[]", b" [ ] "])
def test_no_queues_is_an_empty_answer(data: bytes) -> None:
    assert wire.queue_statistics("test", raw(data.strip())) == QueueStatistics("test", ())


@pytest.mark.parametrize("data", [b'""', b'"no jobs"', b"{}", b"0", b"false", b'{"name":"debug","values":[]}'])
def test_data_that_is_no_list_is_undecodable_and_not_zero(data: bytes) -> None:
    for read in (lambda d: wire.queue_statistics("test", d), wire.job_listing):
        with pytest.raises(DecodeError, match="the answer's data is not a list"):
            read(raw(data))


@pytest.mark.parametrize(
    ("letter", "state"),
    [
        *(
            (spelling.format(letter, meaning), state)
            for letter, meaning, state in [
                ("R", "运行", R),
                ("Q", "排队", Q),
                ("H", "保留", H),
                ("S", "挂起", S),
                ("O", "其他", O),
            ]
            for spelling in ("{0}", "{0}({1})", "'{0}({1})'", "‘{0}（{1}）’", " {0} ", '"{0}"')
        ),
        ("r", R),
    ],
)
def test_the_letter_names_the_state_in_every_spelling(letter: str, state: JobState) -> None:
    answer = queue(value(letter, 3))
    assert answer == QueueStatistics("test", (QueueCounts("debug", {**ZEROS, state: 3}),))


@pytest.mark.parametrize("letter", ["X", "PENDING", "运行"])
def test_a_letter_that_nobody_knows_may_stand_for_one_that_is_not_sent(letter: str) -> None:
    """The three jobs may be running, so 0 running would be wrong; the two that are queued are two all the same."""
    answer = queue(value(letter, 3), value("Q", 2))
    assert answer.queues[0].counts == {Q: 2, JobState.UNKNOWN: 3}
    assert (answer.unknown_states, answer.unknown_words) == (1, (letter,))
    every = queue(value(letter, 3), *(value(known, 1) for known in "RQHSO"))
    assert every.queues[0].counts == {**dict.fromkeys(ZEROS, 1), JobState.UNKNOWN: 3}
    assert queue(value(letter, 0), value("Q", 2)).queues[0].counts == {**ZEROS, Q: 2, JobState.UNKNOWN: 0}
    unread = queue(value(letter, "?"), value("Q", 2))
    assert unread.queues[0].counts == {Q: 2}
    assert unread.rejected_values == 1


@pytest.mark.parametrize(
    ("sent", "count"), [(0, 0), (7, 7), ("7", 7), ("0", 0), (2**53, 2**53), (3.0, 3), ("007", None)]
)
def test_a_count_is_a_number_or_numeric_text(sent: object, count: int | None) -> None:
    assert queue(value("R", sent)).queues[0].counts.get(R) == count


@pytest.mark.parametrize(
    "sent",
    [None, "", "many", -1, "-1", 1.5, True, 2**53 + 1, 10**30, [], {}, "1,000", "１", "--", "N/A", b"1e999", b"[[[]]]"],
)
def test_a_count_that_cannot_be_read_is_left_out_and_not_zero(sent: object) -> None:
    odd = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    data = b'[{"name":"debug","values":[{"metricName":"R","metricValue":%s},{"metricName":"Q","metricValue":4}]}]' % odd
    answer = wire.queue_statistics("test", raw(data))
    assert answer.queues[0].counts == {Q: 4, H: 0, S: 0, O: 0}
    assert (answer.rejected, answer.rejected_values) == (0, 1)


NO_LETTERS: list[object] = [7, None, "", "''", "?", ["R"], {}, True]


@pytest.mark.parametrize("bad", [7, "R", None, [], {}, {"metricValue": 2}, *(value(name, 2) for name in NO_LETTERS)])
def test_a_value_without_its_letter_may_have_been_any(bad: object) -> None:
    """Not even what else was sent is sure: a letter can come twice and is then added up."""
    answer = wire.queue_statistics(
        "test", raw([{"name": "odd", "values": [bad, value("R", 2)]}, {"name": "good", "values": [value("R", 2)]}])
    )
    assert answer.queues == (QueueCounts("odd", {}), QueueCounts("good", {**ZEROS, R: 2}))
    assert (answer.rejected, answer.rejected_values) == (0, 1)


def test_a_value_of_nothing_without_its_letter_costs_nothing() -> None:
    answer = queue(value(None, 0), value("R", 2))
    assert answer.queues[0].counts == {**ZEROS, R: 2}
    assert answer.rejected_values == 1


def test_a_letter_sent_twice_is_added_up_unless_one_of_them_is_unreadable() -> None:
    assert queue(value("R", 2), value("R(运行)", 3)).queues[0].counts[R] == 5
    assert R not in queue(value("R", 2), value("R", "?")).queues[0].counts


@pytest.mark.parametrize(
    "bad", [7, None, "debug", [], {}, {"name": None}, {"values": [value("R", 1)]}, {"name": ["q"]}]
)
def test_a_bad_queue_among_good_ones_is_dropped_and_counted(bad: object) -> None:
    good = {"name": "debug", "values": [value("R", 1)]}
    answer = wire.queue_statistics("test", raw([good, bad, good]))
    assert [row.queue for row in answer.queues] == ["debug", "debug"], "queues of one name are two schedulers'"
    assert (answer.rejected, answer.rejected_values) == (1, 0)
    with pytest.raises(DecodeError, match="none of the answer's 2 rows can be read"):
        wire.queue_statistics("test", raw([bad, bad]))


@pytest.mark.parametrize("values", ["none", 7, True, {}])
def test_values_that_are_no_list_make_every_count_unknown(values: object) -> None:
    answer = wire.queue_statistics("test", raw([{"name": "debug", "values": values}]))
    assert answer.queues == (QueueCounts("debug", {}),)
    assert (answer.rejected, answer.rejected_values) == (0, 1)


@pytest.mark.parametrize("row", [{"name": "debug"}, {"name": "debug", "values": None}, {"name": "debug", "values": []}])
def test_a_queue_without_values_has_no_jobs(row: object) -> None:
    assert wire.queue_statistics("test", raw([row])).queues == (QueueCounts("debug", ZEROS),)


NAMES: list[tuple[object, str]] = [(7, "7"), (7.0, "7"), (7.5, "7.5"), (True, "true"), ("", ""), (" a ", " a ")]


@pytest.mark.parametrize(("name", "shown"), NAMES)
def test_a_queues_name_may_be_a_number(name: object, shown: str) -> None:
    assert queue(name=name).queues[0].queue == shown


# Schedulers


def test_the_pages_example_of_schedulers_without_address_and_port(page_example: dict[str, bytes]) -> None:
    data = open_envelope(Response(200, page_example["cluster"], {}, 0.0))
    assert wire.schedulers(data) == Schedulers((Scheduler("1638523853", "Cluster", "SLURM"),), 0)


SLURM = {"id": 1638523853, "text": "Cluster", "JobManagerType": "SLURM"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (SLURM, Schedulers((Scheduler("1638523853", "Cluster", "SLURM"),))),
        (
            [SLURM, {**SLURM, "id": "2"}],
            Schedulers((Scheduler("1638523853", "Cluster", "SLURM"), Scheduler("2", "Cluster", "SLURM"))),
        ),
        ([{"id": 2**63}], Schedulers((Scheduler("9223372036854775808", "", ""),))),
        ([{"id": "1", "text": None, "JobManagerType": None}], Schedulers((Scheduler("1", "", ""),))),
        (
            [{"text": "no id"}, None, 7, {"id": 1.5}, {"id": True}, {"id": " "}, SLURM],
            Schedulers((Scheduler("1638523853", "Cluster", "SLURM"),), 6),
        ),
        *(
            ([{"id": same}], Schedulers((Scheduler("1638523853", "", ""),)))
            for same in (1638523853.0, "1638523853.0", " 1638523853 ", "1638523853")
        ),
        (
            [{"id": "1", "text": 7, "JobManagerType": ["SLURM"]}, {"id": "2", "text": False}],
            Schedulers((Scheduler("1", "7", ""), Scheduler("2", "false", ""))),
        ),
        (None, Schedulers(())),
        ([], Schedulers(())),
    ],
)
def test_schedulers_in_every_form(data: object, expected: Schedulers) -> None:
    assert wire.schedulers(raw(data)) == expected


@pytest.mark.parametrize("data", ["", "none", 7, True, {}, [{}], [None, 7]])
def test_schedulers_that_are_neither_list_nor_object_are_undecodable(data: object) -> None:
    with pytest.raises(DecodeError):
        wire.schedulers(raw(data))


# Member jobs


def test_the_pages_example_of_member_jobs(page_example: dict[str, bytes]) -> None:
    data = open_envelope(Response(200, page_example["member_jobs"], {}, 0.0))
    expected = Job("1466591", "COMSOL_GUI_1031_103150", JobState.RUNNING, 1, 1, 0, 0, 2, 0, 0)
    assert wire.job_listing(data) == JobListing((expected,), 0, 0)


def test_every_amount_goes_where_it_belongs() -> None:
    """Requested and in use have look-alike names; here each has a number of its own."""
    listing = job(name="n", nodeNumReq=1, procNumReq=2, gpuNumReq=3, dcuNumReq=4, cpuCore=5, gpuNum=6, dcuNumUsed=7)
    assert listing.jobs == (
        Job(
            "1",
            "n",
            JobState.RUNNING,
            requested_nodes=1,
            requested_cpus=2,
            requested_gpus=3,
            requested_dcus=4,
            allocated_cpus=5,
            allocated_gpus=6,
            allocated_dcus=7,
        ),
    )


@pytest.mark.parametrize(
    ("status", "raw_state"),
    [("statZZ", "statZZ"), ("", ""), (None, ""), (7, "7"), (True, "true"), (["statR"], '["statR"]'), ({}, "{}")],
)
def test_a_job_in_a_state_that_nobody_knows_is_there_all_the_same(status: object, raw_state: str) -> None:
    listing = job(status=status)
    assert [(job.state, job.raw_state) for job in listing.jobs] == [(JobState.UNKNOWN, raw_state)]
    assert (listing.unknown_states, listing.unknown_words) == (1, (raw_state,))
    assert listing.complete


def test_a_job_without_a_status_is_in_a_state_that_nobody_knows() -> None:
    listing = wire.job_listing(raw([{"id": "1"}, {"id": "2", "status": "statR"}]))
    assert [job.state for job in listing.jobs] == [JobState.UNKNOWN, R]
    assert listing.unknown_states == 1


@pytest.mark.parametrize("word", ["x" * 10_000, "a\nb", "\x1b[31m"])
def test_a_word_is_kept_in_one_printable_line_of_bounded_length(word: str) -> None:
    kept = job(status=word).jobs[0].raw_state
    assert 0 < len(kept) <= 200
    assert kept.isprintable()


@pytest.mark.parametrize(
    ("sent", "count"),
    [(5, 5), ("5", 5), (" 5 ", 5), (5.0, 5), (0, 0), ("0", 0), (None, None), ("", None), ("  ", None), (2**53, 2**53)],
)
def test_an_amount_is_a_number_numeric_text_or_unknown(sent: object, count: int | None) -> None:
    (only,) = job(cpuCore=sent, procNumReq=1).jobs
    assert (only.allocated_cpus, only.requested_cpus, only.requested_gpus) == (count, 1, None)


@pytest.mark.parametrize("sent", ["--", "-", "N/A", "n/a", "null", "None", -1, "-1", -1.0, "", None])
def test_an_amount_that_is_said_to_be_unknown_is_nothing_odd(sent: object) -> None:
    assert_unknown(json.dumps(sent).encode(), odd=0)


@pytest.mark.parametrize(
    "sent",
    [
        *(
            b'"two"',
            b'"gpu:2"',
            b"-2",
            b"2.5",
            b"true",
            b"false",
            b"9007199254740993",
            b"1" * 30,
            b"[]",
            b"{}",
            b'"1 2"',
        ),
        *(b'"0x10"', b'"NaN"', b'"2.5"', b"1e999", b"1" * 9999, b'{"a":[1,{}]}', b'"\xff"', b'"007"'),
    ],
)
def test_an_amount_that_makes_no_sense_is_unknown_and_counted(sent: bytes) -> None:
    assert_unknown(sent, odd=1)


def assert_unknown(sent: bytes, *, odd: int) -> None:
    for name in wire.RawJob.__struct_encode_fields__[3:]:
        row = b'{"id":"2","name":"n","status":"statR","%s":%s}' % (name.encode(), sent)
        listing = wire.job_listing(raw(b'[{"id":"1","status":"statR"},%s,{"id":"3","status":"statQ"}]' % row))
        assert listing.jobs == (Job("1", "", R), Job("2", "n", R), Job("3", "", Q))
        assert (listing.rejected, listing.rejected_values, listing.complete) == (0, odd, True)


@pytest.mark.parametrize("sent", [2, 2.0, "2", "2.0", " 2 "])
def test_one_odd_field_costs_that_field(sent: object) -> None:
    row = {"id": "1", "status": "statR", "cpuCore": "N/A", "gpuNum": "gpu:2", "procNumReq": sent, "name": 7}
    assert job(**row).jobs == (Job("1", "7", R, requested_cpus=2),)


@pytest.mark.parametrize(("name", "shown"), [*NAMES, (None, ""), ([], ""), ({}, "")])
def test_a_name_may_be_anything(name: object, shown: str) -> None:
    listing = job(name=name)
    assert [job.name for job in listing.jobs] == [shown]
    assert listing.rejected_values == isinstance(name, list | dict)


def test_of_a_field_that_comes_twice_the_last_one_counts() -> None:
    listing = wire.job_listing(raw(b'[{"id":"1","id":"2","status":"statR","cpuCore":"?","cpuCore":3}]'))
    assert listing.jobs == (Job("2", "", R, allocated_cpus=3),)


NO_IDS: list[object] = [None, "", " ", True, 1.5, 1e300, [], {}]
BAD_JOBS: list[object] = [None, 7, "job", [], {}, *({"id": ident} for ident in NO_IDS)]


@pytest.mark.parametrize("bad", BAD_JOBS)
def test_what_has_no_usable_id_is_dropped_and_counted(bad: object) -> None:
    listing = wire.job_listing(raw([bad, {"id": "1", "status": "statR"}]))
    assert [job.id for job in listing.jobs] == ["1"]
    assert (listing.rejected, listing.rejected_values, listing.complete) == (1, 0, False)


def test_a_list_of_which_no_row_can_be_read_says_nothing() -> None:
    with pytest.raises(DecodeError, match=f"none of the answer's {len(BAD_JOBS)} rows can be read"):
        wire.job_listing(raw(BAD_JOBS))


@pytest.mark.parametrize("ident", [1638523853.0, "1638523853.0", " 1638523853 "])
def test_one_id_in_every_form(ident: object) -> None:
    assert job(id=ident).jobs[0].id == "1638523853"
    assert job(id=ident, cpuCore="?").jobs[0].id == "1638523853"


@pytest.mark.parametrize("ident", ["007", "null", "1e3", "true", "533686286955839488[17]", "作业", "1.5"])
def test_an_id_in_text_stays_as_it_is(ident: str) -> None:
    (only,) = job(id=ident, name=ident).jobs
    assert (only.id, only.name) == (ident, ident)


@pytest.mark.parametrize("ident", [7, 533686286955839489, 2**64 + 1])
def test_an_id_in_digits_keeps_every_one(ident: int) -> None:
    assert job(id=ident).jobs[0].id == str(ident)


@pytest.mark.parametrize("data", [None, []])
def test_no_jobs_is_an_empty_and_complete_listing(data: object) -> None:
    assert wire.job_listing(raw(data)) == JobListing(())


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
AMOUNT = st.one_of(
    st.integers(-2, 9),
    st.integers().map(str),
    st.floats(0, 9),
    st.sampled_from(["", " 3 ", "x", None, True, 2**53, 2**64]),
    JSON,
)
ODD_JOB = st.fixed_dictionaries(
    {"id": st.one_of(st.text(), st.integers(), JSON)},
    optional={
        "name": st.one_of(st.text(), JSON),
        "status": st.one_of(st.sampled_from(["statR", "statQ", "CANCELLED by 7"]), JSON),
        **dict.fromkeys(wire.RawJob.__struct_encode_fields__[3:], AMOUNT),
    },
)
ODD_QUEUE = st.fixed_dictionaries(
    {"name": JSON}, optional={"values": st.lists(st.one_of(st.builds(value, st.one_of(st.text(), JSON), AMOUNT), JSON))}
)
READERS: list[Callable[[msgspec.Raw], QueueStatistics | Schedulers | JobListing]] = [
    lambda data: wire.queue_statistics("test", data),
    wire.schedulers,
    wire.job_listing,
]


def encoded(data: object) -> bytes:
    # Surrogates alone cannot be encoded; upstreams could send their escapes, as json.dumps does.
    return json.dumps(data).encode()


@given(st.one_of(st.binary(), JSON.map(encoded), st.lists(st.one_of(ODD_JOB, ODD_QUEUE, JSON)).map(encoded)))
def test_no_data_raises_anything_but_a_poll_error(data: bytes) -> None:
    body = b'{"code":"0","data":' + data + b"}"
    for read in READERS:
        for whole in (body, data):
            try:
                read(open_envelope(Response(200, whole, {}, 0.0)))
            except PollError:
                continue


def listing_of(rows: list[object]) -> JobListing:
    try:
        return wire.job_listing(raw(rows))
    except DecodeError:
        assert rows
        return JobListing((), rejected=len(rows))


@given(st.lists(st.one_of(ODD_JOB, JSON)))
def test_every_row_is_either_a_job_or_counted_and_amounts_are_counts(rows: list[object]) -> None:
    listing = listing_of(rows)
    assert len(listing.jobs) + listing.rejected == len(rows)
    for job in listing.jobs:
        assert job.id
        amounts = [getattr(job, name) for name in Job.__struct_fields__[3:-1]]
        assert all(amount is None or (type(amount) is int and 0 <= amount <= 2**53) for amount in amounts)


@given(st.lists(st.one_of(ODD_JOB, JSON)))
def test_a_long_list_is_read_as_a_short_one_is(rows: list[object]) -> None:
    """Long lists are decoded piece by piece, short ones in one go."""
    with pytest.MonkeyPatch.context() as patch:
        short = listing_of(rows)
        patch.setattr(wire, "ONE_GO_LIMIT", -1)
        assert listing_of(rows) == short


@given(st.lists(st.one_of(ODD_QUEUE, JSON)))
def test_counts_of_a_queue_are_never_invented(rows: list[object]) -> None:
    try:
        statistics = wire.queue_statistics("test", raw(rows))
    except DecodeError:
        return
    for row in statistics.queues:
        assert all(type(count) is int and count >= 0 for count in row.counts.values())
