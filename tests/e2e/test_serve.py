"""`serve` as a process: signals, flags and exit statuses."""

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from tests.e2e.process import DOMAIN, ExporterProcess, eventually, run, serving
from tests.e2e.region import ScriptedRegion, cluster, configuration, envelope, job, scripted_region
from tests.support.forks import RUN_FIRST

BROKEN = """\
poll:
  interval: soon
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com
    token: x
    usres: [test]
"""
MISTAKES = ("exporter.yml:2:13: poll.interval: ", "exporter.yml:8:5: clusters[0].usres: ")


# Their scrape is larger than the buffers of the sockets.
JOBS = 4_000
# Else a busy machine reads it too slowly for an exporter that stops.
PATIENT = "from exporter.cli import serve\nserve.SHUTDOWN_TIMEOUT = 100.0\n"


@asynccontextmanager
async def big_exporter(folder: Path, *arguments: str) -> AsyncIterator[ExporterProcess]:
    jobs = [job(str(index), "x" * 1000) for index in range(JOBS)]
    async with scripted_region({"member_jobs": envelope(jobs)}) as region:
        text = configuration(cluster(region.url), per_job={"enabled": True, "max_jobs": len(jobs)})
        (folder / "patient.py").write_text(PATIENT)
        async with serving(folder, text, *arguments, env={RUN_FIRST: str(folder / "patient.py")}) as exporter:
            await exporter.ready()
            yield exporter


