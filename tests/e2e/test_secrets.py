"""A region that repeats the secrets it is sent, in many forms: none is shown anywhere."""

import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_asyncio
from aiohttp import web

from tests.e2e.process import ExporterProcess, run, serving
from tests.e2e.region import GROUP_ID, Answers, ScriptedRegion, asked_for, envelope, scripted_region
from tests.support.forks import OWN_INTERPRETER

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRETS = {
    "inline": "inl1ne-5ecret-of-the-region-kunshan-0123-alpha-tail",
    "file": "f1le-5ecret-of-the-region-xian-0123-bravo-tail",
    "environment": "env1ronment-5ecret-of-the-region-harbin-0123-charlie-tail",
    "user": "u5er-5ecret-of-bob-0123-delta-tail",
    "access key": "acce55-key-of-the-account-0123-echo12-tail",
    "secret key": "s1gning-key-of-the-account-0123-foxtrot-tail",
    "password": "pa55word-of-the-old-account-0123-hotel-tail",
    "obtained": "obta1ned-token-of-the-region-wuzhen-0123-golf56-tail",
}
# Characters of a secret that must not be shown either: texts are cut.
PREFIX = 12


def answer(status: int = 200, body: bytes | str = b"", **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, body=body.encode() if isinstance(body, str) else body, headers=named)


def rejection(message: str) -> web.Response:
    return answer(body=envelope(None, "10008", message))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ECHOES: dict[str, Callable[[str], web.Response]] = {
    "message": lambda token: answer(body=envelope(None, "911406", f"the token {token} is not accepted")),
    "message of an unknown code": lambda token: answer(body=envelope(None, "4711", f"{token}{token}")),
    "code": lambda token: answer(body=envelope(None, token, "no")),
    "data": lambda token: answer(body=envelope(f"your token is {token}")),
    "data of an error": lambda token: answer(body=envelope(token, "10001", "internal error")),
    "status 500": lambda token: answer(500, f"<h1>token {token} broke it</h1>"),
    "status 404": lambda token: answer(404, f"no {token} here"),
    "status 401": lambda token: answer(401, envelope(None, "10008", token)),
    "not JSON": lambda token: answer(body=f"token={token}"),
    "cut in the middle": lambda token: answer(body="x" * 180 + token),
    "redirect's path": lambda token: answer(302, Location=f"https://elsewhere.example.com/{token}/x"),
    "redirect's query": lambda token: answer(307, Location=f"https://elsewhere.example.com/?token={token}"),
    "redirect to a user": lambda token: answer(302, Location=f"https://{token}@elsewhere.example.com/"),
    "header": lambda token: answer(500, X_Token=token, Set_Cookie=f"token={token}"),
    "retry-after": lambda token: answer(503, Retry_After=token),
    "reason phrase": lambda token: web.Response(status=400, reason=f"Bad {token}"),
    "record": lambda token: answer(
        body=envelope([{"name": {"token": token}, "id": {"token": token}, "values": token}])
    ),
    "upper-case header": lambda token: answer(418, token, TOKEN=token),
    "over two lines": lambda token: rejection(f"the token {token[:20]}\r\n  {token[20:]} is not accepted"),
    "a tail": lambda token: rejection(f"the token ...{token[-20:]} is not accepted"),
    "a middle": lambda token: answer(404, f"no token like *{token[10:30]}*"),
    "base64": lambda token: rejection(f"Basic {encoded(token)}"),
    "base64 of more": lambda token: answer(500, f"Authorization: Basic {encoded('user:' + token + ':1')}"),
    "base64 over two lines": lambda token: answer(500, base64.encodebytes(3 * token.encode()).decode()),
    "escapes": lambda token: answer(500, "".join(f"\\u{ord(letter):04x}" for letter in token)),
    "percent-encoding": lambda token: answer(404, "".join(f"%{ord(letter):02x}" for letter in token)),
    "another token": lambda _token: rejection(f"the session of {SECRETS['user']} has not ended"),
    "another token's tail, cut": lambda _token: answer(500, "y" * 170 + SECRETS["file"][-30:]),
}


async def repeat(request: web.Request) -> web.Response:
    """Repeat the token in the way that the requested user is named after."""
    _, user = asked_for(request)
    return ECHOES[user or "message"](request.headers["token"])


async def log_in(request: web.Request) -> web.Response:
    """Repeat all that a login sends in the way that its user is named after; the user "lab" gets a token."""
    user = request.headers["user"]
    if user == "lab":
        return web.Response(body=envelope([{"clusterId": "11250", "token": SECRETS["obtained"]}]))
    names = ("password",) if "password" in request.headers else ("accessKey", "signature")
    return ECHOES[user](" ".join([*(request.headers[name] for name in names), SECRETS["secret key"]]))


