"""A secret does not get through, in whatever shape an upstream repeats it; everything else does."""

import base64
import html
import json
import threading
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import DecodeError
from exporter.redaction import SHORTEST_PART, Redactor, known, resembles_secret, withheld

TOKEN = "eX0-s3cret.token_of/the+region=kunshan~0123456789"
OTHER = "f00-another.token_of/a+user=of~xian~abcdefghijkl"


def redactor(*secrets: str) -> Redactor:
    made = Redactor()
    made.remember(secrets)
    return made


def longest_part(secret: str, text: str) -> int:
    """Return the length of the longest part of `secret` that stands in `text`."""
    lengths = range(len(secret), 0, -1)
    return next((n for n in lengths if any(secret[i : i + n] in text for i in range(len(secret) - n + 1))), 0)


SHAPES = {
    "as it is": TOKEN,
    "twice": TOKEN + TOKEN,
    "its beginning": TOKEN[:SHORTEST_PART],
    "its middle": TOKEN[13 : 13 + SHORTEST_PART],
    "its tail": TOKEN[-SHORTEST_PART:],
    "over two lines": f"{TOKEN[:20]}\n{TOKEN[20:]}",
    "over two lines of Windows": f"{TOKEN[:20]}\r\n    {TOKEN[20:]}",
    "a letter a line": "\n".join(TOKEN),
    "with zero-width blanks": "\u200b".join(TOKEN),
    "within JSON": json.dumps({"token": TOKEN}),
    "within JSON within JSON": json.dumps(json.dumps({"token": TOKEN})),
    "over two lines within JSON": json.dumps(f"{TOKEN[:20]}\n{TOKEN[20:]}"),
    "in escapes of JSON": "".join(f"\\u{ord(letter):04x}" for letter in TOKEN),
    "in a URL": quote(TOKEN, safe=""),
    "all of it percent-encoded": "".join(f"%{ord(letter):02X}" for letter in TOKEN),
    "in HTML": html.escape(f"<b>{TOKEN}</b>"),
    "in entities": "".join(f"&#{ord(letter)};" for letter in TOKEN),
    "in base64": base64.b64encode(TOKEN.encode()).decode(),
    "in base64 for URLs": base64.urlsafe_b64encode(TOKEN.encode()).decode(),
    "in base64 behind a letter": base64.b64encode(b"u" + TOKEN.encode()).decode(),
    "in base64 behind two letters": base64.b64encode(b"u:" + TOKEN.encode() + b"x").decode(),
    "in base64 of two lines": base64.encodebytes(TOKEN.encode() * 2).decode(),
    "in base64 in a URL": quote(base64.b64encode(b"user:" + TOKEN.encode()).decode(), safe=""),
    "its tail in base64": base64.b64encode(TOKEN[-20:].encode()).decode(),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("around", ["{}", "the token {} is not accepted", "token={}&user=x", "x{}x"])
def test_no_part_of_a_secret_is_left(shape: str, around: str) -> None:
    text = redactor(OTHER, TOKEN).redact(around.format(SHAPES[shape]))
    assert "<secret>" in text
    # Neither of the secret itself, nor of the shape that it came in.
    assert longest_part(TOKEN, text) < SHORTEST_PART
    assert longest_part(SHAPES[shape], text.replace("<secret>", "")) < SHORTEST_PART + 4


@pytest.mark.parametrize("around", ["the token {} is not accepted", "{}", "a\n{} b"])
def test_only_the_secret_is_taken_out(around: str) -> None:
    assert redactor(OTHER, TOKEN).redact(around.format(TOKEN)) == around.format("<secret>")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "HTTP 502: Bad Gateway",
        "code 10008, the user alice may not ask for 533686286955839488; dGhlIHVzZXIgYWxpY2U=",
        "%zz &nbsp &unknown; \\ \\u12 100 % & more",
        "分子动力学 \u202e",
        TOKEN[: SHORTEST_PART - 1],
        TOKEN[5:16],
        "Expired?",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert redactor(OTHER, TOKEN, "short", "hunter2", "").redact(text) == text


@pytest.mark.parametrize(
    "secret", ["hunter2", "pass word", "密码密码", "abc\\nbcd%41", "100%&lt;x", "longer pass word &amp;%20 \\t"]
)
def test_a_short_secret_is_taken_out_as_a_whole(secret: str) -> None:
    known = redactor(secret)
    for shape in (secret, json.dumps(secret), quote(secret), base64.b64encode(secret.encode()).decode()):
        assert "<secret>" in known.redact(f"key {shape}!"), shape
    if len(secret) < SHORTEST_PART:
        assert known.redact(f"key {secret[:-1]}!") == f"key {secret[:-1]}!"


def test_secrets_side_by_side_are_all_taken_out() -> None:
    secrets = ["hunter2", TOKEN, "hunter3", OTHER]
    assert redactor(*secrets).redact("".join(secrets)) == "<secret>"


def test_a_web_token_is_taken_out_though_it_is_not_known() -> None:
    text = "rejected: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl!"
    assert redactor().redact(text) == "rejected: <secret>!"


def test_a_secret_is_known_as_long_as_it_is_held_and_for_a_while_after() -> None:
    redactor = Redactor(remembered=2)
    # Sent before it was held: being forgotten as one of the last few must not take it out.
    redactor.remember([TOKEN])
    first, second = redactor.hold(TOKEN), redactor.hold(TOKEN)
    redactor.remember(f"{number}-of-many-tokens" for number in range(10))
    assert redactor.redact(TOKEN) == "<secret>"
    del first
    redactor.remember(f"{number}-of-many-tokens" for number in range(10))
    assert redactor.redact(TOKEN) == "<secret>"
    del second
    redactor.remember(["another-token-0123"])
    assert redactor.redact(TOKEN) == "<secret>"
    redactor.remember(f"{number}-of-many-tokens" for number in range(10))
    assert redactor.redact(TOKEN) == TOKEN


def test_a_token_in_use_is_not_forgotten() -> None:
    redactor = Redactor(remembered=2)
    for number in range(10):
        redactor.remember([TOKEN, f"{number}-of-many-tokens"])
    assert redactor.redact(f"{TOKEN} 9-of-many-tokens") == "<secret> <secret>"
    assert redactor.redact("3-of-many-tokens") != "<secret>"


def test_what_secrets_share_stays_known_when_one_of_them_goes() -> None:
    redactor = Redactor(remembered=0)
    held = [redactor.hold(f"the-same-beginning-{number:03}") for number in range(100)]
    del held[:50]
    with_another = redactor.hold("something-else-altogether")
    assert redactor.redact("the-same-beginning-") == "<secret>"
    assert redactor.redact("the-same-beginning-099") == "<secret>"
    del held, with_another
    redactor.remember([TOKEN])
    assert redactor.redact("the-same-beginning-099") == "the-same-beginning-099"
    assert not redactor._index


def test_a_part_is_found_where_a_secret_stops_repeating_itself() -> None:
    secret = "abcdefg" * 3 + "hijklmnop"
    assert redactor(secret).redact(secret[14 : 14 + SHORTEST_PART]) == "<secret>"


@given(st.text(min_size=SHORTEST_PART, max_size=40, alphabet="abAB01+/_-."), st.data())
@settings(max_examples=200, deadline=None)
def test_every_long_part_is_found(secret: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(secret) - SHORTEST_PART))
    end = data.draw(st.integers(start + SHORTEST_PART, len(secret)))
    text = data.draw(st.text(max_size=10)) + secret[start:end] + data.draw(st.text(max_size=10))
    assert secret[start:end] not in redactor(OTHER, secret).redact(text)


