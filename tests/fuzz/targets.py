"""Everything that is read from outside, as functions of bytes: only documented errors, and what holds for any input.

`make fuzz` calls them with bytes that reach new code, the suite with those of tests/fuzz/corpus, where each input that
once found a mistake stays.
"""

import asyncio
import base64
import csv
import io
import json
import math
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, TypeVar, cast
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families

from exporter.app import Components
from exporter.cli.report import as_csv
from exporter.cli.report_sources import Period, Report, Sums
from exporter.config.loading import effective_yaml, load
from exporter.config.model import TOKEN_URL
from exporter.errors import AuthenticationError, ConfigurationError, PermanentError, PollError
from exporter.http import Request, Response, Upstream
from exporter.http.message import parse_retry_after, readable
from exporter.metrics.format import Format
from exporter.polling import Target
from exporter.redaction import SHORTEST_PART, Redactor
from exporter.sources.collector import registry
from exporter.sources.octopus.api import error_of
from exporter.sources.scnet.api import open_envelope
from exporter.sources.slurm.api import open_answer
from exporter.tracking import Store, Tracker
from exporter.tracking.store import StateFileError, read
from exporter.web.negotiation import accepts_gzip, negotiate
from exporter.web.settings import load_settings
from tests.sources.slurm.answers import ENDED, RUNNING, new, old
from tests.support import collecting
from tests.tracking.files import saved
from tests.tracking.lives import INTERVAL, KEY, listing, time_of

ROOT: Final = Path(__file__).parent.parent.parent
CORPUS: Final = Path(__file__).parent / "corpus"
NOW: Final = 1_796_000_000.0
FOLDER: Final = Path(tempfile.gettempdir())

T = TypeVar("T")


