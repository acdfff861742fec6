"""`once`, a process: a table, JSON or the Prometheus text of one look, and what is said of targets that fail."""

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import stat
import struct
import termios
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from exporter.cli import schemas
from exporter.cli.simulate import configuration as simulated
from exporter.simulator import Simulator
from tests.e2e.region import Answers, ScriptedRegion, cluster, configuration, envelope, job, queue, scripted_region
from tests.packaging.locks import locked
from tests.sources.slurm import answers
from tests.sources.slurm.test_partitions import NEW, NEW_NODES
from tests.support.command import DEADLINE, Command, abandoned_pipe
from tests.support.http import a_network
from tests.support.slurmrestd import TOKEN, FakeSlurmrestd

SCHEMAS = Path(__file__).parent.parent.parent / "config"


@pytest.fixture
async def region() -> AsyncIterator[ScriptedRegion]:
    jobs = [job("1"), job("2", status="statQ", cpuCore=0, procNumReq=64), job("3", cpuCore=30, gpuNum=4, dcuNumUsed=2)]
    answers: Answers = {
        "queue_jobs": envelope([queue("debug", R=2), queue("普通", Q=7, H=1), queue("debug", R=1)]),
        "schedulers": envelope([{"id": 1638523853, "text": "Cluster", "JobManagerType": "SLURM"}]),
        "member_jobs": envelope(jobs),
    }
    async with scripted_region(answers) as region:
        yield region


@pytest.fixture
def command(region: ScriptedRegion, tmp_path: Path) -> Command:
    return Command(tmp_path, configuration(cluster(region.url)))


TABLE = """\
Jobs by queue

cluster  user  queue  running  queued  held  suspended  other
kunshan  test  debug        3       0     0          0      0
kunshan  test  普通         0       7     1          0      0
total                       3       7     1          0      0

Members' jobs, and the cores, GPUs and DCUs in use

cluster  group      user  running  queued  held  suspended  cores  GPUs  DCUs
kunshan  chemistry  test        2       1     0          0     32     4     2
"""


async def test_the_table(command: Command) -> None:
    result = await command("once")
    assert (result.status, result.stdout, result.stderr) == (0, TABLE, "")


async def test_sums_filters_and_the_top(region: ScriptedRegion, tmp_path: Path) -> None:
    members = [
        {"group_id": 1, "group": "chemistry", "users": ["a", "b"]},
        {"group_id": 2, "group": "physics", "users": ["a"]},
    ]
    for user, count in {"a": 3, "b": 2}.items():
        region.answers["member_jobs", user] = envelope([job(f"{user}{number}") for number in range(count)])
    command = Command(tmp_path, configuration(cluster(region.url, members=members)))

    async def table(*flags: str) -> list[list[str]]:
        result = await command("once", *flags)
        assert result.status == 0
        return [line.split() for line in result.stdout.partition("Members' jobs")[2].splitlines()[3:]]

    assert [row[-7] for row in await table()] == ["3", "2", "3", "8"]
    assert [row[:2] for row in await table("--by=user")] == [["a", "6"], ["b", "2"], ["total", "8"]]
    assert [row[:3] for row in await table("--by=cluster,group", "--top=1")] == [
        ["kunshan", "chemistry", "5"],
        ["1", "more", "3"],
        ["total", "8", "0"],
    ]
    assert [row[1:4] for row in await table("--group=physics", "--user=a")] == [["physics", "a", "3"]]
    before = len(region.requests)
    result = await command("once", "--user=nobody")
    assert (result.status, len(region.requests)) == (2, before)
    assert "no user 'nobody' has targets; there are: test, a, b" in result.stderr


async def test_a_sum_that_lacks_a_part_says_so(region: ScriptedRegion, tmp_path: Path) -> None:
    region.answers["queue_jobs", "test"] = envelope([queue("debug", R=2), queue("x", R=1)])
    region.answers["queue_jobs", "bob"] = envelope(None, "10008")
    result = await Command(tmp_path, configuration(cluster(region.url, users=["test", "bob"])))("once")
    assert result.status == 1
    assert re.search(r"^partial +3 ", result.stdout, re.MULTILINE)


async def test_output_to_a_file_is_that_to_a_pipe(command: Command) -> None:
    result = await command("once", "--output=table.txt")
    assert (result.status, result.stdout) == (0, "")
    assert (command.folder / "table.txt").read_text() == TABLE


