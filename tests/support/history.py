"""A real Prometheus that holds a history written by `tools.history`."""

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.real import real_part
from tools.history import Past, blocks, prometheus_command

DEADLINE = 120.0
_LISTENING = re.compile(r'msg="Listening on".* address=(\S+)')
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
    config, log = folder / "prometheus.yml", folder / "prometheus.log"
    config.write_text("{}", encoding="utf-8")
    command = prometheus_command(blocks(past, folder), config, "127.0.0.1:0")
    with log.open("wb") as output:
        process = subprocess.Popen([program, *command[1:]], stdout=output, stderr=output)  # noqa: S603 - Prometheus on our own files
    try:
        yield _listening(process, log, past.end)
    finally:
        process.terminate()
        process.wait(DEADLINE)


def _listening(process: subprocess.Popen[bytes], log: Path, end: float) -> PastPrometheus:
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until and process.poll() is None:
        if found := _LISTENING.search(log.read_text()):
            prometheus = PastPrometheus(f"http://{found[1]}", end)
            if prometheus.ready():
                return prometheus
        time.sleep(0.05)
    raise AssertionError(log.read_text())