def configuration(url: str) -> str:
    """Configure a target of each echo for each token, and a login of each echo for each kind of login."""
    echoes = list(ECHOES)
    members = [{"group_id": GROUP_ID, "users": echoes}]
    of_region: dict[str, dict[str, Any]] = {
        "kunshan": {"cluster_id": 11112, "token": SECRETS["inline"]},
        "xian": {"cluster_id": 11136, "token_file": "token"},
        "harbin": {"cluster_id": 11225, "token": "${HARBIN_TOKEN}"},
        "wuzhen": {"cluster_id": 11250, "account": "lab"},
        "shenzhen": {
            "cluster_id": 11276,
            "token": SECRETS["inline"],
            "users": [{"name": name, "token": SECRETS["user"]} for name in echoes],
        },
    }
    rejected = [
        {"name": f"login {name}", "cluster_id": 1, "account": name, "collect": ["schedulers"]}
        for name in (*echoes, *(f"old {name}" for name in echoes))
    ]
    regions = [{"name": name, "users": echoes, "members": members, **region} for name, region in of_region.items()]
    keys = {"access_key": SECRETS["access key"], "secret_key": SECRETS["secret key"]}
    accounts = [{"name": name, "user": name, "token_url": f"{url}/api/user/v3/tokens", **keys} for name in echoes]
    accounts.append({**accounts[0], "name": "lab", "user": "lab"})
    by_password = {"password": SECRETS["password"], "org_id": "o", "url": url}
    accounts += [{"name": f"old {name}", "user": name, **by_password} for name in echoes]
    return json.dumps(
        {
            "poll": {"interval": "1h", "timeout": "5s", "retries": 0},
            "accounts": accounts,
            "clusters": [{"hpc_url": url, **region} for region in regions + rejected],
        }
    )


def leaks(*texts: str) -> list[str]:
    """Kinds of the secrets of which the texts hold a part, as it is, escaped or in base64."""
    searched = [shape for text in texts for shape in (text, text.replace(" ", ""), unescaped(text), *decoded(text))]
    return [
        kind
        for kind, secret in SECRETS.items()
        if any(part in text for text in searched for part in (secret[:PREFIX], secret[14:26], secret[-PREFIX:]))
    ]