async def test_the_json_is_of_the_documented_shape(command: Command) -> None:
    result = await command("once", "--format=json")
    found = json.loads(result.stdout)
    jsonschema.validate(found, json.loads((SCHEMAS / "once.schema.json").read_text()))
    assert result.status == 0
    assert found["ok"] is True
    assert found["queues"][1] == {
        "cluster": "kunshan",
        "user": "test",
        "queue": "普通",
        "jobs": {"running": 0, "queued": 7, "held": 1, "suspended": 0, "other": 0},
    }
    [member] = found["members"]
    assert (member["group"], member["group_id"], member["user"]) == ("chemistry", "533686286955839488", "test")
    assert member["states"]["running"] == {
        "jobs": 2,
        "requested": {"nodes": 2, "cpus": 4, "gpus": 0, "dcus": 0},
        "allocated": {"cpus": 32, "gpus": 4, "dcus": 2},
    }
    assert member["states"]["held"]["jobs"] == 0
    assert found["schedulers"] == [{"cluster": "kunshan", "id": "1638523853", "name": "Cluster", "type": "SLURM"}]
    assert [(each["collector"], each["target"], each["ok"]) for each in found["targets"]] == [
        ("schedulers", "", True),
        ("queue_jobs", "test", True),
        ("member_jobs", "chemistry/test", True),
    ]


async def test_missing_amounts_are_unknown(region: ScriptedRegion, command: Command) -> None:
    region.answers["member_jobs"] = envelope([job("1"), job("2", cpuCore=None)])
    region.answers["queue_jobs"] = envelope(
        [
            {
                "name": "debug",
                "values": [{"metricName": "R", "metricValue": "many"}, {"metricName": "Q", "metricValue": 1}],
            }
        ]
    )
    result = await command("once")
    assert result.status == 0
    assert "kunshan  test  debug        ?       1" in result.stdout
    assert result.stdout.splitlines()[-1].split()[-3:] == ["?", "0", "0"]
    assert "queue_jobs test: 1 record left out as unreadable" in result.stderr
    found = json.loads((await command("once", "--format=json")).stdout)
    assert "running" not in found["queues"][0]["jobs"]
    assert found["members"][0]["states"]["running"]["allocated"]["cpus"] is None
    assert found["members"][0]["states"]["running"]["requested"]["cpus"] == 4


async def test_a_target_that_fails_is_named_and_the_rest_still_printed(
    region: ScriptedRegion, command: Command
) -> None:
    region.answers["queue_jobs"] = envelope(None, "10008", "权限不足")
    result = await command("once")
    assert result.status == 1
    assert result.stdout == TABLE[TABLE.index("Members'") :]
    assert (
        "kunshan queue_jobs test failed: the token was rejected: no permission (code 10008, 权限不足)" in result.stderr
    )
    result = await command("once", "--format=json")
    found = json.loads(result.stdout)
    jsonschema.validate(found, json.loads((SCHEMAS / "once.schema.json").read_text()))
    assert (result.status, found["ok"], found["queues"], len(found["members"])) == (1, False, [], 1)
    assert found["targets"][1]["error"]["reason"] == "auth"


async def test_many_targets_with_one_trouble_share_a_line(tmp_path: Path) -> None:
    """A dead region is one line, however many users it has, and is folded between words on a terminal."""
    command = Command(tmp_path, configuration(cluster("http://127.0.0.1:9", users=[f"user{n}" for n in range(50)])))
    reason = " failed: cannot connect to 127.0.0.1:9: Connection refused\n"
    named = "hpc-exporter: kunshan: 52 targets (schedulers, queue_jobs user0, queue_jobs user1, ...)"
    result = await command("once", "--format=json")
    assert (result.status, result.stderr) == (1, named + reason)
    assert len(json.loads(result.stdout)["targets"]) == 52
    _, stderr = await in_terminal(command, "once", columns=80)
    assert stderr.endswith((named + reason).replace("user1", "\n  user1").replace(" \n", "\n"))


async def test_no_jobs_are_told_from_no_answer(region: ScriptedRegion, command: Command) -> None:
    region.answers["queue_jobs"] = envelope(None)
    assert "no queue has a job" in (await command("once")).stdout


