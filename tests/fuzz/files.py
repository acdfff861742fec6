"""Fuzzing of files: what people write, and the state file of the tracker."""

import asyncio
import json
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from functools import cache, partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar
from zlib import crc32

import msgspec
import trustme
import yaml
from msgspec.structs import replace

from exporter.config.files import in_this_thread
from exporter.config.loading import effective_yaml, load
from exporter.errors import ConfigProblem, ConfigurationError
from exporter.records import EndedJob
from exporter.redaction import SUBSTITUTE, known, resembles_secret
from exporter.sources.collector import registry
from exporter.tracking import MemberKey, Store, Tracker, TrackerState
from exporter.tracking.rows import TABLES, create_tables, read_all, write_batch
from exporter.tracking.store import APPLICATION_ID, VERSION, StateFileError, read
from exporter.tracking.tracker import Batch
from exporter.web.settings import (
    HEADERS,
    UNSUPPORTED,
    VERIFYING,
    VERSIONS,
    HttpServerSection,
    RateLimitSection,
    TlsServerSection,
    WebDocument,
    load_settings,
)
from tests.fuzz.answers import configuration_of, lines_of, loop, samples
from tests.fuzz.target import ROOT, FuzzTarget, of_json, of_yaml
from tests.tracking.files import saved
from tests.tracking.lives import ALONE, INTERVAL, KEY, alone, listing, time_of

T = TypeVar("T")

# In memory where the system has such a place: it is written at each input.
MEMORY: Final = "/dev/shm"  # noqa: S108 - names in it are chosen by tempfile


@cache
def folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(dir=MEMORY if Path(MEMORY).is_dir() else None)


def file_of(data: bytes, name: str) -> Path:
    path = Path(folder().name, name)
    path.write_bytes(data)
    return path


# --- Configurations: a mistake has its place in the file, and shows no secret; the same file gives the same -----------

# Of the environment; and one that is written itself, wherever that came to stand.
VARIABLE: Final = "made-up-token-of-the-environment-5b1c"
SECRET: Final = "Zx9Q7wLm3Rt5Vb8Nk2Jh"
assert resembles_secret(SECRET)
# Of a certificate or a key.
KEY_LINE: Final = re.compile(r"[A-Za-z0-9+/]{64}")
BREAKS: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


def configuration(data: bytes) -> None:
    config = same_twice(data, "exporter.yml", lambda path: load(path, {"TOKEN": VARIABLE}))
    if config is not None:
        written = effective_yaml(config)
        # In any other place it is no secret.
        assert not re.search(rf"(?m)(token|password|access_key|secret_key): .*({VARIABLE}|{SECRET})", written), written
        again = outcome_of(file_of(written.encode(), "again.yml"), lambda path: load(path, {}))
        if isinstance(again, ConfigurationError):
            # A secret was pasted into an address as well.
            lines = written.splitlines()
            assert all(SUBSTITUTE in lines[mistake.line - 1] for mistake in again.mistakes), again
        else:
            assert effective_yaml(again) == written, written
        if sampled(data, 2):
            misspelt(data.decode("utf-8-sig"), crc32(data))


def misspelt(text: str, number: int) -> None:
    """Misspell one key of a configuration without mistakes: the mistake names that key, at its place."""
    root = yaml.compose(text, yaml.BaseLoader)
    keys = [
        key for key in keys_below(root, set()) if key.style is None and text[: key.end_mark.index].endswith(key.value)
    ]
    if keys:
        key = keys[number % len(keys)]
        end = key.end_mark.index
        found = outcome_of(
            file_of(f"{text[:end]}x{text[end:]}".encode(), "misspelt.yml"), lambda path: load(path, {"TOKEN": VARIABLE})
        )
        assert isinstance(found, ConfigurationError), key
        told = [mistake.message for mistake in found.mistakes if place_of(mistake) == place_of_mark(key.start_mark)]
        assert f"unknown key; did you mean {key.value}?" in told, (key, found)


def keys_below(node: Any, seen: set[int]) -> Iterator[Any]:
    """Yield the keys of all mappings, each once, whatever aliases refer to it."""
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    for each in node.value:
        key, value = each if isinstance(node, yaml.MappingNode) else (None, each)
        if key is not None:
            yield key
        yield from keys_below(value, seen)


def place_of(mistake: ConfigProblem) -> tuple[int, int]:
    return mistake.line, mistake.column


def place_of_mark(mark: yaml.Mark) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def web_configuration(data: bytes) -> None:
    same_twice(data, "web.yml", load_settings)


def sampled(data: bytes, of: int) -> bool:
    """Whether an input is one of those that are looked at more closely, which takes time."""
    return crc32(data) % of == 0


