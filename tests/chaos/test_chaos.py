"""Deterministic simulation: some seeds of the many that `make chaos` runs, and a bug that it has to find."""

import subprocess
import sys
from pathlib import Path

import pytest

from exporter.http import TokenCache
from tests.chaos.scenario import simulate

SEEDS = 200


def test_nothing_that_happens_breaks_an_invariant() -> None:
    """In a process of its own, in which sets have the same order each time."""
    command = [sys.executable, "-m", "tests.chaos", f"--seeds={SEEDS}"]
    folder = Path(__file__).parent.parent.parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_login_at_a_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    log_in = TokenCache.log_in

    async def forgetful(self: TokenCache, *args: object, **more: object) -> None:
        self._under_way = None
        await log_in(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(TokenCache, "log_in", forgetful)
    with pytest.raises(AssertionError, match=r"logins of account .* at a time"):
        list(map(simulate, range(50)))