async def test_the_prometheus_text_is_fit_for_the_textfile_collector(region: ScriptedRegion, command: Command) -> None:
    """No timestamps, nothing that node_exporter has itself, no counters that begin anew with every run."""
    region.answers["queue_jobs"] = b"oops"
    result = await command("once", "--format=prometheus", "--output=hpc.prom")
    assert (result.status, result.stdout) == (1, "")
    file = command.folder / "hpc.prom"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert sorted(each.name for each in command.folder.iterdir()) == ["exporter.yml", "hpc.prom"]
    text = file.read_text()
    assert text.endswith("\n")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(
        name.startswith(("hpc_", "octopus_")) and not re.match("hpc_exporter_(?!target)", name) for name in families
    )
    assert {family.type for family in families.values()} == {"gauge"}
    samples = {
        (sample.name, *sample.labels.values()): sample for family in families.values() for sample in family.samples
    }
    assert all(sample.timestamp is None for sample in samples.values())
    values = {key: sample.value for key, sample in samples.items()}
    assert values["hpc_up", "kunshan"] == 1, "it answers"
    assert (values["hpc_exporter_targets", "kunshan"], values["hpc_exporter_targets_up", "kunshan"]) == (3, 2)
    assert values["hpc_exporter_target_up", "kunshan", "queue_jobs", "test"] == 0
    assert values["hpc_exporter_target_up", "kunshan", "member_jobs", "chemistry/test"] == 1
    assert values["hpc_member_allocated_cpus", "kunshan", "chemistry", "test", "running"] == 32
    assert not any(name == "hpc_queue_jobs" for name, *_ in values)
    assert ("hpc_exporter_target_last_success_timestamp_seconds", "kunshan", "queue_jobs", "test") not in values


async def test_the_prometheus_text_lacks_excluded_metrics(region: ScriptedRegion, command: Command) -> None:
    shown = (await command("once", "--format=prometheus")).stdout
    excluded = {"metrics": {"exclude": ["hpc_queue_jobs", "hpc_exporter_target_up"]}}
    command.config.write_text(json.dumps({**json.loads(command.config.read_text()), **excluded}))
    rest = (await command("once", "--format=prometheus")).stdout
    assert [name for name in ("hpc_queue_jobs", "hpc_exporter_target_up") if name in shown and name not in rest] == [
        *excluded["metrics"]["exclude"]
    ]
    assert "hpc_member_jobs" in rest


async def test_a_mistake_in_the_configuration_leaves_the_old_file(command: Command) -> None:
    (command.folder / "hpc.prom").write_text("old")
    command.config.write_text("clusters: [{}]")
    result = await command("once", "--format=prometheus", "--output=hpc.prom")
    assert result.status == 1
    assert "exporter.yml:1:" in result.stderr
    assert (command.folder / "hpc.prom").read_text() == "old"


async def test_the_state_file_of_the_service_is_not_touched(region: ScriptedRegion, tmp_path: Path) -> None:
    command = Command(tmp_path, configuration(cluster(region.url), tracking={"state_file": "tracker.db"}))
    assert (await command("once")).status == 0
    assert not (tmp_path / "tracker.db").exists()


ACCOUNT = {"name": "lab", "user": "alice", "access_key": "a", "secret_key": "s"}


@pytest.mark.parametrize(
    "text",
    [json.dumps({"accounts": [ACCOUNT]}), configuration(cluster("http://127.0.0.1:1", collect=[]))],
    ids=["accounts alone", "empty collect"],
)
async def test_a_configuration_without_targets_is_an_error(tmp_path: Path, text: str) -> None:
    result = await Command(tmp_path, text)("once")
    assert (result.status, result.stdout) == (1, "")
    assert "there is nothing to poll: the configuration names no targets" in result.stderr


async def test_a_whole_platform_with_octopus_and_accounts(tmp_path: Path) -> None:
    """Every vendor's targets are there without a word about vendors in the command."""
    async with Simulator() as simulator:
        command = Command(tmp_path, simulated(simulator))
        table, found = await command("once"), await command("once", "--format=json")
    assert (table.status, table.stderr) == (0, "")
    assert re.search(r"^cluster +scheduler id +queue +nodes +free nodes", table.stdout, re.MULTILINE)
    assert "balance CNY" in table.stdout
    assert re.search(r"walltime remaining h +limit submitted jobs", table.stdout)
    assert "王伟" in table.stdout
    parsed = json.loads(found.stdout)
    jsonschema.validate(parsed, json.loads((SCHEMAS / "once.schema.json").read_text()))
    assert {each["source"] for each in parsed["targets"]} >= {"kunshan"}


