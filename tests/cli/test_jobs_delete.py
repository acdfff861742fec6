"""`jobs delete`, a process against a region that keeps jobs. Forbidden actions matter more than its results."""

import asyncio
import base64
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web

from exporter.cli import output
from exporter.cli.main import main
from tests.e2e.region import cluster, configuration, envelope
from tests.support.batch_region import BatchRegion, batch_region, reply
from tests.support.command import DEADLINE, Command, Ended, abandoned_pipe

THERE = ("19", "20", "21")
WHOM = ("jobs", "delete", "--cluster=kunshan", "--user=test")


@pytest.fixture
async def region() -> AsyncIterator[BatchRegion]:
    async with batch_region() as region:
        region.submit("test", *THERE)
        region.submit("bob", "7")
        yield region


@pytest.fixture
def command(region: BatchRegion, tmp_path: Path) -> Command:
    return Command(tmp_path, configuration(cluster(region.url)))


def outcomes(result: Ended) -> dict[str, str]:
    """Return the outcome of each job in the last table, by id."""
    found = {}
    for line in result.stdout.splitlines()[1:]:
        job_id, rest = line.split(maxsplit=1)
        found[job_id] = next(
            word for word in ("gone", "still there", "unverified", "not found", "not sent") if word in rest
        )
    return found


def audit_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


async def test_without_yes_it_shows_the_jobs_and_sends_nothing(region: BatchRegion, command: Command) -> None:
    region.jobs["test"]["19"] |= {"name": "模拟", "gpuNumReq": 4, "gpuNum": 2, "cpuCore": None}
    result = await command(*WHOM, "19", "20")
    assert result.status == 0
    assert result.stdout.splitlines()[0].split("  ")[0] == "id"
    assert result.rows[0] == ["19", "running", "1", "2", "4", "0", "?", "2", "0", "模拟"]
    assert "nothing was deleted" in result.stderr
    assert "2 jobs of test would be, at scheduler 1638523853" in result.stderr
    assert region.deletions == []
    assert not audit_lines(result.stderr)


async def test_without_yes_unknown_ids_are_named(region: BatchRegion, command: Command) -> None:
    result = await command(*WHOM, "19", "99", "98")
    assert result.status == 1
    assert "not listed: 99 98" in result.stderr
    assert [row[0] for row in result.rows] == ["19"]


async def test_all_ids_travel_in_one_delete_exactly_as_the_page_has_it(region: BatchRegion, command: Command) -> None:
    result = await command(*WHOM, "--yes", "19", "21", "19")
    assert (result.status, outcomes(result)) == (0, {"19": "gone", "21": "gone"})
    [sent] = region.deletions
    assert sent.raw_path == "/hpc/openapi/v2/jobs"
    assert sent.content_type == "application/x-www-form-urlencoded"
    assert sent.token == "a-token-of-tests"
    assert sent.body == ("jobMethod=5&strJobInfoMap=1638523853%2Ctest%3A19%3A%3B1638523853%2Ctest%3A21%3A")
    assert region.ids() == {"20"}
    assert region.ids("bob") == {"7"}


async def test_the_parameters_can_travel_in_the_query(region: BatchRegion, command: Command) -> None:
    result = await command(*WHOM, "--yes", "--parameters-in=query", "19")
    assert result.status == 0
    [sent] = region.deletions
    assert sent.raw_path == "/hpc/openapi/v2/jobs?jobMethod=5&strJobInfoMap=1638523853%2Ctest%3A19%3A"
    assert sent.body == ""


@pytest.mark.parametrize(
    "hostile",
    [
        "19:;1638523853,test:20",
        "19;20",
        "19,20",
        "19:",
        "19%3B20",
        "19 20",
        "19\n20",
        "１９",  # digits, but not those of ASCII
        "..",
        "",
        "*",
        "a" * 65,
    ],
)
def test_an_id_that_could_name_another_job_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hostile: str
) -> None:
    """It is not even looked at what the configuration says: there is none."""
    assert main([*WHOM, f"--config.file={tmp_path / 'none.yml'}", "--yes", "19", hostile]) == 2
    assert "is not a job id" in capsys.readouterr().err


