"""Accounts in the whole exporter: one login for all regions, over many lives of its tokens."""

import asyncio
import base64
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from exporter.http import tokens as tokens_module
from exporter.metrics.exposition import Exposition
from exporter.polling import TargetKey
from exporter.simulator import Account, Fault, Region, Simulator, default_regions
from exporter.simulator.tokens import fingerprint
from tests.app.running import Running, ready, running
from tests.e2e.process import ExporterProcess, eventually, run, serving
from tests.support.clock import FakeClock
from tests.support.forks import OWN_INTERPRETER
from tests.support.platform import DAY, idle_regions

LAB = Account("lab", "ak-lab", "sk-lab", "pw-lab", users={"kunshan": "test", "xian": "test", "harbin": "test"})
EXPIRY = 'hpc_exporter_token_expiry_timestamp_seconds{source="%s",user="%s"}'
REFRESHES = 'hpc_exporter_token_refreshes_total{source="%s"}'
REFRESH_FAILURES = 'hpc_exporter_token_refresh_failures_total{source="%s"}'
UP = 'hpc_up{hpc_cluster="%s"}'


@asynccontextmanager
async def simulated(
    count: int = 1,
    *,
    accounts: Sequence[Account] = (LAB,),
    lifetime: float = DAY,
    ahead: float = 0.0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Simulator]:
    """Idle regions with separate ports for their AC addresses; their clock is `ahead` of the exporter's."""
    specs = idle_regions(count, separate_ac_port=True)
    simulator = Simulator(specs, accounts=accounts, token_lifetime=lifetime, wall_clock=lambda: time.time() + ahead)
    await simulator.start(tls=tls)
    try:
        yield simulator
    finally:
        await simulator.stop()


