"""Data that a reload keeps, adds and removes."""

import asyncio
import gzip
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from structlog.testing import capture_logs

from exporter.app import application, components, tracker
from exporter.config import Config, FileSecret, Tls
from exporter.errors import ConfigurationError
from exporter.metrics.format import Format
from exporter.polling import SLICE, Target
from exporter.sources.collector import catalogue, subjects_of
from tests.app.running import Running, ready, running
from tests.e2e.process import eventually, samples_of
from tests.e2e.region import (
    GROUP_ID,
    ScriptedRegion,
    cluster,
    configuration,
    envelope,
    job,
    queue,
    scripted_region,
)
from tests.e2e.test_accounts import simulated
from tests.support.clock import FakeClock

UP = 'hpc_up{hpc_cluster="%s"}'
RUNNING = 'hpc_queue_jobs{hpc_cluster="%s",user="%s",queue="debug",state="running"}'
POLLED = '{source="kunshan",collector="queue_jobs"}'
PER_JOB: dict[str, Any] = {"enabled": True, "max_jobs": 10}


@pytest.fixture
async def region() -> AsyncIterator[ScriptedRegion]:
    jobs = envelope([job("1"), job("2")])
    async with scripted_region({"queue_jobs": envelope([queue("debug", R=2)]), "member_jobs": jobs}) as region:
        yield region


@pytest.fixture
async def exporter(tmp_path: Path, region: ScriptedRegion) -> AsyncIterator[Running]:
    """Yield an exporter that has polled the region."""
    async with ready(tmp_path, configuration(cluster(region.url))) as exporter:
        yield exporter


async def test_unchanged_targets_keep_their_data_and_their_rhythm(region: ScriptedRegion, exporter: Running) -> None:
    before = await exporter.domain()
    asked = len(region.requests)
    planned = [status.next_poll for status in exporter.app.scheduler.statuses]
    both = cluster(region.url), cluster(region.url, name="xian", users=[], members=[])
    await exporter.reload(configuration(*both, tracking={"time_zone": "UTC", "history_window": "2h"}))
    # For the regions that stay as well.
    assert (str(exporter.app._context.zone), exporter.app._context.history_window) == ("UTC", 7200)
    assert before.items() <= (await exporter.domain()).items()
    assert [status.next_poll for status in exporter.app.scheduler.statuses][: len(planned)] == planned
    await eventually(lambda: len(region.requests) > asked, "the new region was polled")
    await eventually(lambda: all(status.up for status in exporter.app.scheduler.statuses), "all are up")
    assert len(region.requests) == asked + 1


async def test_a_target_that_is_added_to_a_region_leaves_the_others_alone(
    region: ScriptedRegion, exporter: Running
) -> None:
    before = await exporter.domain()
    await exporter.reload(configuration(cluster(region.url, users=["test", "bob"])))
    assert before.items() <= {**await exporter.domain(), UP % "kunshan": 1.0}.items()
    samples = await exporter.shows(lambda samples: RUNNING % ("kunshan", "bob") in samples, "the new user")
    assert samples[RUNNING % ("kunshan", "bob")] == 2
    assert region.paths.count("/hpc/openapi/v2/view/queue/jobs?userName=test") == 1


async def test_a_target_that_is_taken_away_takes_its_series_along(tmp_path: Path, region: ScriptedRegion) -> None:
    async with ready(tmp_path, configuration(cluster(region.url, users=["test", "bob"]))) as exporter:
        await exporter.reload(configuration(cluster(region.url, users=["test"])))
        samples = await exporter.samples()
        assert RUNNING % ("kunshan", "test") in samples
        assert not [series for series in samples if '"bob"' in series]


async def test_a_region_that_is_taken_away_leaves_nothing_behind(tmp_path: Path, region: ScriptedRegion) -> None:
    both = [cluster(region.url), cluster(region.url, name="xian", users=[{"name": "test", "token": "another"}])]
    async with ready(tmp_path, configuration(*both, per_job=PER_JOB)) as exporter:
        assert [series for series in await exporter.samples() if '"xian"' in series]
        await exporter.reload(configuration(both[0], per_job=PER_JOB))
        assert not [series for series in await exporter.samples() if '"xian"' in series]
        assert UP % "kunshan" in await exporter.samples()


