"""The receivers of the example for Alertmanager reach local stand-ins: a mail server, and bots behind `relay`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.cli.relay import LONGEST_TEXT, WORDS, Alert, Message, dingtalk, feishu, wecom
from tests.e2e.process import eventually
from tests.rules.test_inhibition import fire
from tests.rules.test_live import program
from tests.rules.test_rules import ROOT
from tests.support.command import Command, Running

EXAMPLE: dict[str, Any] = yaml.load(
    (ROOT / "config" / "alertmanager.yml").read_text(encoding="utf-8"), yaml.CSafeLoader
)
RUNBOOK = "https://example.com/HPCRegionDown.md"
CHINESE = {"summary_zh": "kunshan：全部失败", "description_zh": "先检查令牌", "runbook_url": RUNBOOK}
KEY = "a-key-that-nobody-else-may-know"


@dataclass
class Bots:
    """Answers as the bots do, and keeps what they were sent."""

    # None: none of a bot.
    answer: dict[str, Any] | None = field(default_factory=lambda: {"errcode": 0, "code": 0, "errmsg": "ok"})
    taken: dict[str, Any] = field(default_factory=dict)
    queries: dict[str, dict[str, str]] = field(default_factory=dict)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        self.taken[request.match_info["bot"]] = await request.json()
        self.queries[request.match_info["bot"]] = dict(request.query)
        return web.Response(text="<html>") if self.answer is None else web.json_response(self.answer)


@asynccontextmanager
async def serving_bots() -> AsyncIterator[Bots]:
    bots = Bots()
    application = web.Application()
    application.router.add_post("/{bot}", bots.take)
    server = TestServer(application)
    await server.start_server()
    try:
        bots.url = str(server.make_url("/")).rstrip("/")
        yield bots
    finally:
        await server.close()


@asynccontextmanager
async def relaying(folder: Path, bots: Bots) -> AsyncIterator[tuple[str, Running]]:
    flags = []
    for name in ("dingtalk", "wecom", "feishu"):
        (folder / f"{name}-url").write_text(f"{bots.url}/{name}?access_token={KEY}\n")
        flags.append(f"--{name}-url-file={name}-url")
    (folder / "secret").write_text("sesame")
    flags += [f"--{name}-secret-file=secret" for name in ("dingtalk", "feishu")]
    running = await Command(folder, "").start("relay", "--listen-address=127.0.0.1:0", *flags)
    try:
        await eventually(running.said, "it listens")
        yield running.said().split()[0].rstrip("/"), running
    finally:
        running.process.terminate()
        ended = await running.ended()
        assert ended.status == 0
        assert KEY not in ended.stdout + ended.stderr


class Mailbox:
    """As much of a mail server as a client needs."""

    def __init__(self) -> None:
        self.letters: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                self.letters.append(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"221 bye\r\n" if line.startswith(b"QUIT") else b"250 ok\r\n")
        writer.close()


def parsed(letter: bytes) -> str:
    """Return the subject of a letter and its parts."""
    message = message_from_bytes(letter, policy=default)
    return "\n".join(
        [str(message["Subject"]), *(part.get_content() for part in message.walk() if not part.is_multipart())]
    )


async def test_every_receiver_of_the_example_reaches_its_people(tmp_path: Path) -> None:
    mailbox = Mailbox()
    mail = await asyncio.start_server(mailbox.serve, "127.0.0.1", 0)
    async with mail, serving_bots() as bots, relaying(tmp_path, bots) as (relay, _):
        receivers = {each["name"]: each for each in json.loads(json.dumps(EXAMPLE["receivers"]))}
        for name in ("dingtalk", "wecom", "feishu"):
            (hook,) = receivers[name]["webhook_configs"]
            hook["url"] = hook["url"].replace("http://localhost:9852", relay)
        # The client sends no password without TLS.
        server = f"127.0.0.1:{mail.sockets[0].getsockname()[1]}"
        smtp = {"smtp_smarthost": server, "smtp_from": "alertmanager@example.com", "smtp_require_tls": False}
        routes = [{"receiver": name, "continue": True} for name in receivers if name != "administrators"]
        route = {**EXAMPLE["route"], "group_wait": "200ms", "routes": routes}
        config = {**EXAMPLE, "global": smtp, "route": route, "receivers": [*receivers.values()]}
        (tmp_path / "alertmanager.yml").write_text(json.dumps(config))
        arguments = (
            f"--config.file={tmp_path}/alertmanager.yml",
            f"--storage.path={tmp_path}/am",
            "--cluster.listen-address=",
        )
        async with program(tmp_path, "prometheus-alertmanager", *arguments) as address:
            await fire(address, [{"alertname": "HPCRegionDown", "source": "kunshan"}], CHINESE)
            await eventually(lambda: len(bots.taken) == 3 and len(mailbox.letters) >= 2, "messages everywhere")
    english, chinese = sorted(map(parsed, mailbox.letters), key=lambda letter: "告警" in letter)
    assert "[FIRING:1] HPCRegionDown kunshan" in english
    assert "[告警 1] HPCRegionDown kunshan" in chinese
    assert f"<b>{CHINESE['summary_zh']}</b>" in chinese
    assert CHINESE["description_zh"] in chinese
    assert 'href="https://example.com/HPCRegionDown.zh.md"' in chinese
    assert RUNBOOK in english
    assert bots.taken["dingtalk"]["markdown"]["title"] == "(FIRING 1) HPCRegionDown kunshan"
    assert "HPCRegionDown kunshan" in bots.taken["wecom"]["markdown"]["content"]
    assert bots.taken["feishu"]["content"]["text"].startswith("(FIRING 1) HPCRegionDown kunshan")
    assert bots.queries["dingtalk"].keys() == {"access_token", "timestamp", "sign"}
    assert bots.taken["feishu"].keys() >= {"timestamp", "sign"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"errcode": 310000, "errmsg": "keywords not in content"}, "keywords not in content (code 310000)"),
        ({"code": 19021, "msg": "sign match fail"}, "sign match fail (code 19021)"),
        ({}, "(code None)"),
        (None, "HTTP 200: the answer is none of a bot"),
    ],
)
async def test_a_message_that_is_not_taken_comes_back_to_alertmanager(
    tmp_path: Path, answer: dict[str, Any] | None, words: str
) -> None:
    async with serving_bots() as bots, relaying(tmp_path, bots) as (relay, _), aiohttp.ClientSession() as http:
        bots.answer = answer
        async with http.post(f"{relay}/wecom", json={"alerts": [{"status": "firing"}]}) as response:
            assert response.status == 502
            assert words in await response.text()
        for path, body, status in (
            ("/nobody", "{}", 404),
            ("/wecom", '["x"]', 400),
            ("/wecom", '{"alerts":' * 5000, 400),
        ):
            async with http.post(relay + path, data=body) as response:
                assert response.status == status


def test_messages_are_in_chinese_where_the_rules_are() -> None:
    alerts = [
        Alert("firing", {}, {"summary": "nothing works", "summary_zh": "全部失败"}),
        Alert("resolved", {}, {"summary": "of another rule"}),
        *[Alert("firing", {"alertname": "Bare"})] * 30,
    ]
    message = Message(alerts, {"alertname": "HPCRegionDown", "source": "kunshan"})
    assert message.title(WORDS["zh"]) == "(告警 31) HPCRegionDown kunshan"
    first, second, third, *_, last = message.lines(WORDS["zh"])
    assert (first, second, last) == ("全部失败", "已恢复：of another rule", "另有 12 条")
    assert "Bare" in third
    assert message.lines(WORDS["en"])[:2] == ["nothing works", "resolved: of another rule"]
    assert Message([Alert("resolved")]).title(WORDS["zh"]) == "(已恢复) HPC"


def test_a_flood_of_hostile_alerts_makes_a_message_that_bots_take() -> None:
    summary = "[click](http://x) <@all> \n\x1b[2J " + "王" * 5000
    message = Message(
        [Alert("firing", {}, {"summary": summary})] * 500, {"alertname": "HPCTargetFailing", "source": "@all"}
    )
    title, lines = message.title(WORDS["en"]), message.lines(WORDS["en"])
    assert title == "(FIRING 500) HPCTargetFailing ＠all"
    assert lines[-1] == "and 480 more"
    assert all(len(line) <= LONGEST_TEXT + 20 for line in lines)
    content = wecom(title, lines, "")["markdown"]["content"]
    assert len(content.encode()) <= 4096
    # A text that was cut off says so.
    assert content.endswith("\n…")
    for form in (dingtalk, feishu):
        text = json.dumps(form(title, lines, ""), ensure_ascii=False)
        assert len(text.encode()) < 20_000
        assert "](" not in text
        assert "@all" not in text


async def test_without_a_bot_it_is_wrong_usage(tmp_path: Path) -> None:
    command = Command(tmp_path, "")
    assert (await command("relay")).status == 2
    (tmp_path / "url").write_text("token-without-address")
    result = await command("relay", "--wecom-url-file=url")
    assert (result.status, "token-without-address" in result.stderr) == (1, False)
    assert "url: it holds no address like" in result.stderr
    (tmp_path / "url").write_text("https://bot.example.com/robot?access_token=made-up")
    result = await command("relay", "--dingtalk-url-file=url", "--dingtalk-secret-file=none")
    assert (result.status, "none: " in result.stderr, "made-up" in result.stderr) == (1, True, False)