async def test_an_id_that_could_name_another_job_is_rejected_before_anything_is_sent(
    region: BatchRegion, command: Command
) -> None:
    result = await command(*WHOM, "--yes", "19", "19:;1638523853,test:20")
    assert result.status == 2
    assert "nothing was sent" in result.stderr
    assert (region.asked, region.deletions) == ([], [])


@pytest.mark.parametrize("hostile", ["test:19:;1638523853,bob", "a,b", "a b", "", "a;b", "bob\N{GREEK QUESTION MARK}"])
def test_a_user_that_could_name_another_one_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hostile: str
) -> None:
    whom = ["jobs", "delete", "--cluster=kunshan", f"--user={hostile}", f"--config.file={tmp_path / 'none.yml'}"]
    assert main([*whom, "--yes", "19"]) == 2
    assert "is not a scheduler user" in capsys.readouterr().err


async def test_a_scheduler_id_that_is_none_is_rejected(region: BatchRegion, command: Command) -> None:
    result = await command(*WHOM, "--yes", "--scheduler-id=1,bob:7:;1", "19")
    assert result.status == 2
    assert (region.asked, region.deletions) == ([], [])


async def test_array_jobs_and_chinese_users_are_names_like_others(region: BatchRegion, tmp_path: Path) -> None:
    region.submit("王伟", "123_4", "55[1-3]", "9.server-1")
    members = [{"group_id": 1, "group": "chemistry", "users": ["王伟"]}]
    command = Command(tmp_path, configuration(cluster(region.url, members=members)))
    whom = ("jobs", "delete", "--cluster=kunshan", "--user=王伟")
    result = await command(*whom, "--yes", "123_4", "55[1-3]", "9.server-1")
    assert result.status == 0
    assert region.ids("王伟") == set()


async def test_an_unknown_job_is_not_asked_for_and_not_called_gone(region: BatchRegion, command: Command) -> None:
    result = await command(*WHOM, "--yes", "99", "19")
    assert (result.status, outcomes(result)) == (1, {"99": "not found", "19": "gone"})
    [sent] = region.deletions
    assert "99" not in sent.body


async def test_nothing_is_sent_where_no_job_is_there(region: BatchRegion, command: Command) -> None:
    region.jobs["test"].clear()
    result = await command(*WHOM, "--yes", "19")
    assert (result.status, outcomes(result)) == (1, {"19": "not found"})
    assert region.deletions == []


async def test_a_job_that_ended_before_is_gone_without_a_delete(region: BatchRegion, command: Command) -> None:
    region.submit("test", "19", status="statC")
    result = await command(*WHOM, "--yes", "19")
    assert (result.status, outcomes(result)) == (0, {"19": "gone"})
    assert region.deletions == []


async def test_a_job_that_is_listed_as_ended_afterwards_is_gone(region: BatchRegion, command: Command) -> None:
    async def keep_listing(region: BatchRegion, _: web.Request) -> web.StreamResponse:
        region.submit("test", "19", status="statDE")
        return reply(envelope(None))

    region.on_delete = keep_listing
    result = await command(*WHOM, "--yes", "19")
    assert (result.status, outcomes(result)) == (0, {"19": "gone"})


async def test_success_is_not_believed_of_a_job_that_stays(region: BatchRegion, command: Command) -> None:
    async def boast(_region: BatchRegion, _: web.Request) -> web.StreamResponse:
        return reply(envelope({"1638523853": "delete the jobs [test:19:] successfully!"}))

    region.on_delete = boast
    result = await command(*WHOM, "--yes", "--wait=1s", "19")
    assert (result.status, outcomes(result)) == (1, {"19": "still there"})
    assert "kunshan says: delete the jobs [test:19:] successfully!" in result.stderr
    assert "still there: 19" in result.stderr
    assert len(region.deletions) == 1
    assert region.asked.count("member_jobs") >= 3


async def test_it_waits_for_a_job_that_goes_slowly(region: BatchRegion, command: Command) -> None:
    async def later(region: BatchRegion, request: web.Request) -> web.StreamResponse:
        response = await region.obey(request)
        region.submit("test", "19", status="statE")
        asyncio.get_running_loop().call_later(1.0, region.jobs["test"].pop, "19")
        return response

    region.on_delete = later
    result = await command(*WHOM, "--yes", "--wait=20s", "19")
    assert (result.status, outcomes(result)) == (0, {"19": "gone"})