def account(simulator: Simulator, at: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the section of a platform login."""
    known = simulator.accounts[at]
    keys = {"access_key": known.access_key, "secret_key": known.secret_key, "token_url": simulator.token_url}
    given = {"name": known.user, "user": known.user, **keys, **changes}
    return {key: value for key, value in given.items() if value is not None}


def with_password(simulator: Simulator, at: int = 0, **changes: Any) -> dict[str, Any]:
    known = simulator.accounts[at]
    by_key = {"access_key": None, "secret_key": None, "token_url": None}
    by_password = {"password": known.password, "org_id": known.org_id, "url": simulator.token_url.partition("/api")[0]}
    return account(simulator, at, **(by_key | by_password | changes))


def cluster(region: Region, **more: Any) -> dict[str, Any]:
    """Return the section of a region, with the account "lab"; None takes a key away."""
    section = {
        "name": region.name,
        "cluster_id": region.cluster_id,
        "hpc_url": region.hpc_url,
        "ac_url": region.ac_url,
        "account": "lab",
        **more,
    }
    return {key: value for key, value in section.items() if value is not None}


def members(region: Region) -> list[dict[str, Any]]:
    return [
        {"group_id": group.id, "users": [user.name for user in region.spec.users if user.group == group.name]}
        for group in region.spec.groups
    ]


def configured(accounts: Sequence[dict[str, Any]], clusters: Sequence[dict[str, Any]], **poll: Any) -> str:
    settings = {"interval": "1h", "timeout": "5s", "retries": 0, **poll}
    return json.dumps({"poll": settings, "accounts": accounts, "clusters": clusters}, ensure_ascii=False, indent=1)


def counted(samples: dict[str, float], family: str, *labels: str) -> float:
    """Return the sum over the series of a family that hold all these labels."""
    return sum(
        value
        for series, value in samples.items()
        if series.startswith(family + "{") and all(label in series for label in labels)
    )


def logins(simulator: Simulator) -> int:
    return sum(api.requests.counts["login"] for api in simulator.apis)


# Many lives


async def lived(exporter: Running, lives: float) -> dict[str, float]:
    """Wait until both regions have had `lives` tokens; the samples then."""
    return await exporter.shows(
        lambda samples: all(samples.get(REFRESHES % name, 0) >= lives for name in ("kunshan", "xian")), f"{lives} lives"
    )


async def let_pass(exporter: Running, clock: FakeClock, seconds: float) -> None:
    """Let time pass in steps, but not while requests are in flight."""
    for _ in range(int(seconds / STEP)):
        await clock.advance(STEP)
        while any(status.in_flight for status in exporter.app.scheduler.statuses):  # noqa: ASYNC110 - sockets set no event
            await asyncio.sleep(0.001)


STEP = 10.0


@pytest.mark.parametrize(
    ("lives", "failing"),
    [
        pytest.param(20, (), id="renewed"),
        pytest.param(10, (Fault(kind="status", endpoint="next"),), id="no renewal"),
    ],
)
async def test_over_many_lives_of_tokens_no_poll_fails(tmp_path: Path, lives: int, failing: Sequence[Fault]) -> None:
    """Tokens are renewed before they expire, so that none is rejected."""
    clock, life = FakeClock(), 600.0
    specs = idle_regions(2, separate_ac_port=True)
    simulator = Simulator(specs, accounts=[LAB], clock=clock.monotonic, wall_clock=clock.now, token_lifetime=life)
    async with simulator:
        for region in simulator.regions.values():
            for fault in failing:
                region.faults.add(fault)
        clusters = [cluster(region, members=members(region)[:1]) for region in simulator.regions.values()]
        text = configured([account(simulator)], clusters, interval="60s")
        async with running(tmp_path, text, clock) as exporter:
            await let_pass(exporter, clock, 0.81 * life * lives)
            samples = await exporter.samples()
        assert min(samples[REFRESHES % name] for name in ("kunshan", "xian")) >= lives
        assert counted(samples, "hpc_exporter_poll_failures_total") == 0
        assert counted(samples, "hpc_exporter_polls_total") >= 2 * 5 * 0.8 * life * lives / 60
        assert counted(samples, "hpc_exporter_api_errors_total") == 0
        assert logins(simulator) == (lives_of(samples) if failing else 1)
        assert samples[UP % "kunshan"] == samples[UP % "xian"] == 1


def lives_of(samples: dict[str, float]) -> float:
    return max(value for series, value in samples.items() if series.startswith("hpc_exporter_token_refreshes_total"))


async def test_tokens_that_expire_early_fail_no_poll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only in this test do tokens live so briefly.
    monkeypatch.setattr(tokens_module, "EARLY", 0.0)
    async with simulated(2) as simulator:
        kunshan, xian = simulator.regions.values()
        clusters = [cluster(region, members=members(region)) for region in (kunshan, xian)]
        async with ready(tmp_path, configured([account(simulator)], clusters, interval="100ms")) as exporter:
            await lived(exporter, 1)
            before = logins(simulator)
            for expiry in range(1, 16):
                (kunshan if expiry % 2 else xian).expire_tokens()
                await lived(exporter, 1 + expiry)
            samples = await exporter.samples()
        assert counted(samples, "hpc_exporter_poll_failures_total") == 0
        assert logins(simulator) == before + 15
        rejected = counted(samples, "hpc_exporter_api_errors_total", 'api_code="911406"')
        assert 15 <= rejected <= 15 * 8, "no more than were in flight"


# Faults


async def test_a_disabled_and_an_unknown_region_are_logged_once_and_others_work(tmp_path: Path) -> None:
    async with simulated(3) as simulator:
        kunshan, xian, harbin = simulator.regions.values()
        simulator.disable("lab", "xian")
        sections = [
            cluster(kunshan, members=members(kunshan)),
            cluster(xian, users=["test"], members=members(xian)),
            cluster(harbin, users=["test"], cluster_id=4711),
        ]
        with capture_logs() as lines:
            async with ready(tmp_path, configured([account(simulator)], sections, interval="100ms")) as exporter:
                polls = 'hpc_exporter_polls_total{source="%s",collector="schedulers"}'
                samples = await exporter.shows(
                    lambda samples: min(samples[polls % "xian"], samples[polls % "harbin"]) >= 4, "some more polls"
                )
        assert [samples[UP % region.name] for region in (kunshan, xian, harbin)] == [1, 0, 0]
        said = {line["source"]: line for line in lines if line["event"] == "polling failed"}
        assert len(said) == len([line for line in lines if line["log_level"] != "info"]) == 2
        assert "account lab is disabled in region 11136" in said["xian"]["error"]
        assert "no region with cluster_id 4711; it has: 11112, 11136, 11225" in said["harbin"]["error"]
        reasons = {
            (name, reason): counted(
                samples, "hpc_exporter_poll_failures_total", f'source="{name}"', f'reason="{reason}"'
            )
            for name in ("kunshan", "xian", "harbin")
            for reason in ("auth", "permission")
        }
        assert reasons["kunshan", "auth"] == reasons["xian", "permission"] == reasons["harbin", "permission"] == 0
        assert reasons["xian", "auth"] >= 8 * 4 / 2
        assert logins(simulator) <= 1
        assert samples[REFRESH_FAILURES % "xian"] == samples[REFRESH_FAILURES % "harbin"] == 1
        assert EXPIRY % ("xian", "") not in samples
        assert xian.requests.counts["schedulers"] == harbin.requests.counts["schedulers"] == 0


async def test_the_error_of_a_login_with_a_wrong_clock_says_so(tmp_path: Path) -> None:
    async with simulated(ahead=2 * 3600.0) as simulator:
        with capture_logs() as lines:
            text = configured([account(simulator)], [cluster(*simulator.regions.values())])
            async with ready(tmp_path, text) as exporter:
                errors = [target["last_error"]["message"] for target in (await exporter.status())["targets"]]
        said = [re.search(r"this machine's clock is (\d+) s behind the server's.*set it", error) for error in errors]
        assert [found and int(found[1]) for found in said] == [pytest.approx(7200, abs=20)] * 2
        assert len([line for line in lines if "clock" in str(line)]) == 1


async def test_a_clock_that_is_minutes_off_is_warned_about_once(tmp_path: Path) -> None:
    async with simulated(2, ahead=-100.0, lifetime=1.0) as simulator:
        with capture_logs() as lines:
            clusters = [cluster(region) for region in simulator.regions.values()]
            text = configured([account(simulator)], clusters, interval="100ms")
            async with running(tmp_path, text) as exporter:
                samples = await lived(exporter, 3)
        assert counted(samples, "hpc_exporter_poll_failures_total") == 0
        [said] = [line["event"] for line in lines if "clock" in line["event"]]
        assert re.match(r"this machine's clock is 1\d\d s ahead of the server's", said)


async def test_an_account_recovers_as_soon_as_its_file_is_right(tmp_path: Path) -> None:
    """For each kind of file, and long before the next poll is due."""
    accounts = [Account(name, f"ak-{name}", f"sk-{name}", f"pw-{name}", users={name: "test"}) for name in NAMES]
    async with simulated(3, accounts=accounts) as simulator:
        files = {name: tmp_path / f"of-{name}" for name in NAMES}
        for file in files.values():
            file.write_text("wrong\n")
        regions = simulator.regions
        sections = [
            account(simulator, 0, secret_key=None, secret_key_file="of-kunshan"),
            account(simulator, 1, access_key=None, access_key_file="of-xian"),
            with_password(simulator, 2, password=None, password_file="of-harbin"),
        ]
        clusters = [cluster(region, account=region.name, users=["test"]) for region in regions.values()]
        async with serving(tmp_path, configured(sections, clusters)) as exporter:
            await exporter.ready()
            samples = await exporter.samples()
            assert [samples[UP % name] for name in NAMES] == [0, 0, 0]
            assert counted(samples, "hpc_exporter_poll_failures_total", 'reason="auth"') == 6
            assert [samples[REFRESH_FAILURES % name] for name in NAMES] == [1, 1, 1]
            assert logins(simulator) == 3
            files["kunshan"].write_text("sk-kunshan\n")
            files["xian"].write_text("ak-xian\n")
            files["harbin"].write_text("pw-harbin\n")
            began = time.monotonic()
            samples = await exporter.shows(
                lambda samples: [samples[UP % name] for name in NAMES] == [1, 1, 1], "health"
            )
            assert time.monotonic() - began < 100
            assert [samples[REFRESHES % name] for name in NAMES] == [1, 1, 1]
            assert logins(simulator) == 6
            assert len(await exporter.logged("polling recovered", 3)) == len(exporter.log_lines("polling failed")) == 3


NAMES = ("kunshan", "xian", "harbin")


async def test_a_missing_or_unreadable_secret_file_is_named_by_check(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").write_text(" \n")
    url = "https://hpc.example.com"
    accounts = [
        {"name": "a", "user": "a", "access_key_file": "missing-ak", "secret_key_file": "folder"},
        {"name": "b", "user": "b", "password_file": "empty", "org_id": "o", "url": url},
    ]
    users = [{"name": "bob", "token_file": "missing-bob"}]
    clusters = [{"name": "one", "cluster_id": 1, "hpc_url": url, "account": "a", "users": users}]
    status, out, err = await run(tmp_path, "check", configuration=configured(accounts, clusters))
    assert (status, err) == (1, "exporter.yml: 4 mistakes\n")
    assert [re.sub(r".*cannot use (\S+): ([^:]+).*", r"\1: \2", line) for line in out.splitlines()] == [
        "missing-ak: there is no such file",
        "folder: it is a directory",
        "empty: it is empty",
        "missing-bob: there is no such file",
    ]


# Owners of tokens


async def test_each_user_is_polled_with_their_own_token(tmp_path: Path) -> None:
    carols = Account("carol", "ak-carol", "sk-carol", "pw-carol", users={"kunshan": "carol"})
    async with simulated(accounts=[LAB, carols]) as simulator:
        [region] = simulator.regions.values()
        alice, bob, bobs_next = region.token("alice"), region.token("bob"), region.token("bob")
        (tmp_path / "bob-token").write_text(bob)
        users = [
            "test",
            {"name": "alice", "token": alice},
            {"name": "bob", "token_file": "bob-token"},
            {"name": "carol", "account": "carol"},
        ]
        text = configured([account(simulator), account(simulator, 1)], [cluster(region, users=users)])
        async with ready(tmp_path, text) as exporter:
            samples = await exporter.samples()
            assert counted(samples, "hpc_exporter_poll_failures_total") == 0
            owners = {series.split('user="')[1].split('"')[0] for series in samples if series.startswith(EXPIRY[:43])}
            assert owners == {"", "alice", "bob", "carol"}
            assert samples[REFRESHES % "kunshan"] == 2
            tokens = {record.user: record.token for record in region.requests.of("queue_jobs")}
            assert tokens["alice"] == fingerprint(alice)
            assert tokens["bob"] == fingerprint(bob)
            assert len(set(tokens.values())) == 4
            (tmp_path / "bob-token").write_text(bobs_next)
            await eventually(
                lambda: fingerprint(bobs_next) in {record.token for record in region.requests.of("queue_jobs")},
                "bob's new token",
            )
            # Bob is polled with the region's token, alice is gone: no expiry is shown for either.
            await exporter.reload(configured([account(simulator)], [cluster(region, users=["test", "bob"])]))
            samples = await exporter.samples()
            assert [series for series in samples if series.startswith(EXPIRY[:43])] == [EXPIRY % ("kunshan", "")]


@pytest.mark.parametrize("foreign", ["denied", "empty"])
async def test_without_users_the_tokens_owner_is_the_target_and_may_become_another(
    tmp_path: Path, foreign: Literal["denied", "empty"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also during a poll: the region's answer to Alice about another user is neither a failure nor a zero."""
    users = {"kunshan": "test"}
    # With jobs: without any, nothing new would be shown.
    async with Simulator(default_regions(), accounts=[Account("lab", "ak", "sk", "pw", users=users)]) as simulator:
        [region] = simulator.regions.values()
        region.set_quirks(foreign_queue=foreign)
        text = configured([account(simulator)], [cluster(region, collect=["queue_jobs"])], interval="100ms")
        shown: list[str] = []
        put = Exposition.put

        def noted(self: Exposition, owner: Any, chunks: Any) -> None:
            if isinstance(owner, TargetKey) and chunks:
                shown.append(owner.target)
            put(self, owner, chunks)

        monkeypatch.setattr(Exposition, "put", noted)
        async with running(tmp_path, text) as exporter:

            def owned_by(name: str) -> bool:
                [status] = exporter.app.scheduler.statuses
                return status.key.target == name and status.up is True

            await eventually(lambda: owned_by("test"), "the owner's name is the target's")
            users["kunshan"] = "alice"
            shown.clear()
            region.expire_tokens()
            await eventually(lambda: owned_by("alice"), "the new owner's name is")
            samples = await exporter.samples()
            assert not [series for series in samples if 'target="test"' in series]
            assert counted(samples, "hpc_exporter_poll_failures_total") == 0
        assert "alice" in shown
        assert "test" not in shown


async def test_member_lists_that_need_the_platforms_token_get_it(tmp_path: Path) -> None:
    """A separate host for member lists that accepts only tokens of the platform."""
    kinds: list[bool] = []

    async def lists(request: web.Request) -> web.Response:
        payload = request.headers["token"].split(".")[1]
        kinds.append(json.loads(base64.urlsafe_b64decode(payload + "=="))["clusterId"] == "0")
        return web.json_response({"code": "0", "data": []} if kinds[-1] else {"code": 401, "message": "用户未登录!"})

    application = web.Application()
    application.router.add_get("/ac/openapi/v2/clusters/{path:.*}", lists)
    async with simulated() as simulator, TestServer(application) as host:
        [region] = simulator.regions.values()
        ac_url = str(host.make_url("/")).rstrip("/")
        section = cluster(region, ac_url=ac_url, members=members(region), collect=["member_jobs"])
        async with ready(tmp_path, configured([account(simulator)], [section], interval="100ms")) as exporter:
            await eventually(lambda: kinds.count(True) > 20, "some polls")
            samples = await exporter.samples()
        assert counted(samples, "hpc_exporter_poll_failures_total") == 0
        assert samples[REFRESHES % "kunshan"] == 2
        assert [series for series in samples if series.startswith("hpc_exporter_token_expiry")] == [
            EXPIRY % ("kunshan", "")
        ]
        assert logins(simulator) == 1
        assert 1 <= kinds.count(False) <= 16, "no more than were in flight"


# Reloads


async def test_a_reload_keeps_the_login_and_its_tokens(tmp_path: Path) -> None:
    async with simulated(2) as simulator:
        kunshan, xian = simulator.regions.values()

        def text(*sections: dict[str, Any], **changes: Any) -> str:
            return configured([account(simulator, **changes)], sections)

        async with ready(tmp_path, text(cluster(kunshan), cluster(xian))) as exporter:
            ends = (await exporter.samples())[EXPIRY % ("kunshan", "")]
            assert ends == pytest.approx(time.time() + DAY, abs=60)
            asked = kunshan.requests.counts["schedulers"]
            await exporter.reload(text(cluster(kunshan, poll={"interval": "100ms"}), cluster(xian)))
            await eventually(lambda: kunshan.requests.counts["schedulers"] > asked + 2, "it goes on")
            samples = await exporter.samples()
            assert samples[EXPIRY % ("kunshan", "")] == ends
            assert samples[REFRESHES % "kunshan"] == 1
            assert 'hpc_exporter_target_up{source="kunshan",collector="queue_jobs",target="test"}' in samples
            assert logins(simulator) == 1
            # A removed region takes its series with it; the account stays.
            await exporter.reload(text(cluster(xian)))
            samples = await exporter.samples()
            assert not [series for series in samples if "kunshan" in series]
            assert EXPIRY % ("xian", "") in samples
            assert logins(simulator) == 1
            # Another credential is another login.
            await exporter.reload(with_password_text(simulator, xian))
            await eventually(lambda: logins(simulator) == 2, "the new login")


def with_password_text(simulator: Simulator, region: Region) -> str:
    return configured([with_password(simulator)], [cluster(region)])


# TLS


async def test_private_authorities_and_unverified_certificates(tmp_path: Path) -> None:
    """`tls.ca_file` for accounts and regions; `insecure_skip_verify` is warned about."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting, careless = {"ca_file": "ca.pem"}, {"insecure_skip_verify": True}
    async with simulated(3, tls=context) as simulator:
        kunshan, xian, harbin = simulator.regions.values()
        accounts = [account(simulator, tls=trusting), account(simulator, name="untrusting")]
        clusters = [
            cluster(kunshan, tls=trusting, members=members(kunshan)),
            cluster(xian, tls=careless),
            cluster(harbin, users=["test"]),
            cluster(harbin, name="no-login", users=["test"], account="untrusting", tls=trusting),
        ]
        async with serving(tmp_path, configured(accounts, clusters)) as exporter:
            await exporter.ready()
            samples = await exporter.samples()
            assert [samples[UP % name] for name in (*NAMES, "no-login")] == [1, 1, 0, 0]
            assert counted(samples, "hpc_exporter_poll_failures_total", 'reason="connection"') == 4
            assert logins(simulator) == 1
            page = (await exporter.ask("/")).text
            [warning] = await exporter.logged("certificates are not verified")
            assert "level=warning" in warning
            assert "clusters[1].tls.insecure_skip_verify: certificates are not verified" in page
            for line in await exporter.logged("polling failed"):
                assert "was not accepted" in line
                assert "tls.ca_file" in line


# Secrets


async def test_no_token_or_key_is_shown_over_renewals_and_failures(tmp_path: Path) -> None:
    """The logins and renewals of both kinds of account; test_secrets.py holds what a region may repeat."""
    lab = Account("lab", "accessSESAME1", "secretSESAME2", "passwordSESAME3", users={"kunshan": "test", "xian": "bob"})
    async with simulated(2, accounts=[lab], lifetime=1.0) as simulator:
        kunshan, xian = simulator.regions.values()
        (tmp_path / "sk").write_text("wrongSESAME4")
        accounts = [
            account(simulator, access_key="${AK}", secret_key=None, secret_key_file="sk"),
            with_password(simulator, name="old"),
        ]
        clusters = [
            cluster(kunshan, users=["test", "bob"], members=members(kunshan)),
            cluster(xian, account="old", members=members(xian)),
        ]
        kunshan.faults.add(Fault(kind="wrong_shape", endpoint="next", data=["x"], times=2))
        text = configured(accounts, clusters, interval="200ms")
        env = {"AK": lab.access_key, **OWN_INTERPRETER}
        async with serving(tmp_path, text, "--log.level=debug", env=env) as exporter:
            await exporter.ready()
            written = await pages(exporter)
            (tmp_path / "sk").write_text(lab.secret_key)
            await exporter.shows(lambda samples: samples.get(REFRESHES % "kunshan", 0) >= 3, "some lives")
            for api in (simulator.platform, kunshan):
                for endpoint in ("login", "next"):
                    api.faults.add(Fault(kind="refused", endpoint=endpoint))
            kunshan.expire_tokens()
            await exporter.shows(lambda samples: samples[REFRESH_FAILURES % "kunshan"] >= 2, "failures")
            written += await pages(exporter) + exporter.command_line
        written += exporter.stdout + exporter.stderr
    issued = simulator._office._issued
    assert "renewing failed" in written, "debug lines are there"
    assert len(issued) > 5
    assert "SESAME" not in written
    assert not [token for token in issued if token.split(".")[2][:20] in written]


async def pages(exporter: ExporterProcess) -> str:
    return "".join([(await exporter.ask(path)).text for path in ("/", "/metrics", "/config", "/api/v1/status")])
