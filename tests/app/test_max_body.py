"""``poll.max_body`` limits the answers of each region and project, whose own value wins over the general one."""

from pathlib import Path

from exporter.app import assemble
from exporter.errors import DecodeError
from tests.support.http import Network, a_network, answering

CONFIGURATION = """
poll: {{max_body: 1KiB, retries: 0}}
clusters:
  - {{name: small, cluster_id: 1, hpc_url: '{url}', token: made-up, users: [test], collect: [queue_jobs]}}
  - {{name: large, cluster_id: 1, hpc_url: '{url}', token: made-up, users: [test], collect: [queue_jobs], poll: {{max_body: 2MiB}}}}
octopus:
  - {{name: project, base_url: '{url}', project_id: p, token: made-up, queues: [{{queue_type: INTERNAL}}]}}
"""


answer = answering(body=b'{"code": "0", "data": []' + b" " * 1024**2 + b"}")


async def polled(network: Network, folder: Path) -> dict[str, object]:
    path = folder / "exporter.yml"
    path.write_text(CONFIGURATION.format(url=await network.serve(answer)), encoding="utf-8")
    assembly = assemble(path)
    results: dict[str, object] = {}
    for target in assembly.targets():
        try:
            results[target.key.source] = await target.poll()
        except DecodeError as error:
            results[target.key.source] = str(error)
    await assembly.close()
    return results


async def test_the_limit_is_that_of_the_source(tmp_path: Path) -> None:
    async with a_network() as network:
        results = await polled(network, tmp_path)
    rejected = "the answer is longer than poll.max_body allows, which is 1 KiB"
    assert str(results["small"]).startswith(rejected)
    assert str(results["project"]).startswith(rejected)
    assert not isinstance(results["large"], str), "no error"