def same_twice(data: bytes, name: str, load_file: Callable[[Path], Any]) -> Any:
    """Return the content of a file; None where there are mistakes in it, each of which has a place there."""
    # Those of earlier inputs.
    known.forget()
    path = file_of(data, name)
    found = outcome_of(path, load_file)
    if sampled(data, 4):
        assert outcome_shown(found) == outcome_shown(outcome_of(path, load_file))
    if not isinstance(found, ConfigurationError):
        return found
    lines = BREAKS.split(data.decode(errors="replace"))
    assert found.mistakes
    for mistake in found.mistakes:
        assert 1 <= mistake.line <= len(lines), mistake
        assert 1 <= mistake.column <= len(lines[mistake.line - 1]) + 1, mistake
        text = f"{mistake.path}: {mistake.message}"
        assert mistake.message
        assert text.isprintable(), mistake
        assert VARIABLE not in text, mistake
        # Text that begins with a slash is taken for a path.
        key_lines = filter(resembles_secret, KEY_LINE.findall(data.decode(errors="replace")))
        for secret in (SECRET, *key_lines):
            assert secret not in text or re.search(rf"/\S*{re.escape(secret)}", text), mistake
    return None


def outcome_of(path: Path, load_file: Callable[[Path], Any]) -> Any:
    try:
        return in_this_thread(lambda: load_file(path))()
    except ConfigurationError as error:
        return error


def outcome_shown(outcome: Any) -> str:
    return str(outcome) if isinstance(outcome, ConfigurationError) else "loaded"


