"""A real Prometheus that holds a history written by `tools.history`."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real import real_part
from tools.history import Past, blocks, prometheus_command

DEADLINE = 120.0
# Of Prometheus, and of VictoriaMetrics.
_LISTENING = re.compile(r'(?:msg="Listening on".* address=|started server at http://)([\d.:]+)')
# Labels and values over time, as Prometheus answers.
Series = list[dict[str, Any]]


class PastPrometheus:
    """Answers queries at or up to the end of its history."""

    def __init__(self, url: str, end: float) -> None:
        self.url = url
        self._end = end

    def at_the_end(self, expression: str, before: float = 0.0) -> dict[tuple[tuple[str, str], ...], float]:
        """Return an instant vector, `ago` seconds before the end: values by their sorted labels."""
        found = self._ask("query", {"query": expression, "time": self._end - before})
        return {tuple(sorted(each["metric"].items())): float(each["value"][1]) for each in found}

    def over(self, expression: str, seconds: float, step: float) -> Series:
        """Return a range vector until the end."""
        return self._ask(
            "query_range", {"query": expression, "start": self._end - seconds, "end": self._end, "step": step}
        )

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):  # noqa: S310 - a Prometheus of our own
                return True
        except OSError:
            return False

    def _ask(self, path: str, parameters: dict[str, Any]) -> Series:
        body = urllib.parse.urlencode(parameters).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}", body, timeout=DEADLINE) as answer:  # noqa: S310 - as above
                facts = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.read().decode()}: {parameters['query']}") from error
        result: Series = facts["data"]["result"]
        return result


@contextmanager
def remembering(past: Past, folder: Path) -> Iterator[PastPrometheus]:
    """Yield a Prometheus that holds `past`, with its data in `folder`."""
    program = real_part("prometheus")
    config = folder / "prometheus.yml"
    config.write_text("{}", encoding="utf-8")
    command = prometheus_command(blocks(past, folder), config, "127.0.0.1:0")
    with _listening([program, *command[1:]], folder / "prometheus.log", past.end) as prometheus:
        yield prometheus


@contextmanager
def victoria_metrics(past: Past, folder: Path) -> Iterator[PastPrometheus]:
    """Yield a VictoriaMetrics that holds `past`; the test is skipped where there is none."""
    program = shutil.which("victoria-metrics")
    if program is None:
        pytest.skip("there is no victoria-metrics; make test-newest gets it")
    flags = [f"-storageDataPath={folder / 'data'}", "-httpListenAddr=127.0.0.1:0", "-retentionPeriod=100y"]
    # As Prometheus is started: what was gone in history is soon gone in a query, too.
    flags += ["-search.maxStalenessInterval=90s", "-memory.allowedBytes=512MiB"]
    with _listening([program, *flags], folder / "victoria-metrics.log", past.end) as victoria:
        lines = "".join(line for line in past.record.lines() if not line.startswith("#"))
        for path, body in (("api/v1/import/prometheus", lines.encode()), ("internal/force_flush", b"")):
            with urllib.request.urlopen(f"{victoria.url}/{path}", body, timeout=DEADLINE):  # noqa: S310 - one of our own
                pass
        yield victoria


@contextmanager
def _listening(command: Sequence[str], log: Path, end: float) -> Iterator[PastPrometheus]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603 - on our own files
    try:
        yield _ready(process, log, end)
    finally:
        process.terminate()
        process.wait(DEADLINE)


def _ready(process: subprocess.Popen[bytes], log: Path, end: float) -> PastPrometheus:
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until and process.poll() is None:
        if found := _LISTENING.search(log.read_text()):
            prometheus = PastPrometheus(f"http://{found[1]}", end)
            if prometheus.ready():
                return prometheus
        time.sleep(0.05)
    raise AssertionError(log.read_text())
