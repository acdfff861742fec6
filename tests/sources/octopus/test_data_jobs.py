"""Tables: lists of data jobs, poll after poll -> samples; and every end counted once, held against a simulated project."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.simulator import Fault, Simulator, default_project
from exporter.simulator.batch import State
from exporter.sources.octopus.data_jobs import Ends
from exporter.tracking.totals import Histogram
from tests.sources.octopus.test_project import POOL, configuration, running
from tests.sources.stepped import INTERVAL
from tests.support.clock import FakeClock
from tests.support.collecting import PROJECT, Answer, Collecting, Polled, collecting, of
from tests.support.http import a_network
from tests.support.octopus import AtWork

CONFIG = PROJECT + "    collect: [data_jobs]\n"
# The server's time in the answers, in milliseconds; times of jobs are relative to it, in seconds.
NOW = 1_790_000_000_000
GONE = Answer({"error_code": "APIG.0101", "error_msg": "not published"}, 404)


def page(*rows: Any, total: Any = -1, now: Any = NOW) -> Answer:
    info = {"total": len(rows) if total == -1 else total}
    return Answer({"meta_info": {"current_time": now}, "payload": {"list": rows, "page_info": info}})


def job(
    ident: Any, status: Any, created: float | None = -100, started: Any = None, ended: Any = None
) -> dict[str, Any]:
    """Return a row. Times are seconds from NOW; anything but a number stands as it is."""
    times = {"create_at": created, "start_at": started, "end_at": ended}
    return {"id": ident, "status": status} | {
        name: NOW + int(1000 * at) if isinstance(at, int | float) and not isinstance(at, bool) else at
        for name, at in times.items()
        if at is not None
    }


def answers(*rows: Any, numbers: tuple[Any, ...] = (3, 1, 2, 4), listed: tuple[Answer, ...] = ()) -> list[Answer]:
    """Return the answers to a poll in which the second list is not there."""
    totals = [page(total=number) for number in numbers]
    return [*totals, *(listed or (page(*rows),)), GONE]


async def polls(*of_polls: list[Answer]) -> tuple[Polled, Ends]:
    """Return the last of several polls, and what was counted in the first list."""
    async with collecting(CONFIG, "data_jobs", "octopus_job") as project:
        return await each_of(project, *of_polls)


async def each_of(project: Collecting, *of_polls: list[Answer]) -> tuple[Polled, Ends]:
    for of_poll in of_polls:
        polled = await project.poll(*of_poll)
    return polled, project.remembered.get("data", Ends())


def spells(histogram: Histogram) -> tuple[int, float]:
    """Return the number and the sum of the waits or runs."""
    return histogram.count, histogram.sum


async def test_open_jobs_come_from_totals_alone() -> None:
    polled, _ = await polls(answers())
    assert {key: value for key, value in polled.samples.items() if key.startswith("s ")} == {
        "s data queued": 3,
        "s data running": 7,
    }
    assert [path.partition("/data/")[2] for path in polled.requests[:2]] == [
        "jobs?limit=1&offset=0&status=QUEUING",
        "jobs?limit=1&offset=0&status=LAUNCHING",
    ]
    start = int(dict(part.split("=") for part in polled.requests[4].partition("?")[2].split("&"))["start_time"])
    assert start == NOW - 86_400_000, "a day before the server's time"


@pytest.mark.parametrize(
    ("numbers", "open_jobs"),
    [
        ((0, 0, 0, 0), {"queued": 0, "running": 0}),
        (("3", 1, 2, 4), {"queued": 3, "running": 7}),
        ((None, 1, 2, 4), {"running": 7}),
        ((3, None, 2, 4), {"queued": 3}),
        ((3, {}, -1, "x"), {"queued": 3}),
    ],
)
async def test_an_unknown_number_is_not_zero(numbers: tuple[Any, ...], open_jobs: dict[str, float]) -> None:
    polled, _ = await polls(answers(numbers=numbers))
    found = {key.rpartition(" ")[2]: value for key, value in polled.samples.items() if key.startswith("s data")}
    assert found == open_jobs


async def test_a_status_that_the_service_ignores_gives_no_number() -> None:
    totals = [page(job(1, "FINISHED"), total=99), *(page(total=0) for _ in range(3))]
    polled, _ = await polls([*totals, page(), GONE])
    assert "s data queued" not in polled.samples
    assert polled.samples["s data running"] == 0


async def test_a_status_that_the_service_ignores_may_be_that_of_the_first_row() -> None:
    polled, _ = await polls([*(page(job(1, "QUEUING"), total=total) for total in (99, 99, 100, 100)), page(), GONE])
    assert not {key for key in polled.samples if key.startswith("s data")}


async def test_ends_before_the_first_poll_are_none_and_each_later_one_counts_once() -> None:
    before = job(1, "FINISHED", -500, -400, -200)
    waiting, running_ = job(2, "QUEUING", -90), job(3, "RUNNING", -80, -70)
    first = answers(before, waiting, running_)
    second = answers(before, job(2, "FINISHED", -90, -60, -30), job(3, "STOPPED", -80, -70, -10))
    async with collecting(CONFIG, "data_jobs", "octopus_job") as project:
        _, ends = await each_of(project, first)
        assert ends.outcomes == {}
        assert spells(ends.waits) == (0, 0)
        for _ in range(3):
            _, ends = await each_of(project, second)
            assert ends.outcomes == {"completed": 1, "deleted": 1}
            assert spells(ends.waits) == (2, 30 + 10)
            assert spells(ends.runs) == (2, 30 + 60)


async def test_an_end_of_unknown_creation_counts_once_however_long_it_is_listed_and_after_a_gap() -> None:
    def at(hours: float, *rows: Any) -> list[Answer]:
        now = NOW + int(3_600_000 * hours)
        return [*(page(total=0, now=now) for _ in range(4)), page(*rows, now=now), GONE]

    ended = job(1, "FINISHED", None, -40, -30)
    _, ends = await polls(at(0), at(0, ended), at(0.1), at(0.2, ended), at(3, ended), at(6, ended), at(9, ended))
    assert ends.outcomes == {"completed": 1}


@pytest.mark.parametrize(
    ("status", "outcome", "unknown"),
    [
        ("FINISHED", "completed", 0),
        (" finished ", "completed", 0),
        ("STOPPED", "deleted", 0),
        *((f"{part}_FAILED", "failed", 0) for part in ("SUBMIT", "RUN", "UPLOAD")),
        ("ARCHIVED", "unknown", 1),
        (None, "unknown", 1),
        (7, "unknown", 1),
    ],
)
async def test_an_outcome(status: Any, outcome: str, unknown: int) -> None:
    polled, ends = await polls(answers(), answers(job(1, status, -50, -40, -30)))
    assert (ends.outcomes, polled.rejected, polled.unknown_states) == ({outcome: 1}, 0, unknown)


async def test_an_unknown_status_is_no_end_before_the_job_has_one() -> None:
    polled, ends = await polls(answers(), answers(job(1, "ARCHIVING", -50, -40)))
    assert (ends.outcomes, polled.unknown_states) == ({}, 1)


@pytest.mark.parametrize(
    ("row", "waits", "runs", "rejected"),
    [
        (job(1, "SUBMIT_FAILED"), 0, 0, 0),
        (job(1, "FINISHED", None, -40, -30), 0, 1, 0),
        (job(1, "FINISHED", -50, None, -30), 0, 0, 0),
        (job(1, "FINISHED", -50, -40), 1, 0, 0),
        (job(1, "FINISHED", -50, -60, -30), 0, 1, 1),
        (job(1, "FINISHED", -50, -40, -45), 1, 0, 1),
        (job(1, "FINISHED", -50, -40, 30), 1, 1, 0),
        (job(1, "FINISHED", -50, -40, 3600), 1, 0, 1),
        (job(1, "FINISHED", -50, 3600, 3601), 0, 0, 2),
        *((job(1, "FINISHED", -50, -40, odd), 1, 0, 1) for odd in of("soon", [], {}, True, float(2**70))),
        *((job(1, "FINISHED", -50, -40, none), 1, 0, 0) for none in (None, "", "--")),
        ({**job(1, "FINISHED", -50, -40), "end_at": str(NOW - 30_000)}, 1, 1, 0),
        ({**job(1, "FINISHED", -50, -40), "end_at": "2026-09-21T22:12:50+08:00"}, 1, 1, 0),
        ({**job(1, "FINISHED", -50, -40), "end_at": 0}, 1, 0, 0),
        ({**job(1, "FINISHED", -50, -40), "end_at": NOW // 1000 - 30}, 1, 1, 0),
        ({**job(1, "FINISHED", -50, -40), "end_at": 1}, 1, 0, 1),
    ],
)
async def test_times_that_are_missing_or_lie(row: dict[str, Any], waits: int, runs: int, rejected: int) -> None:
    polled, ends = await polls(answers(), answers(row))
    assert (spells(ends.waits)[0], spells(ends.runs)[0]) == (waits, runs)
    assert ends.outcomes.total() == 1, "it ended all the same"
    assert polled.rejected == rejected


@pytest.mark.parametrize(
    "odd", [None, 7, [], {}, {"id": None, "status": "FINISHED"}, {"id": [1], "status": "FINISHED"}]
)
async def test_a_row_that_cannot_be_read_costs_no_other(odd: Any) -> None:
    polled, ends = await polls(answers(), answers(odd, job(5, "FINISHED", -50, -40, -30)))
    assert (ends.outcomes, polled.rejected) == ({"completed": 1}, 1)


async def test_rows_that_shift_between_pages_count_once() -> None:
    done = [job(ident, "FINISHED", -50, -40, -30) for ident in range(1, 6)]
    pages = (page(*done[:3], total=5), page(*done[2:], total=5))
    _, ends = await polls(answers(), answers(listed=pages))
    assert ends.outcomes == {"completed": 5}


async def test_the_small_page_where_the_large_one_is_rejected() -> None:
    too_large = Answer({"error_code": "octopus.400000", "error_msg": "limit"}, 400)
    polled, ends = await polls(answers(), answers(listed=(too_large, page(job(1, "FINISHED", -50, -40, -30)))))
    assert ends.outcomes == {"completed": 1}
    assert "limit=10&" in polled.requests[5]


async def test_a_list_without_end_counts_nothing() -> None:
    endless = [page(job(number, "FINISHED", -50, -40, -30), total=10**6) for number in range(50)]
    with capture_logs() as logs:
        polled, ends = await polls(answers(), answers(listed=tuple(endless)))
    assert [line["log_level"] for line in logs if "too long to be read" in line["event"]] == ["warning"]
    assert not ends.known
    assert polled.samples["s data queued"] == 3


@pytest.mark.parametrize(
    "listed",
    [
        (page(job(1, "FINISHED", -50, -40, -30), job(2, "STOPPED"), total=3),) * 2,
        (page(job(1, "FINISHED", -50, -40, -30), total=3), page(total=3)),
        (Answer({"payload": {"list": None, "page_info": {"total": 3}}}),),
        (page(total=[7]),),
    ],
    ids=["one page again and again", "an end that comes too early", "no list", "a total that makes no sense"],
)
async def test_a_list_without_all_of_its_rows_counts_nothing(listed: tuple[Answer, ...]) -> None:
    _, ends = await polls(answers(), answers(listed=listed))
    assert not ends.known
    _, ends = await polls(answers(), answers(listed=listed), answers())
    assert ends.known


async def test_the_next_list_begins_where_the_oldest_open_job_was_created() -> None:
    async with collecting(CONFIG, "data_jobs", "octopus_job") as project:
        await each_of(project, answers(job(1, "RUNNING", -40_000, -30_000), job(2, "QUEUING", -10)))
        polled, ends = await each_of(project, answers(job(1, "FINISHED", -40_000, -30_000, -5)))
        assert f"start_time={NOW - 40_000_000}" in polled.requests[4]
        assert ends.outcomes == {"completed": 1}
        polled, ends = await each_of(project, answers(job(9, "FINISHED", -7000, -6000, -5000)))
        assert f"start_time={NOW - 3_600_000}" in polled.requests[4]
        assert ends.outcomes == {"completed": 1}, "one created before cannot have been open: the parameter was ignored"
        later = NOW + 10 * 86_400_000
        polled, _ = await each_of(project, [*(page(now=later) for _ in range(5)), GONE])
        assert f"start_time={later - 7 * 86_400_000}" in polled.requests[4], "after a long pause no more than a week"


@pytest.mark.parametrize(
    ("responses", "error"),
    [
        ([GONE, GONE], "http: HTTP 404: this project does not have lists of data jobs"),
        ([Answer(b"", 405), GONE], "http: HTTP 404"),
        ([Answer({"error_code": "octopus.400003", "error_msg": "no"}, 403)], "permission: the token's owner lacks"),
        ([Answer(b"<html><title>502 Bad Gateway</title>", 502)], "http: HTTP 502: Bad Gateway"),
        ([Answer(b"[]")], "decode: the answer is not what the API describes"),
        ([Answer({"payload": {}})], "decode: "),
        ([*answers()[:4], page(7, {})], "decode: none of the page's 2 rows can be read"),
        ([*answers()[:5], Answer(b"", 500)], "http: HTTP 500: an empty body"),
    ],
)
async def test_failures(responses: list[Answer], error: str) -> None:
    polled, _ = await polls(responses)
    assert polled.outcome(error) == (error, 0)
    assert not polled.samples


async def test_every_end_of_a_simulated_project_counts_once_through_an_outage(tmp_path: Path) -> None:
    """Counts are those of the truth, waits and runs to the millisecond that the API rounds to."""
    clock = FakeClock()
    simulator = Simulator((), projects=(default_project(),), clock=clock.monotonic, wall_clock=clock.now)
    async with simulator, a_network() as network:
        at_work = AtWork(simulator.projects["driving"], network, clock)
        batch = at_work.project.batch
        text = configuration(at_work, POOL) + "    collect: [data_jobs]\n"
        async with running(at_work, tmp_path, text) as exporter:
            began = batch.now
            for _ in range(3):
                await clock.advance(INTERVAL)
                await exporter.idle()
            at_work.project.faults.add(Fault(kind="status", status=503, endpoint="system_jobs"))
            await clock.advance(3600.0)
            await exporter.idle()
            at_work.project.faults.clear()
            for _ in range(10):
                await clock.advance(INTERVAL)
                await exporter.idle()
            (status,) = exporter.app.scheduler.statuses
            assert status.last_success is not None
            for kind, queue in (("data", "processor"), ("system", "internal")):
                over = [
                    ending
                    for ending in batch.endings(began, status.last_success)
                    if ending.job.queue == queue and ending.state is not State.REQUEUED and ending.ended > began
                ]
                assert len(over) > 50
                truth = Counter(
                    {State.COMPLETED: "completed", State.DELETED: "deleted"}.get(e.state, "failed") for e in over
                )
                for outcome in ("completed", "deleted", "failed"):
                    found = await exporter.value("octopus_jobs_ended_total", kind=kind, outcome=outcome)
                    assert found == truth[outcome], (kind, outcome)
                ran = [ending for ending in over if ending.started is not None]
                count = await exporter.value("octopus_job_run_seconds_count", kind=kind)
                total = await exporter.value("octopus_job_run_seconds_sum", kind=kind)
                assert count == len(ran)
                assert total == pytest.approx(sum(e.ended - (e.started or 0) for e in ran), abs=0.002 * len(ran))
