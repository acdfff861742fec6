"""From what SCNet sends to records: leniently where the value is clear, dropping what is not, inventing nothing."""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import DecodeError, PollError
from exporter.records import Job, JobListing, JobState, QueueCounts, QueueStatistics, Scheduler, Schedulers
from exporter.scnet import wire
from exporter.scnet.envelope import open_envelope
from exporter.upstream import Response

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
        ("X", JobState.UNKNOWN),
        ("运行", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
        ("''", JobState.UNKNOWN),
    ],
)
def test_the_letter_names_the_state_in_every_spelling(letter: str, state: JobState) -> None:
    answer = queue(value(letter, 3))
    assert answer.queues[0].counts == {**ZEROS, state: 3}
    assert answer.unknown_states == (state is JobState.UNKNOWN)
    assert answer.rejected == 0


@pytest.mark.parametrize(
    ("sent", "count"), [(0, 0), (7, 7), ("7", 7), ("0", 0), (2**53, 2**53), (3.0, 3), ("007", None)]
)
def test_a_count_is_a_number_or_numeric_text(sent: object, count: int | None) -> None:
    assert queue(value("R", sent)).queues[0].counts.get(R) == count


@pytest.mark.parametrize("sent", [None, "", "many", -1, "-1", 1.5, True, 2**53 + 1, 10**30, [], {}, "1,000", "１"])
def test_a_count_that_cannot_be_read_is_left_out_and_not_zero(sent: object) -> None:
    answer = queue(value("R", sent), value("Q", 4))
    assert answer.queues[0].counts == {Q: 4, H: 0, S: 0, O: 0}
    assert answer.rejected == 1


@pytest.mark.parametrize("bad", [7, "R", None, [], {}, {"metricValue": 2}, {"metricName": 7, "metricValue": 2}])
def test_a_value_without_its_letter_makes_no_count_wrong(bad: object) -> None:
    answer = queue(bad, value("R", 2))
    assert answer.queues[0].counts == {**ZEROS, R: 2}
    assert answer.rejected == 1


def test_a_letter_sent_twice_is_added_up_unless_one_of_them_is_unreadable() -> None:
    assert queue(value("R", 2), value("R(运行)", 3)).queues[0].counts[R] == 5
    assert R not in queue(value("R", 2), value("R", "?")).queues[0].counts


@pytest.mark.parametrize(
    "bad", [7, None, "debug", [], {}, {"name": None}, {"name": "q", "values": {}}, {"name": ["q"]}]
)
def test_a_bad_queue_among_good_ones_is_dropped_and_counted(bad: object) -> None:
    good = {"name": "debug", "values": [value("R", 1)]}
    answer = wire.queue_statistics("test", raw([good, bad, good]))
    assert [row.queue for row in answer.queues] == ["debug", "debug"], "queues of one name are two schedulers'"
    assert answer.rejected == 1


@pytest.mark.parametrize("row", [{"name": "debug"}, {"name": "debug", "values": None}, {"name": "debug", "values": []}])
def test_a_queue_without_values_has_no_jobs(row: object) -> None:
    assert wire.queue_statistics("test", raw([row])).queues == (QueueCounts("debug", ZEROS),)


def test_a_queues_name_may_be_a_number() -> None:
    assert queue(name=7).queues[0].queue == "7"


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
            [{"text": "no id"}, None, 7, {"id": 1.5}, {"id": True}, SLURM],
            Schedulers((Scheduler("1638523853", "Cluster", "SLURM"),), 5),
        ),
        ({}, Schedulers((), 1)),
        (None, Schedulers(())),
        ([], Schedulers(())),
    ],
)
def test_schedulers_in_every_form(data: object, expected: Schedulers) -> None:
    assert wire.schedulers(raw(data)) == expected


