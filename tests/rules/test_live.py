"""A real Prometheus with our rules and a real Alertmanager with our example watch an exporter on a bad day, and after.

The day is short: what lasts hours in the rules lasts seconds here.
"""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.cli.simulate import configuration
from exporter.simulator import OctopusProject, Simulator, UserSpec, default_projects, default_region
from tests.e2e.process import ExporterProcess, eventually, serving
from tests.e2e.real import Prometheus, real_part
from tests.rules.test_rules import ALERTS, ROOT, THRESHOLDS

LISTENING = re.compile(r'msg="Listening on".* address=(\S+)')
# Lasts in the rules -> lasts here. Scrapes and polls come several times in the shortest of them.
SHORTER = {
    "10m": "2s",
    "15m": "5s",
    "30m": "4s",
    "1h": "4s",
    "2h": "5s",
    "3h": "6s",
    "4h": "20s",
    "1d": "60s",
    "7d": "80s",
}
PATIENCE = {
    "1m": "500ms",
    "3m": "500ms",
    "5m": "2s",
    "10m": "500ms",
    "15m": "7s",
    "30m": "2s",
    "1h": "2s",
    "2h": "2s",
    "6h": "2s",
}
HELD_JOB = {"id": "8", "name": "held", "status": "statH"}
# Of the bad day: names that only this alert has.
EXPECTED = {
    ("HPCRegionDown", "harbin", ""),
    ("HPCDataStale", "kunshan", ""),
    ("HPCTargetFailing", "xian", "test"),
    ("HPCTokenExpiring", "kunshan", "alice"),
    ("HPCTokenRefreshFailing", "harbin", ""),
    ("HPCApiThrottled", "kunshan", ""),
    ("HPCNoSchedulers", "kunshan", ""),
    ("HPCQueueStuck", "kunshan", "carol"),
    ("HPCJobWaitingTooLong", "kunshan", "carol"),
    ("HPCJobsHeld", "kunshan", "carol"),
    ("HPCJobsFailing", "kunshan", "bob"),
    ("HPCOctopusBacklogGrowing", "driving", "PROCESSOR"),
    ("HPCUnknownStates", "kunshan", ""),
    ("HPCSeriesDropped", "kunshan", ""),
}
# A matter of luck: how soon harbin's data goes without a token; and whether Prometheus, which takes up to five seconds to
# find its target at all, says so.
CONSEQUENCES = {
    ("HPCDataStale", "harbin", ""),
    ("HPCNoSchedulers", "harbin", ""),
    ("HPCTargetFailing", "kunshan", "alice"),
    ("HPCTargetFailing", "kunshan", "bob"),
    ("HPCExporterDown", "", ""),
}


def shortened_rules() -> dict[str, Any]:
    """Return the alerts, with every time in them scaled down."""
    rules: list[dict[str, Any]] = [*THRESHOLDS.values()]
    rules = [{**rule, "expr": "vector(3)"} if "job_waiting" in rule["record"] else rule for rule in rules]
    for rule in ALERTS.values():
        annotations = {name: shortened(text) for name, text in rule["annotations"].items()}
        shorter = {"expr": shortened(rule["expr"]), "for": PATIENCE[rule["for"]], "annotations": annotations}
        rules.append({**rule, **shorter})
    return {"groups": [{"name": "all", "interval": "500ms", "rules": rules}]}


def shortened(text: str) -> str:
    text = re.sub(r"\[(\d+[mhd])\]", lambda match: f"[{SHORTER[match[1]]}]", text)
    text = re.sub(r"\[(\d+[mhd]):5m\]", lambda match: f"[{SHORTER[match[1]]}:1s]", text)
    return re.sub(r"\boffset (\d+[mh])\b", lambda match: f"offset {SHORTER[match[1]]}", text)


def hurried_alertmanager(webhook: str) -> dict[str, Any]:
    """Return the example of a configuration, with all patience taken out and an address put in."""
    example: dict[str, Any] = yaml.load(
        (ROOT / "config" / "alertmanager.yml").read_text(encoding="utf-8"), yaml.CSafeLoader
    )
    example["route"] |= {"group_wait": "200ms", "group_interval": "500ms"}
    example["receivers"][0]["webhook_configs"][0]["url"] = webhook
    return example


