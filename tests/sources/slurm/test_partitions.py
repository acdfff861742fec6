"""Partitions and their nodes, in both generations: from the bytes of the answers to samples."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.sources.slurm.answers import answer, struct
from tests.support.collecting import Answer, Expected, collecting

CONFIG: Final = """
slurm:
  - {name: own, url: "http://slurm.example.com:6820", token: made-up-token, api_version: v0.0.42, collect: [partitions]}
"""
OLD: Final[Mapping[str, Any]] = {"name": "batch", "state": "UP", "total_nodes": 2, "total_cpus": 128, "nodes": "n[1-2]",
    "max_time_limit": -1, "maximum_nodes_per_job": -1, "maximum_cpus_per_node": -1}  # fmt: skip
NEW: Final[Mapping[str, Any]] = {"name": "batch", "partition": {"state": ["UP"]}, "nodes": {"total": 2}, "cpus": {"total": 128},
    "maximums": {"nodes": struct(None), "cpus_per_node": struct(None), "time": struct(None)}}  # fmt: skip
OLD_NODES: Final = [
    {"name": "n1", "state": "mixed", "state_flags": [], "cpus": 64, "alloc_cpus": 17, "partitions": ["batch", "debug"]},
    {"name": "n2", "state": "idle", "state_flags": [], "cpus": 64, "alloc_cpus": 0, "partitions": ["batch"]},
]
NEW_NODES: Final = [
    {"state": ["MIXED"], "cpus": 66, "effective_cpus": 64, "alloc_cpus": 17, "partitions": ["batch", "debug"]},
    {"state": ["IDLE", "CLOUD"], "cpus": 66, "effective_cpus": 64, "alloc_cpus": 0, "partitions": ["batch"]},
]
ALL: Final = {"nodes": 2, "cpus": 128, "free_nodes": 1, "free_cpus": 111, "enabled": 1}


def node(*words: str) -> dict[str, Any]:
    return {**NEW_NODES[1], "state": words}


@pytest.mark.parametrize(
    ("partition", "nodes", "expected"),
    [
        (OLD, OLD_NODES, ALL),
        (NEW, NEW_NODES, ALL),
        ({**OLD, "max_time_limit": 10**400}, OLD_NODES, ALL),
        # As Python writes them, and Slurm does: these are no JSON.
        (NEW, [{**NEW_NODES[0], "cpu_load": float("nan")}, {**NEW_NODES[1], "free_mem": float("inf")}], ALL),
        ({**OLD, "max_time_limit": 10, "maximum_nodes_per_job": 4, "maximum_cpus_per_node": 8}, OLD_NODES,
         {**ALL, "limit walltime_seconds": 600, "limit nodes": 4, "limit cpus_per_node": 8}),
        ({**NEW, "maximums": {"nodes": struct(4), "cpus_per_node": struct(8), "time": struct(10)}}, NEW_NODES,
         {**ALL, "limit walltime_seconds": 600, "limit nodes": 4, "limit cpus_per_node": 8}),
        ({**OLD, "state": "DRAIN"}, OLD_NODES, {**ALL, "enabled": 0}),
        ({**NEW, "partition": {"state": ["INACTIVE"]}}, NEW_NODES, {**ALL, "enabled": 0}),
        # Nothing starts on a node with one of these words, whatever else is said of it.
        (NEW, [NEW_NODES[0], node("IDLE", "DRAIN")], {**ALL, "free_nodes": 0, "free_cpus": 47}),
        (NEW, [NEW_NODES[0], node("DOWN")], {**ALL, "free_nodes": 0, "free_cpus": 47}),
        (NEW, [NEW_NODES[0], node("IDLE", "NOT_RESPONDING")], {**ALL, "free_nodes": 0, "free_cpus": 47}),
        (NEW, [NEW_NODES[0], node("IDLE", "A_FLAG_OF_NEXT_YEAR")], {**ALL, "free_nodes": 0, "free_cpus": 47}),
        (OLD, [OLD_NODES[0], {**OLD_NODES[1], "state_flags": ["DRAIN"]}], {**ALL, "free_nodes": 0, "free_cpus": 47}),
        # Cores that Slurm allocates twice.
        (NEW, [NEW_NODES[0], {**NEW_NODES[1], "alloc_cpus": 1000}], {**ALL, "free_cpus": 47}),
        # One node of which it is unknown makes the sum unknown.
        (NEW, [NEW_NODES[0], node()], {"nodes": 2, "cpus": 128, "enabled": 1}),
        *((NEW, [NEW_NODES[0], {**NEW_NODES[1], name: odd}], {"nodes": 2, "cpus": 128, "free_nodes": 1, "enabled": 1})
          for name in ("alloc_cpus", "effective_cpus") for odd in (None, "N/A", {"odd": 1})),
        # Neither its base state nor its flags can be missing.
        (NEW, [NEW_NODES[0], {**NEW_NODES[1], "state": 7}], {"nodes": 2, "cpus": 128, "enabled": 1}),
        (OLD, [OLD_NODES[0], {**OLD_NODES[1], "state_flags": 7}], {"nodes": 2, "cpus": 128, "enabled": 1}),
        (OLD, [OLD_NODES[0], {**OLD_NODES[1], "state_flags": [7]}], {"nodes": 2, "cpus": 128, "enabled": 1}),
        (OLD, [OLD_NODES[0], {**OLD_NODES[1], "state": None, "state_flags": ["CLOUD"]}], {"nodes": 2, "cpus": 128, "enabled": 1}),
        # A node that is listed twice is one, and does not stand for another that is not listed.
        (OLD, [*OLD_NODES, OLD_NODES[0]], ALL),
        (OLD, [OLD_NODES[0], OLD_NODES[0]], {"nodes": 2, "cpus": 128, "enabled": 1}),
        (NEW, [{**NEW_NODES[0], "partitions": ["batch", "batch"]}], {"nodes": 2, "cpus": 128, "enabled": 1}),
        # A partition whose nodes this user may not see, and one without any.
        (NEW, [], {"nodes": 2, "cpus": 128, "enabled": 1}),
        (NEW, NEW_NODES[:1], {"nodes": 2, "cpus": 128, "enabled": 1}),
        ({**NEW, "nodes": {"total": 0}, "cpus": {"total": 0}}, [], dict.fromkeys(ALL, 0) | {"enabled": 1}),
        ({"name": "batch"}, NEW_NODES, {}),
    ],
)  # fmt: skip
async def test_a_partition(partition: Any, nodes: Any, expected: Expected) -> None:
    async with collecting(CONFIG, "partitions", "hpc_queue_") as collector:
        polled = await collector.poll(Answer(answer("partitions", [partition])), Answer(answer("nodes", nodes)))
        samples = {name.replace("  batch", "").replace(" batch", ""): value for name, value in polled.samples.items()}
    assert polled.error == ""
    assert samples == expected
    assert polled.requests == ["/slurm/v0.0.42/partitions/", "/slurm/v0.0.42/nodes/"]


@pytest.mark.parametrize(
    ("partitions", "nodes", "expected", "rejected"),
    [
        # Nothing says which of two is right.
        ([NEW, {**NEW, "cpus": {"total": 7}}], NEW_NODES, {"nodes", "free_nodes", "free_cpus", "enabled"}, 1),
        ([NEW, {"name": None}, 7], NEW_NODES, set(ALL), 2),
        # Of a node that cannot be read it is unknown whether it is free.
        ([NEW], [*NEW_NODES, 7], {"nodes", "cpus", "enabled"}, 1),
        ([OLD], [*OLD_NODES, {**OLD_NODES[0], "alloc_cpus": 18}], {"nodes", "cpus", "enabled"}, 1),
        ([], NEW_NODES, set(), 0),
    ],
)
async def test_odd_rows(partitions: Any, nodes: Any, expected: set[str], rejected: int) -> None:
    async with collecting(CONFIG, "partitions", "hpc_queue_") as collector:
        polled = await collector.poll(Answer(answer("partitions", partitions)), Answer(answer("nodes", nodes)))
    assert {name.split()[0] for name in polled.samples} == expected
    assert (polled.rejected, polled.error) == (rejected, "")
