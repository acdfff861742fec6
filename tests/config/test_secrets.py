"""Secrets stay secret, and follow their files."""

# ruff: noqa: ASYNC240 - a test may keep its own loop waiting for a small file

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.clock import SystemClock
from exporter.config import FileSecret, FileWatch, InlineSecret, Secret, UnusableSecretError
from exporter.redaction import redact
from tests.support.clock import FakeClock
from tests.support.disk import DeadDisk, impatient


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n", encoding="utf-8")
    return path


class Changes:
    """The secrets that were reported as changed, in order."""

    def __init__(self) -> None:
        self.values: list[str] = []

    async def __call__(self, secrets: Sequence[FileSecret]) -> None:
        self.values += [secret.value() for secret in secrets]


@pytest.fixture
def changes() -> Changes:
    return Changes()


def watch(changes: Changes, *secrets: FileSecret) -> FileWatch[FileSecret]:
    files = FileWatch[FileSecret]("secret file", SystemClock(), on_change=changes)
    files.follow(secrets)
    return files


@pytest.mark.parametrize("kind", ["inline", "file"])
def test_a_secret_never_shows_itself(kind: str, path: Path) -> None:
    secret: Secret = InlineSecret("first", "token") if kind == "inline" else FileSecret(path, "token_file token")
    assert secret.value() == "first"
    assert "first" not in f"{secret} {secret!r} {secret.origin} {[secret]}"


def test_surrounding_white_space_is_no_part_of_a_secret(path: Path) -> None:
    path.write_text("\ufeff \t first \r\n\n", encoding="utf-8")
    assert FileSecret(path).value() == "first"
    assert InlineSecret(" first\n").value() == "first"


@pytest.mark.parametrize("content", ["", " \n", "a\nb", "a\rb", "a\x00b", "a\x7fb", "a\u2028b", "héllo", "令牌"])
def test_what_cannot_travel_in_a_header_is_rejected(content: str, path: Path) -> None:
    path.write_bytes(content.encode())
    with pytest.raises(UnusableSecretError):
        FileSecret(path)
    with pytest.raises(UnusableSecretError):
        InlineSecret(content)
    if content.isascii():
        # Nor does it survive in a body.
        with pytest.raises(UnusableSecretError):
            InlineSecret(content, header=False)


def test_a_password_that_travels_in_a_body_can_hold_any_letter(path: Path) -> None:
    path.write_text("令牌", encoding="utf-8")
    assert FileSecret(path, header=False).value() == "令牌"
    assert InlineSecret("令牌", header=False).value() == "令牌"


def test_inline_secrets_are_equal_by_content_and_file_secrets_by_path(path: Path) -> None:
    assert InlineSecret("a", "token") == InlineSecret("a", "password") != InlineSecret("b", "token")
    before = FileSecret(path)
    path.write_text("second", encoding="utf-8")
    assert before == FileSecret(path)
    assert len({before, FileSecret(path), InlineSecret("a"), InlineSecret("a")}) == 2
    other = path.with_name("other")
    other.write_text("first", encoding="utf-8")
    assert before != FileSecret(other)


def test_secrets_are_one_by_file_and_key_however_the_path_is_written(path: Path) -> None:
    """Of two objects for one secret, a reload would let go of the one that is in use."""
    secret = FileSecret(path, "token_file token")
    assert secret.identity == FileSecret(path, "token_file ./token").identity
    assert secret.identity != FileSecret(path, "password_file token").identity
    assert secret.identity != FileSecret(path, "token_file token", header=False).identity


def test_a_pipe_without_a_writer_is_rejected_immediately(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnusableSecretError, match="not a regular file"):
        FileSecret(tmp_path / "pipe")


def test_an_endless_file_is_not_read_to_its_end(path: Path) -> None:
    path.write_bytes(b"a" * 1_000_000)
    with pytest.raises(UnusableSecretError, match="longer than"):
        FileSecret(path)


async def test_a_change_reaches_the_secret_and_is_told_once(path: Path, changes: Changes) -> None:
    secret = FileSecret(path)
    files = watch(changes, secret)
    await files.check()
    path.write_text("second", encoding="utf-8")
    await files.check()
    await files.check()
    assert secret.value() == "second"
    assert changes.values == ["second"]


async def test_a_file_written_again_with_the_same_content_is_no_change(path: Path, changes: Changes) -> None:
    files = watch(changes, FileSecret(path))
    path.write_text(" first ", encoding="utf-8")
    await files.check()
    assert changes.values == []


async def test_every_secret_of_one_file_changes(path: Path, changes: Changes) -> None:
    secrets = [FileSecret(path), FileSecret(path)]
    path.write_text("second", encoding="utf-8")
    await watch(changes, *secrets).check()
    assert [secret.value() for secret in secrets] == changes.values == ["second", "second"]


async def test_a_kubernetes_secret_changes_by_a_swap_of_links(tmp_path: Path, changes: Changes) -> None:
    """The file is a link to ..data/token, and ..data a link that is renamed over."""
    for version in ("first", "second"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "token").write_text(version, encoding="utf-8")
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "token").symlink_to("..data/token")
    files = watch(changes, FileSecret(tmp_path / "token"))
    (tmp_path / "..data_tmp").symlink_to("second")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    await files.check()
    assert changes.values == ["second"]