class Inbox:
    """The receiver of Alertmanager's messages."""

    def __init__(self) -> None:
        self.open: dict[str, dict[str, Any]] = {}
        self.seen: list[dict[str, Any]] = []
        self.messages = 0

    async def take(self, request: web.Request) -> web.Response:
        self.messages += 1
        for alert in (await request.json())["alerts"]:
            key = json.dumps(alert["labels"], sort_keys=True)
            if alert["status"] == "firing":
                self.open[key] = alert
                self.seen.append(alert)
            else:
                self.open.pop(key, None)
        return web.Response()

    def arrived(self) -> set[tuple[str, str, str]]:
        return {told(alert) for alert in self.seen}


def told(alert: dict[str, Any]) -> tuple[str, str, str]:
    """Name of the alert, region or project, and the user or queue, of whom its text has to speak.

    Of several the first; none for HPCDataStale, of which only the first message is sent: it names the target whose data
    went first.
    """
    labels, summary, description = alert["labels"], alert["annotations"]["summary"], alert["annotations"]["description"]
    where = labels.get("source") or labels.get("hpc_cluster") or labels.get("project") or labels.get("instance", "")
    who = labels.get("user") or labels.get("target") or labels.get("queue_type") or ""
    if labels["alertname"] == "HPCQueueStuck":
        who = summary.rpartition(" ")[2]
    if labels["alertname"] in ("HPCDataStale", "HPCTargetFailing"):
        named = re.search(r"(?:recent data:|worked of) \w+(?: of (\S+?))?[,.]", description)
        assert named, description
        who = named[1] or ""
        summary += description
    assert "error" not in summary.lower().replace("last error", ""), summary
    assert "error expanding" not in " ".join(alert["annotations"].values()), alert
    chinese = alert["annotations"]["summary_zh"] + alert["annotations"]["description_zh"]
    for name in (where, who):
        assert name in summary, summary
        assert name in chinese, chinese
    return labels["alertname"], where, "" if labels["alertname"] == "HPCDataStale" else who


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Inbox, str]]:
    inbox = Inbox()
    application = web.Application()
    application.router.add_post("/alerts", inbox.take)
    server = TestServer(application)
    await server.start_server()
    try:
        yield inbox, str(server.make_url("/alerts"))
    finally:
        await server.close()


