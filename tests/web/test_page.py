"""The status page."""

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.page import status_page


class Reader(HTMLParser):
    """Collects what a browser would: tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str | None]] = {}
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def facts(**target: Any) -> dict[str, Any]:
    usual = {
        "source": "kunshan",
        "endpoint": "queue_jobs",
        "target": "test",
        "state": "up",
        "last_success": "2026-01-01T00:00:00.000Z",
        "next_poll": "2026-01-01T00:01:00.000Z",
        "last_error": None,
    }
    return {"version": "1.2.3", "ready": True, "config": {"warnings": []}, "targets": [{**usual, **target}]}


@given(st.text())
def test_no_text_from_outside_becomes_markup(text: str) -> None:
    plain = Reader(status_page(facts(last_error={"reason": "http", "message": ""}), "/metrics"))
    error = {"reason": "http", "message": text}
    page = facts(source=text, target=text, last_error=error)
    page["config"]["warnings"] = []
    shown = Reader(status_page(page, "/metrics"))
    assert shown.tags == plain.tags
    assert shown.attributes == plain.attributes


def test_a_warning_is_shown_as_text() -> None:
    page = facts()
    page["config"]["warnings"] = ["a.yml:1:1: <b>tls</b>"]
    shown = Reader(status_page(page, "/metrics"))
    assert "b" not in shown.tags
    assert "a.yml:1:1: <b>tls</b>" in shown.text


@pytest.mark.parametrize("state", ["pending", "up", "failing", "stale"])
def test_a_state_is_a_word_with_a_colour(state: str) -> None:
    page = status_page(facts(state=state), "/metrics")
    assert f'<td class="{state}">{state}</td>' in page
    assert f".{state} {{ color:" in page


def test_what_never_happened_says_so() -> None:
    shown = Reader(status_page(facts(state="pending", last_success=None, next_poll=None), "/metrics"))
    assert "never" in shown.text
    assert "now" in shown.text


def test_the_last_error_is_there_with_its_reason() -> None:
    error = {"reason": "timeout", "message": "no complete answer from host:1 within 15 s"}
    assert "timeout: no complete answer from host:1 within 15 s" in status_page(facts(last_error=error), "/metrics")


def test_every_page_of_the_exporter_is_linked() -> None:
    links = Reader(status_page(facts(), "/probe")).attributes["href"]
    assert links == ["/probe", "/api/v1/status", "/config", "/-/ready", "/-/healthy"]
