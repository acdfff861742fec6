"""Listing and deleting together, against the simulated region, which knows what became of each job."""

import json
from pathlib import Path

from exporter.cli.simulate import configuration
from exporter.simulator import Fault, Simulator
from tests.support.command import Command

BOB = ("--cluster=kunshan", "--user=bob")


async def test_the_queued_jobs_of_a_user_are_listed_and_deleted_though_the_answer_is_lost(tmp_path: Path) -> None:
    async with Simulator(clock=lambda: 0.0) as simulator:
        region = simulator.regions["kunshan"]
        command = Command(tmp_path, configuration(simulator))
        listed = await command("jobs", "list", *BOB, "--state=queued", "--format=json")
        ids = [job["id"] for job in json.loads(listed.stdout)["jobs"]]
        assert ids
        region.faults.add(Fault(kind="disconnect", endpoint="delete", after=True))
        deleted = await command("jobs", "delete", *BOB, "--yes", "--from-file=-", stdin="\n".join(ids))
        after = await command("jobs", "list", *BOB, "--state=queued", "--format=json")
        others = await command("jobs", "list", "--cluster=kunshan", "--user=alice", "--state=queued", "--format=json")
    assert deleted.status == 0
    assert deleted.stdout.count("gone") == len(ids)
    assert json.loads(after.stdout)["jobs"] == []
    assert json.loads(others.stdout)["jobs"]
    assert region.requests.counts["delete"] == 1


async def test_a_success_without_effect_is_found_out(tmp_path: Path) -> None:
    async with Simulator(clock=lambda: 0.0) as simulator:
        command = Command(tmp_path, configuration(simulator))
        listed = await command("jobs", "list", *BOB, "--state=queued", "--format=json")
        job_id = json.loads(listed.stdout)["jobs"][0]["id"]
        simulator.regions["kunshan"].faults.add(Fault(kind="no_effect", endpoint="delete"))
        deleted = await command("jobs", "delete", *BOB, "--yes", "--wait=0", job_id)
    assert deleted.status == 1
    assert "still there" in deleted.stdout
