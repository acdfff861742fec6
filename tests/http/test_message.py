"""Answers in other encodings than UTF-8, their clocks, and the words for those that were not understood.

Text is read where that is possible, and never at the cost of the rest.
"""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.http import Request, Response, clock_skew, describe_skew, excerpt, one_line
from exporter.http.message import http_error, utf8_json, without_nan
from exporter.redaction import remember
from exporter.text import Text
from tests.support.http import Network

ROWS = [{"id": "1", "name": "分子动力学\\模拟"}, {"id": "2", "name": "联通"}, {"id": "3", "name": "job"}]
TEXT = json.dumps(ROWS, ensure_ascii=False)


def read(body: bytes, content_type: str = "application/json") -> object:
    return msgspec.json.decode(utf8_json(body, {"Content-Type": content_type}))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("text", [TEXT, json.dumps(ROWS)])
def test_unicode_with_and_without_a_byte_order_mark(encoding: str, text: str) -> None:
    assert read(text.encode(encoding)) == ROWS


@pytest.mark.parametrize("name", ["GBK", "gb2312", "GB18030", "cp936", "x-gbk"])
@pytest.mark.parametrize(
    "form", ["application/json; charset={}", 'application/json;Charset="{}"', "text/html;charset={}"]
)
def test_a_body_in_gbk_that_says_so(name: str, form: str) -> None:
    assert read(TEXT.encode("gbk"), form.format(name)) == ROWS


def test_a_short_name_in_gbk_that_could_be_utf_8_as_well() -> None:
    name = "一"
    assert read(json.dumps([name], ensure_ascii=False).encode("gbk"), "application/json;charset=gbk") == [name]


@pytest.mark.parametrize("content_type", ["application/json", "application/json;charset=utf-8", "", "x;charset=latin1"])
def test_a_body_in_gbk_that_does_not_say_so(content_type: str) -> None:
    assert read(TEXT.encode("gbk"), content_type) == ROWS


def test_utf_8_that_says_that_it_is_gbk_but_cannot_be() -> None:
    body = TEXT.encode()
    with pytest.raises(UnicodeDecodeError):
        body.decode("gb18030")
    assert read(body, "application/json;charset=gbk") == ROWS


def test_a_character_that_was_cut_costs_that_character() -> None:
    body = TEXT.encode().replace("模拟".encode(), "模拟".encode()[:-1])
    assert read(body) == [{"id": "1", "name": "分子动力学\\模\ufffd"}, *ROWS[1:]]
    assert utf8_json('["分"]'.encode("utf-16-le") + b"\0", {}).decode() == '["分"]\ufffd'


@pytest.mark.parametrize("body", [b"", b"null", b'{"a":1}', TEXT.encode(), b'"\\n"'])
def test_what_is_as_it_should_be_is_not_copied(body: bytes) -> None:
    assert utf8_json(body, {}) is body


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (r"\ud83d\ude00", "😀"),
        (r"cut \ud83d", "cut �"),
        (r"\ude00 alone", "� alone"),
        (r"\uD83DA", "�A"),
        (r"\uD83D\uDE00\uD83D", "😀�"),
        (r"\\ud83d", r"\ud83d"),
        (r"\n\\\udc00", "\n\\�"),
    ],
)
def test_half_a_character_in_a_name_does_not_cost_the_whole_answer(sent: str, name: str) -> None:
    """Upstreams cut long names anywhere, also within an emoji; JSON can say that, text cannot."""
    assert read(b'["' + sent.encode() + b'", "neighbour"]') == [name, "neighbour"]


def test_numbers_that_json_does_not_have_are_null() -> None:
    assert without_nan(b'[NaN, -Infinity, "NaN", "\\"NaN", 1]') == b'[null, null, "NaN", "\\"NaN", 1]'


@given(st.binary(), st.sampled_from(["", "charset=gbk", "charset=utf-16"]))
def test_any_body_becomes_utf_8(body: bytes, content_type: str) -> None:
    utf8_json(body, {"Content-Type": content_type}).decode()
    without_nan(body)


async def test_every_answer_is_read_so(network: Network) -> None:
    def decode(response: Response) -> object:
        return msgspec.json.decode(response.body)

    url = await network.answer(body=b"\xef\xbb\xbf" + TEXT.encode(), content_type="application/json")
    assert await network.upstream().call(Request("queue_jobs", url + "/"), decode) == ROWS


# Words