@pytest.mark.parametrize("data", ["", "none", 7, True])
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
    ("status", "state"),
    [
        ("statR", "running"),
        ("statQ", "queued"),
        ("statH", "held"),
        ("statS", "suspended"),
        ("statW", "waiting"),
        ("statE", "exiting"),
        ("statC", "completed"),
        ("statX", "other"),
        ("statDE", "deleted"),
        ("statD", "failed"),
        ("statT", "timeout"),
        ("statN", "node_failure"),
        ("statRQ", "requeued"),
        ("statZZ", "unknown"),
        ("R", "unknown"),
        ("STATR", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_every_status_and_those_of_tomorrow(status: object, state: str) -> None:
    listing = job(status=status)
    assert [job.state for job in listing.jobs] == [state]
    assert listing.unknown_states == (state == "unknown")
    assert listing.complete, "a job of an unknown state is there all the same"


@pytest.mark.parametrize(
    ("sent", "count"),
    [(5, 5), ("5", 5), (" 5 ", 5), (5.0, 5), (0, 0), ("0", 0), (None, None), ("", None), ("  ", None), (2**53, 2**53)],
)
def test_an_amount_is_a_number_numeric_text_or_unknown(sent: object, count: int | None) -> None:
    (only,) = job(cpuCore=sent, procNumReq=1).jobs
    assert (only.allocated_cpus, only.requested_cpus, only.requested_gpus) == (count, 1, None)


@pytest.mark.parametrize("sent", ["two", -1, "-1", 1.5, True, 2**53 + 1, 10**30, [], {}, "1 2", "0x10"])
def test_a_job_with_an_amount_that_makes_no_sense_is_dropped_and_its_neighbours_are_not(sent: object) -> None:
    rows = [
        {"id": "1", "status": "statR"},
        {"id": "2", "status": "statR", "cpuCore": sent},
        {"id": "3", "status": "statQ"},
    ]
    listing = wire.job_listing(raw(rows))
    assert [job.id for job in listing.jobs] == ["1", "3"]
    assert (listing.rejected, listing.complete) == (1, False)


@pytest.mark.parametrize(
    "bad", [None, 7, "job", [], {}, {"id": None}, {"id": ""}, {"id": True}, {"id": "2", "status": 7}]
)
def test_what_is_no_job_is_dropped_and_counted(bad: object) -> None:
    listing = wire.job_listing(raw([bad, {"id": "1", "status": "statR"}]))
    assert [job.id for job in listing.jobs] == ["1"]
    assert listing.rejected == 1


@pytest.mark.parametrize("ident", ["007", "null", "1e3", "true", "533686286955839488[17]", "作业", " 1"])
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
        "status": st.one_of(st.sampled_from(sorted(wire.JOB_STATUSES)), JSON),
        **dict.fromkeys(wire.COUNT_FIELDS, AMOUNT),
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


@given(st.lists(st.one_of(ODD_JOB, JSON)))
def test_every_row_is_either_a_job_or_counted_and_amounts_are_counts(rows: list[object]) -> None:
    listing = wire.job_listing(raw(rows))
    assert len(listing.jobs) + listing.rejected == len(rows)
    for job in listing.jobs:
        assert job.id
        amounts = [getattr(job, name) for name in Job.__struct_fields__[3:]]
        assert all(amount is None or (type(amount) is int and 0 <= amount <= 2**53) for amount in amounts)


@given(st.lists(st.one_of(ODD_JOB, JSON)))
def test_a_long_list_is_read_as_a_short_one_is(rows: list[object]) -> None:
    """Long lists are decoded piece by piece, short ones in one go."""
    with pytest.MonkeyPatch.context() as patch:
        short = wire.job_listing(raw(rows))
        patch.setattr(wire, "ONE_GO_LIMIT", -1)
        assert wire.job_listing(raw(rows)) == short


@given(st.lists(st.one_of(ODD_QUEUE, JSON)))
def test_counts_of_a_queue_are_never_invented(rows: list[object]) -> None:
    statistics = wire.queue_statistics("test", raw(rows))
    for row in statistics.queues:
        assert all(type(count) is int and count >= 0 for count in row.counts.values())