@pytest.mark.parametrize("before", ["%", "\x80%", "王%", "&#", "\\u12"])
def test_what_looks_like_the_beginning_of_an_escape_does_not_hide_a_secret(before: str) -> None:
    secret = "00aB00aB00aB"
    known = redactor(secret)
    for text in (secret, f"{secret[:5]}\n  {secret[5:]}"):
        assert text not in known.redact(before + text)
        assert known.redact(before + text).endswith("<secret>")


@pytest.mark.parametrize("secret", ["0aaep;\\u0440-01", "0aaep;%41bc-01", "0aaep&amp;bc-01", "0aaep\\nbcd-01"])
def test_a_secret_that_is_wrapped_within_what_looks_like_an_escape_is_found(secret: str) -> None:
    for place in range(1, len(secret)):
        assert redactor(secret).redact(f"{secret[:place]}\n {secret[place:]}") == "<secret>", place


@given(st.text(max_size=60))
def test_any_text_can_be_searched(text: str) -> None:
    assert redactor(TOKEN).redact(text) == text


def test_the_time_for_a_text_does_not_grow_with_the_number_of_secrets() -> None:
    """Thousands of targets fail at the same moment, each with a token of its own."""
    text = "the user may not ask for the queues of this region, ask its administrator, " * 3

    def seconds(redactor: Redactor) -> float:
        def once() -> float:
            begun = time.perf_counter()
            redactor.redact(text)
            return time.perf_counter() - begun

        return min(once() for _ in range(20))

    few, many = redactor(TOKEN), Redactor(5_000)
    many.remember(f"token-{number:05}-{number * 7919 % 99991:05}-of-a-user" for number in range(5_000))
    assert seconds(many) < 50 * seconds(few)


def test_threads_may_search_while_secrets_come_and_go() -> None:
    redactor = Redactor(remembered=5)
    wrong: list[str] = []
    stop = threading.Event()
    held = redactor.hold(TOKEN)

    def search() -> None:
        while not stop.is_set():
            if redactor.redact(f"a {TOKEN} b") != "a <secret> b":
                wrong.append("missed")

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(300):
        redactor.remember([f"{TOKEN[:20]}-{number}", f"{number}-of-many-tokens"])
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    del held


def test_the_text_of_an_error_holds_no_secret() -> None:
    known.remember([TOKEN])
    assert str(DecodeError(f"not JSON: {TOKEN}")) == "not JSON: <secret>"


@pytest.mark.parametrize(
    "text",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
        "0123456789abcdef0123456789abcdef",
        "550e8400-e29b-41d4-a716-446655440000",
        "aGVsbG8/d29ybGQ+aGVsbG8x0d29ybGQ=",
        "sk-proj-a8Xk2Lm9Qp4Rt7Yw",
        "abcdefghijklmnopqrstuvwxyz",
        "AKIAIOSFODNN7EXAMPLE12",
    ],
)
def test_a_token_in_a_wrong_place_is_recognized(text: str) -> None:
    assert resembles_secret(text)
    assert withheld(text) == "<secret>"


@pytest.mark.parametrize(
    "text",
    [
        "exporter.yml",
        "kunshan-token",
        "secrets/hpc-exporter-kunshan-token.txt",
        "/run/secrets/kunshan-0123456789abcdef",
        "533686286955839488",
        "5.33687E+17",
        "insecure_skip_verify",
        "2026-11-28T12:00:00Z",
        "--web.listen-address=9851",
        "not there",
        "",
    ],
)
def test_names_and_numbers_are_no_tokens(text: str) -> None:
    assert withheld(text) == text
