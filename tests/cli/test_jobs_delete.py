"""`jobs delete`, a process against a region that keeps jobs. Forbidden actions matter more than its results."""

import asyncio
import base64
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web

from exporter.cli import output
from exporter.cli.main import main
from exporter.cli.simulate import configuration as simulated
from exporter.simulator import Fault, Simulator
from tests.e2e.region import cluster, configuration, envelope
from tests.support.batch_region import BatchRegion, batch_region, reply
from tests.support.command import DEADLINE, Command, Ended, abandoned_pipe

Answer = Callable[[BatchRegion, web.Request], Awaitable[web.StreamResponse]]
THERE = ("19", "20", "21")
AUDIT = Path(__file__).parents[2] / "config" / "audit.schema.json"
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
    assert result.rows[0] == ["kunshan", "chemistry", "test", "19", "running", "1", "?/2", "2/4", "0", "模拟"]
    assert "nothing was deleted" in result.stderr
    assert "2 jobs of test would be, at scheduler 1638523853" in result.stderr
    assert region.deletions == []
    assert not audit_lines(result.stderr)


async def test_without_yes_unknown_ids_are_named(region: BatchRegion, command: Command) -> None:
    result = await command(*WHOM, "19", "99", "98")
    assert result.status == 1
    assert "not listed: 99 98" in result.stderr
    assert [row[3] for row in result.rows] == ["19"]


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


@pytest.mark.parametrize("hostile", ["test:19:;1638523853,bob", "a,b", "a b", "", "a;b", "bob\N{GREEK QUESTION MARK}"])
def test_a_user_that_could_name_another_one_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hostile: str
) -> None:
    whom = ["jobs", "delete", "--cluster=kunshan", f"--user={hostile}", f"--config.file={tmp_path / 'none.yml'}"]
    assert main([*whom, "--yes", "19"]) == 2
    assert "is not a scheduler user" in capsys.readouterr().err


# Answers to a DELETE.


async def lists_it_as_ended(region: BatchRegion, _: web.Request) -> web.StreamResponse:
    region.submit("test", "19", status="statDE")
    return reply(envelope(None))


async def boasts(_region: BatchRegion, _: web.Request) -> web.StreamResponse:
    return reply(envelope({"1638523853": "delete the jobs [test:19:] successfully!"}))


async def takes_a_second(region: BatchRegion, request: web.Request) -> web.StreamResponse:
    response = await region.obey(request)
    region.submit("test", "19", status="statE")
    asyncio.get_running_loop().call_later(1.0, region.jobs["test"].pop, "19")
    return response


async def hangs_up(region: BatchRegion, request: web.Request) -> web.StreamResponse:
    await region.obey(request)
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def lists_rubbish(region: BatchRegion, request: web.Request) -> web.StreamResponse:
    response = await region.obey(request)
    region.jobs["test"]["?"] = {"id": None}
    return response


def answers(status: int) -> Answer:
    async def answer(region: BatchRegion, request: web.Request) -> web.StreamResponse:
        await region.obey(request)
        return web.Response(status=status, headers={"Location": "https://elsewhere.example.com/"})

    return answer


def rejects(code: str) -> Answer:
    async def answer(_region: BatchRegion, _: web.Request) -> web.StreamResponse:
        return reply(envelope("权限不足", code, "权限不足"))

    return answer


@pytest.mark.parametrize(
    ("answer", "flags", "expected"),
    [
        (lists_it_as_ended, [], (0, "gone", "")),
        (boasts, ["--wait=0"], (1, "still there", "kunshan says: delete the jobs [test:19:] successfully!")),
        (takes_a_second, ["--wait=20s"], (0, "gone", "")),
        (hangs_up, [], (0, "gone", "hung up")),
        (lists_rubbish, ["--wait=0"], (1, "unverified", "unverified: 19")),
        *((answers(status), [], (0, "gone", "")) for status in (500, 503, 404, 302)),
        *((rejects(code), ["--wait=10m"], (1, "still there", f"code {code}, 权限不足")) for code in ("10008", "10004", "10007")),
    ],
)  # fmt: skip
async def test_whatever_the_answer_the_delete_is_sent_once_and_the_lists_decide(
    region: BatchRegion, command: Command, answer: Answer, flags: list[str], expected: tuple[int, str, str]
) -> None:
    region.on_delete = answer
    status, outcome, said = expected
    result = await command(*WHOM, "--yes", *flags, "19")
    assert (result.status, outcomes(result), len(region.deletions)) == (status, {"19": outcome}, 1)
    assert said in result.stderr
    assert [line["outcome"] for line in audit_lines(result.stderr)] == [outcome]


NOT_LISTED = {"member_jobs": "10008", "own_jobs": "10009"}