async def test_a_delete_whose_answer_is_lost_is_not_repeated_but_looked_after(
    region: BatchRegion, command: Command
) -> None:
    async def hang_up(region: BatchRegion, request: web.Request) -> web.StreamResponse:
        await region.obey(request)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    region.on_delete = hang_up
    result = await command(*WHOM, "--yes", "19")
    assert (result.status, outcomes(result)) == (0, {"19": "gone"})
    assert len(region.deletions) == 1
    [line] = audit_lines(result.stderr)
    assert line["outcome"] == "gone"
    assert "hung up" in line["answer"]


async def test_a_delete_that_times_out_is_not_repeated_even_with_retries(region: BatchRegion, tmp_path: Path) -> None:
    async def hang(_region: BatchRegion, _: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    region.on_delete = hang
    command = Command(tmp_path, configuration(cluster(region.url, poll={"timeout": "500ms", "retries": 3})))
    result = await command(*WHOM, "--yes", "--wait=0", "19")
    assert (result.status, outcomes(result)) == (1, {"19": "still there"})
    assert len(region.deletions) == 1


@pytest.mark.parametrize("status", [500, 503, 404, 302])
async def test_an_answer_that_says_nothing_is_looked_after(region: BatchRegion, command: Command, status: int) -> None:
    async def fail(region: BatchRegion, request: web.Request) -> web.StreamResponse:
        await region.obey(request)
        return web.Response(status=status, headers={"Location": "https://elsewhere.example.com/"})

    region.on_delete = fail
    result = await command(*WHOM, "--yes", "19")
    assert (result.status, outcomes(result)) == (0, {"19": "gone"})
    assert len(region.deletions) == 1


@pytest.mark.parametrize("code", ["10008", "10004", "10007"])
async def test_a_rejection_is_reported_and_the_jobs_are_still_there(
    region: BatchRegion, command: Command, code: str
) -> None:
    async def reject(_region: BatchRegion, _: web.Request) -> web.StreamResponse:
        return reply(envelope("权限不足", code, "权限不足"))

    region.on_delete = reject
    result = await command(*WHOM, "--yes", "--wait=10m", "19")
    assert (result.status, outcomes(result)) == (1, {"19": "still there"})
    assert f"code {code}, 权限不足" in result.stderr
    assert len(region.deletions) == 1


async def test_without_permission_to_look_it_ends_unverified(region: BatchRegion, command: Command) -> None:
    region.codes = {"member_jobs": "10008", "own_jobs": "10009"}
    result = await command(*WHOM, "--yes", "--wait=0", "19")
    assert (result.status, outcomes(result)) == (1, {"19": "unverified"})
    assert "no permission" in result.stderr
    assert len(region.deletions) == 1
    assert region.ids() == {"20", "21"}


async def test_without_permission_to_look_it_cannot_show_anything(region: BatchRegion, command: Command) -> None:
    region.codes = {"member_jobs": "10008", "own_jobs": "10009"}
    result = await command(*WHOM, "19")
    assert (result.status, result.stdout) == (1, "")
    assert "cannot be looked up" in result.stderr


async def test_nothing_is_sent_while_the_lists_cannot_be_read_for_a_passing_reason(
    region: BatchRegion, command: Command
) -> None:
    region.codes = {"member_jobs": "10001", "own_jobs": "10001"}
    result = await command(*WHOM, "--yes", "19")
    assert (result.status, result.stdout) == (1, "")
    assert "so nothing was sent" in result.stderr
    assert region.deletions == []


async def test_nothing_is_sent_with_a_token_that_is_rejected(region: BatchRegion, command: Command) -> None:
    region.codes = {"schedulers": "911406"}
    result = await command(*WHOM, "--yes", "--scheduler-id=1638523853", "19")
    assert result.status == 1
    assert region.deletions == []


async def test_a_list_with_unreadable_rows_proves_no_absence(region: BatchRegion, command: Command) -> None:
    async def spoil(region: BatchRegion, request: web.Request) -> web.StreamResponse:
        response = await region.obey(request)
        region.jobs["test"]["?"] = {"id": None}
        return response

    region.on_delete = spoil
    result = await command(*WHOM, "--yes", "--wait=0", "19")
    assert (result.status, outcomes(result)) == (1, {"19": "unverified"})


async def test_a_user_without_membership_is_looked_up_with_their_own_token(region: BatchRegion, tmp_path: Path) -> None:
    token = token_of("test")
    region.submit("test", *(str(each) for each in range(1000, 1250)))
    users = [{"name": "test", "token": token}]
    command = Command(tmp_path, configuration(cluster(region.url, users=users, members=[])))
    result = await command(*WHOM, "--yes", "1249", "19")
    assert (result.status, outcomes(result)) == (0, {"1249": "gone", "19": "gone"})
    assert [sent.token for sent in region.deletions] == [token]
    assert "member_jobs" not in region.asked


def token_of(user: str) -> str:
    """Return a token that says whose it is."""
    return f"e30.{base64.urlsafe_b64encode(json.dumps({'computeUser': user}).encode()).decode()}.c2ln"


async def test_a_token_under_the_users_name_is_theirs_though_it_does_not_say_so(
    region: BatchRegion, tmp_path: Path
) -> None:
    users = [{"name": "test", "token": "an-opaque-token"}]
    command = Command(tmp_path, configuration(cluster(region.url, users=users, members=[])))
    result = await command(*WHOM, "--yes", "19", "99")
    assert (result.status, outcomes(result)) == (1, {"19": "gone", "99": "not found"})


async def test_the_list_of_another_user_is_not_used(region: BatchRegion, tmp_path: Path) -> None:
    """Job 19 is test's; the token is test's, too, and lists it. Bob has a job 7."""
    command = Command(tmp_path, configuration(cluster(region.url, token=token_of("test"), members=[])))
    whom = ("jobs", "delete", "--cluster=kunshan", "--user=bob")
    preview = await command(*whom, "19")
    assert (preview.status, preview.stdout) == (1, "")
    assert "is test's and lists only their jobs" in preview.stderr
    result = await command(*whom, "--yes", "--wait=0", "7")
    assert (result.status, outcomes(result)) == (1, {"7": "unverified"})
    assert "own_jobs" not in region.asked


async def test_the_list_of_a_token_of_unknown_owner_proves_no_absence(region: BatchRegion, tmp_path: Path) -> None:
    command = Command(tmp_path, configuration(cluster(region.url, members=[])))
    result = await command("jobs", "delete", "--cluster=kunshan", "--user=bob", "--yes", "--wait=0", "7")
    assert (result.status, outcomes(result)) == (1, {"7": "unverified"})


async def test_of_several_schedulers_one_must_be_named(region: BatchRegion, command: Command) -> None:
    region.schedulers = [{"id": 1, "text": "cpu", "JobManagerType": "SLURM"}, {"id": 2, "text": "gpu"}]
    result = await command(*WHOM, "--yes", "19")
    assert result.status == 1
    assert "--scheduler-id" in result.stderr
    assert "1 (cpu, SLURM)" in result.stderr
    assert "2 (gpu" in result.stderr
    assert region.deletions == []
    result = await command(*WHOM, "--yes", "--scheduler-id=3", "19")
    assert result.status == 1
    assert "has no scheduler 3" in result.stderr
    assert region.deletions == []
    result = await command(*WHOM, "--yes", "--scheduler-id=2", "19")
    assert result.status == 0
    assert region.deletions[0].body.endswith("2%2Ctest%3A19%3A")


async def test_ids_come_from_standard_input_and_from_files(region: BatchRegion, command: Command) -> None:
    result = await command(*WHOM, "--yes", "--from-file=-", stdin="# mine\n19\n\n 20  # the other\n")
    assert (result.status, outcomes(result)) == (0, {"19": "gone", "20": "gone"})
    (command.folder / "ids").write_text("21\n")
    result = await command(*WHOM, "--yes", "--from-file=ids")
    assert (result.status, outcomes(result)) == (0, {"21": "gone"})


@pytest.mark.parametrize("arguments", [["--from-file=-"], []])
async def test_an_empty_list_of_ids_sends_nothing(region: BatchRegion, command: Command, arguments: list[str]) -> None:
    result = await command(*WHOM, "--yes", *arguments, stdin="# none\n\n")
    assert result.status == 2
    assert "no job ids" in result.stderr
    assert region.deletions == []


async def test_a_file_that_is_not_there_sends_nothing(region: BatchRegion, command: Command) -> None:
    result = await command(*WHOM, "--yes", "--from-file=none", "19")
    assert result.status == 2
    assert "cannot read none" in result.stderr
    assert region.deletions == []


@pytest.mark.parametrize("opened", [False, True])
def test_a_pipe_without_ids_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], opened: bool
) -> None:
    """A pipe without a writer is given up; one whose writer closes it is an empty list."""
    monkeypatch.setattr(output, "PATIENCE", 5.0 if opened else 0.1)
    os.mkfifo(pipe := tmp_path / "pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) if opened else None
    writer = os.open(pipe, os.O_WRONLY) if opened else None
    if writer is not None:
        threading.Timer(0.1, os.close, [writer]).start()
    try:
        assert main([*WHOM, "--yes", f"--from-file={pipe}"]) == 2
    finally:
        if reader is not None:
            os.close(reader)
    said = capsys.readouterr().err
    assert ("no job ids were given" if opened else "no process writes to this pipe; nothing was sent") in said


def test_an_endless_file_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WHOM, "--yes", "--from-file=/dev/zero"]) == 2
    assert "/dev/zero is longer than 4 MiB; nothing was sent" in capsys.readouterr().err


