"""Pages: every field but `id` can be missing, a bad row costs only itself, the time comes in four forms."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ApiError, DecodeError, PollError
from exporter.http import Response
from exporter.sources.octopus.wire import moment_of, read_page

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "octopus"
RECEIVED = 1_700_000_000.0


def answer(body: Any, status: int = 200) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, raw, {}, RECEIVED)


def page(rows: Any, total: Any = 1, **more: Any) -> Response:
    return answer({"payload": {"list": rows, "page_info": {"offset": 0, "limit": 10, "total": total}}, **more})


@pytest.mark.parametrize(("name", "told"), [("internal", 1641024509.0), ("processor", 1640966400.0)])
def test_the_examples_of_the_page(name: str, told: float) -> None:
    read = read_page(answer((FIXTURES / f"{name}.json").read_bytes()))
    (row,) = read.rows
    assert (row.id, row.job_type, row.processor_name) == (1, "SCENARIO_AUTO_MINING", None)
    assert (row.resource_spec, row.rank_stamp) == ("1Core_4GiB", 1640966400000)
    assert (read.positions, read.rejected, read.total) == (1, 0, 1)
    assert read.skew == RECEIVED - told


@pytest.mark.parametrize(
    ("told", "moment"),
    [
        ("2022-01-01T08:08:29Z", 1641024509.0),
        ("2022-01-01T08:08:29", 1641024509.0),
        ("2022-01-01T16:08:29+08:00", 1641024509.0),
        ("2022-01-01T08:08:29.123000Z", 1641024509.123),
        (1640966400000, 1640966400.0),
        (1640966400000.5, 1640966400.0005),
        ("1640966400000", 1640966400.0),
        (" 1640966400000 ", 1640966400.0),
        (None, None),
        ("", None),
        ("now", None),
        ("9999-99-99T00:00:00", None),
    ],
)
def test_every_form_of_the_time(told: Any, moment: float | None) -> None:
    assert moment_of(told) == moment


@pytest.mark.parametrize(
    "meta", [None, {}, {"current_time": None}, {"current_time": [1]}, {"current_time": "x"}, 7, "x"]
)
def test_a_page_without_a_usable_time_is_a_page_all_the_same(meta: Any) -> None:
    read = read_page(page([{"id": 1}], meta_info=meta))
    assert len(read.rows) == 1
    assert read.skew is None


def test_an_endless_number_is_no_time() -> None:
    body = b'{"meta_info": {"current_time": 1e400}, "payload": {"list": [], "page_info": {"total": 0}}}'
    assert read_page(answer(body)).skew is None


def test_all_but_the_id_can_be_missing_or_null() -> None:
    nulls = dict.fromkeys(("job_type", "processor_name", "resource_spec", "rank_stamp", "priority", "source"))
    read = read_page(page([{"id": 1}, {"id": 2, **nulls}], 2))
    assert [(row.id, row.job_type, row.rank_stamp) for row in read.rows] == [(1, None, None), (2, None, None)]


def test_a_field_that_nobody_reads_cannot_spoil_a_row() -> None:
    odd = {"id": 1, "priority": "high", "job_id": {}, "data_id": [1], "queue_type": 3, "new_field": [{}]}
    assert read_page(page([odd])).rejected == 0


@pytest.mark.parametrize(
    "bad", [{}, {"id": None}, {"id": ""}, {"id": " "}, {"id": [1]}, {"id": 1.5}, {"id": True}, {"id": {}}, 7, None, []]
)
def test_a_bad_row_is_rejected_and_its_neighbours_survive(bad: Any) -> None:
    read = read_page(page([{"id": 1}, bad, {"id": 3}], 3))
    assert [row.id for row in read.rows] == [1, 3]
    assert (read.positions, read.rejected, read.total) == (3, 1, 3)
    with pytest.raises(DecodeError, match="none of the page's 2 rows can be read"):
        read_page(page([bad, bad], 2))


@pytest.mark.parametrize("field", ["job_type", "processor_name", "resource_spec", "rank_stamp"])
@pytest.mark.parametrize("odd", [b"[]", b"{}", b"1e999", b"[[1]]"])
def test_one_odd_field_costs_that_field(field: str, odd: bytes) -> None:
    fields = {"job_type": b'"A"', "processor_name": b'"B"', "resource_spec": b'"C"', "rank_stamp": b"5"} | {field: odd}
    row = b",".join(b'"%s":%s' % (name.encode(), value) for name, value in fields.items())
    read = read_page(answer(b'{"payload":{"list":[{"id":1,%s},{"id":2}],"page_info":{"total":2}}}' % row))
    found = {"job_type": "A", "processor_name": "B", "resource_spec": "C", "rank_stamp": 5}
    assert {name: getattr(read.rows[0], name) for name in found} == found | {field: None}
    assert [row.id for row in read.rows] == [1, 2]
    assert (read.rejected, read.rejected_values, read.rank_lost) == (0, 1, field == "rank_stamp")


@pytest.mark.parametrize(
    ("stamp", "odd"),
    [("2022-01-01 08:08:29", 1), (-5, 1), (1.5, 1), (True, 1), (2**60, 1), ("--", 0), ("", 0), (-1, 0), (None, 0)],
)
def test_a_rank_stamp_that_is_no_number_is_unknown(stamp: Any, odd: int) -> None:
    read = read_page(page([{"id": 1, "rank_stamp": stamp}, {"id": 2, "rank_stamp": " 7 "}], 2))
    assert [row.rank_stamp for row in read.rows] == [None, 7]
    assert read.rejected_values == odd


@pytest.mark.parametrize("total", ["many", -2, 1.5, [], {}, True])
def test_a_total_that_makes_no_sense_is_unknown(total: Any) -> None:
    read = read_page(page([{"id": 1}], total))
    assert ([row.id for row in read.rows], read.total, read.rejected_values) == ([1], None, 1)
    assert read_page(answer({"payload": {"list": [{"id": 1}], "page_info": 7}})).rejected_values == 1


@pytest.mark.parametrize("ident", [1638523853, 1638523853.0, "1638523853", "1638523853.0", " 1638523853 "])
def test_one_id_in_every_form(ident: Any) -> None:
    """The form may differ from page to page; a row must not come and go with it."""
    for more in ({}, {"rank_stamp": "?"}):
        assert read_page(page([{"id": ident, **more}])).rows[0].id == 1638523853
    assert read_page(page([{"id": "007"}])).rows[0].id == "007"


def test_what_is_no_json_number_is_null() -> None:
    read = read_page(answer(b'{"payload":{"list":[{"id":1,"rank_stamp":NaN,"job_type":"NaN"}],"page_info":{}}}'))
    assert (read.rows[0].rank_stamp, read.rows[0].job_type) == (None, "NaN")


def test_numbers_as_text_are_numbers() -> None:
    read = read_page(page([{"id": "17", "rank_stamp": "1640966400000"}], "1"))
    assert (read.rows[0].id, read.rows[0].rank_stamp, read.total) == (17, 1640966400000, 1)


def test_an_empty_queue_is_empty_and_a_missing_total_is_unknown() -> None:
    assert read_page(page([], 0)).total == 0
    assert read_page(page(None, 0)).positions == 0
    assert read_page(answer({"payload": {"list": []}})).total is None


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b"{}", b'"x"', b'{"payload": null}', b'{"payload": {}}', b'{"payload": {"list": 3}}'],
)
def test_what_is_no_page_is_an_error_and_never_an_empty_queue(body: bytes) -> None:
    with pytest.raises(DecodeError):
        read_page(answer(body))


def test_an_error_with_a_success_status_is_an_error() -> None:
    with pytest.raises(ApiError):
        read_page(answer({"error_code": "octopus.409999", "error_msg": "strange"}))


def test_a_page_with_an_error_status_is_not_believed() -> None:
    with pytest.raises(PollError):
        read_page(answer({"payload": {"list": [], "page_info": {"total": 0}}}, 500))


@given(
    st.binary()
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["payload", "list", "page_info", "total", "meta_info", "current_time", "id", "error_code"]
                ),
                inner,
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_comes_is_a_page_or_a_poll_error(body: bytes) -> None:
    with contextlib.suppress(PollError):
        read_page(answer(body))
