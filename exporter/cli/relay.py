"""`hpc-exporter relay`: forwards Alertmanager's messages to group bots of DingTalk, WeCom and Feishu.

Alertmanager's own receivers do not speak their formats:
https://open.dingtalk.com/document/robots/custom-robot-access, https://developer.work.weixin.qq.com/document/path/91770,
https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot
"""

import argparse
import asyncio
import hashlib
import hmac
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, quote_plus, urlsplit

import msgspec
import structlog
from aiohttp import web

from exporter.cli import options
from exporter.cli.commands import Command, Flag
from exporter.cli.options import UsageError
from exporter.cli.output import print_line
from exporter.config.files import UnusableFileError, read_file
from exporter.errors import DecodeError, ExporterError, PollError, RejectedError
from exporter.http import Request, Response, Settings, Upstream
from exporter.redaction import remember
from exporter.sources.values import UNREADABLE
from exporter.supervise import stop_on_signals
from exporter.text import printable
from exporter.web.listen import address_of, bind

log = structlog.get_logger()

# Characters of links and mentions, and those that stand in for them.
MARKUP: Final = str.maketrans("[]<>@`", "()()＠'")
# Alerts named in one message; bots take no longer ones.
TOLD: Final = 20
LONGEST_TEXT: Final = 200
# Bytes; WeCom takes 4096.
LONGEST_WECOM: Final = 4000
LONGEST_URL: Final = 4096
LONGEST_BODY: Final = 4 * 1024**2

EXAMPLE = """example:
  hpc-exporter relay --dingtalk-url-file=dingtalk-url

Each file holds the address that the bot's settings show: it is a secret, which lets anyone write into the group. Where the
bot demands signatures, --dingtalk-secret-file and --feishu-secret-file hold its secret; where it demands a keyword, HPC is
one that is in every message.

config/alertmanager.yml has the receivers, which post to /dingtalk, /wecom and /feishu here. If a bot rejects a message, the
answer is 502, so that Alertmanager tries again.
"""


class Words(NamedTuple):
    """The annotation with the summary in a language, and the words of a message around it."""

    annotation: str
    firing: str
    resolved: str
    was: str
    more: str


WORDS: Final = {
    "en": Words("summary", "FIRING {}", "RESOLVED", "resolved: ", "and {} more"),
    "zh": Words("summary_zh", "告警 {}", "已恢复", "已恢复：", "另有 {} 条"),
}


class Alert(msgspec.Struct, frozen=True):
    """An alert in a message of Alertmanager."""

    status: str = "firing"
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)

    def summary(self, words: Words) -> str:
        """Return the summary in a language, or in English, or the labels where a rule has none."""
        return self.annotations.get(words.annotation) or self.annotations.get("summary") or str(self.labels)


class Message(msgspec.Struct, frozen=True, rename="camel"):
    """A message of Alertmanager: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config."""

    alerts: list[Alert]
    group_labels: dict[str, str] = msgspec.field(default_factory=dict)
    truncated_alerts: int = 0

    def title(self, words: Words) -> str:
        firing = sum(alert.status == "firing" for alert in self.alerts) + self.truncated_alerts
        names = " ".join(filter(None, (self.group_labels.get("alertname"), self.group_labels.get("source"))))
        return plain(f"[{words.firing.format(firing) if firing else words.resolved}] {names or 'HPC'}")

    def lines(self, words: Words) -> list[str]:
        told = [
            f"{'' if alert.status == 'firing' else words.was}{alert.summary(words)}" for alert in self.alerts[:TOLD]
        ]
        more = len(self.alerts) - TOLD + self.truncated_alerts
        return [*map(plain, told), *([words.more.format(more)] if more > 0 else [])]


def plain(text: str) -> str:
    """`text` on one line, not too long, without characters that Markdown would take for a link or a mention."""
    return printable(text)[:LONGEST_TEXT].translate(MARKUP)


def dingtalk(title: str, lines: list[str], _secret: str) -> dict[str, Any]:
    text = "\n".join([f"### {title}", *(f"- {line}" for line in lines)])
    return {"msgtype": "markdown", "markdown": {"title": title, "text": text}}


def wecom(title: str, lines: list[str], _secret: str) -> dict[str, Any]:
    text = "\n".join([f"### {title}", *lines])
    if len(text.encode()) > LONGEST_WECOM:
        text = text.encode()[:LONGEST_WECOM].decode(errors="ignore") + "\n…"
    return {"msgtype": "markdown", "markdown": {"content": text}}


def feishu(title: str, lines: list[str], secret: str) -> dict[str, Any]:
    text = "\n".join([title, *lines])
    signed: dict[str, Any] = {}
    if secret:
        moment = str(int(time.time()))
        signed = {"timestamp": moment, "sign": signature(f"{moment}\n{secret}", "")}
    return {**signed, "msg_type": "text", "content": {"text": text}}


def signature(key: str, text: str) -> str:
    return b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


def signed_url(url: str, secret: str) -> str:
    """Return the address with DingTalk's signature, which is good for an hour."""
    moment = str(int(time.time() * 1000))
    sign = quote_plus(signature(secret, f"{moment}\n{secret}"))
    return f"{url}&timestamp={moment}&sign={sign}"