async def test_a_pipe_is_read_until_its_slow_writer_closes_it(region: BatchRegion, command: Command) -> None:
    os.mkfifo(pipe := command.folder / "pipe")
    running = await command.start(*WHOM, "--yes", "--from-file=pipe")

    def write() -> None:
        with pipe.open("w") as stream:
            for job_id in ("19\n", "20\n"):
                time.sleep(0.2)
                stream.write(job_id)
                stream.flush()

    await asyncio.to_thread(write)
    assert outcomes(await running.ended()) == {"19": "gone", "20": "gone"}
    assert len(region.deletions) == 1


@pytest.mark.parametrize("meant", [[], ["--expect-count=100"], ["--expect-count=102"]])
async def test_more_than_a_hundred_need_their_exact_number(
    region: BatchRegion, command: Command, meant: list[str]
) -> None:
    ids = [str(each) for each in range(1000, 1101)]
    region.submit("test", *ids)
    result = await command(*WHOM, "--yes", *meant, "--from-file=-", stdin="\n".join(ids))
    assert result.status == 2
    assert "nothing was sent" in result.stderr
    assert region.deletions == []


async def test_with_their_exact_number_all_are_deleted_by_one_request(region: BatchRegion, command: Command) -> None:
    ids = [str(each) for each in range(1000, 1101)]
    region.submit("test", *ids)
    preview = await command(*WHOM, "--from-file=-", stdin="\n".join(ids))
    assert "--expect-count=101" in preview.stderr
    result = await command(*WHOM, "--yes", "--expect-count=101", "--from-file=-", stdin="\n".join(ids))
    assert result.status == 0
    assert len(region.deletions) == 1
    assert region.ids() == set(THERE)


