"""Wait bounds against logs of batch systems that are bursty, drift, and have a day without starts."""

import json
from math import pi, sin
from pathlib import Path
from typing import Any

import pytest

from bench.bounds import Entry, main, read_line, replay, results
from tests.support.logs import DAY, generated

LOGS: dict[str, Any] = {
    "steady": {},
    "bursty": {"largest_burst": 400, "sessions_a_day": 20},
    "more and more load": {"load": lambda at: 0.6 + at / (120 * DAY)},
    "load that comes and goes": {"load": lambda at: 1 + 0.3 * sin(2 * pi * at / (30 * DAY))},
    "a day of maintenance": {"closed": (30 * DAY, 31 * DAY)},
}


@pytest.mark.parametrize("kind", LOGS)
def test_holds_as_often_as_it_says(kind: str) -> None:
    found = results(replay(generated(2, **LOGS[kind])))
    assert found[0.95].heads > 1000
    for quantile, result in found.items():
        assert (result.held or 0) >= quantile, quantile
        assert (result.unbounded or 1) < 0.1, quantile
    assert (found[0.95].worst_week or 0) >= 0.8


def test_jobs_submitted_together_are_one_observation() -> None:
    alone = [Entry(100_000.0 * number, 50.0, "anne", "1") for number in range(100)]
    burst = [Entry(9_000_000.0 + number, 90_000.0, "bob", "1") for number in range(500)]
    assert len(replay(alone + burst)) == 101
    assert results(replay(alone + burst))[0.95].held == pytest.approx(41 / 42)


def test_heads_know_only_what_had_happened_by_then() -> None:
    entries = generated(5, days=20)
    cut = entries[len(entries) // 2].submit
    whole = [head for head in replay(entries) if head.entry.submit < cut]
    begun = replay(entry for entry in entries if entry.submit < cut)
    assert [(head.entry, head.bounds) for head in whole] == [(head.entry, head.bounds) for head in begun]


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("7 100 20 30 4 30 -1 4 60 -1 1 3 1 -1 2 1 -1 -1", Entry(100, 20, "3", "2")),
        ("7 100 20.5 30 4 30 -1 4 60 -1 0 3 1 -1 9", Entry(100, 20.5, "3", "9")),
        ("7 100 20 30 4 30 -1 4 60 -1 1 3 8", Entry(100, 20, "3", "8")),
        ("7 100 20 30 4 30 -1 4 60 -1 1 -1 1 -1 2 1 -1 -1", Entry(100, 20, "of job 7", "2")),
        ("7 100 20 -1 4 30 -1 4 60 -1 5 3 1 -1 2 1 -1 -1", Entry(100, 20, "3", "2", started=False)),
        ("7 100 20 15 4 30 -1 4 60 -1 5 3 1 -1 2 1 -1 -1", Entry(100, 20, "3", "2")),
        ("7 100 -1 30 4 30 -1 4 60 -1 1 3 1 -1 2 1 -1 -1", None),
        ("7 100 20 30 4 30 -1 4 60 -1 2 3 1 -1 2 1 -1 -1", None),
        ("7 100 nan 30 4", None),
        ("7 inf 20 30 4", None),
        ("7 100", None),
        ("; 7 100 20 30 4 30 -1 4 60", None),
        ("job, submit, wait", None),
        (" ", None),
    ],
)
def test_lines_of_a_log(line: str, entry: Entry | None) -> None:
    assert read_line(line) == entry


def test_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "some.swf"
    log.write_text(
        "; MaxJobs: 100\n"
        + "".join(f"{n} {n * 9999} 10 5 1 5 -1 1 9 -1 1 {n % 5} 1 -1 1 1 -1 -1\n" for n in range(100))
    )
    assert main([str(log), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        str(log): {
            quantile: {"heads": 100, "held": 1.0, "worst_week": 1.0, "unbounded": unbounded, "withheld": 0.0}
            for quantile, unbounded in (("0.5", 0.05), ("0.9", 0.29), ("0.95", 0.59))
        }
    }
    assert main([str(log)]) == 0
    assert "100  100.0 %     100.0 %         59.0 %" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "", "no log\n"])
def test_says_what_is_wrong_with_a_file(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "some.swf"
    if content is not None:
        log.write_text(content)
    assert main([str(log)]) == 1
    assert str(log) in capsys.readouterr().err
