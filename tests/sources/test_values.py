"""Moments as upstreams send them."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sources.values import epoch_seconds
from tests.support.collecting import of

CHINA, NEW_YORK = ZoneInfo("Asia/Shanghai"), ZoneInfo("America/New_York")
AT = 1779786547.0  # 2026-05-26 17:09:07 in China


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2026-05-26 17:09:07", AT),
        (" 2026-05-26T17:09:07 ", AT),
        ("2026-05-26 17:09:07.0", AT),
        ("2026-05-26T09:09:07.000+0000", AT),
        ("2026-05-26T09:09:07Z", AT),
        (AT, AT),
        (int(AT * 1000), AT),
        (str(int(AT)), AT),
        (f" {AT * 1000:.1f} ", AT),
        *[
            (nothing, None)
            for nothing in of(
                *(None, "", " ", "null", "None", "Unknown", "N/A", "--", 0, "0", -1, True, [], {}),
                *("0000-00-00 00:00:00", "1970-01-01 08:00:00", "2026-05-26", "17:09:07", "2026-13-26 17:09:07"),
                *(
                    "20260526",
                    "20260526170907",
                    20260526170907,
                    "1e12",
                    3_600_000,
                    99_999_999_999,
                    "１７７９７８６５４７",
                ),
                *("2026-05-26 17:09:07 +0800x", float("nan"), float("inf"), 10**5000, "9" * 10_000),
            )
        ],
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str | float) else type(value).__name__,
)
def test_a_moment_is_read_in_every_form_or_unknown(value: Any, seconds: float | None) -> None:
    assert epoch_seconds(value, CHINA) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-01 00:59:59", 1793509199.0),
        ("2026-11-01 01:30:00", None),  # twice
        ("2026-11-01 01:30:00-05:00", 1793514600.0),
        ("2026-03-08 02:30:00", None),  # never
        ("2026-03-08 03:00:00", 1772953200.0),
    ],
)
def test_a_time_that_the_clocks_showed_twice_or_never_is_unknown(text: str, seconds: float | None) -> None:
    assert epoch_seconds(text, NEW_YORK) == seconds


@given(
    st.one_of(
        st.text(),
        st.integers(),
        st.floats(),
        st.datetimes().map(str),
        st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    ),
    st.timezones() | st.none(),
)
def test_nothing_raises(value: Any, zone: ZoneInfo | None) -> None:
    seconds = epoch_seconds(value, zone)
    assert seconds is None or 1e9 <= seconds < 2**33