async def test_a_wrong_number_is_rejected_for_a_few_jobs_too(region: BatchRegion, command: Command) -> None:
    result = await command(*WHOM, "--yes", "--expect-count=3", "19", "20")
    assert result.status == 2
    assert region.deletions == []


async def test_a_cluster_that_is_not_configured_is_wrong_usage(region: BatchRegion, command: Command) -> None:
    result = await command("jobs", "delete", "--cluster=xian", "--user=test", "--yes", "19")
    assert result.status == 2
    assert "it has: kunshan" in result.stderr


async def test_every_job_leaves_a_line_in_the_audit_file(region: BatchRegion, command: Command) -> None:
    first = await command(*WHOM, "--yes", "--audit-file=audit.jsonl", "19", "99")
    second = await command(*WHOM, "--yes", "--audit-file=audit.jsonl", "20")
    assert (first.status, second.status) == (1, 0)
    assert not audit_lines(first.stderr)
    lines = audit_lines((command.folder / "audit.jsonl").read_text())
    assert [(line["job_id"], line["sent"], line["outcome"]) for line in lines] == [
        ("19", True, "gone"),
        ("99", False, "not found"),
        ("20", True, "gone"),
    ]
    assert lines[1]["answer"] == "", "a success is no word about a job that was not sent"
    assert lines[0] | {"time": "", "operator": ""} == {
        "time": "",
        "action": "delete_job",
        "operator": "",
        "cluster": "kunshan",
        "cluster_id": "11112",
        "scheduler_id": "1638523853",
        "user": "test",
        "job_id": "19",
        "job_name": "job",
        "state_before": "running",
        "state_after": None,
        "sent": True,
        "answer": "jobManagerId : 1638523853, delete the jobs successfully!",
        "outcome": "gone",
    }
    assert lines[0]["operator"]


