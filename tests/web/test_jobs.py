"""The list of single jobs: on the page, as CSV and as JSON."""

import csv
import io
import json
from pathlib import Path

import jsonschema
import pytest

from exporter.records import Job, JobState
from exporter.tracking import Phase, TrackedJob
from tests.support.face import guarded
from tests.support.installations import Installation, StagedFace, half_broken, healthy
from tests.web.test_page import Reader, read, rows
from tests.web.test_status_api import closed

SCHEMA = Path(__file__).parents[2] / "docs" / "jobs.schema.json"


def test_a_job_has_all_that_is_known_of_it() -> None:
    waits, runs, odd = rows(half_broken(), view="jobs")
    assert " | ".join(waits) == (
        "4712train | alicephysics | gpukunshan | Queuedresources | 64 | 0 | 8 | 25 h ago | – | 25 h ago"
    )
    assert " | ".join(runs) == (
        "4711sleep_0526 | alicephysics | normalkunshan | Running | 32 | 0 | 4 | 2 h ago | 60 min ago | 60 min ago"
    )
    assert odd == ["4713", "alicephysics", "–kunshan", "Unknown", "–", "–", "–", "–", "–", "–"], "unknown is not 0"
    page = read(half_broken(), view="jobs")
    assert "statX" in page.attributes["title"]


def test_it_says_how_it_knows_since_when() -> None:
    made = healthy()
    known = {
        "1": TrackedJob(JobState.QUEUED, Phase.WAIT, None, made.now - 7200),
        "2": TrackedJob(JobState.QUEUED, Phase.WAIT, made.now - 300, made.now - 290),
    }
    jobs = (Job("1", "", JobState.QUEUED), Job("2", "", JobState.QUEUED))
    made.add_jobs("kunshan", "chemistry/alice", *jobs, tracked=known)
    assert [row[-1] for row in rows(made, view="jobs")] == ["2 h ago or earlier", "about 5 min ago"]
    assert read(made, "zh", view="jobs").rows[1][-1] == "2 小时前或更早"


def test_names_lead_to_jobs_and_a_choice_can_be_taken_back() -> None:
    made = half_broken()
    links = read(made, view="members").attributes["href"]
    assert "?view=jobs&user=alice&source=kunshan" in links
    made.single_jobs = False
    assert not [link for link in read(made, view="members").attributes["href"] if link and "user=alice" in link]

    page = read(half_broken(), view="jobs", user="alice", state="queued", sort="-cpus")
    links = page.attributes["href"]
    assert "?view=jobs&state=queued&sort=-cpus#lists" in links, "takes the user back"
    assert "?view=jobs&state=queued&user=alice&sort=-cpus&queue=gpu#lists" in links
    # States of jobs are none of targets.
    assert "?view=targets" in links
    assert "./api/v1/jobs.csv?state=queued&user=alice&sort=-cpus&bom=1" in links
    assert [row[0] for row in page.rows[1:]] == ["4712train"]
    assert "user: alice" in [text.lower() for text in page.texts]


def test_where_single_jobs_are_off_it_says_how_to_switch_them_on() -> None:
    made = half_broken()
    made.single_jobs = False
    made.figures.hide_jobs()
    page = read(made, view="jobs")
    assert "per_job: {enabled: true}" in page.texts
    assert page.texts[page.texts.index("Jobs") + 1] == "Targets", "there is no number of jobs that is not known"
    assert "table" not in page.tags
    assert "per_job: {enabled: true}" in read(made, "zh", view="jobs").texts
    assert "Nothing matches the filter." in read(half_broken(), view="jobs", filter="nonsense").texts
    assert "Jobs" not in read(Installation(), view="targets").texts


def test_lists_that_are_not_known_are_no_empty_lists() -> None:
    """Neither where other lists are known, nor where none is."""
    missing = "Jobs are missing: there is no current list of xian."
    assert missing in read(half_broken(), view="jobs").texts
    assert missing not in read(half_broken(), view="members").texts
    assert not [text for text in read(healthy(), view="jobs").texts if "missing" in text]
    made = half_broken()
    made.figures.hide_jobs()
    texts = read(made, view="jobs").texts
    assert {missing, "No jobs are known."} <= set(texts)
    assert "Nothing here yet." not in texts


def test_a_hostile_job_is_text() -> None:
    evil = "<img src=x onerror=alert(1)>\"'\u202e\x1b[2J"
    made = healthy()
    made.add_jobs("kunshan", f"{evil}/{evil}", Job(evil, evil, JobState.UNKNOWN, raw_state=evil, queue=evil))
    page = read(made, view="jobs")
    assert page.tags.count("img") == 1, "the exporter's own"
    assert not [text for text in page.texts if "\u202e" in text or "\x1b" in text]