@pytest.mark.parametrize(
    ("codes", "flags", "expected"),
    [
        ({}, ["99", "19"], (1, {"99": "not found", "19": "gone"}, "not found: 99", 1)),
        ({}, ["99"], (1, {"99": "not found"}, "", 0)),
        # 22 has ended before.
        ({}, ["22"], (0, {"22": "gone"}, "", 0)),
        (NOT_LISTED, ["--wait=0", "19"], (1, {"19": "unverified"}, "no permission", 1)),
        (dict.fromkeys(NOT_LISTED, "10001"), ["19"], (1, {}, "so nothing was sent", 0)),
        ({"schedulers": "911406"}, ["--scheduler-id=1638523853", "19"], (1, {}, "so nothing was sent", 0)),
    ],
)  # fmt: skip
async def test_only_what_is_listed_or_cannot_be_listed_is_sent(
    region: BatchRegion,
    command: Command,
    codes: dict[str, str],
    flags: list[str],
    expected: tuple[int, dict[str, str], str, int],
) -> None:
    region.codes = codes
    region.submit("test", "22", status="statC")
    result = await command(*WHOM, "--yes", *flags)
    status, found, said, sent = expected
    assert (result.status, outcomes(result), len(region.deletions)) == (status, found, sent)
    assert said in result.stderr
    assert not any("99" in deletion.body for deletion in region.deletions)


HUNDRED = [str(number) for number in range(1000, 1101)]


@pytest.mark.parametrize(
    ("flags", "ids", "expected"),
    [
        (["19", "19:;1638523853,test:20"], [], (2, "nothing was sent")),
        (["--scheduler-id=1,bob:7:;1", "19"], [], (2, "nothing was sent")),
        (["--from-file=-"], ["# none", "", ""], (2, "no job ids")),
        ([], [], (2, "no job ids")),
        (["--from-file=none", "19"], [], (2, "cannot read none")),
        (["--from-file=/dev/zero"], [], (2, "/dev/zero is longer than 4 MiB; nothing was sent")),
        (["--from-file=-"], HUNDRED, (2, "more than 100 need --expect-count=101 as well; nothing was sent")),
        (["--from-file=-", "--expect-count=100"], HUNDRED, (2, "--expect-count=100, but 101 jobs are named")),
        (["--from-file=-", "--expect-count=102"], HUNDRED, (2, "--expect-count=102, but 101 jobs are named")),
        (["--expect-count=3", "19", "20"], [], (2, "but 2 jobs are named")),
        (["--cluster=xian", "19"], [], (2, "it has: kunshan")),
        (["--audit-file=no/such/folder/audit", "19"], [], (1, "audit, so nothing was sent: No such file or directory")),
        (["--audit-file=.", "19"], [], (1, "cannot open ., so nothing was sent: Is a directory")),
        (["--audit-file=pipe", "19"], [], (1, "cannot open pipe, so nothing was sent: no process reads this pipe")),
    ],
)  # fmt: skip
async def test_nothing_is_asked_where_a_deletion_is_wrong_or_cannot_be_recorded(
    region: BatchRegion, command: Command, flags: list[str], ids: list[str], expected: tuple[int, str]
) -> None:
    os.mkfifo(command.folder / "pipe")
    result = await command(*WHOM, "--yes", *flags, stdin="\n".join(ids))
    assert (result.status, expected[1] in result.stderr) == (expected[0], True), result.stderr
    assert (region.asked, region.deletions) == ([], [])


def token_of(user: str) -> str:
    """Return a token that says whose it is."""
    return f"e30.{base64.urlsafe_b64encode(json.dumps({'computeUser': user}).encode()).decode()}.c2ln"


@pytest.mark.parametrize(
    ("settings", "user", "expected"),
    [
        # The user's own token lists their jobs, whether it says whose it is or stands under their name.
        ({"users": [{"name": "test", "token": token_of("test")}]}, "test", {"1249": "gone", "19": "gone"}),
        ({"users": [{"name": "test", "token": "opaque-token"}]}, "test", {"19": "gone", "99": "not found"}),
        # A token of unknown owner proves no absence.
        ({}, "bob", {"7": "unverified"}),
        ({"members": [{"group_id": 1, "users": ["王伟"]}]}, "王伟", dict.fromkeys(("123_4", "55[1-3]", "9.server"), "gone")),
    ],
)  # fmt: skip
async def test_the_list_that_shows_the_jobs_of_a_user(
    region: BatchRegion, tmp_path: Path, settings: dict[str, Any], user: str, expected: dict[str, str]
) -> None:
    region.submit("test", *map(str, range(1000, 1250)))
    region.submit("王伟", "123_4", "55[1-3]", "9.server")
    command = Command(tmp_path, configuration(cluster(region.url, **{"members": [], **settings})))
    result = await command("jobs", "delete", "--cluster=kunshan", f"--user={user}", "--yes", "--wait=0", *expected)
    assert outcomes(result) == expected
    assert result.status == int(any(outcome != "gone" for outcome in expected.values()))
    assert ("member_jobs" in region.asked) == ("members" in settings)
    assert all(sent.token in f"{json.dumps(settings)} a-token-of-tests" for sent in region.deletions)