async def test_a_failed_deletion_leaves_its_line_on_standard_error(region: BatchRegion, command: Command) -> None:
    async def reject(_region: BatchRegion, request: web.Request) -> web.StreamResponse:
        return reply(envelope(None, "10008", f"{request.headers['token']} may not"))

    region.on_delete = reject
    result = await command(*WHOM, "--yes", "19")
    [line] = audit_lines(result.stderr)
    assert line["outcome"] == "still there"
    assert line["answer"].startswith("rejected: ")
    assert "a-token-of-tests" not in result.stderr


async def test_an_audit_line_is_of_the_documented_shape(region: BatchRegion, command: Command) -> None:
    result = await command(*WHOM, "--yes", "19", "99")
    schema = json.loads((Path(__file__).parent.parent.parent / "config" / "audit.schema.json").read_text())
    lines = audit_lines(result.stderr)
    assert len(lines) == 2
    for line in lines:
        jsonschema.validate(line, schema)


@pytest.mark.parametrize(
    ("file", "reason"), [("no/such/folder/audit", "No such file or directory"), (".", "Is a directory")]
)
async def test_a_deletion_that_cannot_be_recorded_is_not_begun(
    region: BatchRegion, command: Command, file: str, reason: str
) -> None:
    result = await command(*WHOM, "--yes", f"--audit-file={file}", "19")
    assert (result.status, region.deletions) == (1, [])
    assert f"cannot open {file}, so nothing was sent: {reason}" in result.stderr


async def test_an_audit_pipe_without_a_reader_prevents_the_deletion(region: BatchRegion, command: Command) -> None:
    os.mkfifo(command.folder / "audit")
    result = await command(*WHOM, "--yes", "--audit-file=audit", "19")
    assert (result.status, region.deletions) == (1, [])
    assert "cannot open audit, so nothing was sent: no process reads this pipe" in result.stderr


async def test_a_pipe_that_is_read_gets_the_audit_lines(region: BatchRegion, command: Command) -> None:
    os.mkfifo(command.folder / "audit")
    reader = os.open(command.folder / "audit", os.O_RDONLY | os.O_NONBLOCK)
    try:
        result = await command(*WHOM, "--yes", "--audit-file=audit", "19")
        [line] = audit_lines(os.read(reader, 10_000).decode())
    finally:
        os.close(reader)
    assert (result.status, line["outcome"]) == (0, "gone")


async def test_lines_that_the_audit_file_does_not_take_are_not_lost(region: BatchRegion, command: Command) -> None:
    result = await command(*WHOM, "--yes", "--audit-file=/dev/full", "19")
    assert result.status == 1
    assert [line["outcome"] for line in audit_lines(result.stderr)] == ["gone"]
    assert "was not recorded" in result.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interruption_after_the_delete_leaves_its_trace(
    region: BatchRegion, command: Command, number: signal.Signals, status: int
) -> None:
    sent = asyncio.Event()

    async def hang(_region: BatchRegion, _: web.Request) -> web.StreamResponse:
        sent.set()
        await asyncio.sleep(30)
        return web.Response()

    region.on_delete = hang
    running = await command.start(*WHOM, "--yes", "--audit-file=audit.jsonl", "19")
    async with asyncio.timeout(DEADLINE):
        await sent.wait()
    running.process.send_signal(number)
    result = await running.ended()
    assert (result.status, outcomes(result)) == (status, {"19": "unverified"})
    [line] = audit_lines((command.folder / "audit.jsonl").read_text())
    assert (line["sent"], line["outcome"]) == (True, "unverified")


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
async def test_a_reader_that_leaves_does_not_stop_the_deletion(
    region: BatchRegion, command: Command, closed: str
) -> None:
    with abandoned_pipe() as pipe:
        running = await command.start(*WHOM, "--yes", "--audit-file=audit.jsonl", "19", to={closed: pipe})
        assert (await running.ended()).status in (0, 1)
    assert region.ids() == {"20", "21"}
    [line] = audit_lines((command.folder / "audit.jsonl").read_text())
    assert line["outcome"] == "gone"