# Makes a bot's message of the title, the lines and the secret.
Form: TypeAlias = Callable[[str, list[str], str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Bot:
    """Where a kind of bot is, its secret where it demands signatures, and the form of its messages."""

    url: str
    secret: str
    form: Form


FORMS: Final[Mapping[str, Form]] = {"dingtalk": dingtalk, "wecom": wecom, "feishu": feishu}
TITLES: Final = {"dingtalk": "DingTalk", "wecom": "WeCom", "feishu": "Feishu"}
SIGNED: Final = ("dingtalk", "feishu")


COMMAND = Command(
    "forward alerts to bots of DingTalk, WeCom and Feishu",
    "Forward Alertmanager's notifications to group bots until SIGTERM or SIGINT.",
    EXAMPLE,
    Flag("--listen-address", "where Alertmanager posts to", options.ADDRESS, "127.0.0.1:9852"),
    *(Flag(f"--{name}-url-file", f"file with the address of the {TITLES[name]} bot", options.FILE) for name in FORMS),
    *(
        Flag(f"--{name}-secret-file", f"file with the secret of the {TITLES[name]} bot", options.FILE)
        for name in SIGNED
    ),
    Flag("--language", "language of the messages, as far as the rules have it", options.one_of(*WORDS), "en"),
    *options.logging(),
)


def run(args: argparse.Namespace) -> int:
    bots = {
        name: Bot(url_in(file), content_of(getattr(args, f"{name}_secret_file", None)), form)
        for name, form in FORMS.items()
        if (file := getattr(args, f"{name}_url_file")) is not None
    }
    remember([bot.secret for bot in bots.values()])
    if not bots:
        raise UsageError("give the address of at least one bot, such as --dingtalk-url-file=FILE")
    return asyncio.run(relay(bots, args.listen_address, WORDS[args.language]))


def content_of(file: Path | None) -> str:
    """Return the content of a file with a secret. Raises ExporterError."""
    if file is None:
        return ""
    try:
        content = read_file(file, max_bytes=LONGEST_URL).decode(errors="replace").strip()
    except UnusableFileError as error:
        raise ExporterError(f"{file}: {error}") from None
    return content


def url_in(file: Path) -> str:
    """Return the address of a bot; its query or the last part of its path is a secret. Raises ExporterError."""
    url = content_of(file)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
        raise ExporterError(f"{file}: it holds no address like https://HOST/PATH?KEY")
    remember([*(value for _, value in parse_qsl(parts.query)), parts.path.rpartition("/")[2]])
    return url


async def relay(bots: Mapping[str, Bot], address: tuple[str, int], words: Words) -> int:
    """Serve until told to stop; the exit status."""
    stop = stop_on_signals()
    settings = Settings("bots", timeout=10.0, retries=0, max_body=1024**2)
    upstream = Upstream(settings, slots=asyncio.Semaphore(16))

    async def take(request: web.Request) -> web.Response:
        name = request.match_info["bot"]
        if name not in bots:
            raise web.HTTPNotFound(text=f"no address of a bot of {name!r} was given\n")
        try:
            message = msgspec.json.decode(await request.read(), type=Message)
        except UNREADABLE as error:
            raise web.HTTPBadRequest(text=f"this is no message of Alertmanager: {error}\n") from None
        try:
            await post(upstream, bots[name], message.title(words), message.lines(words))
        except PollError as error:
            log.warning("a message was not taken", bot=name, error=str(error))
            return web.Response(status=502, text=f"{error}\n")
        log.info("a message was handed on", bot=name, alerts=len(message.alerts))
        return web.Response(text="handed on\n")

    app = web.Application(client_max_size=LONGEST_BODY)
    app.add_routes([web.post("/{bot}", take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        listener = bind(*address)
        await web.SockSite(runner, listener).start()
        print_line(f"http://{address_of(listener)}/  takes {', '.join(bots)}")
        await stop.wait()
    finally:
        await runner.cleanup()
        await upstream.close()
    return 0


async def post(upstream: Upstream, bot: Bot, title: str, lines: list[str]) -> None:
    """Send a message. Raises PollError where the bot did not accept it."""
    url = signed_url(bot.url, bot.secret) if bot.form is dingtalk and bot.secret else bot.url
    body = msgspec.json.encode(bot.form(title, lines, bot.secret))
    headers = {"Content-Type": "application/json; charset=utf-8"}
    await upstream.call(Request("relay", url, "POST", headers, data=body, repeatable=False), raise_unless_taken)


def raise_unless_taken(response: Response) -> None:
    """Raise RejectedError with the bot's words, or DecodeError where the answer is none of a bot."""
    try:
        answer = msgspec.json.decode(response.body, type=dict[str, Any])
    except UNREADABLE:
        raise DecodeError(f"HTTP {response.status}: the answer is none of a bot") from None
    code = next((answer[key] for key in ("errcode", "code", "StatusCode") if key in answer), None)
    if code != 0:
        words = plain(str(answer.get("errmsg") or answer.get("msg") or answer))
        raise RejectedError(f"the bot rejected the message: {words} (code {code})")
