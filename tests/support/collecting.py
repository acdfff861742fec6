"""One collector with answers that a test gives: from a configuration and the bytes of an answer to samples.

All is real but what aioresponses puts in the place of the network: configuration, tokens, HTTP client, decoding,
rendering.
"""

import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from aiohttp import ClientResponse, StreamReader
from aioresponses import aioresponses
from prometheus_client.parser import text_string_to_metric_families

from exporter.app import Components, assemble
from exporter.config.model import TOKEN_URL
from exporter.errors import PollError
from exporter.metrics.format import Format
from exporter.sources.collector import collectors_of
from exporter.tracking import TrackingService

# Labels that say which target a sample is of.
OF_TARGET: Final = {"hpc_cluster", "account", "user", "group", "project", "queue_type", "cluster_type", "cluster_id"}
ANYWHERE: Final = re.compile("")
FLAWS: Final = ("hpc_exporter_records_rejected_total", "hpc_exporter_unknown_states_total")

# Keys are the name without the prefix that all have, and the values of the labels that tell the samples of a target apart.
Samples = Mapping[str, float]
# Samples, or the reason of a failed poll and the beginning of its message.
Expected = Samples | str

TOKEN: Final = "made-up-token"
# A region with all collectors that go together: of those that list the same jobs, the one that is on by default.
REGION: Final = f"""
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com
    ac_url: https://ac.example.com
    token: {TOKEN}
    users: [test]
    members: [{{group_id: 533686286955839488, users: [test]}}]
    collect: [{", ".join(each.name for each in collectors_of("clusters") if each.default or not each.lists_jobs)}]
per_job: {{enabled: true}}
"""

# An account with all collectors there are; each poll finds a login that works.
ACCOUNT: Final = f"""
accounts:
  - name: lab
    user: alice
    access_key: a
    secret_key: s
    collect: [{", ".join(each.name for each in collectors_of("accounts"))}]
"""
LOGIN: Final = {"code": "0", "data": [{"clusterName": "ac", "clusterId": "0", "token": TOKEN}]}

PROJECT: Final = f"""
octopus:
  - name: driving
    base_url: https://octopus.example.com
    project_id: 087679f0aa
    token: {TOKEN}
    queues: [{{queue_type: PROCESSOR, cluster_type: MODELARTS, cluster_id: pool-1}}]
"""


class MockResponse(ClientResponse):
    """A response of aiohttp 3.14, whose `stream_writer` aioresponses does not know yet."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        writer: Any = SimpleNamespace(output_size=0)
        super().__init__(*args, stream_writer=writer, **kwargs)

    @property
    def content(self) -> StreamReader:
        """The body. No connection is there that could be told to wait while much of it is unread."""
        return self._content

    @content.setter
    def content(self, content: StreamReader) -> None:
        content._high_water = sys.maxsize
        self._content = content


class Answer(NamedTuple):
    """A whole answer; a `body` that is not bytes is sent as JSON."""

    body: Any = b""
    status: int = 200


def envelope(data: Any) -> Answer:
    """Return data in SCNet's envelope of a success; bytes are JSON already."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Answer(b'{"code":"0","msg":"success","data":%s}' % raw)


@dataclass(frozen=True)
class Polled:
    """The result of a poll. `requests` are the paths that were requested, with sorted queries."""

    samples: Samples
    rejected: int
    unknown_states: int
    error: str
    records: Any
    requests: list[str]

    def outcome(self, expected: Expected) -> tuple[Expected, int]:
        """Return the values to compare with `expected` and a number of rejected rows and values."""
        found = self.error[: len(expected)] if isinstance(expected, str) else self.error or self.samples
        return found, self.rejected


class Collecting:
    """The first target of a collector, to be polled as often as a test likes."""

    def __init__(self, assembly: Components, collector: str, prefix: str) -> None:
        (self.source,) = assembly.sources.values()
        self._context = assembly.context
        self._target = next(target for target in self.source.targets() if target.key.collector == collector)
        self._prefix = prefix

    async def poll(self, *answers: Answer) -> Polled:
        """Poll once; each request takes the next of the answers."""
        before = self._flaws()
        records, error = None, ""
        with aioresponses() as mocked:
            mocked.post(TOKEN_URL, payload=LOGIN, response_class=MockResponse, repeat=True)
            for answer in answers:
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                mocked.get(ANYWHERE, status=answer.status, body=body, response_class=MockResponse)
            try:
                records = await self._target.poll()
                await self._target.publish(records)
            except PollError as failure:
                error = f"{failure.reason}: {failure}"
            requests = [url.raw_path_qs for method, url in mocked.requests if method == "GET"]
        rejected, unknown = (count - was for count, was in zip(self._flaws(), before, strict=True))
        return Polled(await self._samples(), rejected, unknown, error, records, requests)

    @property
    def remembered(self) -> Any:
        """The state of the target's polling that survives reloads; counters are not among the samples of a single poll."""
        return self._context.display.remembered.get(self._target.key, {})

    def follow(self, service: TrackingService) -> None:
        """Let the tracker follow what is polled."""
        self._context.tracked.service = service

    async def _samples(self) -> Samples:
        text = (await self._context.display.exposition.body(Format.TEXT, compress=False)).decode()
        return {
            " ".join([name.removeprefix(self._prefix), *values_of(labels)]).removeprefix(" "): value
            for family in text_string_to_metric_families(text)
            for name, labels, value, *_ in family.samples
            if name.startswith(self._prefix)
        }

    def _flaws(self) -> list[int]:
        """Return the numbers of rejected rows and values, and of unknown states, until now."""
        labels = {"source": self._target.key.source, "collector": self._target.key.collector}
        counted = self._context.own.registry.restricted_registry(FLAWS).collect()
        samples = [sample for family in counted for sample in family.samples if sample.labels == labels]
        return [int(sum(sample.value for sample in samples if sample.name == name)) for name in FLAWS]


def of(*values: Any) -> tuple[Any, ...]:
    """Values of any types, for tables."""
    return values


def values_of(labels: Mapping[str, str]) -> list[str]:
    return [value for name, value in labels.items() if name not in OF_TARGET]


def assembled(config: str) -> Components:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "exporter.yml")
        path.write_text(config, encoding="utf-8")
        return assemble(path, retries=0)


@asynccontextmanager
async def collecting(config: str, collector: str, prefix: str = "") -> AsyncIterator[Collecting]:
    """Yield a collector of the only region or project in `config`.

    Samples whose names begin with `prefix` are compared.
    """
    assembly = assembled(config)
    try:
        yield Collecting(assembly, collector, prefix)
    finally:
        await assembly.close()