@asynccontextmanager
async def program(folder: Path, name: str, *arguments: str) -> AsyncIterator[str]:
    """Yield a program of Prometheus' on a port of its own; HOST:PORT."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(real_part(name), *arguments, "--web.listen-address=127.0.0.1:0"), stdout=output, stderr=output
        )
    try:
        await eventually(lambda: LISTENING.search(log.read_text()) or process.returncode, f"{name} listens")
        found = LISTENING.search(log.read_text())
        assert found, log.read_text()
        yield found[1]
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


@asynccontextmanager
async def alertmanager(folder: Path, webhook: str) -> AsyncIterator[str]:
    """Alertmanager with the example of a configuration, sending to `webhook`; HOST:PORT."""
    (folder / "alertmanager.yml").write_text(json.dumps(hurried_alertmanager(webhook)), encoding="utf-8")
    arguments = (
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        "--cluster.listen-address=",
    )
    async with program(folder, "prometheus-alertmanager", *arguments) as address:
        yield address


@asynccontextmanager
async def watching(folder: Path, exporter: str) -> AsyncIterator[tuple[Inbox, Prometheus]]:
    """Prometheus and Alertmanager at work."""
    async with AsyncExitStack() as stack:
        inbox, webhook = await stack.enter_async_context(receiving())
        address = await stack.enter_async_context(alertmanager(folder, webhook))
        (folder / "rules.yml").write_text(json.dumps(shortened_rules()), encoding="utf-8")
        scrape = {"job_name": "hpc-exporter", "static_configs": [{"targets": [exporter]}]}
        settings = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
            "rule_files": [str(folder / "rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]},
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yml").write_text(json.dumps(settings), encoding="utf-8")
        prometheus = await stack.enter_async_context(
            program(
                folder,
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--rules.alert.resend-delay=1s",
            )
        )
        http = await stack.enter_async_context(aiohttp.ClientSession())
        server = Prometheus(f"http://{prometheus}", http)
        await eventually(server.ready, "Prometheus is ready")
        await server.scraped()
        yield inbox, server


async def truly_stale(server: Prometheus) -> set[tuple[str, str, str]]:
    """Return the alert for everything whose data was too old: where polls are late, that may be any."""
    found = await server.query("max by (source) (max_over_time(hpc_exporter_target_stale[1h])) == 1")
    return {("HPCDataStale", dict(labels).get("source", ""), "") for labels in found}


def empty_regions() -> Simulator:
    """Three regions in which nothing happens but what a test orders."""
    users = tuple(
        UserSpec(name, "physics" if name == "bob" else "chemistry", administrator=name == "test")
        for name in ("test", "alice", "bob", "carol")
    )
    regions = [replace(default_region(index), users=users, warm_up=0) for index in range(3)]
    return Simulator(regions, projects=default_projects(1), clock=lambda: 0.0, token_lifetime=30 * 86400.0)


def exporter_configuration(simulator: Simulator, alice: Path, *, max_jobs: int) -> str:
    """Return polls twice a second. `alice` is the file with her token; harbin's tokens come from a login."""
    facts: dict[str, Any] = yaml.load(configuration(simulator), yaml.CSafeLoader)
    facts["poll"] = {"interval": "500ms", "timeout": "100s", "stale_after": "2s", "retries": 0}
    facts["per_job"] = {"enabled": True, "max_jobs": max_jobs}
    account = simulator.accounts[0]
    facts["accounts"] = [
        {
            "name": "lab",
            "user": account.user,
            "access_key": account.access_key,
            "secret_key": account.secret_key,
            "token_url": simulator.token_url,
        }
    ]
    for cluster in facts["clusters"]:
        # Polls alone tell how jobs end: no history knows those of the test.
        cluster["collect"] = ["schedulers", "queue_jobs", "member_jobs"]
    kunshan, xian, harbin = facts["clusters"]
    for user in kunshan["users"]:
        if isinstance(user, dict) and user["name"] == "alice":
            del user["token"]
            user["token_file"] = str(alice)
    xian |= {"users": ["test"], "members": [], "poll": {"stale_after": "10m"}}
    del harbin["token"]
    harbin |= {"account": "lab", "users": ["test"], "members": []}
    return yaml.safe_dump(facts, allow_unicode=True)


def queue(name: str, **letters: int) -> dict[str, Any]:
    return {"name": name, "values": [{"metricName": at, "metricValue": letters.get(at, 0)} for at in "RQHSO"]}


def jobs(count: int, status: str, first: int = 100) -> list[dict[str, Any]]:
    return [{"id": str(first + number), "name": "vasp", "status": status} for number in range(count)]


def trouble(endpoint: str, user: str, data: Any, **more: Any) -> dict[str, Any]:
    """Return an answer that the region gives instead of its own."""
    return {"kind": "code", "code": "0", "endpoint": endpoint, "user": user, "data": data, **more}


BAD_DAY: dict[str, list[dict[str, Any]]] = {
    "kunshan": [
        trouble("member_jobs", "carol", [HELD_JOB, *jobs(3, "statQ"), {"id": "9", "name": "odd", "status": "statZ"}]),
        trouble("queue_jobs", "carol", [queue("dcu", Q=4)]),
        {"kind": "refused", "endpoint": "queue_jobs", "user": "alice"},
        {"kind": "status", "status": 429, "endpoint": "queue_jobs", "user": "bob"},
        {"kind": "code", "code": "0", "endpoint": "schedulers", "data": []},
        # For minutes: a busy machine may scrape too seldom to see one rise in the few seconds of a window.
        *(
            trouble("member_jobs", "bob", jobs(6, status, 100 + 6 * day), times=3)
            for day in range(200)
            for status in ("statR", "statD")
        ),
    ],
    "xian": [{"kind": "status", "status": 503, "endpoint": "queue_jobs", "user": "test"}],
}
# Harbin's account logs in here.
BAD_PLATFORM: list[dict[str, Any]] = [{"kind": "status", "status": 500, "endpoint": "login"}]