async def test_a_delete_that_times_out_is_not_repeated_even_with_retries(region: BatchRegion, tmp_path: Path) -> None:
    async def hang(_region: BatchRegion, _: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    region.on_delete = hang
    command = Command(tmp_path, configuration(cluster(region.url, poll={"timeout": "2s", "retries": 3})))
    result = await command(*WHOM, "--yes", "--wait=0", "19")
    assert (result.status, outcomes(result)) == (1, {"19": "still there"})
    assert len(region.deletions) == 1


async def test_without_permission_to_look_it_cannot_show_anything(region: BatchRegion, command: Command) -> None:
    region.codes = {"member_jobs": "10008", "own_jobs": "10009"}
    result = await command(*WHOM, "19")
    assert (result.status, result.stdout) == (1, "")
    assert "cannot be looked up" in result.stderr


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
    result = await command(*WHOM, "--yes", "--from-file=-", stdin="\ufeff# mine\r\n19\r\n\r\n 20  # the other\r\n")
    assert (result.status, outcomes(result)) == (0, {"19": "gone", "20": "gone"})
    (command.folder / "ids").write_text("21\n")
    result = await command(*WHOM, "--yes", "--from-file=ids")
    assert (result.status, outcomes(result)) == (0, {"21": "gone"})


@pytest.mark.parametrize("opened", [False, True])
def test_a_pipe_without_ids_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], opened: bool
) -> None:
    """A pipe without a writer is given up; one whose writer closes it is an empty list."""
    monkeypatch.setattr(output, "PATIENCE", 100.0 if opened else 0.1)
    os.mkfifo(pipe := tmp_path / "pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) if opened else None
    writer = os.open(pipe, os.O_WRONLY) if opened else None
    if writer is not None:
        threading.Thread(target=close_once_read, args=(writer, pipe), daemon=True).start()
    try:
        assert main([*WHOM, "--yes", f"--from-file={pipe}"]) == 2
    finally:
        if reader is not None:
            os.close(reader)
    said = capsys.readouterr().err
    assert ("no job ids were given" if opened else "no process writes to this pipe; nothing was sent") in said


def close_once_read(writer: int, pipe: Path) -> None:
    """Close the writing end once another part of this process has opened the pipe, besides the test's two ends."""
    while sum(os.path.realpath(each) == str(pipe) for each in Path("/proc/self/fd").iterdir()) < 3:
        time.sleep(0.01)
    os.close(writer)


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


async def test_with_their_exact_number_all_are_deleted_by_one_request(region: BatchRegion, command: Command) -> None:
    ids = [str(each) for each in range(1000, 1101)]
    region.submit("test", *ids)
    preview = await command(*WHOM, "--from-file=-", stdin="\n".join(ids))
    assert "--expect-count=101" in preview.stderr
    result = await command(*WHOM, "--yes", "--expect-count=101", "--from-file=-", stdin="\n".join(ids))
    assert result.status == 0
    assert len(region.deletions) == 1
    assert region.ids() == set(THERE)


async def test_every_job_leaves_a_line_in_the_audit_file(region: BatchRegion, command: Command) -> None:
    first = await command(*WHOM, "--yes", "--audit-file=audit.jsonl", "19", "99")
    second = await command(*WHOM, "--yes", "--audit-file=audit.jsonl", "20")
    assert (first.status, second.status) == (1, 0)
    assert not audit_lines(first.stderr)
    lines = audit_lines((command.folder / "audit.jsonl").read_text())
    for line in lines:
        jsonschema.validate(line, json.loads(AUDIT.read_text()))
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


async def test_the_queued_jobs_of_a_user_are_listed_and_deleted_though_the_answer_is_lost(tmp_path: Path) -> None:
    async with Simulator(clock=lambda: 0.0) as simulator:
        region = simulator.regions["kunshan"]
        command = Command(tmp_path, simulated(simulator))
        listed = await command("jobs", "list", "--cluster=kunshan", "--user=bob", "--state=queued", "--format=json")
        ids = [job["id"] for job in json.loads(listed.stdout)["jobs"]]
        assert ids
        region.faults.add(Fault(kind="disconnect", endpoint="delete", after=True))
        deleted = await command(
            "jobs", "delete", "--cluster=kunshan", "--user=bob", "--yes", "--from-file=-", stdin="\n".join(ids)
        )
        after = await command("jobs", "list", "--cluster=kunshan", "--user=bob", "--state=queued", "--format=json")
        others = await command("jobs", "list", "--cluster=kunshan", "--user=alice", "--state=queued", "--format=json")
    assert deleted.status == 0
    assert deleted.stdout.count("gone") == len(ids)
    assert json.loads(after.stdout)["jobs"] == []
    assert json.loads(others.stdout)["jobs"]
    assert region.requests.counts["delete"] == 1