@dataclass(frozen=True)
class FuzzTarget:
    """`run` raises for a mistake of the exporter's. Inputs of a `json` target are a line of words and then JSON."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    json: bool = False


def texts(*seeds: str) -> Callable[[], Iterator[bytes]]:
    return lambda: (seed.encode() for seed in seeds)


def split(data: bytes) -> tuple[list[str], bytes]:
    """Return the words of the first line, and the rest."""
    head, _, rest = data.partition(b"\n")
    return head.decode(errors="replace").split(), rest


def response(status: str, body: bytes, **headers: str) -> Response:
    code = int(status) if re.fullmatch("[2-5][0-9][0-9]", status) else 200
    return readable(Response(code, body, {"Content-Type": "application/json", **headers}, NOW))


# Envelopes: data or a PollError, whose texts are short and in both languages.

ENVELOPES: Final[Mapping[str, Callable[[Response], object]]] = {
    "scnet": open_envelope,
    "octopus": error_of,
    "slurm": lambda answer: open_answer(answer, "jobs"),
}


def envelopes(data: bytes) -> None:
    (vendor, status, *pause), body = (*split(data)[0], "", "")[:3], split(data)[1]
    if vendor not in ENVELOPES:
        return
    try:
        found = ENVELOPES[vendor](response(status, body, **{"Retry-After": "".join(pause)}))
    except PollError as error:
        found = error
    if isinstance(found, PollError):
        assert str(found)
        assert len(str(found)) < 1000
        assert str(found).isprintable(), str(found)


def captured() -> Iterator[tuple[str, str, bytes]]:
    """Yield collector, status and body of the answers in tests/captures and tests/fixtures."""
    for path in sorted((ROOT / "tests/captures/simulated").glob("*.json")):
        document = json.loads(path.read_bytes())
        answer, collector = document["response"], document["collector"]
        yield collector, str(answer["status"]), json.dumps(answer["body"], ensure_ascii=False).encode()
    for name in ("internal", "processor"):
        yield "queuing_jobs", "200", (ROOT / f"tests/fixtures/octopus/{name}.json").read_bytes()
    for rows in ([old(), old(**RUNNING), old(**ENDED)], [new(), new(**RUNNING), new(array_task_string="1-9%2")]):
        yield "jobs", "200", json.dumps({"jobs": rows, "errors": [], "warnings": []}).encode()


def envelope_seeds() -> Iterator[bytes]:
    for collector, status, body in captured():
        yield f"{vendor_of(collector)} {status} 30\n".encode() + body[:600]
    yield b'octopus 403 \n{"error_code":"APIG.0301","error_msg":"Incorrect IAM authentication information"}'
    yield b'slurm 500 \n{"errors":[{"error_number":1007,"error":"Protocol authentication error"}]}'
    yield b"scnet 503 Wed,01Dec2026\n<html><title>Bad gateway</title></html>"


def vendor_of(collector: str) -> str:
    section = registry()[collector].per.section if collector in registry() else ""
    return section if section in ENVELOPES else "scnet"


# Rows: a poll of each collector ends with samples that can be read, or with a PollError, and then nothing changes.

# A section with a collector, by its key of the configuration.
SECTIONS: Final = {
    "accounts": "{name: lab, user: alice, access_key: a, secret_key: s, collect: [COLLECTOR]}",
    "clusters": "{name: kunshan, cluster_id: 11112, hpc_url: 'https://hpc.example.com', account: lab, users: [test],"
    " members: [{group_id: 533686286955839488, users: [test]}], collect: [COLLECTOR]}",
    "octopus": "{name: driving, base_url: 'https://octopus.example.com', project_id: 087679f0aa, token: made-up-token,"
    " queues: [{queue_type: PROCESSOR, cluster_type: MODELARTS, cluster_id: pool-1}], collect: [COLLECTOR]}",
    "slurm": "{name: own, url: 'https://slurm.example.com', token: made-up-token, api_version: v0.0.42,"
    " collect: [COLLECTOR]}",
}
# These show numbers of the answer itself: a zero among them was sent.
FIGURES: Final = ("queue_capacity", "region_cores", "storage_quota", "user_limits", "account")


@cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def configuration_of(collector: str) -> str:
    section = registry()[collector].per.section
    account = SECTIONS["accounts"].replace("COLLECTOR", "" if section == "clusters" else collector)
    account = f"accounts: [{account}]\n" if section in ("accounts", "clusters") else ""
    return account + (
        "" if section == "accounts" else f"{section}: [{SECTIONS[section]}]".replace("COLLECTOR", collector)
    )


@lru_cache(maxsize=64)
def assembled(collector: str) -> tuple[Components, Target]:
    components = collecting.assembled(configuration_of(collector) + "\nper_job: {enabled: true}\n")
    targets = [target for source in components.sources.values() for target in source.targets()]
    return components, next(target for target in targets if target.key.collector == collector)


def rows(data: bytes) -> None:
    (collector, status), body = (*split(data)[0], "", "")[:2], split(data)[1]
    if collector in registry():
        loop().run_until_complete(polled(collector, response(status, body)))


async def polled(collector: str, answer: Response) -> None:
    components, target = assembled(collector)
    requests = 0

    async def call(_upstream: Upstream, request: Request, decode: Callable[[Response], T]) -> T:
        nonlocal requests
        requests += 1
        assert requests < 1000, "it never ends"
        login = request.url == TOKEN_URL
        return decode(response("200", json.dumps(collecting.LOGIN).encode()) if login else answer)

    exposition, before = components.context.display.exposition, ""
    real, Upstream.call = Upstream.call, call  # type: ignore[method-assign, assignment]
    try:
        before = (await exposition.body(Format.TEXT, compress=False)).decode()
        await target.publish(await target.poll())
    except PollError as error:
        assert (await exposition.body(Format.TEXT, compress=False)).decode() == before
        if isinstance(error, AuthenticationError | PermanentError):
            # It would not ask again for a while.
            assembled.cache_clear()
        return
    finally:
        Upstream.call = real  # type: ignore[method-assign]
    text = (await exposition.body(Format.TEXT, compress=False)).decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert math.isfinite(sample.value), sample
            assert sample.value or collector not in FIGURES or b"0" in answer.body, sample


def row_seeds() -> Iterator[bytes]:
    for collector, status, body in captured():
        if collector in registry():
            yield f"{collector} {status}\n".encode() + body
    for collector in registry():
        yield f'{collector} 200\n{{"code":"0","msg":"","data":{{"list":[{{"id":1}}],"total":1}}}}'.encode()


# Headers.


def retry_after(data: bytes) -> None:
    pause = parse_retry_after(data.decode("latin-1"), NOW)
    assert pause is None or pause >= 0, pause


def accept(data: bytes) -> None:
    header = data.decode("latin-1")
    if negotiate(header) is Format.OPENMETRICS:
        assert "application/openmetrics-text" in header.lower()
    if accepts_gzip(header):
        assert "gzip" in header.lower() or "*" in header
    # A stronger wish wins.
    assert negotiate(f"{header},") is negotiate(header)


# Files that people write.


def file_of(data: bytes, name: str) -> Path:
    path = FOLDER / f"hpc-exporter-fuzz-{name}"
    path.write_bytes(data)
    return path


def configuration(data: bytes) -> None:
    path = file_of(data, "exporter.yml")
    try:
        config = load(path, {"TOKEN": "made-up-token-of-the-environment"})
    except ConfigurationError as error:
        places = [re.match(rf"{re.escape(str(path))}:[1-9]\d*:[1-9]\d*: ", line) for line in str(error).splitlines()]
        if all(places):
            return
        raise
    written = effective_yaml(config)
    again = effective_yaml(load(file_of(written.encode(), "again.yml"), {}))
    assert again == written, written


def web_configuration(data: bytes) -> None:
    path = file_of(data, "web.yml")
    with suppress(ConfigurationError):
        load_settings(path)


def configuration_seeds() -> Iterator[bytes]:
    yield from (configuration_of(collector).encode() for collector in registry())
    yield (ROOT / "config/exporter.example.yml").read_bytes()


# The state file: it is used or set aside, and what was read of it can be counted on and written again.


def state_file(data: bytes) -> None:
    path = file_of(data, "tracker.db")
    for beside in path.parent.glob(f"{path.name}?*"):
        beside.unlink()
    with suppress(StateFileError):
        read(path)
    with suppress(StateFileError):
        loop().run_until_complete(counted(path))


async def counted(path: Path) -> None:
    store, state = await Store.open(path)
    try:
        tracker = Tracker(state)
        tracker.observe(KEY, listing(2), time_of(2) + 1e9, INTERVAL)
        await store.save(tracker.take_batch())
    finally:
        await store.close()
    store, _ = await Store.open(path)
    await store.close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def state_seeds() -> Iterator[bytes]:
    tracker, path = Tracker(), FOLDER / "hpc-exporter-fuzz-seed.db"
    path.unlink(missing_ok=True)
    for poll in range(1, 12):
        tracker.observe(KEY, listing(poll), time_of(poll), INTERVAL)
    asyncio.run(saved(path, tracker))
    yield path.read_bytes()


# The report as CSV: as many columns and rows as there are, no formula, no name lost.


def report_csv(data: bytes) -> None:
    names = [tuple(line.split("\t")[:2]) for line in data.decode(errors="replace").split("\0")]
    sums = {(*name, "")[:2]: Sums({"completed": 1}, 1.5) for name in names}
    period = cast("Period", None)
    text = as_csv(Report("prometheus", sums), period, ("group", "user"))
    title, *found = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    assert {len(row) for row in found} == {len(title)}
    assert {(row[0].removeprefix("'"), row[1].removeprefix("'")) for row in found} == {
        (group.removeprefix("'"), user.removeprefix("'")) for group, user in sums
    }
    assert not any(cell.startswith(tuple("=+-@\t\r")) for row in found for cell in row)


# Redaction: of a secret whole, in part, wrapped, encoded and within other text, no long part is left in any of these.

UNSEEN: Final = re.compile(r"\s")
SHAPES: Final[tuple[Callable[[str, int], str], ...]] = (
    lambda secret, _: secret,
    lambda secret, n: f"{secret[:n]}\n   {secret[n:]}",
    lambda secret, n: base64.b64encode(("u" * (n % 3) + secret).encode()).decode(),
    lambda secret, n: base64.urlsafe_b64encode((secret + "u" * n).encode()).decode(),
    lambda secret, _: base64.encodebytes(secret.encode() * 3).decode(),
    lambda secret, _: quote(secret, safe=""),
    lambda secret, _: json.dumps(json.dumps(secret)),
    lambda secret, n: f"{secret}{secret[:n]}{secret}",
)


def redaction(data: bytes) -> None:
    numbers, (secret, before, after) = data[:3].ljust(3), (*data[3:].decode(errors="replace").split("\0"), "", "")[:3]
    secret = "".join(character for character in secret if "!" <= character <= "~")[:80]
    if len(secret) < SHORTEST_PART:
        return
    known = Redactor()
    known.remember([secret, "another-secret-0123456789"])
    start = numbers[1] % (len(secret) - SHORTEST_PART + 1)
    part = secret[start:] if numbers[0] & 8 else secret
    text = before + SHAPES[numbers[0] % 8](part, 1 + numbers[2] % len(part)) + after
    shown = known.redact(text)
    assert not contained(secret, UNSEEN.sub("", shown)), (secret, text, shown)
    for run in re.findall(r"[\w+/-]{16,}", UNSEEN.sub("", shown), re.ASCII):
        for offset in range(4):
            letters = run[offset:].translate(str.maketrans("-_", "+/"))
            decoded = base64.b64decode(letters[: len(letters) // 4 * 4]).decode("latin-1")
            assert not contained(secret, decoded), (secret, text, shown)


def contained(secret: str, text: str) -> bool:
    """Whether a part of `secret` that is long enough to be taken out stands in `text`.

    What looks like an escape counts as the one letter that it may stand for.
    """
    length = SHORTEST_PART + 5 * sum(map(secret.count, "\\%&"))
    return any(secret[start : start + length] in text for start in range(len(secret) - length + 1))


TARGETS: Final[Mapping[str, FuzzTarget]] = {
    "envelopes": FuzzTarget(envelopes, envelope_seeds, json=True),
    "rows": FuzzTarget(rows, row_seeds, json=True),
    "retry_after": FuzzTarget(retry_after, texts("30", "1.5, 7", "Wed, 01 Dec 2026 10:00:00 GMT", "99999999999999")),
    "accept": FuzzTarget(
        accept,
        texts(
            "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "gzip, identity;q=0",
            'x-gzip;q=0.001;a="b,c", *;q=0',
        ),
    ),
    "configuration": FuzzTarget(configuration, configuration_seeds),
    "web": FuzzTarget(
        web_configuration,
        texts(
            "basic_auth_users: {alice: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG}\n"
            "http_server_config: {http2: false, headers: {X-Frame-Options: deny, Content-Security-Policy: a}}\n"
            "rate_limit: {interval: 1s, burst: 2}\n",
            "tls_server_config:\n  cert_file: a.pem\n  key_file: b.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
            "  client_ca: '-----BEGIN CERTIFICATE-----'\n  min_version: TLS13\n  client_allowed_sans: [a, b]\n",
        ),
    ),
    "state_file": FuzzTarget(state_file, state_seeds),
    "report": FuzzTarget(report_csv, texts("chemistry\talice\0=1+1\t@x", 'a,b\t"c\r\nd"\0\'x\t\u00a0')),
    "redaction": FuzzTarget(
        redaction, texts("0aaeX0-s3cret.token_of/the+region\0u:\0 end", "2bbpass%41word&amp;\\u0041-0123\0\0x")
    ),
}