BLANKS = "\r\n\t \x00\x0b\u3000" * 200


@pytest.mark.parametrize("blanks", [" " * 5000, BLANKS])
def test_blanks_take_no_room(blanks: str) -> None:
    assert one_line(f"{blanks}token{blanks}is\ninvalid{blanks}") == "token is invalid"
    assert excerpt(b" \n\x00" * 5000 + b"<html>" + b" " * 1000 + b"<title>Bad gateway</title>") == "Bad gateway"
    assert excerpt(b" \n" * 5000) == "an empty body"
    assert one_line("x" * 10_000) == "x" * 200


@pytest.mark.parametrize("number", ["13812345678", "8613812345678", "+86 13812345678", "+86-13812345678"])
def test_a_telephone_number_is_not_repeated(number: str) -> None:
    assert one_line(f"用户{number}已被冻结 ({number})") == "用户<phone>已被冻结 (<phone>)"


@pytest.mark.parametrize(
    "number", ["1638523853", "533686286955839488", "1786280947123", "12812345678", "job-13812345678"]
)
def test_other_numbers_are_repeated(number: str) -> None:
    assert one_line(f"no job {number}.") == f"no job {number}."


def test_a_secret_behind_blanks_is_not_cut_before_it_is_taken_out() -> None:
    remember(["c0rrect-horse-battery-staple-long-enough"])
    for before in range(760, 800):
        said = one_line("the token " + " " * before + "c0rrect-horse-battery-staple-long-enough is invalid")
        assert said == "the token <secret> is invalid"


# Clocks

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("date", "skew"),
    [
        ("Tue, 14 Nov 2023 22:13:20 GMT", 0.0),
        ("Tue, 14 Nov 2023 20:13:20 GMT", 7200.0),
        ("Tue, 14 Nov 2023 22:14:50 GMT", -90.0),
        # A date is in GMT whatever it says.
        ("Tue, 14 Nov 2023 22:13:20 -0000", 0.0),
        ("Tue, 14 Nov 2023 22:13:20", 0.0),
        ("Tue, 14 Nov 2023 22:13:20 +0100", 3600.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("Thu, 32 Foo 2023 25:61:61 GMT", None),
        ("0", None),
        ("Tue, 14 Nov 99999 22:13:20 GMT", None),
    ],
)
def test_the_skew_is_how_far_our_clock_is_ahead(date: str | None, skew: float | None) -> None:
    headers = {} if date is None else {"Date": date}
    assert clock_skew(Response(200, b"", headers, NOW)) == skew


def test_a_clock_that_is_off_is_ahead_or_behind() -> None:
    assert describe_skew(90.4) == Text(
        "this machine's clock is 90 s ahead of the server's, and signatures need the right time: set it",
        "本机时钟比服务器快 90 秒，而签名需要准确的时间，请校准",
    )
    assert describe_skew(-90.4) == Text(
        "this machine's clock is 90 s behind the server's, and signatures need the right time: set it",
        "本机时钟比服务器慢 90 秒，而签名需要准确的时间，请校准",
    )


# Words


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>",
            "Bad Gateway",
        ),
        (b"\n<!DOCTYPE html><TITLE lang=en>502 Bad &amp; worse</TITLE>", "Bad & worse"),
        (b"<html><style>p { color: red }</style><p>down <b>today</b></p><!-- nginx -->", "down today"),
        (b"<html><script>var a = '<p>'", "an empty body"),
        (b"<" * 5000, "an empty body"),
        (b'{"a": "<b>"}', '{"a": "<b>"}'),
        (b"", "an empty body"),
        (b"502", "an empty body"),
        (b"  502 <down> \n today", "<down> today"),
        (b"\xff\xfedown", "\ufffd\ufffddown"),
        (b"<style>" + b" " * 4080 + b"</style>down", "d"),
        (b"x" * 300, "x" * 200),
        (b"%bs3cr3t-of-a-region" % (b"-" * 190), "-" * 190 + "<secret>"),
    ],
)
def test_an_excerpt_is_the_text_of_a_page_or_the_beginning_of_anything_else(body: bytes, said: str) -> None:
    remember(("s3cr3t-of-a-region",))
    assert http_error(502, body) == (
        Text("HTTP 502: an empty body", "HTTP 502，响应体为空")
        if said == "an empty body"
        else Text(f"HTTP 502: {said}", f"HTTP 502：{said}")
    )
    assert "<html" not in excerpt(body).lower()
