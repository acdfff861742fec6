"""Queues are remembered, so that one without jobs is shown at 0; but not without bound where names keep changing."""

import threading
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.format import Chunks
from exporter.sources import display
from exporter.sources.display import ABSENT_LIMIT, SeenQueues
from exporter.sources.scnet import queue_jobs
from exporter.sources.scnet.queue_jobs import Counts
from tests.app.running import ready, running
from tests.e2e.region import scripted_region

CONFIGURATION = """
poll: {{interval: 100ms}}
clusters:
  - {{name: kunshan, cluster_id: 1, hpc_url: '{url}', token: made-up, users: [test], collect: [queue_jobs]}}
"""
DROPPED = 'hpc_exporter_queues_dropped_total{source="kunshan"}'
NAMES = st.lists(st.text(alphabet="abcdefgh", max_size=1), max_size=8)


@given(st.lists(NAMES, max_size=12), st.integers(0, 5))
def test_the_latest_absent_names_are_remembered(answers: list[list[str]], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(display, "ABSENT_LIMIT", limit)
        seen, dropped_ever, last_in = SeenQueues(), 0, dict[str, int]()
        for at, names in enumerate(answers):
            seen, dropped = seen.after(names)
            dropped_ever += dropped
            last_in |= dict.fromkeys(names, at)
            assert seen.present == set(names)
            assert not seen.present & set(seen.absent)
            assert len(seen.absent) == len(set(seen.absent)) <= limit
            assert seen.present | set(seen.absent) <= last_in.keys()
            forgotten = last_in.keys() - seen.present - set(seen.absent)
            assert all(last_in[gone] <= last_in[kept] for gone in forgotten for kept in seen.absent)
            assert bool(dropped_ever) >= bool(forgotten), "nothing is forgotten silently"


def test_all_names_of_an_answer_are_shown_however_many() -> None:
    names = [f"q{n}" for n in range(10 * ABSENT_LIMIT)]
    seen, dropped = SeenQueues().after(names)
    assert (len(seen.present), dropped) == (len(names), 0)
    seen, dropped = seen.after([])
    assert (len(seen.absent), dropped) == (ABSENT_LIMIT, len(names) - ABSENT_LIMIT)


async def test_series_stay_bounded_where_every_answer_names_other_queues(tmp_path: Path) -> None:
    polls = count()

    async def other_names(_: web.Request) -> web.Response:
        at = next(polls)
        queues: list[dict[str, Any]] = [
            {"name": f"q-{at}-{n}", "values": [{"metricName": "R", "metricValue": 1}]} for n in range(400)
        ]
        return web.json_response({"code": "0", "data": queues})

    async with (
        scripted_region({"queue_jobs": other_names}) as region,
        ready(tmp_path, CONFIGURATION.format(url=region.url)) as exporter,
    ):
        assert (await exporter.samples())[DROPPED] == 0
        samples = await exporter.shows(lambda samples: samples[DROPPED] >= 800, "dropped queues")
        shown = [series for series in samples if series.startswith("hpc_queue_jobs")]
        assert len(shown) == 5 * (400 + ABSENT_LIMIT)
        region.answers["queue_jobs"] = b'{"code": "0", "data": []}'
        # An answer that is on its way may bring further names.
        samples = await exporter.shows(
            lambda samples: not any(value for series, value in samples.items() if series.startswith("hpc_queue_jobs")),
            "only queues at 0",
        )
        assert len([series for series in samples if series.startswith("hpc_queue_jobs")]) == 5 * ABSENT_LIMIT


async def test_large_answers_are_rendered_beside_the_event_loop_and_small_ones_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, set[bool]] = {}
    original = queue_jobs.rendered

    def rendered(hpc_cluster: str, user: str, queues: Mapping[str, Counts]) -> Chunks:
        on_loop = threading.current_thread() is threading.main_thread()
        threads.setdefault(user, set()).add(on_loop)
        return original(hpc_cluster, user, queues)

    async def answer(request: web.Request) -> web.Response:
        number = 3000 if request.query["userName"] == "large" else 10
        return web.json_response({"code": "0", "data": [{"name": f"q{n}", "values": []} for n in range(number)]})

    monkeypatch.setattr(queue_jobs, "rendered", rendered)
    text = CONFIGURATION.replace("[test]", "[large, small]")
    async with (
        scripted_region({"queue_jobs": answer}) as region,
        running(tmp_path, text.format(url=region.url)) as exporter,
    ):
        await exporter.shows(
            lambda samples: len([series for series in samples if series.startswith("hpc_queue_jobs")]) == 5 * 3010,
            "all queues of both users",
        )
    assert threads == {"large": {False}, "small": {True}}
