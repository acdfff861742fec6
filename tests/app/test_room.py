"""Free cores, storage and money in the status, and on the card of a region."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from exporter.app.status import room_facts
from exporter.metrics.family import Sample
from exporter.sources.capacity import CPUS, ENABLED, FREE_CPUS
from exporter.sources.scnet.account import BALANCE, STATUS
from exporter.sources.scnet.region_cores import CPUS as BY_STATE
from exporter.sources.scnet.storage_quota import QUOTA, USED
from exporter.web.page import StatusPage, byte_size
from exporter.web.query import page_query
from exporter.web.texts import Texts
from tests.app.running import ready
from tests.e2e.test_accounts import account, cluster, configured, simulated

UNKNOWN = dict.fromkeys(
    ("free_cpus", "cpus", "storage_used_bytes", "storage_quota_bytes", "balance_cny", "account_status")
)


def queue(name: str, free: float | None, cpus: float | None, enabled: float | None = 1) -> list[Sample]:
    labels = ("kunshan", "7", name)
    return [FREE_CPUS(*labels, value=free), CPUS(*labels, value=cpus), ENABLED(*labels, value=enabled)]


def region(**states: float) -> list[Sample]:
    return [BY_STATE("kunshan", state, value=value) for state, value in states.items()]


def storage(user: str, used: float | None, quota: float | None) -> list[Sample]:
    return [family("kunshan", user, "/home", value=value) for family, value in ((USED, used), (QUOTA, quota))]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (queue("a", 3, 8) + queue("b", 2, 4), {"free_cpus": 5, "cpus": 12}),
        (queue("a", 3, 8) + queue("closed", 2, 4, 0), {"free_cpus": 3, "cpus": 12}),
        (queue("a", 3, 8) + queue("unknown", 2, 4, None), {"free_cpus": 5, "cpus": 12}),
        (queue("a", 3, 8) + queue("half", None, 4), {"free_cpus": 3, "cpus": 8}),
        (queue("a", None, 8), {}),
        (queue("full", 0, 8), {"free_cpus": 0, "cpus": 8}),
        (queue("a", 3, 8) + region(used=1, unused=9, unavailable=5), {"free_cpus": 9, "cpus": 10}),
        (queue("a", 3, 8) + region(unused=9), {"free_cpus": 3, "cpus": 8}),
        (
            storage("a", 5, 10) + storage("b", 7, None) + storage("c", None, 9),
            {"storage_used_bytes": 5, "storage_quota_bytes": 10},
        ),
        ([BALANCE("lab", value=-1.5), STATUS("lab", "Owe", value=1)], {"balance_cny": -1.5, "account_status": "Owe"}),
    ],
)
def test_what_is_known_is_added_up(samples: list[Sample], expected: dict[str, Any]) -> None:
    """No part that is unknown is taken for zero, and a queue that is disabled has no room."""
    found = room_facts(samples, ())
    assert found == (UNKNOWN | expected if expected else None)
    assert room_facts((), samples) == found


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (3.98e12, "3.98 TB"), (2e15, "2 PB"), (5e19, "5e+04 PB")],
)
def test_sizes_have_a_decimal_unit(size: float, text: str) -> None:
    assert byte_size(size) == text


async def test_the_card_of_a_region_shows_cores_storage_and_the_money_of_its_account(tmp_path: Path) -> None:
    """From a simulated region to /api/v1/status and the page, in both languages."""
    schema = json.loads((Path(__file__).parents[2] / "docs" / "status.schema.json").read_text(encoding="utf-8"))
    collect = ["schedulers", "region_cores", "queue_capacity", "storage_quota"]
    async with simulated() as simulator:
        (region,) = simulator.regions.values()
        accounts = [account(simulator, collect=["account"])]
        text = configured(accounts, [cluster(region, collect=collect, users=["test"])])
        async with ready(tmp_path, text) as exporter:
            status = await exporter.status()
        used, unused, _ = region.batch.cores()
    jsonschema.validate(status, schema)
    rooms = {source["name"]: source["room"] for source in status["sources"]}
    money = {"balance_cny": 100_000, "account_status": "Normal"}
    assert rooms["lab"] == UNKNOWN | money
    assert rooms["kunshan"] == money | {
        "free_cpus": unused,
        "cpus": used + unused,
        "storage_used_bytes": 800e9,
        "storage_quota_bytes": 2e12,
    }
    for language, words in (("en", "Free cores"), ("zh", "空闲核数")):
        page = StatusPage(status, Texts(language), "/metrics", page_query({"lang": language})).html()
        card = re.sub(r"<[^>]*>", " ", page[page.index('data-key="kunshan"') :])
        assert words in card
        for value in (f"{unused:,}", "800 GB", "2 TB", "¥ 100,000.00"):
            assert value in card