async def test_no_limit_is_told_from_a_value_that_is_unknown(tmp_path: Path) -> None:
    slurmrestd = FakeSlurmrestd()
    limited = {**NEW, "name": "debug", "nodes": {"total": 1}, "maximums": {"nodes": answers.struct(4)}}
    slurmrestd.rows |= {"partitions": [NEW, limited], "nodes": NEW_NODES[:1]}
    async with a_network() as network:
        own = {"name": "own", "url": await slurmrestd.start(network), "token": TOKEN, "collect": ["partitions"]}
        result = await Command(tmp_path, json.dumps({"slurm": [own]}))("once")
    assert result.stdout.splitlines()[2].endswith("queue  nodes  free nodes  cpus  free cpus  enabled  limit nodes")
    assert [line.split() for line in result.stdout.splitlines()[3:]] == [
        ["own", "batch", "2", "?", "128", "?", "1", "-"],
        ["own", "debug", "1", "0", "128", "47", "1", "4"],
    ]


async def test_ctrl_c_ends_it_without_a_word(region: ScriptedRegion, command: Command) -> None:
    asked = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.sleep(60)
        return web.Response()

    region.answers["queue_jobs"] = hang
    running = await command.start("once", "--output=x")
    await asyncio.wait_for(asked.wait(), DEADLINE)
    running.process.send_signal(signal.SIGINT)
    result = await running.ended()
    assert (result.status, result.stdout, result.stderr) == (130, "", "")
    assert not (command.folder / "x").exists()


async def test_a_reader_that_has_seen_enough_is_no_failure_worth_a_word(
    region: ScriptedRegion, command: Command
) -> None:
    region.answers["queue_jobs"] = envelope([queue(f"queue{number}", R=1) for number in range(5000)])
    with abandoned_pipe() as pipe:
        result = await (await command.start("once", to={"stdout": pipe})).ended()
    assert (result.status, result.stderr) == (1, "")


async def in_terminal(command: Command, *arguments: str, columns: int, **env: str) -> tuple[str, str]:
    """Return standard output and standard error of a command, each a terminal of `columns` columns."""
    masters, slaves = zip(*(pty.openpty() for _ in range(2)), strict=True)
    for slave in slaves:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COLUMNS", "NO_COLOR"):
            patch.delenv(name, raising=False)
        environment = {"TERM": "xterm-256color", **env}
        running = await command.start(*arguments, env=environment, to={"stdout": slaves[0], "stderr": slaves[1]})
    for slave in slaves:
        os.close(slave)
    seen = await asyncio.gather(*(asyncio.to_thread(everything, master) for master in masters))
    await running.ended()
    return seen[0], seen[1]


def everything(master: int) -> str:
    """All that comes out of a terminal until its last user has left."""
    parts = []
    with open(master, "rb", buffering=0) as stream:
        try:
            while part := stream.read(65536):
                parts.append(part)
        except OSError:  # Linux reports that way that the other end is closed
            pass
    return b"".join(parts).decode().replace("\r\n", "\n")


async def test_on_a_terminal_there_is_a_progress_bar_and_colour(command: Command) -> None:
    stdout, stderr = await in_terminal(command, "once", columns=100)
    assert "polling" in stderr
    assert "3/3" in stderr
    assert "\x1b[1mcluster" in stdout
    assert "polling" not in stdout


async def test_no_color_is_honoured(command: Command) -> None:
    stdout, _ = await in_terminal(command, "once", columns=100, NO_COLOR="1")
    assert stdout == TABLE


async def test_a_narrow_terminal_gets_blocks(command: Command) -> None:
    stdout, _ = await in_terminal(command, "once", columns=30, NO_COLOR="1")
    assert stdout.startswith(
        "Jobs by queue\n\nqueue  running  queued  held\ndebug        3       0     0\n普通         0       7     1\n"
    )
    assert "user     test\n" in stdout


@pytest.mark.skipif(
    version("msgspec") not in locked("runtime").versions["msgspec"], reason="another msgspec words them differently"
)
def test_the_schemas_are_those_of_the_code() -> None:
    """`make schema` writes them."""
    for name in schemas.SCHEMAS:
        assert (SCHEMAS / f"{name}.schema.json").read_text() == schemas.schema(name)


def test_the_schema_rejects_other_documents() -> None:
    schema: dict[str, Any] = json.loads(schemas.schema("once"))
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"time": "x"}, schema)


def test_terminal_control_sequences_are_escaped_in_json() -> None:
    name = "job \u009b31m \u202e \x1b[2J 分子动力学"
    member = schemas.UnreadMember(cluster=name, group="g", user="u", unreadable_records=None, error=None)
    text = schemas.encoded(schemas.Jobs(time="2026-11-29T00:00:00Z", ok=True, jobs=[], unread_members=[member]))
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "分子动力学" in text
    assert json.loads(text)["unread_members"][0]["cluster"] == name
