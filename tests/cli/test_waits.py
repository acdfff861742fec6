"""`hpc-exporter waits`: from a running exporter, or from the state file of one that ended."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from exporter.cli.main import main
from exporter.records import Job, JobListing, JobState
from exporter.tracking import MemberKey, Store, Tracker
from tests.support.http import Network, answering
from tests.support.installations import Installation, half_broken

NOWHERE = "http://127.0.0.1:9"  # the port "discard", on which nothing listens
CONFIG = """
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com
    token: some-token-of-a-user
    members: [{group_id: 7, group: chemistry, users: [bob]}]
tracking: {state_file: tracker.db}
"""


def status(installation: Installation) -> bytes:
    return json.dumps(installation.status()).encode()


async def waits(*flags: str) -> int:
    return await asyncio.to_thread(main, ["waits", *flags])


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_bounds_of_a_running_exporter(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    url = await network.serve(answering(body=status(half_broken())))
    assert await waits(f"--url={url}") == 0
    assert capsys.readouterr().out == (
        "cluster  queue   group    jobs     first jobs  start within   right in\n"
        "kunshan  normal           CPU      1 in 2            12 min  97 of 100\n"
        "kunshan  normal           CPU      9 in 10       2 h 10 min  97 of 100\n"
        "kunshan  normal           CPU      19 in 20      5 h 34 min  97 of 100\n"
        "xian             physics  GPU/DCU  1 in 2            12 min  80 of 100\n"
        "xian             physics  GPU/DCU  9 in 10         withheld  80 of 100\n"
        "xian             physics  GPU/DCU  19 in 20        withheld  80 of 100\n"
    )


async def test_filters(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    url = await network.serve(answering(body=status(half_broken())))
    assert await waits(f"--url={url}", "--cluster=kunshan", "--cluster=xian", "--queue=normal") == 0
    assert {line[0] for line in lines(capsys.readouterr().out)[1:]} == {"kunshan"}
    assert await waits(f"--url={url}", "--cluster=hefei") == 2
    assert "no cluster 'hefei' has waits; there are: kunshan, xian" in capsys.readouterr().err


async def test_nothing_is_known_yet(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    assert await waits(f"--url={await network.serve(answering(body=status(Installation())))}") == 0
    assert capsys.readouterr().out == "no first job of a burst was seen to wait yet\n"


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"", 401, "HTTP 401: give a password or a token by --http.config.file"),
        (b"<html>", 200, "this is no status of an hpc-exporter"),
        (b'{"a":' * 5000, 200, "this is no status of an hpc-exporter"),
        (
            b'{"targets": [], "sources": [], "summary": {}, "time": "", "page": {"next_offset": null}}',
            200,
            "its version",
        ),
        (
            b'{"targets": [], "sources": [], "summary": {}, "time": "", "page": {"next_offset": null}, "waits": [{}]}',
            200,
            "its version",
        ),
        (
            b'{"targets": [], "sources": [], "summary": {}, "time": "", "page": {}}',
            200,
            "this is no status of an hpc-exporter",
        ),
        (
            b'{"targets": [], "sources": [], "summary": {}, "time": "", "page": {"next_offset": 0}}',
            200,
            "its list of targets does not go on after 0",
        ),
    ],
)
async def test_something_else_answers(
    network: Network, body: bytes, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = await network.serve(answering(body=body, status=code))
    assert await waits(f"--url={url}") == 1
    assert f"{url}: " in (told := capsys.readouterr().err)
    assert said in told


def tracked() -> Tracker:
    tracker = Tracker()
    for minute in range(60):
        job = Job(str(minute // 2), "", (JobState.QUEUED, JobState.RUNNING)[minute % 2])
        at = 1_700_000_000.0 + 60 * minute
        tracker.observe(MemberKey("kunshan", "7", "bob"), JobListing((job,) if minute else ()), at, 60.0)
    return tracker


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "exporter.yml"
    file.write_text(CONFIG)
    return file


async def test_state_file_of_an_exporter_that_ended(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = await Store.open(config.with_name("tracker.db"))
    await store.save(tracked().take_batch())
    flags = (f"--config.file={config}", f"--url={NOWHERE}")
    assert await waits(*flags) == 1
    assert "an exporter has it open" in capsys.readouterr().err
    await store.close()
    before = config.with_name("tracker.db").read_bytes()
    assert await waits(*flags) == 0
    said = capsys.readouterr()
    assert f"{NOWHERE}: " in said.err
    assert lines(said.out)[1][:3] == ["kunshan", "chemistry", "CPU"]
    assert config.with_name("tracker.db").read_bytes() == before
    assert sorted(path.name for path in config.parent.iterdir()) == ["exporter.yml", "tracker.db"]


@pytest.mark.parametrize("content", [None, b"", b"no database", bytes(8192)])
def test_state_file_that_cannot_be_read(
    config: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config.with_name("tracker.db")
    if content is not None:
        file.write_bytes(content)
    assert main(["waits", f"--config.file={config}", f"--url={NOWHERE}"]) == (0 if content == b"" else 1)
    assert str(file) in capsys.readouterr().err
    assert (file.read_bytes() if file.exists() else None) == content


def test_no_state_file(config: Path, capsys: pytest.CaptureFixture[Any]) -> None:
    config.write_text(CONFIG.replace("state_file: tracker.db", "enabled: true"))
    assert main(["waits", f"--config.file={config}", f"--url={NOWHERE}"]) == 1
    assert "no tracking.state_file" in capsys.readouterr().err
    config.unlink()
    assert main(["waits", f"--config.file={config}", f"--url={NOWHERE}"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"hpc-exporter: {NOWHERE}: cannot connect")
    assert "start the exporter with hpc-exporter serve, or say where it runs with --url=http://HOST:PORT" in told