@pytest.mark.parametrize("damage", ["removed", "emptied", "a directory", "not text"])
async def test_a_file_that_breaks_keeps_its_last_good_content_and_is_logged_once(
    damage: str, path: Path, changes: Changes
) -> None:
    secret = FileSecret(path, "token_file token")
    files = watch(changes, secret)
    path.unlink()
    if damage == "a directory":
        path.mkdir()
    elif damage != "removed":
        path.write_bytes(b"" if damage == "emptied" else b"\xff\xfe\xfd")
    with capture_logs() as logs:
        await files.check()
        await files.check()
    assert secret.value() == "first"
    assert changes.values == []
    assert [(log["log_level"], log["secret"], log["path"]) for log in logs] == [
        ("warning", "token_file token", str(path))
    ]


async def test_a_file_that_recovers_is_logged_once_and_its_new_content_taken(path: Path, changes: Changes) -> None:
    files = watch(changes, FileSecret(path))
    path.unlink()
    await files.check()
    path.write_text("second", encoding="utf-8")
    with capture_logs() as logs:
        await files.check()
        await files.check()
    assert [log["event"] for log in logs] == ["secret file can be used again", "secret file changed"]
    assert changes.values == ["second"]
    assert "second" not in str(logs)


async def test_one_broken_file_does_not_hide_the_change_of_another(path: Path, changes: Changes) -> None:
    broken = path.with_name("broken")
    broken.write_text("x", encoding="utf-8")
    files = watch(changes, FileSecret(broken), FileSecret(path))
    broken.unlink()
    path.write_text("second", encoding="utf-8")
    await files.check()
    assert changes.values == ["second"]


async def test_the_watch_looks_again_and_again_until_it_is_cancelled(path: Path, changes: Changes) -> None:
    clock = FakeClock()
    files = FileWatch[FileSecret]("secret file", clock, 2.0, on_change=changes)
    task = asyncio.create_task(files.run())
    await clock.advance(10.0)
    files.follow([FileSecret(path)])
    for content in ("second", "third"):
        path.write_text(content, encoding="utf-8")
        await until(lambda content=content: content in changes.values, clock)  # type: ignore[misc]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert changes.values == ["second", "third"]


async def until(condition: Callable[[], bool], clock: FakeClock) -> None:
    """Let time pass until `condition` holds; a thread that reads takes real time."""
    async with asyncio.timeout(100):
        while not condition():
            await clock.advance(0.1)
            await asyncio.sleep(0.001)


async def test_frequent_reloads_do_not_put_off_the_next_look(path: Path, changes: Changes) -> None:
    clock = FakeClock()
    files = FileWatch[FileSecret]("secret file", clock, 2.0, on_change=changes)
    task = asyncio.create_task(files.run())
    path.write_text("second", encoding="utf-8")
    secret = FileSecret(path)
    secret.update("first")
    started = clock.monotonic()

    def reloaded() -> bool:
        files.follow([secret])
        return bool(changes.values) or clock.monotonic() > started + 60

    await until(reloaded, clock)
    assert changes.values == ["second"]
    task.cancel()


async def test_a_change_that_could_not_be_told_is_told_at_the_next_look(path: Path) -> None:
    told = list[str]()

    async def fail_once(secrets: Sequence[FileSecret]) -> None:
        told.extend(secret.value() for secret in secrets)
        if len(told) == 1:
            raise KeyError("unforeseen")

    files = FileWatch[FileSecret]("secret file", SystemClock(), on_change=fail_once)
    files.follow([FileSecret(path)])
    path.write_text("second", encoding="utf-8")
    with pytest.raises(KeyError):
        await files.check()
    await files.check()
    await files.check()
    assert told == ["second", "second"]


async def test_a_file_on_a_dead_disk_does_not_hide_the_changes_of_others(
    path: Path, dead_disk: DeadDisk, changes: Changes
) -> None:
    dead = FileSecret(path)
    other = path.with_name("other")
    other.write_text("first", encoding="utf-8")
    files = watch(changes, dead, FileSecret(other))
    dead_disk.file(path, "second")
    with capture_logs() as logs, impatient():
        for content in ("second", "third"):
            other.write_text(content, encoding="utf-8")
            await files.check()
    assert changes.values == ["second", "third"]
    assert dead.value() == "first"
    assert [(log["log_level"], log["path"]) for log in logs if log["log_level"] == "warning"] == [
        ("warning", str(path))
    ]
    assert dead_disk.waiting == 1

    await dead_disk.answers()
    with capture_logs() as logs:
        await files.check()
    assert dead.value() == "second"
    assert [log["event"] for log in logs] == ["secret file can be used again", "secret file changed"]


def test_a_secret_that_was_replaced_is_still_taken_out_of_texts(tmp_path: Path) -> None:
    """An answer to a request that was sent with it may be on its way."""
    (tmp_path / "token").write_text("the-first-token")
    secret = FileSecret(tmp_path / "token")
    secret.update("the-second-token")
    assert redact("the-first-token, the-second-token") == "<secret>, <secret>"
    del secret
    assert redact("the-first-token, the-second-token") == "<secret>, <secret>"
