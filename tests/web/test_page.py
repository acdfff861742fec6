"""The status page as it is without JavaScript."""

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.app.status import Selection
from exporter.polling import Shard
from exporter.web.html import Markup, element, together, void
from exporter.web.page import StatusPage
from exporter.web.texts import Texts
from tests.support.face import guarded
from tests.support.installations import Installation, StagedFace, empty, half_broken, healthy, huge

VOID = {"meta", "link", "img", "input"}


class Reader(HTMLParser):
    """Collects what a browser would: tags, attributes and text. Fails where tags do not fit."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str | None]] = {}
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def read(installation: Installation, language: str = "en", telemetry_path: str = "/metrics", **query: str) -> Reader:
    status = installation.status(Selection(limit=100))
    return Reader(StatusPage(status, Texts(language), telemetry_path, query).html())


def named(text: str) -> Installation:
    """An installation in which everything that others name is called `text`."""
    made = Installation(warnings=[text], reload_error=text)
    made.add_user(text, text, "failing", queues=(text,))
    made.add_member(text, text)
    made.token_ends[text] = {text: made.now + 100}
    return made


@given(st.text())
@settings(deadline=None)
def test_no_text_from_outside_becomes_markup(text: str) -> None:
    plain, odd = read(named("plain")), read(named(text))
    assert odd.tags == plain.tags
    assert odd.attributes.keys() == plain.attributes.keys()
    for name in ("class", "id", "href", "src", "role"):
        assert odd.attributes[name] == plain.attributes[name]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;", "'\" onload="]
)
def test_a_hostile_name_is_shown_as_it_is(text: str) -> None:
    assert text in read(named(text)).texts


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("make", [empty, healthy, half_broken])
def test_every_page_is_well_formed_in_every_language(make: Any, language: str) -> None:
    page = read(make(), language)
    assert page.attributes["lang"][0] == language
    assert page.tags.count("h1") == 1
    assert "style" not in page.tags
    assert "style" not in page.attributes
    assert not [name for name in page.attributes if name.startswith("on")]


def test_the_first_sentence_says_what_is_wrong_and_where() -> None:
    assert "17 of 29 targets have a problem" in read(half_broken()).texts
    assert "In xian, hefei." in read(half_broken()).texts
    assert "All 35 targets work" in read(healthy()).texts
    assert "Nothing is polled" in read(empty()).texts
    assert "29 个目标中有 17 个异常" in read(half_broken(), "zh").texts


def test_one_is_not_several() -> None:
    one = Installation()
    one.add_user("kunshan", "test")
    assert "The one target works" in read(one).texts
    one.add_user("kunshan", "bob", "stale")
    assert "1 of 2 targets has a problem" in read(one).texts


@pytest.mark.parametrize(
    ("states", "look", "label"),
    [
        (["stale", "stale"], "stale", "No data"),
        (["stale", "up"], "failing", "1 with a problem"),
        (["stale", "failing"], "failing", "No data"),
        (["failing", "failing"], "failing", "Failing"),
        (["pending", "up"], "pending", "Not tried yet"),
        (["up", "up"], "up", "Works"),
    ],
)
def test_a_region_is_as_loud_as_its_trouble(states: list[str], look: str, label: str) -> None:
    """One user without data among many is no region without data."""
    made = Installation()
    for state in states:
        made.add_user("kunshan", f"{len(made.statuses)}", state)
    page = read(made)
    assert f"card {look}" in page.attributes["class"]
    assert page.texts[page.texts.index("SCNet region") + 1] == label


def test_it_starts_with_what_is_not_known_yet() -> None:
    made = Installation()
    made.add_user("kunshan", "test", "pending")
    made.add_user("kunshan", "bob", "pending")
    page = read(made)
    assert "Starting: 2 targets have not been tried yet" in page.texts
    assert "never" in page.texts


def test_trouble_comes_first() -> None:
    names = [text for text in read(half_broken()).texts if text in ("kunshan", "xian", "hefei", "new", "driving")]
    # The select for the filter and the rows of the lists come after the cards.
    assert names[:5] == ["xian", "hefei", "new", "kunshan", "driving"]


def test_numbers_that_are_not_known_are_a_dash_and_never_0() -> None:
    made = Installation()
    made.add_tasks("driving", "PROCESSOR", None)
    page = read(made)
    assert "–" in page.texts
    assert "0" not in page.texts


def test_every_number_of_queues_and_members_is_there() -> None:
    page = read(healthy())
    rows = [row for view in ("queues", "members") for row in page.attributes["class"] if row == f"{view}"]
    assert rows == ["queues", "members"]
    for name in ("Running", "Queued", "Held", "Suspended", "Other", "Cores in use", "GPUs in use", "DCUs in use"):
        assert name in page.texts
    assert "Token expires: " in page.texts
    assert "in 20 h" in page.texts


def test_an_expired_token_and_a_refused_configuration_are_told() -> None:
    page = read(half_broken())
    assert "Token expired: " in page.texts
    assert "The configuration file holds mistakes; an older configuration is in use" in page.texts
    assert "exporter.yml:8:5: clusters[0].usres: unknown key; did you mean users?" in page.texts
    assert "A warning about the configuration" in page.texts


def test_who_polls_a_part_of_all_targets_says_so() -> None:
    whole, part = named("name"), named("name")
    part.shard = Shard(2, 5)
    assert "shard" not in read(whole).text
    assert "shard 2 of 5, counted from 0" in read(part).text
    assert "共 5 个分片，本实例为第 2 号（从 0 开始）" in read(part, "zh").text


def test_nobody_is_told_to_mend_the_configuration_where_other_shards_poll_all_of_it() -> None:
    mend = "give a region users or members"
    assert mend in read(Installation()).text
    empty = read(Installation(shard=Shard(1, 2))).text
    assert mend not in empty
    assert "No target of the configuration falls to this shard" in empty


def test_every_page_of_the_exporter_is_linked() -> None:
    links = read(empty(), telemetry_path="/probe").attributes["href"]
    assert {"/probe", "/api/v1/status", "/config"} <= set(links)


def test_the_other_language_keeps_what_was_asked_for() -> None:
    links = read(empty(), filter="a&b", state="up").attributes["href"]
    assert "?filter=a%26b&state=up&lang=zh" in links


def test_a_huge_installation_is_shown_in_part_with_a_way_on() -> None:
    page = read(huge(1000))
    assert page.tags.count("tr") < 500
    assert "?offset=100" in page.attributes["href"]


async def test_the_server_chooses_language_and_part() -> None:
    async with guarded(face=StagedFace(huge(500))) as served:
        _, headers, body = await served.ask("/?offset=100&limit=50", Accept_Language="fr, zh-CN;q=0.8, en;q=0.5")
        assert b'lang="zh"' in body
        assert headers["Vary"] == "Accept-Language"
        assert body.count(b"<tr") < 200
        assert b"?offset=150" in body
        assert (await served.ask("/?lang=en", Accept_Language="zh"))[2].count(b'<html lang="en">') == 1
        for query in ("limit=0", "limit=x", "offset=-1", "state=sad"):
            assert await served.status(f"/?{query}") == 400


async def test_the_page_loads_nothing_but_what_is_here() -> None:
    async with guarded(face=StagedFace(healthy())) as served:
        _, headers, body = await served.ask("/")
        page = Reader(body.decode())
        assert "'unsafe" not in headers["Content-Security-Policy"]
        loaded = [*page.attributes["src"], *(href for href in page.attributes["href"] if href and "/static" in href)]
        loaded.extend(f"/static/{name}" for name in ("page.js", "list.js", "words.js", "texts.json"))
        for path in loaded:
            assert path is not None
            status, headers, content = await served.ask(path)
            assert status == 200
            assert content
            assert headers["X-Content-Type-Options"] == "nosniff"
            for address in (b"http://", b"https://"):
                assert address not in content.replace(b"http://www.w3.org/2000/svg", b"")


async def test_a_file_that_the_browser_has_is_not_sent_again() -> None:
    async with guarded() as served:
        _, headers, _ = await served.ask("/static/page.css")
        status, _, body = await served.ask("/static/page.css", If_None_Match=headers["ETag"])
        assert (status, body) == (304, b"")
        assert await served.status("/static/page.css", If_None_Match='"other"') == 200


async def test_no_other_file_is_served() -> None:
    async with guarded() as served:
        for path in ("/static/", "/static/nothing", "/static/../server.py", "/static/%2e%2e/server.py", "/static"):
            assert await served.status(path) == 404


@pytest.mark.parametrize(
    ("made", "html"),
    [
        (element("p", "a<b", Markup("<i></i>"), None), "<p>a&lt;b<i></i></p>"),
        (
            element("a", class_="x y", data_label='"&', hidden=True, title=None, selected=False),
            '<a class="x y" data-label="&quot;&amp;" hidden></a>',
        ),
        (void("input", name="n"), '<input name="n">'),
        (together("<", Markup("<br>"), 1), "&lt;<br>1"),
    ],
)
def test_elements_escape_what_is_not_markup(made: str, html: str) -> None:
    assert made == html
