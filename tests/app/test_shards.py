"""Several instances that share the targets.

They show what one alone would, and no tracker counts what another counted.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from exporter.polling import Shard, TargetKey
from exporter.simulator import Account, Simulator
from tests.app.running import Running, ready, running
from tests.e2e.process import DOMAIN, eventually
from tests.e2e.region import GROUP_ID, ScriptedRegion, cluster, configuration, envelope, job, queue, scripted_region
from tests.support.platform import idle_regions

USERS = [f"user{n}" for n in range(8)]
LAB = Account("lab", "ak", "sk", "pw", users={"kunshan": "test"})
ABOUT_TARGETS = "hpc_exporter_target_"


@asynccontextmanager
async def shards(folder: Path, text: str, total: int) -> AsyncIterator[list[Running]]:
    """All instances, with one configuration file, and every target tried."""
    async with AsyncExitStack() as stack:
        parts = [
            await stack.enter_async_context(running(folder, text, shard=Shard(ordinal, total)))
            for ordinal in range(total)
        ]
        for part in parts:
            await part.ready()
        yield parts


def content(samples: dict[str, float]) -> dict[str, float]:
    """Series of regions, projects and targets, without the moments of polls."""
    return {
        series: value
        for series, value in samples.items()
        if ((DOMAIN.match(series) or series.startswith(("octopus_", ABOUT_TARGETS))) and "timestamp" not in series)
    }


def lab(region: ScriptedRegion, **more: Any) -> dict[str, Any]:
    return cluster(region.url, users=USERS, members=[{"group_id": GROUP_ID, "group": "lab", "users": USERS}], **more)


PROJECT = {"name": "roads", "project_id": "p", "token": "t", "queues": [{"queue_type": "PROCESSOR"}]}


async def test_shards_show_together_what_one_alone_shows(tmp_path: Path) -> None:
    """Each series once, with the same value; only those of regions as a whole are in every shard."""
    entries = {"count": 2, "items": [{"id": 1}, {"id": 2}]}
    answers: dict[Any, Any] = {
        "schedulers": envelope([{"id": 1, "text": "slurm", "JobManagerType": "SLURM"}]),
        "queuing_jobs": envelope(entries),
        **{("queue_jobs", user): envelope([queue("debug", R=n, Q=1)]) for n, user in enumerate(USERS)},
        **{("member_jobs", user): envelope([job(f"{n}")]) for n, user in enumerate(USERS)},
    }
    async with scripted_region(answers) as region:
        text = configuration(lab(region), octopus=[{**PROJECT, "base_url": region.url}])
        async with ready(tmp_path, text) as alone:
            await all_tracked(alone)
            whole = content(await alone.samples())
        asked = Counter(region.paths)
        region.requests.clear()
        async with shards(tmp_path, text, 3) as parts:
            for part in parts:
                await all_tracked(part)
            found = [content(await part.samples()) for part in parts]
        assert Counter(region.paths) == asked, "each target was polled by one shard"
    up = 'hpc_up{hpc_cluster="kunshan"}'
    merged: dict[str, float] = {}
    times: Counter[str] = Counter()
    for samples in found:
        times.update(samples.keys())
        for series, value in samples.items():
            if of_group(series):
                merged[series] = merged.get(series, 0) + value
            else:
                merged[series] = value
    assert merged == whole
    assert {series for series, n in times.items() if n > 1 and not of_group(series)} == {up}
    assert times[up] == 3


def of_group(series: str) -> bool:
    """Whether the series counts for a group, whose members may be polled by different shards: these are added up."""
    return series.startswith("hpc_job_ob")


async def all_tracked(exporter: Running) -> None:
    """Wait until the tracker shows every member that this instance polls."""
    members = sum(status.key.collector == "member_jobs" for status in exporter.app.scheduler.statuses)
    await exporter.shows(
        lambda samples: sum("from_state" in series for series in samples) == members, "what was tracked"
    )


async def test_a_shard_without_targets_is_ready_and_says_nothing_of_regions(tmp_path: Path) -> None:
    async with scripted_region() as region, shards(tmp_path, configuration(cluster(region.url)), 20) as parts:
        empty = [part for part in parts if not part.app.scheduler.statuses]
        assert empty
        for part in empty:
            samples = await part.samples()
            assert content(samples) == {}
            assert not [series for series in samples if "kunshan" in series]


async def test_the_token_s_own_user_stays_with_one_shard_when_the_name_is_found_out(tmp_path: Path) -> None:
    """The name is known after the login only.

    The shards that have another part must not wait for it, and not log in.
    """
    async with Simulator(idle_regions(), accounts=[LAB]) as simulator:
        [region] = simulator.regions.values()
        account = {
            "name": "lab",
            "user": "lab",
            "access_key": "ak",
            "secret_key": "sk",
            "token_url": simulator.token_url,
        }
        place = {"cluster_id": region.cluster_id, "hpc_url": region.hpc_url, "ac_url": region.ac_url}
        sections = [
            {"name": name, "account": "lab", "collect": ["queue_jobs"], **place} for name in ("one", "two", "three")
        ]
        text = configuration(*sections, accounts=[account])
        async with shards(tmp_path, text, 3) as parts:
            polled = [status.key for part in parts for status in part.app.scheduler.statuses]
            assert sorted(polled) == [TargetKey(name, "queue_jobs", "test") for name in ("one", "three", "two")]
            busy = sum(bool(part.app.scheduler.statuses) for part in parts)
        assert simulator.platform.requests.counts["login"] == busy
        assert region.requests.counts["queue_jobs"] == 3


async def test_the_shard_s_number_is_a_metric_and_a_fact(tmp_path: Path) -> None:
    async with scripted_region() as region, shards(tmp_path, configuration(cluster(region.url)), 2) as parts:
        for ordinal, part in enumerate(parts):
            samples = await part.samples()
            assert samples["hpc_exporter_shard_ordinal"] == ordinal
            assert samples["hpc_exporter_total_shards"] == 2
            assert (await part.status())["shard"] == {"ordinal": ordinal, "total": 2}
            assert (await part.text()).count("hpc_exporter_total_shards 2") == 1


def member_of(ordinal: int, total: int) -> str:
    """Return the first member that this shard polls."""

    def mine(user: str) -> bool:
        return Shard(ordinal, total).owns(TargetKey("kunshan", "member_jobs", f"lab/{user}"))

    return next(user for user in USERS if mine(user))


MOVES, STAYS = member_of(1, 2), member_of(0, 2)
STATE = {"state_file": "state.db"}
STALE_AFTER = 3


def tracking(region: ScriptedRegion) -> str:
    members = [{"group_id": GROUP_ID, "group": "lab", "users": [MOVES, STAYS]}]
    of_region = cluster(region.url, collect=["member_jobs"], members=members)
    poll = {"interval": "100ms", "stale_after": f"{STALE_AFTER}s", "retries": 0}
    return configuration(of_region, poll=poll, tracking=STATE)


def jobs(**states: str) -> bytes:
    return envelope([job(job_id, status=status) for job_id, status in states.items()])


def finished(samples: dict[str, float], user: str) -> float | None:
    """Return the number of a member's jobs that the instance saw ending; None where it shows no counter."""
    name = f'hpc_jobs_finished_total{{hpc_cluster="kunshan",group="lab",user="{user}"'
    counts = [value for series, value in samples.items() if series.startswith(name)]
    return sum(counts) if counts else None