async def test_not_even_by_a_request_that_was_under_way(tmp_path: Path, region: ScriptedRegion) -> None:
    hung = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        hung.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with scripted_region({"queue_jobs": hang}) as slow:
        both = [cluster(region.url), cluster(slow.url, name="xian")]
        async with running(tmp_path, configuration(*both)) as exporter:
            await hung.wait()
            await exporter.reload(configuration(both[0]))
            await eventually(lambda: not exporter.app._closing, "the old region is closed")
            assert not [series for series in await exporter.samples() if '"xian"' in series]


async def test_a_region_under_its_old_name_at_another_address_starts_anew(
    tmp_path: Path, region: ScriptedRegion
) -> None:
    """Data of the old address is no longer shown."""
    async with (
        scripted_region({"queue_jobs": envelope([queue("debug", R=7)])}) as elsewhere,
        ready(tmp_path, configuration(cluster(region.url))) as exporter,
    ):
        await exporter.reload(configuration(cluster(elsewhere.url)))
        assert RUNNING % ("kunshan", "test") not in await exporter.samples()
        samples = await exporter.shows(lambda samples: RUNNING % ("kunshan", "test") in samples, "the new numbers")
        assert samples[RUNNING % ("kunshan", "test")] == 7


async def test_another_token_is_used_without_a_gap(tmp_path: Path, region: ScriptedRegion) -> None:
    async with ready(tmp_path, configuration(cluster(region.url), poll={"interval": "100ms"})) as exporter:
        poll = {"interval": "100ms", "max_concurrency": 3}
        await exporter.reload(configuration(cluster(region.url, token="the-next-one"), poll=poll))
        assert exporter.app.components.slots._value == 3
        assert RUNNING % ("kunshan", "test") in await exporter.samples()
        await eventually(lambda: region.requests[-1].headers["token"] == "the-next-one", "the new token is used")
        assert (await exporter.samples())[UP % "kunshan"] == 1


async def test_a_queue_once_seen_stays_over_a_reload(tmp_path: Path, region: ScriptedRegion) -> None:
    poll = {"interval": "100ms"}
    async with ready(tmp_path, configuration(cluster(region.url), poll=poll)) as exporter:
        region.answers["queue_jobs"] = envelope(None)
        await exporter.reload(configuration(cluster(region.url, requests_per_second=1000), poll=poll))
        samples = await exporter.shows(lambda samples: samples[RUNNING % ("kunshan", "test")] == 0, "the empty queue")
        assert samples[UP % "kunshan"] == 1


async def test_per_job_series_can_be_switched_on_and_off(tmp_path: Path, region: ScriptedRegion) -> None:
    def per_job(samples: dict[str, float]) -> list[str]:
        return [s for s in samples if s.startswith(("hpc_job_info", "hpc_job_requested", "hpc_exporter_jobs_d"))]

    poll = {"interval": "100ms"}
    async with ready(tmp_path, configuration(cluster(region.url), poll=poll)) as exporter:
        assert not per_job(await exporter.samples())
        await exporter.reload(configuration(cluster(region.url), poll=poll, per_job=PER_JOB))
        await exporter.shows(per_job, "series of jobs")
        await exporter.reload(configuration(cluster(region.url), poll=poll, per_job={"enabled": False}))
        await exporter.shows(lambda samples: not per_job(samples), "no series of jobs")


