"""The meaning of an answer: the code decides, not the HTTP status, and every code says what to do next."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    PollError,
    RejectedError,
    ServerError,
    ThrottledError,
    UnexpectedStatusError,
    UpstreamBusyError,
)
from exporter.http import Response
from exporter.sources.scnet.api import is_bare_null, open_envelope


def response(body: object, status: int = 200, **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, raw, {name.replace("_", "-"): value for name, value in headers.items()}, 0.0)


def failure(answer: Response) -> PollError:
    with pytest.raises(PollError) as error:
        open_envelope(answer)
    return error.value


MEANINGS = {
    UpstreamBusyError: ["10001", "10012", "10013", "911404"],
    AuthenticationError: ["10008", "10009", "911406"],
    RejectedError: ["10003", "10004", "10007", "10010", "10011", "815005", "815007", "911009"],
    ApiError: ["1", "-1", "00", "0 ", "10002", "99999", "9" * 30, "", "SUCCESS", "零"],
}
CODES = [(code, kind) for kind, codes in MEANINGS.items() for code in codes]


@pytest.mark.parametrize(("code", "kind"), CODES)
def test_every_code_has_its_meaning_as_text(code: str, kind: type[PollError]) -> None:
    error = failure(response({"code": code, "msg": "权限不足", "data": None}))
    assert type(error) is kind
    assert error.api_code == ("other" if kind is ApiError else code), "unlisted codes must not become label values"
    assert "权限不足" in str(error)


@pytest.mark.parametrize(("code", "kind"), [(code, kind) for code, kind in CODES if code.isdigit() and code[0] != "0"])
def test_every_code_has_the_same_meaning_as_a_number(code: str, kind: type[PollError]) -> None:
    assert type(failure(response({"code": int(code)}))) is kind


@pytest.mark.parametrize("code", ["0", 0])
@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 429, 500, 503])
def test_code_0_is_success_whatever_the_http_status(code: object, status: int) -> None:
    assert bytes(open_envelope(response({"data": [1], "msg": "success", "code": code}, status))) == b"[1]"


@pytest.mark.parametrize("body", [b'{"code":"0"}', b'{"code":"0","data":null}', b' {"msg":"","code":0,"extra":[]} \n'])
def test_data_that_is_null_or_missing_is_null(body: bytes) -> None:
    assert bytes(open_envelope(response(body))) == b"null"


@pytest.mark.parametrize("data", ["no permission", {"reason": 1}, [1, 2], 7, True, None])
def test_an_errors_data_can_be_anything(data: object) -> None:
    assert isinstance(failure(response({"code": "10008", "msg": "x", "data": data})), AuthenticationError)


@pytest.mark.parametrize("msg", [None, 7, {"a": 1}, ["x"], True])
def test_a_message_that_is_no_text_is_left_out(msg: object) -> None:
    assert str(failure(response({"code": "10004", "msg": msg}))) == (
        "the region rejected the request: a parameter is invalid (code 10004)"
    )


@pytest.mark.parametrize(
    ("code", "message", "chinese"),
    [
        ("10008", "permission denied", "令牌被拒绝：没有权限（代码 10008）"),
        ("10008", "权限不足", "令牌被拒绝：没有权限（代码 10008，权限不足）"),
        ("10001", "internal error", "区域服务出错：内部错误（代码 10001）"),
        ("911009", None, "请求被拒绝：区域中没有该用户（代码 911009）"),
        ("77777", "strange", "接口文档中没有的错误（代码 77777，strange）"),
    ],
)
def test_an_error_in_chinese_quotes_no_english_that_is_translated(code: str, message: str | None, chinese: str) -> None:
    assert failure(response({"code": code, "msg": message})).text.zh == chinese


@pytest.mark.parametrize("key", ["msg", "message"])
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1001", "jwt token is invalid"),
        (1001, "Invalid Token"),
        ("1001", "TOKEN expired"),
        (401, "用户未登录!"),
        ("401", ""),
        ("401", None),
    ],
)
def test_a_gateways_rejection_is_one_of_the_token(key: str, code: object, text: str | None) -> None:
    for status in (200, 400, 500):
        error = failure(response({"code": code, key: text}, status))
        assert type(error) is AuthenticationError
        assert error.api_code == str(code)
        assert (text or "") in str(error)


@pytest.mark.parametrize("message", [{}, {"msg": "no such page"}, {"message": "系统异常"}, {"data": "token"}])
def test_code_1001_without_a_word_of_a_token_is_a_code_that_no_page_lists(message: dict[str, str]) -> None:
    error = failure(response({"code": 1001, **message}))
    assert (type(error), error.api_code) == (ApiError, "other")


@pytest.mark.parametrize("more", [{}, {"msg": None}, {"msg": ""}, {"msg": {}}])
def test_the_text_stands_under_message_where_msg_says_nothing(more: dict[str, object]) -> None:
    assert str(failure(response({"code": 10004, "message": "缺少参数", **more}))).endswith("(code 10004, 缺少参数)")
    assert "lost" not in str(failure(response({"code": 10004, "msg": "found", "message": "lost"})))


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [b"", b"<html>Forbidden</html>", {"code": "10001"}, {"code": "77"}, {"error": "x"}])
def test_http_401_and_403_reject_the_token_with_and_without_an_envelope(status: int, body: object) -> None:
    assert isinstance(failure(response(body, status)), AuthenticationError)


@pytest.mark.parametrize("body", [b"", {"code": "10001"}, {"code": "10008"}, {"code": "77"}])
def test_http_429_and_503_with_retry_after_ask_for_a_pause(body: object) -> None:
    for status, value, expected in [(429, "7", 7.0), (503, "Thu, 01 Jan 1970 00:01:00 GMT", 60.0), (429, "soon", None)]:
        error = failure(response(body, status, Retry_After=value))
        assert isinstance(error, ThrottledError)
        assert error.retry_after == expected


def test_http_429_without_retry_after_still_is_throttling() -> None:
    error = failure(response(b"", 429))
    assert isinstance(error, ThrottledError)
    assert error.retry_after is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"", ServerError),
        (503, {"code": "10013"}, UpstreamBusyError),
        (500, b"<html>oops</html>", ServerError),
        (502, {"code": 10004}, RejectedError),
        (599, b"null", ServerError),
        (404, b"not found", UnexpectedStatusError),
        (405, {"timestamp": 1, "error": "Method Not Allowed"}, UnexpectedStatusError),
        (200, b"", DecodeError),
        (204, b"", DecodeError),
        (200, b"<html>log in</html>", DecodeError),
        (200, b"null", DecodeError),
        (200, b"[]", DecodeError),
        (200, b'"0"', DecodeError),
        (200, b"{}", DecodeError),
        (200, b'{"code":null}', DecodeError),
        (200, b'{"code":true}', DecodeError),
        (200, b'{"code":0.0}', DecodeError),
        (200, b'{"code":"0"', DecodeError),
        (200, b'{"code":"0"}{"code":"0"}', DecodeError),
        (200, b'\xef\xbb\xbf{"code":"0"}', DecodeError),
        (200, b'{"code":"\xff"}', DecodeError),
        (200, b'{"code":' + b"1" * 5000 + b"}", DecodeError),
        (200, b'{"code":"0","data":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", DecodeError),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_without_a_code_the_http_status_decides_and_a_success_is_an_undecodable_answer(
    status: int, body: object, kind: type[PollError]
) -> None:
    assert type(failure(response(body, status))) is kind


@pytest.mark.parametrize("body", [b"null", b" null\r\n", b"\tnull"])
def test_a_whole_body_of_null_is_recognised_on_a_success_only(body: bytes) -> None:
    assert [status for status in (200, 204, 301, 401, 404, 500, 503) if is_bare_null(response(body, status))] == [
        200,
        204,
    ]


@pytest.mark.parametrize("body", [b"", b"nul", b"nullnull", b'"null"', b"NULL", b"[null]", b"0"])
def test_nothing_else_is_a_body_of_null(body: bytes) -> None:
    assert not is_bare_null(response(body))


@given(
    st.one_of(
        st.builds(
            lambda c, m: response({"code": c, "msg": m}), st.text(min_size=1).filter(lambda c: c != "0"), st.text()
        ),
        st.builds(response, st.binary(), st.sampled_from([200, 404, 500, 503, 401, 429])),
    )
)
def test_an_error_is_one_printable_line_of_bounded_length(answer: Response) -> None:
    """Upstream text ends in logs and on terminals."""
    text = str(failure(answer)) if answer.body != b"null" or answer.status != 200 else ""
    assert text.isprintable()
    assert len(text) < 400


@given(st.binary(), st.integers(100, 999), st.text(st.characters(codec="ascii")))
def test_no_body_status_or_header_raises_anything_but_a_poll_error(body: bytes, status: int, retry_after: str) -> None:
    for raw in (
        body,
        b'{"code":' + body + b"}",
        b'{"code":"1","msg":' + body + b"}",
        b'{"code":"0","data":' + body + b"}",
    ):
        try:
            open_envelope(response(raw, status, Retry_After=retry_after))
        except PollError:
            continue


def test_nan_is_null() -> None:
    body = b'{"code": "0", "data": [NaN, -Infinity, Infinity, "NaN", "\\"NaN"]}'
    assert msgspec.json.decode(open_envelope(response(body))) == [None, None, None, "NaN", '"NaN']
