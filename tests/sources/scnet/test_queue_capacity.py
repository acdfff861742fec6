"""Table: what a region answers about its queues -> samples."""

from typing import Any

import pytest

from exporter.config import InlineSecret
from exporter.sources.scnet import schedulers
from tests.support.collecting import REGION, TOKEN, Answer, Expected, collecting, envelope, of

# As captured.
COMP: dict[str, Any] = {
    "queueName": "comp",
    "id": "comp",
    "text": "comp",
    "queueEnabled": True,
    "queuePriority": 6000,
    "queNodes": "2",
    "queFreeNodes": "2",
    "queNcpus": "64",
    "queFreeNcpus": "64",
    "queMaxNcpus": "-1",
    "queMaxNgpus": "-1",
    "queMaxNdcus": "-1",
    "queMaxNodect": "-1",
    "queMaxPPN": "32",
    "queMaxGpuPN": "0",
    "queMaxDcuPN": "0",
    "queMaxWalltime": "-1",
    "queChargeRate": "1.0",
    "aclHosts": "a04r1n00,a04r1n01",
}
CAPTURED: dict[str, float] = {
    "nodes 7 comp": 2,
    "free_nodes 7 comp": 2,
    "cpus 7 comp": 64,
    "free_cpus 7 comp": 64,
    "enabled 7 comp": 1,
    "limit 7 comp cpus_per_node": 32,
    "limit 7 comp gpus_per_node": 0,
    "limit 7 comp dcus_per_node": 0,
    "charge_rate 7 comp": 1,
}
SCHEDULER = envelope({"id": 7, "text": "Cluster"})
BARE = {"queueName": "comp"}


def changed(**fields: Any) -> Answer:
    return envelope([{**COMP, **fields}])


def without(*names: str) -> dict[str, float]:
    return {name: value for name, value in CAPTURED.items() if name.split(" ")[0] not in names}


CASES: dict[str, tuple[Answer, Expected, int]] = {
    "captured": (envelope([COMP]), CAPTURED, 0),
    "single object": (envelope(COMP), CAPTURED, 0),
    "object with a list": (envelope({"list": [COMP]}), CAPTURED, 0),
    "null": (envelope(None), {}, 0),
    "numbers as numbers": (changed(queNodes=2, queNcpus=64.0, queChargeRate=1), CAPTURED, 0),
    "numbers with blanks": (changed(queNodes=" 2 ", queNcpus="64.0"), CAPTURED, 0),
    **{
        f"unknown number {value!r}": (changed(queNodes=value), without("nodes"), 0)
        for value in of(None, "", "--", "N/A", "-1", -1)
    },
    **{
        f"number {value!r} makes no sense": (changed(queNodes=value), without("nodes"), 1)
        for value in of("nan", "1e400", True, [], "9" * 40, "many")
    },
    "no free nodes": (changed(queFreeNodes="0"), CAPTURED | {"free_nodes 7 comp": 0}, 0),
    "more free than there are": (changed(queFreeNodes="3"), without("nodes", "free_nodes"), 1),
    "limits": (
        changed(queMaxNcpus="128", queMaxNgpus=4, queMaxNdcus="8", queMaxNodect="0"),
        CAPTURED
        | {f"limit 7 comp {name}": value for name, value in {"cpus": 128, "gpus": 4, "dcus": 8, "nodes": 0}.items()},
        0,
    ),
    **{
        f"enabled {value!r}": (changed(queueEnabled=value), CAPTURED | {"enabled 7 comp": shown}, 0)
        for value, shown in {False: 0, "false": 0, "TRUE": 1, "1": 1}.items()
    },
    **{
        f"enabled {value!r}": (changed(queueEnabled=value), without("enabled"), int(value == []))
        for value in of(None, "", "maybe", [])
    },
    "name by id": (envelope([{"id": "comp", "queNodes": "2"}]), {"nodes 7 comp": 2}, 0),
    "name by text": (
        envelope([{"queueName": None, "id": "", "text": "comp", "queNodes": "2"}]),
        {"nodes 7 comp": 2},
        0,
    ),
    "no name": (
        envelope([{**COMP, "queueName": "", "id": None, "text": " "}, {**BARE, "queNodes": 1}]),
        {"nodes 7 comp": 1},
        1,
    ),
    "twice the same": (envelope([COMP, COMP]), CAPTURED, 0),
    "twice and differently": (envelope([COMP, {**COMP, "queNodes": "3"}]), without("nodes"), 1),
    "not there": (Answer(b"", 404), "http: HTTP 404: this region does not have ", 0),
}


@pytest.mark.parametrize(("answer", "expected", "rejected"), CASES.values(), ids=CASES)
async def test_queue_capacity(answer: Answer, expected: Expected, rejected: int) -> None:
    async with collecting(REGION, "queue_capacity", "hpc_queue_") as queues:
        polled = await queues.poll(SCHEDULER, answer)
    assert polled.outcome(expected) == (expected, rejected)
    assert polled.requests == [
        "/hpc/openapi/v2/cluster",
        "/hpc/openapi/v2/queuenames/users/test?strJobManagerID=7",
    ]


async def test_each_scheduler_is_requested_and_their_ids_are_read_once_an_hour() -> None:
    listed = envelope([{"id": 7}, {"id": "8"}, {"id": 7.0}])
    async with collecting(REGION, "queue_capacity", "hpc_queue_nodes") as queues:
        first = await queues.poll(listed, changed(queNodes="3"), changed(queNodes="4"))
        second = await queues.poll(changed(queNodes="5"), envelope(None))
    assert (first.samples, first.rejected) == ({"7 comp": 3, "8 comp": 4}, 0)
    assert second.samples == {"7 comp": 5}
    assert [path.partition("=")[2] for path in second.requests] == ["7", "8"]


async def test_one_scheduler_that_fails_fails_the_poll() -> None:
    async with collecting(REGION, "queue_capacity", "hpc_queue_nodes") as queues:
        polled = await queues.poll(envelope([{"id": 7}, {"id": 8}]), changed(), Answer(b"", 500))
    assert (polled.samples, polled.error[:5]) == ({}, "http:")


@pytest.mark.parametrize("answer", [Answer(b"", 500), envelope(None), envelope([])])
async def test_schedulers_that_are_not_known_are_not_requested_by_every_target(answer: Answer) -> None:
    async with collecting(REGION, "queue_capacity", "hpc_queue_nodes") as queues:
        first = await queues.poll(answer)
        second = await queues.poll()
        # Another token may see some.
        queues.source.use_changed(frozenset({InlineSecret(TOKEN)}))
        third = await queues.poll(SCHEDULER, changed())
    assert first.error == second.error != ""
    assert (len(first.requests), second.requests) == (1, [])
    assert third.error == ""


async def test_schedulers_that_were_added_are_found_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "IDS_TTL", 0.0)
    async with collecting(REGION, "queue_capacity", "hpc_queue_nodes") as queues:
        await queues.poll(SCHEDULER, changed())
        polled = await queues.poll(envelope([{"id": 7}, {"id": 8}]), changed(), changed(queNodes="4"))
    assert polled.samples == {"7 comp": 2, "8 comp": 4}


async def test_the_names_of_the_nodes_are_not_kept() -> None:
    async with collecting(REGION, "queue_capacity") as queues:
        polled = await queues.poll(SCHEDULER, envelope([COMP]))
    assert "a04r1n00" not in repr(polled)