async def test_excluded_metrics_leave_and_return_at_a_reload_without_a_poll(
    region: ScriptedRegion, exporter: Running
) -> None:
    """Of the regions and of the exporter, in either form; what counts the series counts those that are shown."""
    excluded = ["hpc_queue_jobs", "hpc_exporter_polls_total", "hpc_exporter_poll_duration_seconds"]
    await exporter.shows(lambda samples: any("observations_censored" in each for each in samples), "tracked jobs")
    before, polled = await exporter.domain(), len(region.requests)
    await exporter.reload(configuration(cluster(region.url), metrics={"exclude": excluded}))
    plain = await exporter.text()
    samples = samples_of(plain)
    assert not [name for name in excluded if name in plain]
    assert samples["hpc_exporter_series"] == len(samples)
    assert await exporter.domain() == {series: value for series, value in before.items() if excluded[0] not in series}
    for fmt in Format:
        text = gzip.decompress(await exporter.app.metrics(fmt, compress=True)).decode()
        assert not [name for name in excluded if name.removesuffix("_total") in text]
    await exporter.reload(configuration(cluster(region.url)))
    assert await exporter.domain() == before
    assert (await exporter.samples())["hpc_exporter_poll_duration_seconds_count" + POLLED] == 1
    assert len(region.requests) == polled


async def test_all_metrics_can_be_excluded(tmp_path: Path, region: ScriptedRegion) -> None:
    everything = configuration(cluster(region.url), per_job=PER_JOB, metrics={"exclude": list(catalogue())})
    async with ready(tmp_path, everything) as exporter:
        assert all(series.startswith("process_") for series in await exporter.samples())


async def test_a_configuration_in_which_only_lines_moved_disturbs_nothing(
    tmp_path: Path, region: ScriptedRegion
) -> None:
    text = configuration(cluster(region.url))
    async with ready(tmp_path, text) as exporter:
        kept = exporter.app.components.regions["kunshan"]
        place = exporter.app.components.config.clusters[0].place
        await exporter.reload(f"# a comment\n\n{text}")
        assert exporter.app.components.regions["kunshan"] is kept
        assert exporter.app.components.config.clusters[0].place != place, "errors name its new place"
        # A new region now stands where the other one stood.
        await exporter.reload(f"\n{configuration(cluster(region.url, name='xian'), cluster(region.url))}")
        assert exporter.app.components.regions["kunshan"] is kept
        await exporter.shows(lambda samples: samples.get(UP % "xian") == 1, "the new region")


@asynccontextmanager
async def another_authority(folder: Path) -> AsyncIterator[tuple[dict[str, Any], trustme.CA, trustme.CA]]:
    """Serve a region whose certificate is of another authority than ca.pem in the folder; its section, and both."""
    old, new = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    new.issue_cert("127.0.0.1").configure_cert(context)
    old.cert_pem.write_to_path(folder / "ca.pem")
    async with simulated(tls=context) as simulator:
        [region] = simulator.regions.values()
        yield cluster(region.hpc_url, token=region.token("test"), members=[], tls={"ca_file": "ca.pem"}), old, new


async def test_another_content_of_the_ca_file_is_used_and_the_same_disturbs_nothing(tmp_path: Path) -> None:
    """The region has a certificate of another authority from now on; the path in the configuration stays the same."""
    file = tmp_path / "ca.pem"
    async with another_authority(tmp_path) as (section, _, new):
        text = configuration(section, poll={"interval": "1h", "retries": 0})
        async with ready(tmp_path, text) as exporter:
            assert (await exporter.samples())[UP % "kunshan"] == 0
            new.cert_pem.write_to_path(file)
            await exporter.reload(text)
            await exporter.shows(lambda samples: samples.get(UP % "kunshan") == 1, "that the region is reached")
            kept = exporter.app.components.regions["kunshan"]
            await exporter.reload(text)
            assert exporter.app.components.regions["kunshan"] is kept


async def test_a_ca_file_that_is_replaced_is_used_without_a_reload_and_a_broken_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ca.pem"
    async with (
        another_authority(tmp_path) as (section, old, new),
        ready(tmp_path, configuration(section, poll={"interval": "100ms", "retries": 0})) as exporter,
    ):
        assert (await exporter.samples())[UP % "kunshan"] == 0
        new.cert_pem.write_to_path(file)
        await exporter.shows(lambda samples: samples.get(UP % "kunshan") == 1, "that the region is reached")
        at_work = exporter.app.components.regions["kunshan"]
        for broken in ("", "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n", None):
            file.unlink()
            if broken is not None:
                file.write_text(broken, encoding="ascii")
            await exporter.app._authorities.check()
            assert exporter.app.components.regions["kunshan"] is at_work, "the last good authority stays in use"
        assert capsys.readouterr().out.count("CA file cannot be used") == 1, "it is told once"
        new.cert_pem.write_to_path(file)
        await exporter.app._authorities.check()
        assert exporter.app.components.regions["kunshan"] is at_work, "the same content changes nothing"
        assert "CA file can be used again" in capsys.readouterr().out
        old.cert_pem.write_to_path(file)
        await exporter.shows(lambda samples: samples.get(UP % "kunshan") == 0, "that the authority is not trusted")