def unescaped(text: str) -> str:
    """Escapes and percent-encoding undone."""
    text = re.sub(r"\\+u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text)
    return unquote(text)


def decoded(text: str) -> Iterator[str]:
    """Everything that may be base64, decoded from each of its first four letters."""
    for letters in re.findall(r"[A-Za-z0-9+/]{16,}", text.replace(" ", "")):
        for start in range(4):
            whole = letters[start:][: len(letters[start:]) // 4 * 4]
            yield base64.b64decode(whole).decode(errors="replace")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def region() -> AsyncIterator[ScriptedRegion]:
    endpoints: Answers = dict.fromkeys(("queue_jobs", "schedulers", "member_jobs"), repeat)
    async with scripted_region({**endpoints, "login": log_in}) as region:
        yield region


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exporter(region: ScriptedRegion, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ExporterProcess]:
    """Start an exporter with all secrets and debug logging; return when it has polled every target."""
    folder = tmp_path_factory.mktemp("exporter")
    (folder / "token").write_text(SECRETS["file"] + "\n")
    env = {"HARBIN_TOKEN": SECRETS["environment"], **OWN_INTERPRETER}
    async with serving(folder, configuration(region.url), "--log.level=debug", env=env) as exporter:
        await exporter.ready()
        yield exporter


async def test_every_secret_was_sent_and_repeated_in_every_way(
    region: ScriptedRegion, exporter: ExporterProcess
) -> None:
    """Otherwise the tests below would find nothing in any case."""
    sent = {(request.headers.get("token"), asked_for(request)) for request in region.requests}
    for kind in ("inline", "file", "environment", "obtained"):
        for endpoint in ("queue_jobs", "member_jobs"):
            assert {(SECRETS[kind], (endpoint, name)) for name in ECHOES} <= sent
    assert {(SECRETS["user"], ("queue_jobs", name)) for name in ECHOES} <= sent
    assert {(None, ("login", name)) for name in (*ECHOES, "lab")} <= sent
    passwords = {(request.headers.get("password"), asked_for(request)) for request in region.requests}
    assert {(SECRETS["password"], ("login", name)) for name in ECHOES} <= passwords
    failing = [target for target in (await exporter.status())["targets"] if target["last_error"]]
    assert len(failing) > 150


@pytest.mark.parametrize("path", ["/", "/metrics", "/config", "/api/v1/status", "/-/ready", "/nothing"])
async def test_no_page_shows_a_secret(exporter: ExporterProcess, path: str) -> None:
    answer = await exporter.ask(path)
    assert answer.text
    assert leaks(answer.text, str(answer.headers)) == []


async def test_the_log_shows_no_secret(exporter: ExporterProcess) -> None:
    await exporter.logged("polling failed", 21)
    assert leaks(exporter.stderr, exporter.stdout) == []


async def test_the_list_of_processes_shows_no_secret(exporter: ExporterProcess) -> None:
    assert "--log.level=debug" in exporter.command_line
    assert leaks(exporter.command_line) == []


GOOD = {"name": "kunshan", "cluster_id": 11112, "hpc_url": "https://hpc.example.com", "token": SECRETS["file"]}
BROKEN: dict[str, dict[str, Any]] = {
    "a token in place of its file": {"token": None, "token_file": SECRETS["inline"]},
    "a token in place of an authority": {"tls": {"ca_file": SECRETS["inline"]}},
    "a token in place of a key": {SECRETS["inline"]: 1},
    "a token in place of a number": {"requests_per_second": SECRETS["inline"]},
    "a token in place of a duration": {"poll": {"interval": SECRETS["inline"]}},
    "a token in place of a word": {"collect": [SECRETS["inline"]], "tls": {"insecure_skip_verify": SECRETS["inline"]}},
    "a token in place of an account": {"token": None, "account": SECRETS["inline"]},
    "a token in place of a variable's name": {"token": "${" + SECRETS["inline"].replace("-", "_") + "}"},
    "a token in place of a list": {"users": SECRETS["inline"]},
    "a token in place of an address": {"hpc_url": SECRETS["inline"], "ac_url": f"https://{SECRETS['inline']}@x"},
    "a token in a list": {"token": [SECRETS["inline"]]},
    "a token in a mapping": {"token": {SECRETS["inline"]: 1}},
    "a token under a wrong key": {"tokne": SECRETS["inline"]},
    "a token that cannot be sent": {"token": SECRETS["inline"] + "é"},
    "a token of two lines": {"token": SECRETS["inline"] + "\n" + SECRETS["inline"]},
    "a token and its file": {"token": SECRETS["inline"], "token_file": "token"},
    "a token with a variable that is not set": {"token": SECRETS["inline"] + "${NOT_SET}"},
    "a token in an address": {"hpc_url": f"https://user:{SECRETS['inline']}@hpc.example.com"},
    "a token in a query": {"hpc_url": f"https://hpc.example.com/?token={SECRETS['inline']}"},
    "a secret from the environment where a number belongs": {"requests_per_second": "${HARBIN_TOKEN}"},
}


@pytest.mark.parametrize("mistake", BROKEN)
async def test_a_mistake_in_the_configuration_shows_no_secret(tmp_path: Path, mistake: str) -> None:
    (tmp_path / "token").write_text(SECRETS["file"])
    config = json.dumps({"clusters": [{**GOOD, **BROKEN[mistake]}]})
    env = {"HARBIN_TOKEN": SECRETS["environment"]}
    status, stdout, stderr = await run(tmp_path, "check", configuration=config, env=env)
    assert status == 1
    assert "exporter.yml:1:" in stdout
    assert leaks(stdout, stderr) == []


@pytest.mark.parametrize(
    "arguments",
    [
        f"check --config.file={SECRETS['inline']}",
        f"--config.file={SECRETS['inline']}",
        f"once --config.file={SECRETS['inline']}",
        f"--config.check --web.config.file={SECRETS['inline']}",
        f"check {SECRETS['inline']}",
        f"--log.level={SECRETS['inline']}",
        f"discover --user=lab --access-key-file={SECRETS['inline']} --secret-key-file=x",
    ],
)
async def test_a_token_misplaced_on_the_command_line_is_not_repeated(tmp_path: Path, arguments: str) -> None:
    status, stdout, stderr = await run(tmp_path, *arguments.split(), configuration=json.dumps({"clusters": [GOOD]}))
    assert status in (1, 2)
    assert stdout + stderr
    assert leaks(stdout, stderr) == []


async def test_a_rejected_reload_shows_no_secret(exporter: ExporterProcess) -> None:
    good = exporter.config.read_text(encoding="utf-8")
    exporter.config.write_text(json.dumps({"clusters": [{"name": "kunshan", **kwargs} for kwargs in BROKEN.values()]}))
    try:
        answer = await exporter.ask("/-/reload", "POST")
    finally:
        exporter.config.write_text(good, encoding="utf-8")
    assert answer.status == 500
    assert leaks(answer.text, exporter.stderr) == []