def test_thousands_are_shown_in_pages() -> None:
    made = healthy()
    for number in range(30):
        jobs = [Job(f"{number}{each:04}", "", JobState.QUEUED, submitted=made.now - each) for each in range(100)]
        made.add_jobs("kunshan", f"chemistry/user{number}", *jobs)
    page = read(made, view="jobs", offset="100")
    assert page.tags.count("tr") == 101
    assert "101–200 of 3,000" in page.texts
    assert "?view=jobs&offset=200#lists" in page.attributes["href"]
    # It has become shorter since.
    page = read(made, view="jobs", offset="999900")
    assert "The list ends before this page." in page.texts
    assert "?view=jobs&offset=2900#lists" in page.attributes["href"]
    assert "?view=jobs&filter=none#lists" in read(made, view="jobs", filter="none", offset="300").attributes["href"]


async def test_it_is_a_csv_and_json_too() -> None:
    made = half_broken()
    made.add_jobs("xian", "physics/bob", Job("=1+1", "@x", JobState.HELD, requested_cpus=8))
    async with guarded(face=StagedFace(made), prefix="/hpc") as served:
        _, headers, body = await served.ask("/hpc/api/v1/jobs.csv")
        assert headers["Content-Disposition"] == 'attachment; filename="jobs.csv"'
        lines = list(csv.DictReader(io.StringIO(body.decode())))
        assert " ".join(lines[0]) == (
            "cluster group user id name state reason queue requested_nodes requested_cpus requested_gpus requested_dcus "
            "allocated_cpus allocated_gpus allocated_dcus submitted started ended since since_basis"
        )
        assert [line["id"] for line in lines] == ["4712", "'=1+1", "4711", "4713"]
        assert (lines[1]["cluster"], lines[1]["name"], lines[1]["requested_cpus"]) == ("xian", "'@x", "8")
        assert (lines[1]["allocated_cpus"], lines[0]["allocated_cpus"]) == ("", "0"), "unknown is not 0"
        assert (lines[2]["started"], lines[2]["since_basis"]) == ("2026-09-21T13:13:20.000Z", "reported")
        _, _, body = await served.ask("/api/v1/jobs.csv?state=running&limit=1&bom=1")
        assert body.decode("utf-8-sig").count("\r\n") == 2

        _, headers, body = await served.ask("/api/v1/jobs?limit=3&sort=job")
        assert headers["Content-Type"] == "application/json"
        answer = json.loads(body)
        assert answer["page"] == {"offset": 0, "limit": 3, "matching": 4, "total": 4, "next_offset": 3}
        assert [job["id"] for job in answer["jobs"]] == ["4711", "4712", "4713"]
        _, _, body = await served.ask("/hpc/api/v1/jobs?offset=3&limit=3&sort=job")
        assert json.loads(body)["page"]["next_offset"] is None
        assert json.loads((await served.ask("/api/v1/status"))[2])["jobs"] == {
            "enabled": True,
            "total": 4,
            "missing": ["xian"],
        }


async def test_the_json_is_as_its_schema_says() -> None:
    schema = closed(json.loads(SCHEMA.read_text()))
    jsonschema.Draft202012Validator.check_schema(schema)
    off = half_broken()
    off.single_jobs = False
    off.figures.hide_jobs()
    for made, number in ((half_broken(), 3), (off, 0)):
        async with guarded(face=StagedFace(made)) as served:
            answer = json.loads((await served.ask("/api/v1/jobs"))[2])
        jsonschema.validate(answer, schema)
        assert (len(answer["jobs"]), answer["enabled"]) == (number, bool(number))
    item = schema["properties"]["jobs"]["items"]["properties"]
    assert item["state"]["enum"] == [state.value for state in JobState]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("state=stale", "state: 'stale' is none of running, queued"),
        ("sort=colour", "sort: 'colour' is none of job"),
        ("limit=10001", "limit: must be"),
        ("offset=x", "offset: must be"),
    ],
)
async def test_a_wrong_parameter_is_named(query: str, error: str) -> None:
    async with guarded(face=StagedFace(healthy())) as served:
        status, _, body = await served.ask(f"/api/v1/jobs?{query}")
        assert (status, json.loads(body)["error"][: len(error)]) == (400, error)
        for path in ("/?view=jobs&", "/api/v1/jobs.csv?"):
            assert await served.status(path + query) == 400


async def test_the_page_is_served_with_its_jobs() -> None:
    async with guarded(face=StagedFace(half_broken())) as served:
        _, _, body = await served.ask("/?view=jobs&state=running,queued&limit=1")
    page = Reader(body.decode())
    assert [row[0] for row in page.rows[1:]] == ["4712train"]
    assert "1–1 of 2" in page.texts