async def test_nothing_is_applied_of_a_configuration_with_a_mistake(tmp_path: Path, region: ScriptedRegion) -> None:
    good = configuration(cluster(region.url))
    async with ready(tmp_path, good) as exporter:
        await exporter.shows(lambda samples: any("transitions" in series for series in samples), "what the tracker saw")
        before, tasks, config = await exporter.domain(), exporter.app.scheduler.statuses, exporter.app.components.config
        for broken in (
            configuration(cluster(region.url, name="xian"), cluster(region.url, name="xian")),
            configuration(cluster(region.url, users=["bob"]), per_job={"max_jobs": -1}),
            configuration(cluster(region.url, token=None, token_file="not-there")),
            configuration(cluster(region.url, tls={"ca_file": "not-there"})),
            "clusters: [",
            "",
        ):
            with pytest.raises(ConfigurationError):
                await exporter.reload(broken)
            assert exporter.app.components.config is config
            assert exporter.app.scheduler.statuses == tasks
            assert await exporter.domain() == before
        await exporter.reload(good)
        assert await exporter.domain() == before


class Loads:
    """Counts how often a configuration is loaded; the first one waits until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.may_go_on = threading.Event()
        self._load = components.load_with_tls
        monkeypatch.setattr(application, "load_with_tls", self.load)

    def load(self, path: Path) -> tuple[Config, dict[Tls, ssl.SSLContext]]:
        self.count += 1
        loaded = self._load(path)
        self.may_go_on.wait(300)
        return loaded


@pytest.mark.real_time
async def test_many_requests_share_two_reloads_and_what_was_written_before_them_counts(
    region: ScriptedRegion, exporter: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is under way may have read the file already: who comes later gets the next one."""
    loads = Loads(monkeypatch)
    first = [asyncio.create_task(exporter.app.reload()) for _ in range(300)]
    await eventually(lambda: loads.count == 1, "the first one reads")
    exporter.file.write_text(configuration(cluster(region.url, name="xian")), encoding="utf-8")
    later = [asyncio.create_task(exporter.app.reload()) for _ in range(300)]
    await asyncio.sleep(0)
    loads.may_go_on.set()
    await asyncio.gather(*first, *later)
    assert loads.count == 2
    assert list(exporter.app.components.regions) == ["xian"]


