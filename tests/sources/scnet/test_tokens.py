"""The claims of a token; it is usable even without any."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.http import Issued
from exporter.sources.scnet.login import read_token

HEADER = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
# From the pages 查询队列作业统计信息 and 查询集群信息.
SAMPLES = {
    f"{HEADER}.eyJjb21wdXRlVXNlciI6InNsdXJtdGVzdCIsImFjY291bnRTdGF0dXMiOiJUcmlhbCIsImNyZWF0b3IiOiJhYyIsInJvbGUiOiIxIiwiZXhwaXJlVGltZSI6IjE2ODU2MDAyMjU2MTUiLCJjbHVzdGVySWQiOiIxMTExMiIsImludm9rZXIiOiI2MDQ4Y2U3YmExNWMyYWYyZThjZWMxMjk5MWVjMTNjZiIsInVzZXIiOiJzbHVybXRlc3QiLCJ1c2VySWQiOiIxMTY1NTA0ODU0MSJ9.iLCKJ8PnDDK0_SA2NPYm1WozUG8D5ojwFqFhwaJCDc8": 1685600225.615,
    f"{HEADER}.eyJjb21wdXRlVXNlciI6InNsdXJtdGVzdCIsImFjY291bnRTdGF0dXMiOiJUcmlhbCIsImNyZWF0b3IiOiJhYyIsInJvbGUiOiIxIiwiZXhwaXJlVGltZSI6IjE2ODY5MDg1MDkyMzEiLCJjbHVzdGVySWQiOiIxMTExMiIsImludm9rZXIiOiI2MDQ4Y2U3YmExNWMyYWYyZThjZWMxMjk5MWVjMTNjZiIsInVzZXIiOiJzbHVybXRlc3QiLCJ1c2VySWQiOiIxMTY1NTA0ODU0MSJ9.U7pZKgO_K6NuRwOWPxblDfgRpGeVxS-BYieOdLhGDK4": 1686908509.231,
    f"{HEADER}.eyJjb21wdXRlVXNlciI6InNsdXJtdGVzdCIsImFjY291bnRTdGF0dXMiOiJUcmlhbCIsImNyZWF0b3IiOiJhYyIsInJvbGUiOiIxIiwiZXhwaXJlVGltZSI6IjE2ODYwMzY3NjA5NTQiLCJjbHVzdGVySWQiOiIxMTExMiIsImludm9rZXIiOiI2MDQ4Y2U3YmExNWMyYWYyZThjZWMxMjk5MWVjMTNjZiIsInVzZXIiOiJzbHVybXRlc3QiLCJ1c2VySWQiOiIxMTY1NTA0ODU0MSJ9.f7nvKA2DqTsXjqF90zblMhwx0zKPpITY0uuSG2ouKG0": 1686036760.954,
}


def token(payload: object) -> str:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return f"{HEADER}.{base64.urlsafe_b64encode(raw).decode().rstrip('=')}.c2ln"


@pytest.mark.parametrize(("sample", "expires"), SAMPLES.items(), ids=lambda value: str(value)[-8:])
def test_the_pages_sample_tokens_end_when_they_say_in_milliseconds(sample: str, expires: float) -> None:
    assert read_token(sample) == Issued(sample, expires, "slurmtest")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "opaque",
        "a.b.c",
        "a.b",
        f"{HEADER}.!!!!.c2ln",
        f"{HEADER}.你好.c2ln",
        f"{HEADER}.A.c2ln",
        f"{HEADER}.{'A' * 5}.c2ln",
        token(b""),
        token(b"null"),
        token(b"[]"),
        token(b'"text"'),
        token(b"{"),
        token(b"\xff\xfe"),
        token(b'{"computeUser":"\xff"}'),
        token(b'{"a":' + b"[" * 50_000),
        token({"computeUser": True, "expireTime": []}),
        "\ud800.\ud800.\ud800",
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_token_that_does_not_decode_says_nothing(text: str) -> None:
    assert read_token(text) == Issued(text)


@pytest.mark.parametrize(
    ("value", "expires"),
    [
        ("1685600225615", 1685600225.615),
        (1685600225615.0, 1685600225.615),
        ("1685600225", 1685600225.0),
        ("2023-06-01T14:17:05+08:00", 1685600225.0),
        ("2023-06-01T14:17:05", None),
        (None, None),
        ([1685600225615], None),
        ("9" * 10_000, None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_end_is_in_milliseconds_or_seconds_by_its_magnitude_or_unknown(value: object, expires: float | None) -> None:
    issued = token({"computeUser": "test", "expireTime": value})
    assert read_token(issued) == Issued(issued, expires, "test")


def test_an_owner_may_be_a_number() -> None:
    assert read_token(token({"computeUser": 533686286955839488})).owner == "533686286955839488"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["computeUser", "clusterId", "expireTime", "accountStatus", "user"])


@given(st.one_of(st.text(), st.binary().map(token), JSON.map(token), st.dictionaries(NAMES, JSON).map(token)))
def test_reading_claims_never_fails(text: str) -> None:
    assert read_token(text).value == text