def seen(samples: dict[str, float], user: str, state: str) -> float:
    """Return the number of a member's jobs in this state when the instance saw them first."""
    labels = f'hpc_cluster="kunshan",group="lab",user="{user}",from_state="none",to_state="{state}"'
    return samples.get(f"hpc_job_transitions_total{{{labels}}}", 0)


async def has_seen(exporter: Running, user: str, **states: int) -> None:
    await exporter.shows(
        lambda samples: all(seen(samples, user, state) == n for state, n in states.items()), f"{states} of {user}"
    )


async def has_counted(exporter: Running, user: str, ends: int) -> None:
    await exporter.shows(lambda samples: finished(samples, user) == ends, f"{ends} ended jobs of {user}")


async def polled_again(region: ScriptedRegion, user: str, times: int = 3) -> None:
    """Wait until the member's jobs were requested this many times more."""

    def polls() -> int:
        return sum(path.endswith(f"/{user}/jobs") for path in region.paths)

    enough = polls() + times
    await eventually(lambda: polls() >= enough, f"{times} more polls of {user}")


async def test_no_end_is_counted_twice_when_a_member_moves_and_comes_back(tmp_path: Path) -> None:
    """One instance, then two, then one again, with the same files. The member that stays is followed all the time."""
    async with scripted_region() as region:
        region.answers["member_jobs"] = jobs(early="statR", late="statR")
        text = tracking(region)
        async with running(tmp_path, text) as alone:
            await has_seen(alone, MOVES, running=2)
            await has_seen(alone, STAYS, running=2)
        async with shards(tmp_path, text, 2) as (first, second):
            await has_seen(second, MOVES, running=2)
            region.answers["member_jobs"] = jobs(late="statR")
            await has_counted(first, STAYS, 1)
            await has_counted(second, MOVES, 1)
            assert seen(await first.samples(), STAYS, "running") == 2, "it goes on from what it knew"
        region.answers["member_jobs"] = jobs()
        async with running(tmp_path, text) as alone:
            await has_counted(alone, STAYS, 2)
            await has_counted(alone, MOVES, 0)
            await polled_again(region, MOVES)
            assert finished(await alone.samples(), MOVES) == 0, "what the other shard followed is not known here"


async def test_a_shard_that_comes_back_from_a_restart_goes_on_and_one_that_was_away_begins_anew(tmp_path: Path) -> None:
    """While it was away for long, another one may have counted what it would count again."""
    async with scripted_region() as region:
        region.answers["member_jobs"] = jobs(early="statR", late="statR")
        text, second = tracking(region), Shard(1, 2)
        async with running(tmp_path, text, shard=second) as shard:
            await has_seen(shard, MOVES, running=2)
        region.answers["member_jobs"] = jobs(late="statR")
        async with running(tmp_path, text, shard=second) as restarted:
            await has_counted(restarted, MOVES, 1)
        async with running(tmp_path, text) as alone:
            await has_seen(alone, MOVES, running=1)
            region.answers["member_jobs"] = jobs()
            await has_counted(alone, MOVES, 1)
            await asyncio.sleep(STALE_AFTER)
        async with running(tmp_path, text, shard=second) as back:
            await has_counted(back, MOVES, 0)
            await polled_again(region, MOVES)
            assert finished(await back.samples(), MOVES) == 0


async def test_shards_on_one_machine_have_files_of_their_own(tmp_path: Path) -> None:
    """The configuration is one and the same; a file is locked by who uses it."""
    async with scripted_region() as region, shards(tmp_path, tracking(region), 2):
        files = {file.name for file in tmp_path.glob("state.db*")}  # noqa: ASYNC240 - a folder of three files
        assert {"state.db", "state.db.shard-1"} <= files