def documents() -> Iterator[bytes]:
    """Yield the configurations with mistakes that tests/config holds, one for each mistake."""
    for path in sorted((ROOT / "tests/config/testdata/invalid").glob("*.yml")):
        for part in re.split(r"^--- # .*\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            # Aliases that repeat a hundred thousand values take half a second.
            if "*" not in part:
                yield re.sub(r"(?m)^# expect: .*\n", "", part).encode()


def configuration_seeds() -> Iterator[bytes]:
    yield from (configuration_of(collector).encode() for collector in registry())
    # Its sections one by one: to read all of it takes a tenth of a second.
    example = (ROOT / "config/exporter.example.yml").read_text(encoding="utf-8")
    yield from (section.encode() for section in re.split(r"(?m)^(?=[a-z_]+:)", example))
    yield from documents()
    yield f"octopus: [{{name: a, base_url: 'https://a.b', project_id: p, token: {SECRET}, queues: [{{queue_type: X}}]}}]".encode()
    yield b"slurm: [{name: '${TOKEN}', url: 'unix:/run/slurmrestd.sock', token: ${TOKEN}, user_name: u}]"


def keys_of(example: str) -> tuple[str, ...]:
    return tuple(sorted(set(re.findall(r"[a-z_]{3,}(?=:)", example))))


CONFIGURATION_KEYS: Final = keys_of((ROOT / "config/exporter.example.yml").read_text(encoding="utf-8"))
YAML_TOKENS: Final = (
    ": ",
    "- ",
    "\n  ",
    "&a ",
    "*a",
    "<<",
    "|\n",
    ">-\n",
    "!!str ",
    "'",
    '"',
    "{",
    "}",
    "[",
    "]",
    ", ",
    "---\n",
)
WEB: Final = (
    """
basic_auth_users: {alice: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG}
http_server_config: {http2: false, headers: {X-Frame-Options: deny, Content-Security-Policy: a}}
rate_limit: {interval: 1s, burst: 2}
""",
    """
tls_server_config:
  cert_file: a.pem
  key_file: b.pem
  client_auth_type: RequireAndVerifyClientCert
  client_ca: '-----BEGIN CERTIFICATE-----'
  min_version: TLS13
  client_allowed_sans: [a, b]
""",
    f"tls_server_config: {{cert: {SECRET}, key: '-----BEGIN PRIVATE KEY-----\\n{SECRET}', cipher_suites: [a]}}\n",
)
WEB_SECTIONS: Final = (WebDocument, TlsServerSection, HttpServerSection, RateLimitSection)
WEB_KEYS: Final = tuple(sorted({*HEADERS, *(key for section in WEB_SECTIONS for key in section.model_fields)}))
WEB_WORDS: Final = (
    *VERSIONS,
    *VERIFYING,
    *UNSUPPORTED,
    "NoClientCert",
    "RequestClientCert",
    "nosniff",
    "-----BEGIN CERTIFICATE-----",
)


def web_seeds() -> Iterator[bytes]:
    yield from map(str.encode, WEB)
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    tls = {
        "cert": issued.cert_chain_pems[0].bytes().decode(),
        "key": issued.private_key_pem.bytes().decode(),
        "client_ca": authority.cert_pem.bytes().decode(),
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_allowed_sans": ["localhost"],
    }
    yield json.dumps({"tls_server_config": tls}).encode()


# --- The state file: it is used or set aside; nothing is counted back, and what was read can be written ---------------

# The last step of a tracker with its members.
Step = Callable[[Tracker, list[MemberKey]], None]
# A member of a region whose history is read.
HISTORY: Final = MemberKey("xian", "8", "carol")


@cache
def empty() -> bytes:
    """Return a state file without rows, of small pages: so that a large part of it says something."""
    path = file_of(b"", "empty.db")
    path.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA page_size = 512")
        create_tables(file)
        file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        file.execute(f"PRAGMA user_version = {VERSION}")
    return path.read_bytes()


def state_file(data: bytes) -> None:
    """Take the bytes of a file, or JSON: its rows by table."""
    if data[:1] != b"{":
        used_or_set_aside(file_of(data, "tracker.db"), data)
    elif (document := document_of(data)) is None:
        return
    elif sampled(data, 8):
        path = file_of(empty(), "tracker.db")
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            file.execute("PRAGMA synchronous = OFF")
            fill(file, document)
        used_or_set_aside(path, data)
    else:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as file:
            file.deserialize(empty())
            fill(file, document)
            counted_in_memory(file, data)


def used_or_set_aside(path: Path, data: bytes) -> None:
    for beside in path.parent.glob(f"{path.name}?*"):
        beside.unlink()
    state = None
    with suppress(StateFileError):
        state = read(path)
        copied(read(path))
    # Of a part of a file nothing counts. One of a byte is empty for SQLite.
    assert state is None or len(data) < 2 or data == whole_file() or not whole_file().startswith(data)
    with suppress(StateFileError):
        loop().run_until_complete(counted(path, state, data))


def document_of(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def fill(file: sqlite3.Connection, document: Any) -> None:
    """Write rows to a file, those that can be written."""
    file.execute("BEGIN")
    for table in TABLES:
        rows = document.get(table)
        for row in rows if isinstance(rows, list) else ():
            with suppress(sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
                key, value = row
                encoded = msgspec.json.encode(key), msgspec.msgpack.encode(with_maps(value))
                file.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", encoded)  # noqa: S608 - ours
    file.execute("COMMIT")


class InThisThread(Store):
    """To start a thread for each call takes most of the time."""

    async def _call(self, function: Callable[[], T], *, timeout: float) -> T:  # noqa: ARG002, ASYNC109 - as its base
        return function()


async def counted(path: Path, before: TrackerState | None, data: bytes) -> None:
    store, state = await InThisThread.open(path)
    try:
        assert state == (before or TrackerState())
        aside = path.with_name(f"{path.name}.set-aside-1")
        assert aside.exists() is (before is None)
        for latest, batch in polled(state, data):
            after = latest
            assert not await store.save(batch)
    finally:
        await store.close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert shown(Tracker(read(path))) == after


def counted_in_memory(file: sqlite3.Connection, data: bytes) -> None:
    """As a state file is used, but in a tenth of its time."""
    try:
        state = read_all(file)
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        return
    if sampled(data, 3):
        copied(read_all(file))
    for latest, batch in polled(state, data):
        after = latest
        file.execute("BEGIN")
        assert not write_batch(file, batch)
        file.execute("COMMIT")
    assert shown(Tracker(read_all(file))) == after


def polled(state: TrackerState, data: bytes) -> Iterator[tuple[dict[str, float], Batch]]:
    """Let the tracker go on with a state; yield all that it shows, and what is to be written."""
    tracker = Tracker(state)
    keys = list(tracker.members())
    first = shown(tracker)
    tracker.observe(KEY, listing(2), time_of(2) + 1e9, INTERVAL)
    for key in keys:
        tracker.observe(key, listing(3), time_of(3) + 1e9, INTERVAL)
    second = shown(tracker)
    never_back(first, second)
    yield second, tracker.take_batch()
    step_of(data)(tracker, keys)
    third = shown(tracker)
    never_back(second, third)
    yield third, tracker.take_batch()


def never_back(before: Mapping[str, float], after: Mapping[str, float]) -> None:
    for series, value in before.items():
        assert series not in after or after[series] >= value or "timestamp" in series, series


def poll_on(tracker: Tracker, keys: list[MemberKey]) -> None:
    for key in keys:
        tracker.observe(key, listing(9), time_of(4) + 1e9, INTERVAL)


def set_the_clock_back(tracker: Tracker, keys: list[MemberKey]) -> None:
    for key in keys:
        tracker.observe(key, listing(6), time_of(6), INTERVAL)


def read_the_history(tracker: Tracker, keys: list[MemberKey]) -> None:
    now = time_of(9) + 1e9
    for key in keys:
        ends = [
            EndedJob(key.user, "77", now, replace(job, started=now - 300, submitted=now - 400, ended=now))
            for job in listing(8).jobs
        ]
        tracker.take_ends(key, ends, now + 1, 600.0)
        tracker.observe(key, listing(9), now + 2, INTERVAL, grace=600.0)
        tracker.observe(key, listing(20), now + 5000, INTERVAL, grace=600.0)


def forget(tracker: Tracker, keys: list[MemberKey]) -> None:
    tracker.forget_members([KEY], time_of(3) + 2e9, keys[:1])


def step_of(data: bytes) -> Step:
    return STEPS[crc32(data) % len(STEPS)]


def has_step(step: Step, data: bytes) -> bool:
    return step_of(data) is step


STEPS: Final[tuple[Step, ...]] = (poll_on, set_the_clock_back, read_the_history, forget)


def shown(tracker: Tracker) -> dict[str, float]:
    """Return all that is shown of the members, each under a name of its own."""
    found: dict[str, float] = {}
    for key in tracker.members():
        of_key = samples("".join(lines_of(tracker, key)).encode())
        found |= {f"{key} {series}": value for series, value in of_key.items()}
    return found


def copied(state: TrackerState) -> None:
    """Write all that is remembered to a new file, and read the same."""
    batch = Tracker(state).take_batch(everything=True)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as file:
        create_tables(file)
        assert not write_batch(file, batch)
        again = read_all(file)
    assert Tracker(again).take_batch(everything=True) == batch


# Maps by anything but text, which JSON does not have, are lists of pairs behind this word.
MAP: Final = "map"


def without_maps(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = [[without_maps(key), without_maps(each)] for key, each in value.items()]
        return dict(pairs) if all(isinstance(key, str) for key in value) else [MAP, *pairs]
    return [*map(without_maps, value)] if isinstance(value, list | tuple) else value


def with_maps(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: with_maps(each) for key, each in value.items()}
    if isinstance(value, list) and value[:1] == [MAP]:
        return {tuple(key) if isinstance(key, list) else key: with_maps(each) for key, each in value[1:]}
    return [*map(with_maps, value)] if isinstance(value, list) else value


def rows_of(path: Path) -> Mapping[str, list[Any]]:
    """Return the rows of a file by table, each a key and a value."""
    with closing(sqlite3.connect(path)) as file:
        return {
            table: [
                [json.loads(key), without_maps(msgspec.msgpack.decode(value))]
                for key, value in file.execute(f"SELECT key, value FROM {table}")  # noqa: S608 - ours
            ]
            for table in TABLES
        }


@cache
def whole_file() -> bytes:
    """Return a file with rows of all tables."""
    tracker, path = Tracker(), file_of(b"", "seed.db")
    for poll in range(1, 12):
        tracker.observe(KEY, listing(poll), time_of(poll), INTERVAL)
        tracker.observe(HISTORY, listing(poll), time_of(poll), INTERVAL, grace=600.0)
    for poll in range(40):
        tracker.observe(ALONE, alone(poll), time_of(poll), INTERVAL)
    for job in listing(8).jobs:
        end = EndedJob(
            HISTORY.user, "77", time_of(8), replace(job, started=time_of(6), submitted=time_of(5), ended=time_of(8))
        )
        tracker.take_ends(HISTORY, [end], time_of(12), 600.0)
    tracker.set_mark("kunshan", time_of(12))
    path.write_bytes(empty())
    asyncio.run(saved(path, tracker))
    return path.read_bytes()


def state_seeds() -> Iterator[bytes]:
    yield whole_file()
    path = file_of(whole_file(), "seed.db")
    document = rows_of(path)
    written = json.dumps(document).encode()
    yield from (next(filter(partial(has_step, step), map(written.ljust, count(len(written))))) for step in STEPS)
    # By fewer rows a mutation is more likely to meet the one that matters.
    yield json.dumps({table: rows[:2] for table, rows in document.items()}).encode()
    yield json.dumps({table: rows[-1:] for table, rows in document.items()}).encode()
    yield b"{}"


def mutate_state(data: bytes, chance: Random) -> bytes | None:
    """Mutate rows, or a file: one that is cut, or of which a bit is not as it was."""
    if not data or data[:1] == b"{":
        return of_json(keys=tuple(TABLES))(data, chance)
    place = chance.randrange(len(data))
    kind = chance.randrange(4)
    if kind == 0:
        return data[:place]
    return None if kind == 1 else data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


TARGETS: Final = {
    "configuration": FuzzTarget(
        configuration,
        configuration_seeds,
        of_yaml(CONFIGURATION_KEYS),
        (*CONFIGURATION_KEYS, *YAML_TOKENS, "${TOKEN}", SECRET),
        2000,
    ),
    "web": FuzzTarget(
        web_configuration, web_seeds, of_yaml(WEB_KEYS), (*WEB_KEYS, *WEB_WORDS, *YAML_TOKENS, SECRET), longest=4096
    ),
    "state_file": FuzzTarget(state_file, state_seeds, mutate_state, longest=32768),
}
