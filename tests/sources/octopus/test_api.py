"""Errors: three spellings and IAM's own, each documented status and code, and what to do about it."""

import json
from email.utils import formatdate
from typing import Any

import pytest

from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    PollError,
    RejectedError,
    ServerError,
    ThrottledError,
    UnexpectedStatusError,
    UpstreamBusyError,
)
from exporter.http import Response
from exporter.sources.octopus.api import LISTED_CODES, OCTOPUS_STATUS, error_of, read_error

NOW = 1_700_000_000.0


def failed(status: int, body: Any = b"", **headers: str) -> PollError:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return error_of(Response(status, raw, {name.replace("_", "-"): value for name, value in headers.items()}, NOW))


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": "octopus.400003", "error_msg": "操作权限不足"},
        {"errorCode": "octopus.400003", "errorMsg": "操作权限不足"},
        {"errorCode": "octopus.400003", "errorMessage": "操作权限不足"},
        {"code": "octopus.400003", "message": "操作权限不足"},
        {"error": {"code": "octopus.400003", "message": "操作权限不足", "title": "Forbidden"}},
    ],
)
def test_every_spelling_gives_code_and_message(body: Any) -> None:
    error = failed(403, body)
    assert isinstance(error, PermissionDeniedError)
    assert error.api_code == "octopus.400003"
    assert "HTTP 403, code octopus.400003, 操作权限不足" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "octopus.400000", RejectedError),
        # The number in a code is not the status: the status decides.
        (400, "octopus.400003", RejectedError),
        (401, "octopus.400001", AuthenticationError),
        (401, "APIG.0301", AuthenticationError),
        (401, "APIGW.0301", AuthenticationError),
        (401, "APIG.0307", AuthenticationError),
        (403, "APIG.0307", AuthenticationError),
        (403, "octopus.400003", PermissionDeniedError),
        (403, "APIG.0302", PermissionDeniedError),
        (404, "octopus.400004", UnexpectedStatusError),
        (404, "APIG.0101", UnexpectedStatusError),
        (405, "octopus.400005", UnexpectedStatusError),
        (409, "octopus.400009", UnexpectedStatusError),
        (429, "APIG.0308", ThrottledError),
        (403, "APIG.0308", ThrottledError),
        (500, "octopus.400100", UpstreamBusyError),
        (502, "octopus.400102", UpstreamBusyError),
        (504, "APIG.0201", UpstreamBusyError),
    ],
)
def test_every_documented_error(status: int, code: str, kind: type[PollError]) -> None:
    error = failed(status, {"error_code": code, "error_msg": "said"})
    assert type(error) is kind
    assert error.api_code == code
    assert ("said" in error.text.en, "said" in error.text.zh) == (True, False), "translated, not quoted"
    assert "没说" in failed(status, {"error_code": code, "error_msg": "没说"}).text.zh


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RejectedError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, UnexpectedStatusError),
        (418, UnexpectedStatusError),
        (429, ThrottledError),
        (500, ServerError),
        (502, ServerError),
        # It does not say when to come back.
        (503, ServerError),
        (504, ServerError),
    ],
)
def test_a_status_alone_says_enough(status: int, kind: type[PollError]) -> None:
    error = failed(status, b"<html>Bad\nGateway</html>")
    assert type(error) is kind
    assert error.api_code is None
    assert "\n" not in str(error)
    assert ("Bad Gateway" in str(error)) == (status not in {401, 429}), "where there are no other words"


@pytest.mark.parametrize("code", sorted(OCTOPUS_STATUS))
def test_a_listed_code_with_a_success_means_what_it_means_with_its_status(code: str) -> None:
    body = {"error_code": code, "error_msg": "said"}
    assert type(failed(200, body)) is type(failed(OCTOPUS_STATUS[code], body))


def test_success_without_an_answer() -> None:
    assert type(failed(200, {"error_code": "octopus.1", "error_msg": "said"})) is ApiError
    assert type(failed(200, b"garbage")) is DecodeError


def test_strangers_do_not_choose_label_values() -> None:
    error = failed(400, {"error_code": "made up", "error_msg": "x"})
    assert error.api_code == "other"
    assert "made up" in str(error)
    assert len(LISTED_CODES) < 60


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_is_as_told(status: int) -> None:
    told = failed(status, {"error_code": "APIG.0308"}, Retry_After="7")
    assert isinstance(told, ThrottledError)
    assert told.retry_after == 7.0
    date = failed(status, b"", Retry_After=formatdate(NOW + 90, usegmt=True))
    assert isinstance(date, ThrottledError)
    assert date.retry_after == 90.0


def test_a_pause_of_unknown_length_is_two_to_five_seconds() -> None:
    pauses = set()
    for _ in range(200):
        error = failed(429, {"error_code": "APIG.0308", "error_msg": "The throttling threshold has been reached"})
        assert isinstance(error, ThrottledError)
        assert error.retry_after is not None
        pauses.add(error.retry_after)
    assert 2.0 <= min(pauses) < 2.5
    assert 4.5 < max(pauses) <= 5.0


def test_a_token_of_another_region_is_explained() -> None:
    assert "another region than base_url" in str(failed(401, {"error_code": "APIG.0307", "error_msg": "x"}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[1]",
        b'{"error": null}',
        b'{"error": "text"}',
        b'{"error_code": {}}',
        b'{"error_code": true}',
        b"\xff",
    ],
)
def test_a_body_that_says_nothing_says_nothing(body: bytes) -> None:
    assert read_error(body) == ("", "")


def test_what_is_said_is_one_line_of_bounded_length() -> None:
    code, message = read_error(json.dumps({"error_code": "c" * 999, "error_msg": "a\nb\x1b[31m" + "c" * 9999}).encode())
    assert len(code) <= 40
    assert message.startswith("a b [31mc")
    assert len(message) <= 200
