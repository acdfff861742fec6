"""A real Alertmanager with the example of its configuration: one trouble makes one message."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from tests.e2e.process import eventually
from tests.rules.test_live import Inbox, alertmanager, receiving
from tests.rules.test_rules import ALERTS

# Names and sources of alerts, and whether they are sent while HPCRegionDown fires for kunshan.
DEAD_REGION = {
    ("HPCRegionDown", "kunshan"): True,
    ("HPCDataStale", "kunshan"): False,
    ("HPCTargetFailing", "kunshan"): False,
    ("HPCApiThrottled", "kunshan"): False,
    ("HPCNoSchedulers", "kunshan"): False,
    ("HPCQueueStuck", "kunshan"): False,
    ("HPCTokenExpiring", "kunshan"): True,
    ("HPCTokenRefreshFailing", "kunshan"): True,
    ("HPCDataStale", "xian"): True,
    ("HPCQueueStuck", "xian"): True,
    ("HPCSeriesDropped", ""): True,
    ("HPCRegionDown", "driving"): True,
    ("HPCOctopusBacklogGrowing", "driving"): False,
    ("HPCTargetFailing", "driving"): False,
    ("HPCExporterDown", ""): True,
    ("HPCShardsIncomplete", ""): False,
}


async def fire(address: str, alerts: list[dict[str, str]], annotations: Mapping[str, str] | None = None) -> None:
    """Hand alerts to Alertmanager as Prometheus does."""
    body = [
        {
            "labels": {"alertname": name, **each, **fixed(name)},
            "annotations": {"summary": f"{each}", "description": "", **(annotations or {})},
        }
        for each in alerts
        for name in [each["alertname"]]
    ]
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"http://{address}/api/v2/alerts", json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()


def fixed(name: str) -> dict[str, str]:
    """Return the labels that the rule itself gives."""
    return {label: value for label, value in ALERTS[name]["labels"].items() if "{{" not in value}


def arrived(inbox: Inbox) -> set[tuple[str, str]]:
    return {(alert["labels"]["alertname"], alert["labels"].get("source", "")) for alert in inbox.seen}


async def test_a_region_of_which_nothing_works_makes_one_message_and_others_go_on(tmp_path: Path) -> None:
    """Also the exporter that is down keeps back that its shard is missing."""
    alerts = [{"alertname": name, **({"source": source} if source else {})} for name, source in DEAD_REGION]
    # As they were before they were one a region.
    alerts += [{"alertname": "HPCTargetFailing", "source": "kunshan", "target": f"user{n}"} for n in range(200)]
    expected = {name for name, sent in DEAD_REGION.items() if sent}
    async with receiving() as (inbox, webhook), alertmanager(tmp_path, webhook) as address:
        await fire(address, alerts)
        await eventually(lambda: arrived(inbox) >= expected, "all messages arrive")
        # Further alerts would be sent in the same moment, or at the next flush.
        await asyncio.sleep(2)
    assert arrived(inbox) == expected


async def test_without_a_dead_region_nothing_is_kept_back(tmp_path: Path) -> None:
    down = ("HPCRegionDown", "HPCExporterDown")
    alerts = [{"alertname": name, "source": source} for name, source in DEAD_REGION if name not in down]
    async with receiving() as (inbox, webhook), alertmanager(tmp_path, webhook) as address:
        await fire(address, alerts)
        await eventually(lambda: len(arrived(inbox)) == len(alerts), "all messages arrive")


async def test_many_users_of_a_region_are_one_message(tmp_path: Path) -> None:
    alerts = [{"alertname": "HPCJobWaitingTooLong", "source": "kunshan", "user": f"user{n}"} for n in range(50)]
    async with receiving() as (inbox, webhook), alertmanager(tmp_path, webhook) as address:
        await fire(address, alerts)
        await eventually(lambda: len(inbox.seen) >= 50, "all alerts arrive")
    assert inbox.messages == 1
