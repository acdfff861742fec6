"""The web server as a process: TLS and passwords, systemd, automatic reloads, reloads under load."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections import Counter
from contextlib import AsyncExitStack, closing
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.process import DOMAIN, ExporterProcess, eventually, run, serving
from tests.e2e.real import real_part
from tests.e2e.region import ScriptedRegion, cluster, configuration
from tests.support.web_config import Authority, hashed, write


async def status(exporter: ExporterProcess, tls: ssl.SSLContext, password: str | None, path: str = "/metrics") -> int:
    headers = {"Authorization": aiohttp.encode_basic_auth("alice", password)} if password is not None else {}
    port = exporter.addresses[0].rpartition(":")[2]
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"https://localhost:{port}{path}", ssl=tls) as answer,
    ):
        return answer.status


async def test_tls_and_a_password_before_everything(tmp_path: Path, region: ScriptedRegion) -> None:
    """Only the right client gets a response, on every path; no secret is logged."""
    authority = Authority(tmp_path)
    authority.issue("prometheus", "prometheus")
    password_hash = hashed("wonderland-4711", 7)
    tls = {**authority.issue(), "client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
    write(tmp_path / "web.yml", tls_server_config=tls, basic_auth_users={"alice": password_hash})
    text = configuration(cluster(region.url))
    async with serving(tmp_path, text, "--web.config.file=web.yml", "--log.level=debug") as exporter:
        client = authority.client("prometheus")
        assert await status(exporter, client, "wonderland-4711") == 200
        for path in ("/", "/metrics", "/-/healthy", "/-/ready", "/config", "/api/v1/status", "/nothing"):
            assert await status(exporter, client, None, path) == 401
            assert await status(exporter, client, "wrong", path) == 401
            with pytest.raises(aiohttp.ClientError):
                await status(exporter, authority.client(), "wonderland-4711", path)
        # Parallel logins, right and wrong ones.
        passwords = ["wonderland-4711" if number % 3 else f"wrong{number % 30}" for number in range(150)]
        found = Counter(await asyncio.gather(*(answered(exporter, client, password) for password in passwords)))
        assert found == {200: 100, 401: 50}
    for secret in ("wonderland-4711", password_hash):
        assert secret not in exporter.stderr + exporter.stdout


async def answered(exporter: ExporterProcess, client: ssl.SSLContext, password: str) -> int:
    """Status of a response. On a busy machine a connection can be closed before its first request is sent."""
    while True:
        with contextlib.suppress(aiohttp.ServerDisconnectedError):
            return await status(exporter, client, password, "/-/healthy")


async def test_a_broken_web_configuration_is_status_1(tmp_path: Path) -> None:
    write(tmp_path / "web.yml", tls_server_config={"cert_file": "nowhere.pem", "cipher_suites": ["A"]})
    for flag in ((), ("--config.check",)):
        arguments = ("serve", "--web.config.file=web.yml", *flag)
        code, _, stderr = await run(tmp_path, *arguments, configuration=configuration(cluster("http://127.0.0.1:9")))
        assert code == 1
        assert "web.yml:2:23: tls_server_config: one of key_file, key is missing" in stderr
        assert "tls_server_config.cipher_suites: the names of Go's cipher suites mean nothing" in stderr
        assert "Traceback" not in stderr


async def test_it_stops_on_sigterm_whatever_its_clients_do(tmp_path: Path, region: ScriptedRegion) -> None:
    """Clients stuck in the handshake, with half a request, with an expensive password, or not reading."""
    authority = Authority(tmp_path)
    certificate = authority.issue()
    # A cost of hours: the check is still running when the process has to stop.
    slow = hashed("wonderland").replace("$04$", "$24$")
    users = {"alice": hashed("wonderland"), "mallory": slow}
    write(tmp_path / "web.yml", tls_server_config=certificate, basic_auth_users=users)
    text = configuration(cluster(region.url))
    async with serving(tmp_path, text, "--web.config.file=web.yml") as exporter, AsyncExitStack() as stack:
        port = int(exporter.addresses[0].rpartition(":")[2])
        await exporter.logged("Listening on")
        client = authority.client()

        async def connect(tls: ssl.SSLContext | None, text: bytes) -> None:
            host = "localhost" if tls else None
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=host, limit=2)
            stack.callback(writer.close)
            stack.callback(writer.transport.abort)
            writer.write(text)

        guess = aiohttp.encode_basic_auth("mallory", "x").encode()
        right = aiohttp.encode_basic_auth("alice", "wonderland").encode()
        for _ in range(20):
            await connect(None, b"")
            await connect(client, b"GET / HTTP/1.1\r\nHo")
            await connect(client, b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\n\r\n" % guess)
            await connect(client, b"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\n\r\n" % right * 50)
        exporter.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(100):
            assert await exporter.process.wait() == 0
    assert "Traceback" not in exporter.stderr


async def test_a_web_configuration_replaced_by_a_pipe_changes_nothing(tmp_path: Path, region: ScriptedRegion) -> None:
    path = write(tmp_path / "web.yml", basic_auth_users={"alice": hashed("wonderland")})
    async with serving(tmp_path, configuration(cluster(region.url)), "--web.config.file=web.yml") as exporter:
        path.unlink()
        os.mkfifo(path)
        await exporter.logged("the web configuration cannot be used")
        headers = {"Authorization": aiohttp.encode_basic_auth("alice", "wonderland")}
        for page in ("/metrics", "/-/healthy"):
            assert (await exporter.ask(page, headers=headers)).status == 200
        assert await exporter.stop() == 0


async def test_a_low_limit_of_open_files_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "exporter.yml").write_text(configuration(cluster("http://127.0.0.1:9")))
    command = (sys.executable, "-m", "exporter", "serve", "--web.listen-address=127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'ulimit -n 128; exec "$0" "$@"', *command),
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(100):
        while b"Listening on" not in (line := await process.stderr.readline()):
            if b"few clients can connect: raise the limit of open files (ulimit -n)" in line:
                assert b"connections=64" in line
                break
        else:
            raise AssertionError("no warning")
        process.terminate()
        await process.communicate()


async def test_it_serves_on_a_socket_from_systemd_and_notifies_it(tmp_path: Path, region: ScriptedRegion) -> None:
    """With systemd-socket-activate, and a notification socket of the test."""
    activate = real_part("systemd-socket-activate", "systemd")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(100)
    (tmp_path / "exporter.yml").write_text(configuration(cluster(region.url)))
    command = [sys.executable, "-m", "exporter", "serve", "--web.systemd-socket"]
    environment = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "200000",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    settings = [f"--setenv={name}={value}" for name, value in environment.items()]
    with (tmp_path / "stderr").open("wb") as stderr, closing(notify):
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - systemd's own program
            [activate, f"--listen=127.0.0.1:{port}", *settings, *command],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
        )
        heard: list[str] = []

        async def hears(wanted: str) -> None:
            while wanted not in heard:
                heard.extend((await asyncio.to_thread(notify.recv, 4096)).decode().split("\n"))

        try:
            async with aiohttp.ClientSession() as http:

                async def answers() -> bool:
                    try:
                        async with http.get(f"http://127.0.0.1:{port}/-/healthy") as answer:
                            return answer.status == 200
                    except aiohttp.ClientConnectionError:
                        return False

                await eventually(answers, "it answers on the socket that was passed")
            await hears("READY=1")
            await hears("WATCHDOG=1")
            process.send_signal(signal.SIGHUP)
            await hears("RELOADING=1")
            assert any(line.startswith("MONOTONIC_USEC=") for line in heard)
            heard.clear()
            await hears("READY=1")
            process.send_signal(signal.SIGTERM)
            await hears("STOPPING=1")
            assert await asyncio.to_thread(process.wait, 20) == 0, (tmp_path / "stderr").read_text()
        finally:
            process.kill()
            process.wait()


async def test_a_missing_socket_from_systemd_is_explained(tmp_path: Path) -> None:
    config = configuration(cluster("http://127.0.0.1:9"))
    code, _, stderr = await run(tmp_path, "serve", "--web.systemd-socket", configuration=config)
    assert code == 1
    assert "systemd passed no socket: is the service started by its .socket unit?" in stderr


async def test_it_reloads_automatically_when_the_file_changes(tmp_path: Path, region: ScriptedRegion) -> None:
    flags = ("--config.enable-auto-reload", "--config.auto-reload-interval=100ms")

    def replace(text: str) -> None:
        """Replace the file as a whole: one that is being written may be read empty."""
        (tmp_path / "new.yml").write_text(text)
        (tmp_path / "new.yml").replace(exporter.config)

    async with serving(tmp_path, configuration(cluster(region.url)), *flags) as exporter:
        await exporter.ready()
        replace(configuration(cluster(region.url), cluster(region.url, "hefei", cluster_id=2)))
        await exporter.shows(lambda samples: 'hpc_up{hpc_cluster="hefei"}' in samples, "the region that was added")
        replace("clusters: [")
        successful = "hpc_exporter_config_last_reload_successful"
        await exporter.shows(lambda samples: samples[successful] == 0, "that the broken file was rejected")
        assert 'hpc_up{hpc_cluster="hefei"}' in await exporter.samples()
        assert len(await exporter.logged("was not reloaded")) == 1


async def test_reloads_under_load_lose_no_sample(tmp_path: Path, region: ScriptedRegion) -> None:
    """Series of unchanged targets are in every scrape."""
    kept, other = cluster(region.url), cluster(region.url, "hefei", cluster_id=2)
    async with serving(tmp_path, configuration(kept)) as exporter:
        await exporter.ready()
        wanted = {series for series in await exporter.samples() if DOMAIN.match(series)}
        counted = "hpc_exporter_polls_total"
        polls = {series: value for series, value in (await exporter.samples()).items() if counted in series}
        done = asyncio.Event()

        async def keep_scraping() -> int:
            scrapes = 0
            while not done.is_set():
                found = await exporter.samples()
                assert wanted <= found.keys()
                scrapes += 1
            return scrapes

        load = [asyncio.create_task(keep_scraping()) for _ in range(4)]
        for number in range(10):
            exporter.config.write_text(configuration(kept, other) if number % 2 else configuration(kept))
            assert (await exporter.ask("/-/reload", "POST")).status == 200
        done.set()
        assert sum(await asyncio.gather(*load)) > 10
        # Unchanged targets keep their schedule: no reload polls them again.
        after = await exporter.samples()
        assert {series: after[series] for series in polls} == polls


async def test_curl_scrapes_over_tls_with_a_password(tmp_path: Path, region: ScriptedRegion) -> None:
    curl = real_part("curl", "curl")
    authority = Authority(tmp_path)
    write(tmp_path / "web.yml", tls_server_config=authority.issue(), basic_auth_users={"alice": hashed("wonderland")})
    async with serving(tmp_path, configuration(cluster(region.url)), "--web.config.file=web.yml") as exporter:
        url, ca = f"https://localhost:{exporter.addresses[0].rpartition(':')[2]}/metrics", str(authority.file)
        process = await asyncio.create_subprocess_exec(
            *(curl, "-sf", "--cacert", ca, "-u", "alice:wonderland", url), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        assert b"hpc_exporter_build_info" in output
