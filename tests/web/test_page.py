"""The status page as it is without JavaScript."""

import csv
import io
import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.metrics.family import gauge
from exporter.polling import Shard
from exporter.sources.capacity import CPUS, ENABLED, FREE_CPUS
from exporter.sources.display import Counts, InUse, MemberFigures, SampleFigures
from exporter.sources.scnet.account import BALANCE, STATUS
from exporter.web.csv import cell
from exporter.web.html import Markup, element, together, void
from exporter.web.page import StatusPage, severity
from exporter.web.query import page_query
from exporter.web.rows import JOBS, VIEWS, added, rows_of
from exporter.web.server import everything
from exporter.web.texts import AtLeast, Texts
from tests.support.face import guarded
from tests.support.installations import DENIED, Installation, StagedFace, empty, half_broken, healthy, huge

VOID = {"meta", "link", "img", "input"}


class Reader(HTMLParser):
    """Tags, attributes, texts, and rows without details. Fails where tags do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str | None]] = {}
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "td" in self._open and "dl" not in self._open:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def read(installation: Installation, language: str = "en", telemetry_path: str = "/metrics", **query: str) -> Reader:
    """Read the page with the list of targets, unless the query says otherwise; an empty view is the opening one."""
    chosen = page_query({"view": "targets", **query})
    page = StatusPage(installation.status(everything(chosen.selection.jobs)), Texts(language), telemetry_path, chosen)
    return Reader(page.html())


def named(text: str) -> Installation:
    """Return an installation in which everything with a name from outside is called `text`."""
    made = Installation(warnings=[text], reload_error=text)
    made.add_user(text, text, "failing", queues=(text,))
    made.add_member(text, text)
    made.figures.show(made.statuses[-1].key, MemberFigures(Counts(1000), InUse()))
    made.token_ends[text] = {text: made.now + 100}
    return made


@pytest.fixture(scope="module")
def plain() -> Reader:
    return read(named("plain"))


@given(text=st.text())
@settings(deadline=None)
def test_no_text_from_outside_becomes_markup(plain: Reader, text: str) -> None:
    odd = read(named(text))
    assert odd.tags == plain.tags
    assert odd.attributes.keys() == plain.attributes.keys()
    for name in ("class", "id", "src", "role"):
        assert odd.attributes[name] == plain.attributes[name]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;", "'\" onload=", "{value}{n}"]
)
def test_a_hostile_name_is_shown_as_it_is(text: str) -> None:
    page = read(named(text))
    assert text in page.texts
    assert f"Token of {text} expires: " in page.texts


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("make", [empty, healthy, half_broken])
def test_every_page_is_well_formed_in_every_language(make: Any, language: str) -> None:
    page = read(make(), language)
    assert page.attributes["lang"][0] == language
    assert page.tags.count("h1") == 1
    assert "style" not in page.tags
    assert "style" not in page.attributes
    assert not [name for name in page.attributes if name.startswith("on")]


def in_trouble(*problems: tuple[str, str, str]) -> Installation:
    """Return an installation of four regions of three users, of whom these (region, user, state) have a problem."""
    made = Installation()
    for region in ("kunshan", "xian", "hefei", "wuzhen"):
        for user in ("alice", "bob", "carol"):
            found = [state for where, who, state in problems if where == region and who in (user, "*")]
            made.add_user(region, user, found[0] if found else "up")
    return made


@pytest.mark.parametrize(
    ("problems", "headline", "look"),
    [
        ([], "All 12 targets work", "up"),
        ([("xian", "bob", "stale")], "xian: problems with bob", "failing"),
        ([("xian", "bob", "failing"), ("xian", "carol", "stale")], "xian: problems with bob, carol", "failing"),
        (
            [("wuzhen", "*", "stale"), ("kunshan", "bob", "failing")],
            "wuzhen: no data for 66 min; kunshan: problems with bob",
            "stale",
        ),
        (
            [("wuzhen", "*", "failing"), *((region, "bob", "stale") for region in ("kunshan", "xian", "hefei"))],
            "wuzhen: failing for 95 s; 3 regions: a problem with 1 user each",
            "stale",
        ),
        (
            [(region, "*", "stale") for region in ("kunshan", "xian", "hefei", "wuzhen")],
            "kunshan: no data for 66 min; xian: no data for 66 min; hefei: no data for 66 min; 1 more region fails as a whole",
            "stale",
        ),
        (
            [("kunshan", "bob", "stale"), ("xian", "bob", "stale"), ("xian", "carol", "stale")],
            "2 regions: problems with up to 2 users each",
            "failing",
        ),
    ],
)
def test_the_headline_names_the_worst_first(problems: Any, headline: str, look: str) -> None:
    """A region that fails as a whole is another thing than one user of it."""
    made = in_trouble(*problems)
    page = read(made)
    assert headline in page.texts
    assert f"card {look}" in page.attributes["class"]
    answers = {source["name"]: source["answers"] for source in made.status()["sources"]}
    assert answers == {name: not any(problem[:2] == (name, "*") for problem in problems) for name in answers}


def test_the_headline_in_chinese_and_of_nothing() -> None:
    assert "17 of 29 targets have a problem" in read(half_broken()).texts
    assert "Nothing is polled" in read(empty()).texts
    assert "xian：已 66 分钟无数据；hefei：4 个用户异常" in read(half_broken(), "zh").texts
    assert "83 jobs running, 130 queued; 2,656 cores in use." in read(healthy()).texts


def test_a_card_says_who_is_concerned() -> None:
    page = read(in_trouble(("xian", "bob", "failing"), ("wuzhen", "*", "stale")))
    links = page.attributes["href"]
    assert "?view=targets&source=xian&state=stale%2Cfailing#lists" in links
    told = [after for before, after in pairwise(page.texts) if before == "Concerned: "]
    assert told == ["everyone", "bob"]


def two_counts(queues: tuple[str, ...], members: tuple[str, ...]) -> Installation:
    made = Installation()
    for user in queues:
        made.add_user("kunshan", user)
    for user in members:
        made.add_member("kunshan", f"physics/{user}")
    return made


@pytest.mark.parametrize(
    ("queues", "members", "why"),
    [
        (("alice", "bob"), ("alice",), "not among the members, or without data there: bob."),
        (("alice",), ("alice", "bob"), "not among the users of queues, or without data there: bob."),
        (("alice", "bob"), ("alice", "bob"), "they were counted up to 39 s apart."),
    ],
)
def test_two_counts_that_differ_say_why(queues: tuple[str, ...], members: tuple[str, ...], why: str) -> None:
    assert f"The two differ: {why}" in read(two_counts(queues, members)).texts


def test_it_opens_on_members_then_people_then_targets() -> None:
    def opened(made: Installation) -> str:
        page = read(made, view="")
        return next(name for name in page.attributes["class"] if name in VIEWS)  # type: ignore[return-value]

    assert opened(healthy()) == "members"
    assert opened(in_trouble()) == "people"
    assert opened(targets("bob")) == "people"
    cores = Installation()
    cores.add("kunshan", "region_cores", "")
    assert opened(cores) == "targets"


def test_sums_by_person_group_region_and_in_all() -> None:
    made = Installation()
    for source, member, running in (("kunshan", "g/bob", 3), ("xian", "g/bob", 4), ("xian", "h/amy", 1)):
        key = made.add(source, "member_jobs", member)
        made.figures.show(key, MemberFigures(Counts(running, 2), InUse(32 * running, 0, None if running == 4 else 0)))
    made.add_member("hefei", "h/eve", "stale")
    made.add_user("kunshan", "bob", queues=("q",))
    made.add_user("xian", "dan", queues=())
    unknown = ["–"] * 5
    assert rows(made, view="members") == [
        ["bob", "g", "xian", "4", "2", "128", "0", "–"],
        ["bob", "g", "kunshan", "3", "2", "96", "0", "0"],
        ["amy", "h", "xian", "1", "2", "32", "0", "0"],
        ["eveNo data", "h", "hefei", *unknown],
        ["≥ 8", "≥ 6", "≥ 256", "≥ 0", "≥ 0"],
    ]
    # A user who is a member, too, is counted once; a user of queues alone has no known cores.
    assert rows(made, view="people") == [
        ["bob", "kunshan, xian", "7", "4", "224", "0", "≥ 0"],
        ["amy", "xian", "1", "2", "32", "0", "0"],
        ["dan", "xian", "0", "0", "–", "–", "–"],
        ["eveNo data", "hefei", *unknown],
        ["≥ 8", "≥ 6", "≥ 256", "≥ 0", "≥ 0"],
    ]
    assert [row[:4] for row in rows(made, view="groups")[:2]] == [
        ["g", "kunshan, xian", "1", "7"],
        ["hNo data", "xian, hefei", "2", "≥ 1"],
    ]
    assert [row[:3] for row in rows(made, view="regions")] == [
        ["xian", "3", "5"],
        ["kunshan", "1", "3"],
        ["hefeiNo data", "1", "–"],
        ["", "≥ 8", "≥ 6"],
    ]


def test_members_whose_list_is_not_known_are_missing_and_have_no_row_without_a_name() -> None:
    """A list of all members names them: without it they are not known, and sums are of those that are."""
    made = Installation()
    made.add_member("kunshan", "physics/bob")
    made.add_member("kunshan", "physics/amy")
    made.add("xian", "live_jobs", "", "stale")
    missing = "Members are missing: there is no current list of xian."
    for view, first in (("members", ["amy", "bob"]), ("people", ["amy", "bob"]), ("groups", ["physics"])):
        page = read(made, view=view, sort="group" if view == "groups" else "user")
        assert missing in page.texts, view
        assert [row[0] for row in page.rows[1:]][: len(first)] == first
        assert page.texts[page.texts.index(Texts("en")(view)) + 1] == str(len(first))
        assert "(no name)" not in page.text
    assert rows(made, view="members")[-1][0].startswith("≥ ")
    regions = read(made, view="regions", sort="source")
    assert [row[0] for row in regions.rows[1:3]] == ["kunshan", "xianNo data"]
    assert missing not in regions.texts
    queues = read(made, view="queues")
    assert "Queues are missing: there is no current list of xian." in queues.texts
    assert "Nothing here yet." not in queues.texts
    made.statuses[-1].last_success = made.now
    assert "成员不全：xian 没有最新列表。" in read(made, "zh", view="members").texts


async def test_every_list_is_a_csv_too() -> None:
    made = half_broken()
    made.add_member("kunshan", "=cmd|x/bob")
    async with guarded(face=StagedFace(made)) as served:
        for view, expected in (
            ("members", "cluster,group,user,running,queued,held,suspended,other,cpus,gpus,dcus,health,last_success"),
            ("people", "user,clusters,running,queued,held,suspended,other,cpus,gpus,dcus"),
            ("groups", "group,clusters,people,running,queued,held,suspended,other,cpus,gpus,dcus"),
            ("regions", "cluster,people,running,queued,held,suspended,other,cpus,gpus,dcus"),
            ("queues", "cluster,user,queue,running,queued,held,suspended,other,health,last_success"),
            ("targets", "cluster,collector,target,health,last_success,next_poll,consecutive_failures,reason,error"),
        ):
            status, headers, body = await served.ask(f"/api/v1/{view}.csv")
            assert (status, headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
            assert headers["Content-Disposition"] == f'attachment; filename="{view}.csv"'
            assert body.decode().split("\r\n")[0] == expected
            lines = list(csv.DictReader(io.StringIO(body.decode())))
            assert len(lines) == len(rows(made, view=view)) - (view != "targets")
        _, _, body = await served.ask("/api/v1/members.csv?filter=bob&sort=source&bom=1")
        assert body.startswith(b"\xef\xbb\xbf")
        found = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"))))
        assert [(row["cluster"], row["group"]) for row in found] == [
            ("hefei", "physics"),
            ("kunshan", "physics"),
            ("kunshan", "'=cmd|x"),
            ("xian", "physics"),
        ]
        assert found[-1]["running"] == "", "unknown is not 0"
        _, _, body = await served.ask("/api/v1/people.csv?filter=bob")
        [bob] = csv.DictReader(io.StringIO(body.decode()))
        assert bob["running"] == "", "a sum with an unknown part is unknown"
        _, _, body = await served.ask("/api/v1/targets.csv")
        reasons = {
            (row["reason"], row["error"].partition(" ")[0]) for row in csv.DictReader(io.StringIO(body.decode()))
        }
        assert {("", ""), ("connection", "cannot")} <= reasons
        _, _, body = await served.ask("/api/v1/targets.csv?limit=2&offset=1")
        assert body.decode().count("\r\n") == 1 + 2
        assert await served.status("/api/v1/members.csv?sort=nonsense") == 400
        assert await served.status("/api/v1/nonsense.csv") == 404


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_text_is_a_formula_in_a_spreadsheet(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert (cell(f"x{text}"), cell(-1)) == (f"x{text}", -1)


async def test_a_csv_names_the_sources_of_which_it_has_nothing() -> None:
    """As the page does. Names are percent-encoded: a header takes no others."""
    made = Installation()
    made.add_member("kunshan", "physics/bob")
    made.single_jobs = True
    for region in ("xian, 西安", *(f"r{number:02}" for number in range(60))):
        made.add(region, "live_jobs", "", "stale")
    async with guarded(face=StagedFace(made)) as served:
        for view in ("members", "people", "groups", "queues", "jobs"):
            _, headers, _ = await served.ask(f"/api/v1/{view}.csv")
            names = headers["X-Missing-Sources"].split(", ")
            assert len(names) == 51, view
            assert names[-1] == "*"
            assert {"r00", "xian%2C%20%E8%A5%BF%E5%AE%89"} & {*names}
        for view in ("regions", "targets"):
            assert "X-Missing-Sources" not in (await served.ask(f"/api/v1/{view}.csv"))[1]
    made = Installation()
    for number in range(20):
        made.add(f"{'大' * 100}{number}", "live_jobs", "", "stale")
    async with guarded(face=StagedFace(made)) as served:
        header = (await served.ask("/api/v1/queues.csv"))[1]["X-Missing-Sources"]
    assert header.endswith(", *")
    assert 4000 < len(header) < 8190
    async with guarded(face=StagedFace(healthy())) as served:
        for view in ("members", "queues", "jobs"):
            assert "X-Missing-Sources" not in (await served.ask(f"/api/v1/{view}.csv"))[1]
    off = half_broken()
    off.single_jobs = False
    async with guarded(face=StagedFace(off)) as served:
        status, headers, body = await served.ask("/api/v1/jobs.csv")
        assert (status, headers["Content-Type"]) == (404, "text/plain; charset=utf-8")
        assert body == b"Single jobs are listed with per_job: {enabled: true} only.\n"


async def test_all_is_served_below_the_path_of_the_external_url_as_well() -> None:
    async with guarded(face=StagedFace(healthy()), prefix="/hpc/exporter") as served:
        for path in [
            "/",
            "/metrics",
            "/-/healthy",
            "/api/v1/status",
            "/api/v1/members.csv",
            "/static/page.css",
            "/config",
        ]:
            assert await served.status(f"/hpc/exporter{path}") == await served.status(path)
        for query in ("", "?view=targets&filter=%C3%BC%26+a&filter=b"):
            status, headers, _ = await served.ask(f"/hpc/exporter{query}")
            assert (status, headers["Location"]) == (308, f"/hpc/exporter/{query}")
        assert await served.status("/hpc/") == 404


def test_errors_are_in_the_language_of_the_page() -> None:
    english, chinese = (read(half_broken(), language) for language in ("en", "zh"))
    assert english.texts.count(DENIED.text.en) == chinese.texts.count(DENIED.text.zh) > 8
    assert english.text.count("rejected") == english.text.count(DENIED.text.en), "said once"
    assert not re.search("reject|answer|connect", chinese.text)


def test_a_single_target_has_texts_of_its_own() -> None:
    one = Installation()
    one.add_user("kunshan", "test")
    assert "The only target works" in read(one).texts
    one.add_user("kunshan", "bob", "stale")
    assert "1 of 2 targets has a problem" in read(one).texts
    assert "kunshan: problems with bob" in read(one).texts


@pytest.mark.parametrize(
    ("states", "look", "label"),
    [
        (["stale", "stale"], "stale", "No data"),
        (["stale", "up"], "failing", "1 problem"),
        (["stale", "failing"], "stale", "No data"),
        (["failing", "failing"], "stale", "Failing"),
        (["pending", "up"], "pending", "Not tried yet"),
        (["up", "up"], "up", "Works"),
    ],
)
def test_the_severity_of_a_region(states: list[str], look: str, label: str) -> None:
    """A region with one user without data among others is not one without data."""
    made = Installation()
    for state in states:
        made.add_user("kunshan", f"{len(made.statuses)}", state)
    page = read(made)
    assert f"card {look}" in page.attributes["class"]
    assert page.texts[page.texts.index("SCNet region") + 1] == label


def test_a_region_that_answers_nothing_is_worse_than_one_with_a_target_that_fails() -> None:
    counts = {"stale": 0, "failing": 1, "pending": 0, "total": 2}
    assert [severity({"answers": answers, "targets": counts}) for answers in (False, True)] == ["stale", "failing"]


def test_a_users_queues_are_listed_once_and_unknown_ones_are_not_left_out() -> None:
    queues = [{"queue": "debug", **dict.fromkeys(JOBS, 1)}]
    nothing = dict.fromkeys(("last_error", "queues", "members", "tasks", "member"))
    target = {**nothing, "source": "kunshan", "state": "up", "collector": "queue_jobs"}
    listed = [{"user": user, "group": "", "queues": queues} for user in ("bob", "eve")]
    found = rows_of(
        "queues",
        [
            {**target, "target": "bob", "queues": queues},
            {**target, "target": "mallory"},
            {**target, "target": "", "collector": "jobs", "members": listed},
        ],
    )
    assert [(row["user"], row["queue"], row["running"]) for row in found] == [
        ("bob", "debug", 1),
        ("mallory", "", None),
        ("eve", "debug", 1),
    ]


def test_a_sum_with_a_part_of_which_only_the_least_is_known_is_at_least_that() -> None:
    assert [type(added(parts)) for parts in ((1, 2), (1, AtLeast(2)), (1, None), (None,))] == [
        int,
        AtLeast,
        AtLeast,
        type(None),
    ]


def test_a_starting_exporter_shows_that_nothing_is_known_yet() -> None:
    made = Installation()
    made.add_user("kunshan", "test", "pending")
    made.add_user("kunshan", "bob", "pending")
    page = read(made)
    assert "Starting: 2 targets have not been tried yet" in page.texts
    assert "never" in page.texts


def test_bounds_of_waits_say_whose_they_are_and_how_often_they_held() -> None:
    page = read(half_broken())
    start = page.texts.index("The first job you submit now")
    assert page.texts[start + 1 : start + 8] == [
        Texts("en")("first_job_only"),
        *(
            "kunshan · normal",
            " · half start within 12 min",
            " · 9 in 10 within 2 h 10 min",
            " · 19 in 20 within 5 h 34 min",
        ),
        *(" · right in 97 of the last 100", "xian · physics · GPU/DCU jobs"),
    ]
    assert " · the 95 % bound is withheld: only 80 of the last 100 held" in page.texts
    assert " · 不显示 95% 上界：最近 100 次中只有 80 次成立" in read(half_broken(), "zh").texts
    assert "The first job you submit now" not in read(healthy()).texts


def test_regions_with_problems_come_first() -> None:
    names = [text for text in read(half_broken()).texts if text in ("kunshan", "xian", "hefei", "new", "driving")]
    # The select for the filter and the rows of the lists come after the cards.
    assert names[:5] == ["xian", "hefei", "new", "kunshan", "driving"]


def test_numbers_that_are_not_known_are_a_dash_and_never_0() -> None:
    made = Installation()
    made.add_tasks("driving", "PROCESSOR", None)
    page = read(made, view="queues")
    assert rows(made, view="queues") == [["PROCESSOR", "", "driving", "–", "–", "–", "–", "–"]]
    assert page.texts.count("–") == 1 + 5
    assert page.texts.count("0") == 0


@pytest.mark.parametrize(
    ("view", "heads"),
    [
        ("targets", ["State", "Region", "Collector", "Target", "Last success", "Next poll", "Values or last error"]),
        ("queues", ["Queue", "User", "Region", "Running", "Queued", "Held", "Suspended", "Other"]),
        ("members", ["User", "Group", "Region", "Running", "Queued", "Cores in use", "GPUs in use", "DCUs in use"]),
    ],
)
def test_every_list_has_its_columns(view: str, heads: list[str]) -> None:
    page = read(healthy(), view=view)
    start = page.texts.index(heads[0], page.texts.index("Apply"))
    assert page.texts[start : start + len(heads)] == heads
    assert {"Token expires: ", "in 20 h"} <= set(page.texts)


def rows(installation: Installation, **query: str) -> list[list[str]]:
    """Return the texts of the cells of each row."""
    return read(installation, **query).rows[1:]


def targets(*names: str) -> Installation:
    made = Installation()
    for name in names:
        made.add("kunshan", "queue_jobs", name)
    return made


@pytest.mark.parametrize(
    ("query", "column", "order"),
    [
        ({}, 3, ["bob", "user10", "user2", "Álice"]),
        ({"sort": "target"}, 3, ["bob", "user2", "user10", "Álice"]),
        ({"sort": "-target"}, 3, ["Álice", "user10", "user2", "bob"]),
        ({"sort": "target", "limit": "2"}, 3, ["bob", "user2"]),
        ({"sort": "target", "limit": "2", "offset": "2"}, 3, ["user10", "Álice"]),
        ({"sort": "target", "offset": "4"}, 3, []),
        ({"sort": "-last_success"}, 3, ["bob", "user10", "user2", "Álice"]),
        ({"sort": "last_success"}, 3, ["Álice", "user2", "user10", "bob"]),
        ({"filter": "USER", "sort": "next_poll"}, 3, ["user2", "user10"]),
    ],
)
def test_rows_are_filtered_sorted_and_in_pages(query: dict[str, str], column: int, order: list[str]) -> None:
    made = targets("bob", "user10", "user2", "Álice")
    for state, status in enumerate(made.statuses):
        status.last_success = made.now - state
    assert [row[column] for row in rows(made, **query)] == order


def test_a_poll_that_is_due_is_due_now() -> None:
    made = targets("bob")
    made.statuses[0].next_poll = made.now - 5
    assert rows(made)[0][5] == "now"


def test_every_tab_shows_the_number_of_its_rows() -> None:
    for view in VIEWS:
        page = read(half_broken(), view=view)
        name = Texts("en")(view)
        sums = view not in ("targets", "jobs") and len(rows(half_broken(), view=view)) > 1
        assert page.texts[page.texts.index(name) + 1] == str(len(rows(half_broken(), view=view)) - sums)


def test_problems_come_first_and_unknown_numbers_last() -> None:
    states = [row[0] for row in rows(half_broken())]
    assert states == sorted(states, key=["No data", "Failing", "Not tried yet", "Works"].index)
    running = [row[3] for row in rows(half_broken(), view="queues")[:-1]]
    known = [int(text) for text in running if text != "–"]
    assert "–" not in running[: len(known)]
    assert known == sorted(known, reverse=True)
    assert rows(half_broken(), view="queues")[-1][1].startswith("≥ ")
    errors = [row[6] for row in rows(half_broken(), sort="result")]
    assert errors[0].startswith("the token from token_file")
    assert errors[-1] == ""


@pytest.mark.parametrize(
    ("query", "matching"),
    [
        ({"filter": "10009 xian"}, 9),
        ({"filter": "debug", "view": "queues"}, 9),
        ({"filter": "debug"}, 0),
        ({"filter": "token rejected"}, 9),
        ({"filter": "queue jobs alice"}, 3),
        ({"collector": "schedulers"}, 4),
        ({"source": "hefei", "state": "up,stale"}, 1),
    ],
)
def test_a_filter_finds_names_titles_queues_and_errors(query: dict[str, str], matching: int) -> None:
    assert len(rows(half_broken(), **query)) == matching


def test_values_of_a_target_without_a_list_of_its_own_are_in_its_row() -> None:
    made = Installation()
    cpus = gauge("hpc_cluster_cpus", ("hpc_cluster", "state"), "CPUs.", zh="核")
    nodes = gauge("hpc_cluster_nodes", ("hpc_cluster", "state"), "Nodes.", zh="节点")
    about = gauge("hpc_cluster_info", ("hpc_cluster", "version"), "About.", zh="版本")
    free = gauge("hpc_user_ratio", ("hpc_cluster", "user", "queue"), "Free.", zh="比例")
    for collector, target, samples in (
        ("region_cores", "", [cpus("a", "used", value=2070), cpus("a", "unused", value=90)]),
        ("schedulers", "", [cpus("a", "used", value=1), nodes("a", "down", value=0), about("a", "2.1", value=1)]),
        ("queue_jobs", "bob", [free("a", "bob", "bob", value=0.25), free("a", "bob", "x", value=math.nan)]),
        ("member_jobs", "g/bob", [cpus("a", f"state {number}", value=number) for number in range(8)]),
    ):
        made.figures.show(made.add("a", collector, target), SampleFigures(tuple(samples)))
    assert [row[6] for row in rows(made)] == [
        "used 2,070 · unused 90",
        "cpus used 1 · nodes down 0 · info 2.1",
        "bob 0.25 · x –",
        "state 0 0 · state 1 1 · state 2 2 · state 3 3 · state 4 4 · state 5 5 · and 2 more",
    ]
    assert "state 7 7" in read(made).text


@pytest.mark.parametrize(
    ("language", "balance", "status", "shown", "marked"),
    [
        ("en", 99_866.11, "Normal", "Money Balance ¥ 99,866.11 Account normal", False),
        ("en", -1.5, "Owe", "Money Balance ¥ -1.50 Account in arrears", True),
        ("zh", 0, "Disable", "余额与状态 余额 ¥ 0.00 账号状态 停用", True),
        ("zh", None, "Trial", "余额与状态 账号状态 试用", False),
        ("en", None, "other", "Money Account other", False),
        ("en", 8.7, None, "Money Balance ¥ 8.70", False),
        ("en", None, None, "", False),
    ],
)
def test_the_card_of_an_account_has_its_money_and_status(
    language: str, balance: float | None, status: str | None, shown: str, marked: bool
) -> None:
    made = Installation()
    made.sources["lab"] = "account"
    samples = [BALANCE("lab", value=balance)] if balance is not None else []
    samples += [STATUS("lab", status, value=1)] if status else []
    made.figures.show(made.add("lab", "account", ""), SampleFigures(tuple(samples)))
    html = StatusPage(made.status(), Texts(language), "/metrics", page_query({})).html()
    card = html[html.index('data-key="lab"') : html.index("</article>")]
    figures = card.partition("<footer>")[0].partition("</header>")[2]
    assert " ".join(re.sub("<[^>]*>", " ", figures).split()) == shown
    assert ('<dd class="failing">' in card) is marked


def test_the_card_of_a_region_speaks_of_money_where_there_is_some() -> None:
    made = Installation()
    of = ("kunshan", "7", "normal")
    cores = (FREE_CPUS(*of, value=90), CPUS(*of, value=100), ENABLED(*of, value=1))
    made.figures.show(made.add("kunshan", "queue_capacity", "7"), SampleFigures(cores))
    assert "Room Free cores 90 of 100" in " ".join(read(made).text.split())
    assert "Room and money" not in read(made).text


def test_an_absent_endpoint_is_no_problem() -> None:
    made = Installation()
    made.add("kunshan", "region_cores", "", "absent")
    made.add_user("kunshan", "bob")
    page = read(made)
    assert "The only target works" in page.texts
    assert {"chip absent", "absent"} <= set(page.attributes["class"])
    assert rows(made)[-1] == [
        "Not there",
        "kunshan",
        "cores",
        "kunshan",
        "never",
        "in 53 s",
        "The region does not offer this.",
    ]
    assert "该区域不提供此接口。" in read(made, "zh").texts


def test_a_target_has_details_without_javascript() -> None:
    page = read(half_broken(), state="stale", filter="physics/bob")
    details = page.texts[page.texts.index("physics/bob") :]
    for fact in ("There is no data that is recent enough to be shown.", "Failures in a row", "5", "66 min ago"):
        assert fact in details


def test_an_expired_token_and_a_rejected_configuration_are_shown() -> None:
    page = read(half_broken())
    assert "Token expired: " in page.texts
    assert "The configuration file holds mistakes; an older configuration is in use" in page.texts
    assert "exporter.yml:8:5: clusters[0].usres: unknown key; did you mean users?" in page.texts
    assert "A warning about the configuration" in page.texts


def test_a_shard_is_shown() -> None:
    whole, part = named("name"), named("name")
    part.shard = Shard(2, 5)
    assert "shard" not in read(whole).text
    assert "shard 2 of 5, counted from 0" in read(part).text
    assert "共 5 个分片，本实例为第 2 号（从 0 开始）" in read(part, "zh").text


def test_an_empty_shard_is_not_a_mistake_in_the_configuration() -> None:
    advice = "The configuration names nothing to poll."
    assert advice in read(Installation()).text
    empty = read(Installation(shard=Shard(1, 2))).text
    assert advice not in empty
    assert "No target of the configuration falls to this shard" in empty


def test_every_page_of_the_exporter_is_linked_from_below_any_path() -> None:
    links = read(empty(), telemetry_path="/probe:all").attributes["href"]
    assert {"./probe:all", "./api/v1/status", "./config"} <= set(links)


def test_links_keep_the_other_parameters() -> None:
    page = read(huge(1000), filter="user", state="up", offset="100", nonsense="1")
    links = page.attributes["href"]
    for query in ("&offset=200#lists", "#lists", "&lang=zh", "&sort=-last_success", "&source=region-1#lists"):
        assert f"?view=targets&filter=user&state=up{query}" in links
    assert "?view=queues&filter=user&state=up" in links
    assert not [link for link in links if link and "nonsense" in link]
    usual = read(empty(), view="queues", sort="-running").attributes["href"]
    assert "?view=queues&lang=zh" in usual
    assert "?view=targets&filter=a%26b&lang=zh" in read(empty(), filter="a&b").attributes["href"]


def test_a_huge_installation_is_shown_in_part_with_a_way_on() -> None:
    page = read(huge(1000))
    assert page.tags.count("tr") == 101
    assert "1–100 of 1,000" in page.texts


async def test_the_server_chooses_language_and_part() -> None:
    async with guarded(face=StagedFace(huge(500))) as served:
        _, headers, body = await served.ask(
            "/?view=targets&offset=100&limit=50", Accept_Language="fr, zh-CN;q=0.8, en;q=0.5"
        )
        assert b'lang="zh"' in body
        assert headers["Vary"] == "Accept-Language"
        assert body.count(b"<tr") == 51
        assert b"offset=150" in body
        assert (await served.ask("/?lang=en", Accept_Language="zh"))[2].count(b'<html lang="en">') == 1
        for query in ("limit=0", "limit=x", "offset=-1", "state=sad", "view=all", "sort=state", "sort=--user"):
            assert await served.status(f"/?{query}") == 400


async def test_the_page_loads_nothing_but_what_is_here() -> None:
    async with guarded(face=StagedFace(healthy())) as served:
        _, headers, body = await served.ask("/")
        page = Reader(body.decode())
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; ")
        assert "'unsafe" not in headers["Content-Security-Policy"]
        assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
        loaded = [*page.attributes["src"], *(href for href in page.attributes["href"] if href and "/static" in href)]
        for path in loaded:
            assert path is not None
            status, headers, content = await served.ask(path.removeprefix("."))
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