class Day:
    """Inject faults over HTTP, and remove them."""

    def __init__(self, simulator: Simulator, http: aiohttp.ClientSession) -> None:
        self._simulator = simulator
        self._http = http
        self._growing: asyncio.Task[None] | None = None

    async def break_everything(self) -> None:
        faults = {self._simulator.regions[name].hpc_url: faults for name, faults in BAD_DAY.items()}
        for url, ordered in (faults | {self._simulator.platform.url: BAD_PLATFORM}).items():
            async with self._http.post(f"{url}/simulator/faults", json=ordered) as answer:
                assert answer.status == 201, await answer.text()
        # Issued tokens are rejected from now on: a new login is needed, and fails.
        async with self._http.post(f"{self._simulator.regions['harbin'].hpc_url}/simulator/tokens/expire") as answer:
            assert answer.status == 204
        self._growing = asyncio.create_task(grow(self._simulator.projects["driving"]))

    async def heal(self) -> None:
        assert self._growing is not None
        self._growing.cancel()
        for rows in self._simulator.projects["driving"].rows.values():
            rows.clear()
        for url in (*(region.hpc_url for region in self._simulator.regions.values()), self._simulator.platform.url):
            async with self._http.delete(f"{url}/simulator/faults") as answer:
                assert answer.status == 204


async def grow(project: OctopusProject) -> None:
    """Ten entries more, again and again."""
    spec = next(each for each in project.spec.queues if each.queue_type == "PROCESSOR")
    pattern, rows = project.queued(spec)[0], project.rows.setdefault(spec.key, [])
    while True:
        rows += [{**pattern, "id": len(rows) + number} for number in range(10)]
        await asyncio.sleep(0.25)


async def comes(look: Callable[[], object], inbox: Inbox, what: str) -> None:
    try:
        await eventually(look, what)
    except AssertionError as late:
        raise AssertionError(f"{late}; missing: {EXPECTED - inbox.arrived()}; open: {inbox.open}") from None


async def test_problems_and_their_ends_reach_the_receiver(tmp_path: Path) -> None:
    real_part("prometheus")
    real_part("prometheus-alertmanager")
    alice = tmp_path / "alice-token"
    async with empty_regions() as simulator, aiohttp.ClientSession() as http:
        kunshan = simulator.regions["kunshan"]
        kunshan._office.lifetime = 3600.0
        alice.write_text(kunshan.token("alice"), encoding="utf-8")
        kunshan._office.lifetime = 30 * 86400.0
        day = Day(simulator, http)
        start = exporter_configuration(simulator, alice, max_jobs=1)
        async with (
            serving(tmp_path, start) as exporter,
            watching(tmp_path, exporter.addresses[0]) as (inbox, server),
        ):
            await exporter.ready()
            await day.break_everything()
            await comes(lambda: inbox.arrived() >= EXPECTED, inbox, "all expected alerts arrive")

            await day.heal()
            alice.write_text(kunshan.token("alice"), encoding="utf-8")
            exporter.config.write_text(exporter_configuration(simulator, alice, max_jobs=100), encoding="utf-8")
            assert (await exporter.ask("/-/reload", method="POST")).status == 200
            await comes(lambda: not inbox.open, inbox, "all alerts resolve")

            await stop_for_a_while(exporter, inbox)
            by_chance = CONSEQUENCES | await truly_stale(server)
        assert inbox.arrived() - by_chance == (EXPECTED - by_chance) | {("HPCExporterDown", exporter.addresses[0], "")}


async def stop_for_a_while(exporter: ExporterProcess, inbox: Inbox) -> None:
    """Stop the exporter for a while, as when the machine swaps; no other alert fires meanwhile."""
    exporter.process.send_signal(signal.SIGSTOP)
    try:
        await comes(lambda: any("HPCExporterDown" in key for key in inbox.open), inbox, "HPCExporterDown arrives")
    finally:
        exporter.process.send_signal(signal.SIGCONT)
    await comes(lambda: not inbox.open, inbox, "HPCExporterDown resolves")


# The day is that of one exporter, which cannot be a part of a whole; of collectors that are on by default; and too short for
# bounds of waits.
NOT_OF_THE_DAY = {
    "HPCExporterDown",
    "HPCShardsIncomplete",
    "HPCAccountBlocked",
    "HPCBalanceRunsOut",
    "HPCMemberAtLimit",
    "HPCQueueDisabled",
    "HPCStorageFillingUp",
    "HPCStorageFull",
    "HPCWaitBoundFailing",
}


def test_every_alert_has_its_part_in_the_bad_day() -> None:
    assert {name for name, _, _ in EXPECTED} | NOT_OF_THE_DAY == set(ALERTS)