class Scrape:
    """A scrape of which the response is read on demand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def headers(self) -> bytes:
        return await self._reader.readuntil(b"\r\n\r\n")

    async def body(self, headers: bytes) -> bytes:
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        length = int(headers.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


async def scrape_without_reading(exporter: ExporterProcess) -> Scrape:
    host, _, port = exporter.addresses[0].rpartition(":")
    client = socket.socket()
    # Set before connecting, or the kernel buffers the whole response.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=client, limit=1024 * 1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n")
    return Scrape(reader, writer)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_scrape_in_flight_is_completed_before_the_exporter_stops(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with big_exporter(tmp_path) as exporter:
        scrape = await scrape_without_reading(exporter)
        headers = await scrape.headers()
        exporter.process.send_signal(number)
        await exporter.logged("msg=stopping")
        body = await scrape.body(headers)
        scrape.close()
        assert headers.startswith(b"HTTP/1.1 200 OK\r\n")
        assert body.count(b"hpc_job_info{") == JOBS
        assert body.endswith(b"\n")
        assert await exporter.wait() == 0
        assert exporter.log_lines("msg=stopped")


async def test_simultaneous_scrapes_above_the_limit_are_503(tmp_path: Path) -> None:
    async with big_exporter(tmp_path, "--web.max-requests=1") as exporter:
        scrape = await scrape_without_reading(exporter)
        headers = await scrape.headers()
        rejected = await exporter.ask("/metrics")
        assert (rejected.status, rejected.text) == (503, "Limit of concurrent requests reached (1), try again later.\n")
        assert len(await scrape.body(headers)) > 1_000_000
        scrape.close()

        async def answered() -> bool:
            return (await exporter.ask("/metrics")).status == 200

        await eventually(answered, "the place is free again")


async def test_an_idle_exporter_stops_on_sigterm(tmp_path: Path, region: ScriptedRegion) -> None:
    async with serving(tmp_path, configuration(cluster(region.url))) as exporter:
        await exporter.ready()
        async with asyncio.timeout(100):
            assert await exporter.stop() == 0


async def test_it_stops_while_a_region_hangs(tmp_path: Path) -> None:
    hung = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        hung.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with scripted_region({"queue_jobs": hang}) as region:
        text = configuration(cluster(region.url), poll={"timeout": "1h"})
        async with serving(tmp_path, text) as exporter:
            await hung.wait()
            async with asyncio.timeout(100):
                assert await exporter.stop() == 0


async def test_sighup_reloads(tmp_path: Path, region: ScriptedRegion) -> None:
    async with serving(tmp_path, configuration(cluster(region.url))) as exporter:
        await exporter.ready()
        exporter.config.write_text(configuration(cluster(region.url, name="xian")), encoding="utf-8")
        exporter.process.send_signal(signal.SIGHUP)
        series = 'hpc_queue_jobs{hpc_cluster="%s",user="test",queue="debug",state="running"}'
        samples = await exporter.shows(lambda samples: series % "xian" in samples, "the new region")
        assert samples[series % "xian"] == 2
        assert series % "kunshan" not in samples


async def test_sighup_with_a_broken_file_logs_one_line_and_changes_nothing(
    tmp_path: Path, region: ScriptedRegion
) -> None:
    async with serving(tmp_path, configuration(cluster(region.url))) as exporter:
        await exporter.ready()
        exporter.config.write_text(BROKEN)
        exporter.process.send_signal(signal.SIGHUP)
        failed = "hpc_exporter_config_last_reload_successful"
        samples = await exporter.shows(lambda samples: samples[failed] == 0, "the failed reload")
        assert samples['hpc_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="running"}'] == 2
        (line,) = await exporter.logged("was not reloaded")
        assert all(mistake in line for mistake in MISTAKES)


async def test_a_broken_file_is_rejected_as_a_whole_and_the_response_says_why(
    tmp_path: Path, region: ScriptedRegion
) -> None:
    successful = "hpc_exporter_config_last_reload_successful"
    moment = "hpc_exporter_config_last_reload_success_timestamp_seconds"
    good = configuration(cluster(region.url))
    async with serving(tmp_path, good) as exporter:
        await exporter.ready()
        before = await exporter.samples()
        assert before[successful] == 1
        exporter.config.write_text(BROKEN)

        answer = await exporter.ask("/-/reload", "POST")
        assert answer.status == 500
        assert all(mistake in answer.text for mistake in MISTAKES)
        after = await exporter.samples()
        assert (after[successful], after[moment]) == (0, before[moment])
        assert (await exporter.status())["config"]["last_reload_successful"] is False
        assert "usres" not in (await exporter.ask("/config")).text
        assert domain(after) == domain(before)

        exporter.config.write_text(good)
        assert (await exporter.ask("/-/reload", "PUT")).status == 200
        healed = await exporter.samples()
        assert healed[successful] == 1
        assert healed[moment] > before[moment]
        assert domain(healed) == domain(before)


def domain(samples: dict[str, float]) -> dict[str, float]:
    return {series: value for series, value in samples.items() if DOMAIN.match(series)}


async def test_a_reload_of_a_missing_file_names_it(tmp_path: Path, region: ScriptedRegion) -> None:
    async with serving(tmp_path, configuration(cluster(region.url))) as exporter:
        exporter.config.unlink()
        answer = await exporter.ask("/-/reload", "POST")
        assert answer.status == 500
        assert "exporter.yml" in answer.text
        assert "no such file" in answer.text


async def test_mistakes_at_start_are_printed_with_their_places_and_status_1(tmp_path: Path) -> None:
    status, stdout, stderr = await run(tmp_path, "serve", "--web.listen-address=127.0.0.1:0", configuration=BROKEN)
    assert status == 1
    assert stdout == ""
    assert all(mistake in stderr for mistake in MISTAKES)
    assert "Traceback" not in stderr


async def test_an_address_in_use_is_status_1(tmp_path: Path, region: ScriptedRegion) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flag = f"--web.listen-address=127.0.0.1:{port}"
        status, _, stderr = await run(tmp_path, "serve", flag, configuration=configuration(cluster(region.url)))
    assert status == 1
    assert f"hpc-exporter: cannot listen on 127.0.0.1:{port}: Address already in use\n" in stderr
    assert "Traceback" not in stderr


async def test_it_listens_on_several_addresses(tmp_path: Path, region: ScriptedRegion) -> None:
    """One of them IPv6; the log has the ports that the system chose."""
    flags = ["--web.listen-address=127.0.0.1:0", "--web.listen-address=:0"]
    if socket_has_ipv6():
        flags.append("--web.listen-address=[::1]:0")
    async with serving(tmp_path, configuration(cluster(region.url)), *flags, listeners=len(flags)) as exporter:
        assert len(set(exporter.addresses)) == len(flags)
        for address in exporter.addresses:
            assert (await exporter.ask(f"http://{address}/-/healthy")).status == 200


def socket_has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


async def test_without_arguments_it_serves_exporter_yml_of_its_folder(tmp_path: Path, region: ScriptedRegion) -> None:
    exporter = ExporterProcess(tmp_path, configuration(cluster(region.url)))
    try:
        await exporter.serve()
        await exporter.ready()
        assert await exporter.stop() == 0
    finally:
        await exporter.close()


async def test_the_path_of_the_metrics_can_be_chosen(tmp_path: Path, region: ScriptedRegion) -> None:
    async with serving(tmp_path, configuration(cluster(region.url)), "--web.telemetry-path=/probe") as exporter:
        await exporter.ready()
        assert "hpc_up" in (await exporter.ask("/probe")).text
        assert (await exporter.ask("/metrics")).status == 404
        samples = (await exporter.ask("/probe")).samples
        assert samples['hpc_exporter_http_requests_total{path="other",code="404"}'] == 1


async def test_the_exporters_own_metrics_can_be_left_out(tmp_path: Path, region: ScriptedRegion) -> None:
    async with serving(tmp_path, configuration(cluster(region.url)), "--web.disable-exporter-metrics") as exporter:
        await exporter.ready()
        for accept in ("text/plain", "application/openmetrics-text"):
            answer = await exporter.ask("/metrics", headers={"Accept": accept})
            assert "hpc_queue_jobs{" in answer.text
            assert not re.search("^(# [A-Z]+ )?hpc_exporter_", answer.text, re.MULTILINE)
            assert "process_" not in answer.text


async def test_there_are_no_created_series(tmp_path: Path, region: ScriptedRegion) -> None:
    async with serving(tmp_path, configuration(cluster(region.url))) as exporter:
        await exporter.ready()
        for accept in ("text/plain", "application/openmetrics-text"):
            assert "_created" not in (await exporter.ask("/metrics", headers={"Accept": accept})).text


async def test_the_log_can_be_json(tmp_path: Path, region: ScriptedRegion) -> None:
    async with serving(tmp_path, configuration(cluster(region.url)), "--log.format=json") as exporter:
        await exporter.stop()
        lines = [msgspec.json.decode(line) for line in exporter.stderr.splitlines()]
    assert [line["msg"] for line in lines][-2:] == ["stopping", "stopped"]
    assert all({"ts", "level", "msg"} <= line.keys() for line in lines)