@pytest.mark.real_time
async def test_a_reload_goes_on_when_all_who_requested_it_have_gone(
    region: ScriptedRegion, exporter: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = Loads(monkeypatch)
    exporter.file.write_text(configuration(cluster(region.url, name="xian")), encoding="utf-8")
    requests = [asyncio.create_task(exporter.app.reload()) for _ in range(600)]
    await eventually(lambda: loads.count == 1, "the file is read")
    for request in requests:
        request.cancel()
    await asyncio.wait(requests)
    loads.may_go_on.set()
    await eventually(lambda: list(exporter.app.components.regions) == ["xian"], "it was reloaded")
    assert loads.count == 1


async def test_a_reload_in_the_background_logs_its_failure(exporter: Running) -> None:
    exporter.file.write_text("clusters: [", encoding="utf-8")
    with capture_logs() as logs:
        exporter.app.request_reload()
        await eventually(lambda: exporter.app.last_reload.successful is False, "it failed")
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert "exporter.yml:1:" in line["error"]


async def test_an_unforeseen_failure_is_logged_and_told_and_the_next_reload_works(
    exporter: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(components, "shard_config", lambda *_: dict[str, Config]()["unforeseen"])
        exporter.app.request_reload()
        await eventually(lambda: exporter.app.last_reload.successful is False, "it failed")
    assert [line["exc_info"] for line in logs if line["log_level"] == "error"] == [True]
    assert (await exporter.samples())["hpc_exporter_config_last_reload_successful"] == 0
    await exporter.app.reload()
    assert (await exporter.samples())["hpc_exporter_config_last_reload_successful"] == 1


@pytest.mark.real_time
async def test_a_reload_under_way_is_not_applied_once_the_exporter_has_stopped(
    region: ScriptedRegion, exporter: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = Loads(monkeypatch)
    exporter.file.write_text(configuration(cluster(region.url, name="xian")), encoding="utf-8")
    exporter.app.request_reload()
    await eventually(lambda: loads.count == 1, "the file is read")
    tasks = asyncio.all_tasks()
    await exporter.app.stop()
    exporter.app.request_reload()
    loads.may_go_on.set()
    await eventually(lambda: "file reader" not in {each.name for each in threading.enumerate()}, "the file was read")
    await asyncio.sleep(0)
    assert list(exporter.app.components.regions) == ["kunshan"]
    assert asyncio.all_tasks() <= tasks


async def test_a_reload_that_is_being_applied_is_finished_before_the_exporter_stops(
    region: ScriptedRegion, exporter: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    applying, may_go_on = asyncio.Event(), asyncio.Event()
    set_targets = exporter.app.scheduler.set_targets

    async def slowly(targets: list[Target]) -> None:
        applying.set()
        await may_go_on.wait()
        await set_targets(targets)

    monkeypatch.setattr(exporter.app.scheduler, "set_targets", slowly)
    exporter.file.write_text(configuration(cluster(region.url, name="xian")), encoding="utf-8")
    exporter.app.request_reload()
    await applying.wait()
    stopping = asyncio.create_task(exporter.app.stop_reloading())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not stopping.done()
    may_go_on.set()
    await stopping
    assert {status.key.source for status in exporter.app.scheduler.statuses} == {"xian"}


async def test_a_poll_under_way_of_a_region_that_is_replaced_brings_its_answer(
    tmp_path: Path, region: ScriptedRegion
) -> None:
    arrived, may_answer = asyncio.Event(), asyncio.Event()

    async def slowly(_request: web.Request) -> web.Response:
        arrived.set()
        await may_answer.wait()
        return web.Response(body=envelope([queue("debug", R=5)]))

    region.answers["queue_jobs"] = slowly
    async with running(tmp_path, configuration(cluster(region.url))) as exporter:
        await arrived.wait()
        await exporter.reload(configuration(cluster(region.url, requests_per_second=1000)))
        may_answer.set()
        samples = await exporter.shows(lambda samples: RUNNING % ("kunshan", "test") in samples, "the answer")
        assert samples[RUNNING % ("kunshan", "test")] == 5
        await eventually(lambda: not exporter.app._closing, "the old region is closed")
        assert region.paths.count("/hpc/openapi/v2/view/queue/jobs?userName=test") == 1


async def test_a_reload_uses_the_new_content_of_a_token_file_immediately(tmp_path: Path) -> None:
    """Without waiting for the watch over secret files, which never looks on this clock unless it is moved."""
    clock = FakeClock()
    (tmp_path / "token").write_text("first", encoding="utf-8")
    async with scripted_region({"queue_jobs": envelope(None, "911406", "no")}) as region:
        text = configuration(cluster(region.url, token=None, token_file="token", members=[], collect=["queue_jobs"]))
        async with running(tmp_path, text, clock) as exporter:
            await clock.advance(1.0)
            await eventually(lambda: exporter.app.scheduler.statuses[0].failures, "the first token is rejected")
            (tmp_path / "token").write_text("second", encoding="utf-8")
            await exporter.app.reload()
            await clock.advance(1.0)
            await eventually(lambda: region.requests[-1].headers["token"] == "second", "the second token is used")


async def test_a_token_file_that_changes_is_used_within_seconds(tmp_path: Path) -> None:
    """The targets that failed for the old token are tried again immediately, however long their pause has become."""

    async def check(request: web.Request) -> web.Response:
        accepted = request.headers["token"] == "good-token"
        return web.Response(body=envelope([queue("debug", R=2)]) if accepted else envelope(None, "911406", "no"))

    file = tmp_path / "token"
    file.write_text("bad-token\n")
    async with scripted_region({"queue_jobs": check, "schedulers": check, "member_jobs": check}) as region:
        text = configuration(cluster(region.url, token=None, token_file="token"))
        async with ready(tmp_path, text) as exporter:
            assert (await exporter.samples())[UP % "kunshan"] == 0
            # Of two secrets from one file, written in two ways, one is read again: that of the new configuration.
            await exporter.reload(text.replace('"token_file": "token"', '"token_file": "./token"'))
            file.write_text("good-token\n")
            samples = await exporter.shows(lambda samples: RUNNING % ("kunshan", "test") in samples, "data again")
            assert samples[RUNNING % ("kunshan", "test")] == 2
            assert {request.headers["token"] for request in region.requests} == {"bad-token", "good-token"}


async def test_group_ids_that_a_float_cannot_tell_apart_are_two_groups(tmp_path: Path) -> None:
    other = "533686286955839489"
    assert float(other) == float(GROUP_ID)
    members = [{"group_id": id_, "users": ["test"]} for id_ in (GROUP_ID, other)]
    async with scripted_region({"member_jobs": envelope([job("1")])}) as region:
        async with ready(tmp_path, configuration(cluster(region.url, members=members))) as exporter:
            series = 'hpc_member_jobs{hpc_cluster="kunshan",group="%s",user="test",state="running"}'
            samples = await exporter.samples()
            assert (samples[series % GROUP_ID], samples[series % other]) == (1, 1)
        assert sorted(path.split("/")[7] for path in region.paths if "/groups/" in path) == [GROUP_ID, other]


async def test_the_watch_over_secrets_survives_unforeseen_exceptions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, failures, watching = FakeClock(), [KeyError("unforeseen"), RecursionError()], False
    look = FileSecret.read

    def fail(secret: FileSecret) -> str:
        if watching and failures:
            raise failures.pop()
        return look(secret)

    monkeypatch.setattr(FileSecret, "read", fail)
    (tmp_path / "token").write_text("first", encoding="utf-8")
    text = configuration(cluster("http://127.0.0.1:9", token=None, token_file="token"))
    async with running(tmp_path, text, clock) as exporter:
        assert exporter.app.components.config is not None
        (secret,) = exporter.app.components.config.file_secrets()
        (tmp_path / "token").write_text("second", encoding="utf-8")
        watching = True

        async def seen() -> bool:
            await clock.advance(1.0)
            return secret.value() == "second"

        await eventually(seen, "the change is seen")
        assert (await exporter.samples())['hpc_exporter_task_restarts_total{task="secret watch"}'] == 2


async def test_thousands_of_users_are_taken_and_left_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start as at a reload.

    Between two turns of the event loop, few tokens are shown and no subject is looked up.
    """
    users = [{"name": f"user{number}", "token": f"token-of-user-{number}"} for number in range(2000)]
    exporter, turn = Running(tmp_path, FakeClock()), 0
    on_the_loop, in_turn, loop_thread = list[str](), Counter[int](), threading.get_ident()

    async def others() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def subjects(*arguments: Any, **named: Any) -> Any:
        on_the_loop.extend(["looked up"] * (threading.get_ident() == loop_thread))
        return subjects_of(*arguments, **named)

    monkeypatch.setattr(tracker, "subjects_of", subjects)
    show = exporter.app.own.token_expiry

    def count(source: str, user: str, seconds: float | None) -> None:
        in_turn[turn] += 1
        show(source, user, seconds)

    monkeypatch.setattr(exporter.app.own, "token_expiry", count)
    watching = asyncio.create_task(others())
    exporter.file.write_text(configuration(cluster("http://127.0.0.1:9", users=users)), encoding="utf-8")
    await exporter.app.start()
    assert in_turn.total() > 2000
    await exporter.reload(configuration(cluster("http://127.0.0.1:9", users=users[1:])))
    assert in_turn.total() > 6000
    assert max(in_turn.values()) <= SLICE
    assert not on_the_loop
    watching.cancel()
    await exporter.app.stop()
