"""The Retry-After header, as it is and as upstreams send it."""

import math
from email.utils import format_datetime, formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from exporter.http import parse_retry_after, retry_after_of

EPOCH_10 = "Thu, 01 Jan 1970 00:00:10 "


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        (None, None),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("007", 7.0),
        ("9" * 9, 999_999_999.0),
        ("9" * 10, math.inf),
        ("9" * 8000, math.inf),
        ("", None),
        ("-5", None),
        ("+5", None),
        ("1.5", 1.5),
        ("3.", 3.0),
        (" 0.25 ", 0.25),
        (".5", None),
        ("1.5.2", None),
        ("-1.5", None),
        ("1e3", None),
        ("१२", None),  # digits, but not those of HTTP
        ("soon", None),
        ("120 seconds", None),
        ("120, 60", 120.0),
        ("60,120", 120.0),
        ("soon, 60", 60.0),
        (",, 7 ,", 7.0),
        ("3.5, 2", 3.5),
        ("5, 99999999999", 5.0),  # the other one is no pause
        ("5, Fri, 31 Dec 9999 23:59:59 GMT", 5.0),
        ("999999999, 99999999999", 999_999_999.0),
        ("5, " + EPOCH_10 + "GMT", 10.0),
        (EPOCH_10 + "GMT, 5", 10.0),
        (EPOCH_10 + "GMT,Thu, 01 Jan 1970 00:00:20 GMT, 15", 20.0),
        ("Thursday, 01-Jan-70 00:00:10 GMT, 15", 15.0),
        ("Thu", None),
        ("Thu,", None),
        ("Thu, 5", None),
        (EPOCH_10 + "GMT", 10.0),
        (EPOCH_10 + "+0000", 10.0),
        (EPOCH_10 + "-0000", 10.0),  # "no zone": email's parser gives a local time for it
        (EPOCH_10, 10.0),
        (EPOCH_10 + "-0100", 3610.0),
        ("Thursday, 01-Jan-70 00:00:10 GMT", 10.0),
        ("Wed, 31 Dec 1969 23:00:00 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:10 GMT", None),
        ("Thu, 01 Jan 1970 00:00:10 +9999", None),
    ],
)
def test_what_a_value_asks_for(value: str | None, pause: float | None) -> None:
    assert parse_retry_after(value, 0.0) == pause


def test_all_headers_of_the_name_count() -> None:
    """A gateway and the service behind it may both say something."""
    headers = CIMultiDict(
        [("Retry-After", "3"), ("retry-after", "7.5"), ("Retry-After", EPOCH_10 + "GMT"), ("Date", "99")]
    )
    assert retry_after_of(headers, 5.0) == 7.5
    assert retry_after_of({"retry-after": "3.5"}, 0.0) == 3.5
    assert retry_after_of({}, 0.0) is None


def test_an_endless_list_takes_no_longer_than_a_short_one() -> None:
    assert parse_retry_after("1 Foo," * 100_000 + "5", 0.0) is None


@given(st.integers(0, 4_000_000_000), st.integers(0, 4_000_000_000))
def test_a_date_asks_for_the_time_until_then_and_never_for_less_than_none(moment: int, now: int) -> None:
    assert parse_retry_after(formatdate(moment, usegmt=True), now) == max(0, moment - now)


DATE_LIKE = st.lists(
    st.sampled_from(
        [
            "Mon,",
            "Jan",
            "0",
            "1",
            "31",
            "99",
            "1970",
            "9999",
            "00:00:00",
            "24:60:60",
            "GMT",
            "-0000",
            "+2400",
            ",",
            ":",
            "-",
            "(",
        ]
    )
)
DATES = st.datetimes().map(lambda moment: format_datetime(moment).replace("-0000", "-2359"))


@given(st.one_of(st.text(), st.integers().map(str), DATE_LIKE.map(" ".join), DATES), st.floats(0, 1e11))
def test_no_value_is_an_error_and_no_pause_is_negative(value: str, now: float) -> None:
    pause = parse_retry_after(value, now)
    assert pause is None or pause >= 0
