"""Fuzzing of what upstreams answer: envelopes, and the rows of each collector up to the lines of /metrics.

Inputs are a line of words and then the body of an answer.
"""

import asyncio
import copy
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import msgspec

from exporter.app.components import Components, build, job_budget, load_with_tls, unchanged, with_retries
from exporter.clock import SystemClock
from exporter.config.model import TOKEN_URL
from exporter.errors import PollError
from exporter.http import Request, Response, Upstream
from exporter.http.message import readable, without_nan
from exporter.metrics.exposition import Exposition
from exporter.metrics.format import Format
from exporter.metrics.tracking import tracked_group, tracked_member, waits
from exporter.polling import Target
from exporter.records import JobListing
from exporter.redaction import remember
from exporter.sources import jobs
from exporter.sources.collector import Subject, registry, subjects_of
from exporter.sources.display import Display
from exporter.sources.octopus import api as octopus
from exporter.sources.octopus import auth
from exporter.sources.scnet import api as scnet
from exporter.sources.scnet.discovery import read_center, read_groups
from exporter.sources.scnet.job_history import Ends
from exporter.sources.scnet.login import read_login, read_renewal
from exporter.sources.slurm import api as slurm
from exporter.sources.source import Context
from exporter.tracking import MemberKey, Tracker
from tests.fuzz.target import NOW, ROOT, FuzzTarget, of_json, split
from tests.sources.slurm.answers import ENDED, RUNNING, new, old
from tests.support import collecting

T = TypeVar("T")

SECRET: Final = "made-up-Token-0f3a9c1d7e5b"
# A token that comes with an answer.
NEW: Final = "made-up-new-token-77d0c4e1"
STATUSES: Final = (
    "200",
    "200",
    "200",
    "201",
    "302",
    "400",
    "401",
    "403",
    "404",
    "405",
    "429",
    "500",
    "502",
    "503",
    "511",
)


def response(status: str, body: bytes, **headers: str) -> Response:
    code = int(status) if re.fullmatch("[2-5][0-9][0-9]", status) else 200
    return readable(Response(code, body, {"Content-Type": "application/json", **headers}, NOW))


def captured() -> Iterator[tuple[str, str, bytes]]:
    """Yield collector, status and body of the answers in tests/captures and tests/fixtures."""
    for path in sorted((ROOT / "tests/captures").glob("*/*.json")):
        document = json.loads(path.read_bytes())
        answer, collector = document["response"], document["collector"]
        yield collector, str(answer["status"]), as_json(answer["body"])
    for name in ("internal", "processor"):
        yield "queuing_jobs", "200", (ROOT / f"tests/fixtures/octopus/{name}.json").read_bytes()
    for rows in ([old(), old(**RUNNING), old(**ENDED)], [new(), new(**RUNNING), new(array_task_string="1-9%2")]):
        yield "jobs", "200", as_json({"jobs": rows, "errors": [], "warnings": []})


def as_json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


# --- Envelopes: data, or a PollError whose texts are short, in both languages, and show no secret ---------------------

ENVELOPES: Final[Mapping[str, Callable[[Response], object]]] = {
    "scnet": scnet.open_envelope,
    "octopus": octopus.error_of,
    "slurm": lambda answer: slurm.open_answer(answer, "jobs"),
    "groups": read_groups,
    "center": read_center,
    "login": read_login,
    "renewal": read_renewal,
    "iam": auth.read_login,
}
CODES: Final = {
    **dict.fromkeys(ENVELOPES, scnet.LISTED_CODES | {scnet.GATEWAY_REJECTED, scnet.GATEWAY_NOT_LOGGED_IN}),
    **dict.fromkeys(("octopus", "iam"), octopus.LISTED_CODES),
    "slurm": frozenset(map(str, slurm.LISTED)),
}


# In which answers are met, besides UTF-8 without a mark.
ENCODINGS: Final = ("utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "gbk", "gb2312", "gb18030")


def envelopes(data: bytes) -> None:
    (vendor, status, pause, encoding), body = (*split(data)[0], "", "", "")[:4], split(data)[1]
    if vendor not in ENVELOPES:
        return
    remember([SECRET])
    headers = {"Retry-After": pause, auth.TOKEN_HEADER: NEW}
    answer = response(status, body, **headers)
    found = opened(vendor, answer)
    if encoding in ENCODINGS and (encoded := in_encoding(body, encoding)):
        # It says the same.
        content_type = f"application/json;charset={encoding}"
        again = opened(vendor, response(status, encoded, **headers | {"Content-Type": content_type}))
        assert outcome_shown(again) == outcome_shown(found), encoding
    if isinstance(found, PollError):
        check(found)
        assert found.api_code in {None, "other", *CODES[vendor]}, found.api_code
        if vendor in ("login", "renewal") and b'"token": "%b"' % NEW.encode() in body:
            assert NEW not in "".join(found.text)
    elif vendor not in ("slurm", "iam"):
        assert json.loads(without_nan(answer.body))["code"] in (0, "0")
    elif vendor == "slurm":
        assert not json.loads(without_nan(answer.body)).get("errors")


def opened(vendor: str, answer: Response) -> object:
    # A pause that the answer does not tell is random.
    random.seed(0)
    try:
        return ENVELOPES[vendor](answer)
    except PollError as error:
        return error


def outcome_shown(outcome: object) -> str:
    """Return an error with its text in both languages, or data."""
    if isinstance(outcome, PollError):
        return f"{type(outcome)} {outcome.text} {outcome.api_code}"
    return str(bytes(outcome)) if isinstance(outcome, msgspec.Raw) else str(outcome)


def in_encoding(body: bytes, encoding: str) -> bytes:
    """Return JSON in another encoding; nothing where it is none in UTF-8, or so short that it may be something else as well."""
    with suppress(ValueError, RecursionError):
        json.loads(body)
        return body.decode().encode(encoding) if len(body) > 3 else b""
    return b""


def check(error: PollError) -> None:
    for text in error.text:
        assert text
        assert len(text) < 1000
        assert text.isprintable(), text
        assert SECRET not in text
    pause = getattr(error, "retry_after", None)
    assert pause is None or pause >= 0


def envelope_seeds() -> Iterator[bytes]:
    for collector, status, body in captured():
        yield f"{vendor_of(collector)} {status} 30\n".encode() + body[:1500]
    for encoding in ENCODINGS:
        yield f"scnet 200 30 {encoding}\n".encode() + as_json({"code": "10007", "msg": "用户已被冻结"})
    yield b'octopus 403 \n{"error_code":"APIG.0301","error_msg":"Incorrect IAM authentication information"}'
    yield b'octopus 200 \n{"error":{"code":"octopus.400001","message":"%b"}}' % SECRET.encode()
    for vendor, data in (
        ("login", [{"clusterId": "0", "clusterName": "ac", "token": NEW}]),
        ("renewal", {"token": NEW}),
    ):
        yield f"{vendor} 200 \n".encode() + as_json({"code": "0", "msg": "", "data": data})
    yield b'iam 201 \n{"token": {"expires_at": "2026-11-30T10:00:00.000000Z"}}'
    yield b'slurm 500 \n{"errors":[{"error_number":1007,"error":"Protocol authentication error"}]}'
    yield b"scnet 503 Wed,01Dec2026\n<html><title>Bad gateway</title></html>"


def vendor_of(collector: str) -> str:
    if collector in ("groups", "center"):
        return collector
    section = registry()[collector].per.section if collector in registry() else ""
    return section if section in ENVELOPES else "scnet"


# --- Rows -------------------------------------------------------------------------------------------------------------

# A section with a collector, by its key of the configuration.
SECTIONS: Final = {
    "accounts": "{name: lab, user: alice, access_key: a, secret_key: s, collect: [COLLECTOR]}",
    "clusters": "{name: kunshan, cluster_id: 11112, hpc_url: 'https://hpc.example.com', CREDENTIAL, users: [test],"
    " members: [{group_id: 533686286955839488, users: [test]}], collect: [COLLECTOR]}",
    "octopus": "{name: driving, base_url: 'https://octopus.example.com', project_id: 087679f0aa, token: made-up-token,"
    " queues: [{queue_type: PROCESSOR, cluster_type: MODELARTS, cluster_id: pool-1}], collect: [COLLECTOR]}",
    "slurm": "{name: own, url: 'https://slurm.example.com', token: made-up-token, api_version: v0.0.42,"
    " collect: [COLLECTOR]}",
}
LINE: Final = re.compile(r'([a-z_]+(?:\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})?) (-?[0-9.]+(?:e[+-]?[0-9]+)?)')
# May be below 0.
SIGNED: Final = "hpc_account_balance_cny"
# They say how an answer was read, and not what is in it.
OF_READING: Final = (
    "octopus_queue_listing_complete",
    "octopus_queued_unread_resource_specs",
    "octopus_queued_oldest_rank",
)
# Fields that say what a row is about, and not how much of something there is: without them it is another row.
TELLING: Final = re.compile(
    r"(?i)id$|id_|name|priority|state|task_string|offset|user|queue$|code|type|spec|tres_"
    r"|^(account|partition|path|set|infinite|data|list|values|page_info)$"
)
# Those of them that hold rows.
HOLDING: Final = frozenset({"data", "list", "values", "page_info"})
ABSENT: Final = "\0absent"
# Values that cannot be read as a number, or say that there is none.
UNREADABLE: Final = (None, ABSENT, "N/A", "12x", {"odd": 1}, [7], "1e999", "", "--", True, -1, 2**53 + 1, "0x10", "٣")
# Text that is read as one.
NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)
# Whether a list is known to be complete.
COMPLETE: Final = "octopus_queue_listing_complete{"
# Shown of a list of data jobs that is.
OF_ENDS: Final = re.compile("octopus_job_run_seconds")
# Kinds of inputs by their number.
A_ROW_AGAIN: Final = 4
# Each repetition of a row counts, as that of another scheduler.
ADDED_UP: Final = frozenset({(A_ROW_AGAIN, "queue_jobs")})


def configuration_of(collector: str) -> str:
    section = registry()[collector].per.section
    # To log in takes longer than most polls.
    logs_in = section == "accounts" or collector in ("live_jobs", "job_history")
    names = {section: collector} | ({"accounts": ""} if logs_in and section != "accounts" else {})
    credential = "account: lab" if logs_in else "token: made-up-token"
    return "\n".join(
        f"{name}: [{SECTIONS[name]}]".replace("COLLECTOR", each).replace("CREDENTIAL", credential)
        for name, each in names.items()
    )


@cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def context() -> Context:
    """Return one for all inputs: to make one takes most of the time."""
    return Context(SystemClock(), Exposition())


@cache
def nothing() -> Components:
    return Components.none(context())


@cache
def loaded(collector: str) -> tuple[Any, Any]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "exporter.yml")
        path.write_text(configuration_of(collector) + "\nper_job: {enabled: true}\n", encoding="utf-8")
        config, contexts = load_with_tls(path)
    return with_retries(config, 0), contexts


class Polled:
    """A new target of a collector, which gets one answer again and again."""

    def __init__(self, collector: str, answer: Response) -> None:
        config, contexts = loaded(collector)
        self._context = context()
        exposition = self._context.display.exposition
        for owner in [*exposition._owned]:
            exposition.remove(owner)
        self._context.display = Display(self._context.own, exposition, self._context.tracked)
        self._context.display.per_job = job_budget(config)
        components = build(config, config, unchanged(config, contexts, nothing()), before=nothing())
        targets = [target for source in components.sources.values() for target in source.targets()]
        self._target: Target = next(target for target in targets if target.key.collector == collector)
        self._collector = registry()[collector]
        self._subject: Subject = next(
            subject
            for part in config.polled
            for each, subject in subjects_of(part.listed_in, part)
            if each is self._collector
        )
        self._answer = answer
        self._requests = 0
        self.found: Any = None

    async def _call(self, request: Request, decode: Callable[[Response], T]) -> T:
        self._requests += 1
        assert self._requests < 1000, "it never ends"
        login = request.url == TOKEN_URL
        return decode(response("200", json.dumps(collecting.LOGIN).encode()) if login else self._answer)

    async def poll(self) -> bytes:
        """Poll once; return what is shown then. Raises PollError."""

        async def call(_upstream: Upstream, request: Request, decode: Callable[[Response], T]) -> T:
            return await self._call(request, decode)

        real, Upstream.call = Upstream.call, call  # type: ignore[method-assign, assignment]
        try:
            self.found = await self._target.poll()
            await self._target.publish(self.found)
        finally:
            Upstream.call = real  # type: ignore[method-assign]
        return await self._context.display.exposition.body(Format.TEXT, compress=False)

    def rows(self) -> list[Any]:
        """Return the rows of `once`."""
        once = self._collector.once
        return [] if once is None or self.found is None else [*once.rows(self._subject, self.found)]

    def listings(self) -> Iterator[tuple[MemberKey, JobListing]]:
        if isinstance(self.found, JobListing | jobs.Listed):
            for member, listing in jobs.listings_of(self._subject, self.found):
                yield MemberKey(member.source, member.group_id, member.user), listing


def rows(data: bytes) -> None:
    (collector, status, number), body = (*split(data)[0], "", "")[:3], split(data)[1]
    if collector not in registry():
        return
    polled = Polled(collector, response(status, body))
    try:
        text = loop().run_until_complete(polled.poll())
    except PollError as error:
        check(error)
        return
    samples(text)
    place, kind = divmod(int(number) if re.fullmatch("[0-9]{1,6}", number) else 0, 5)
    if kind == 0:
        # An answer that comes again shows the same.
        assert loop().run_until_complete(polled.poll()) == text
        msgspec.json.encode(polled.rows())
    elif kind == 1:
        followed(polled)
    elif not getattr(polled.found, "rejected", 0) and (kind, collector) not in ADDED_UP:
        # Of two rows that contradict each other the other one counts where one cannot be read.
        compared(collector, status, body, kind, place)


def samples(text: bytes) -> dict[str, float]:
    """Return the values by name and labels, of which each is there once."""
    found: dict[str, float] = {}
    for line in text.decode().split("\n"):
        if line and not line.startswith("#"):
            series, value = sample_in(line)
            assert series not in found, line
            found[series] = value
    return found


@lru_cache(100_000)
def sample_in(line: str) -> tuple[str, float]:
    match = LINE.fullmatch(line)
    assert match, line
    value = float(match[2])
    assert math.isfinite(value), line
    assert value >= 0 or line.startswith(SIGNED), line
    return match[1], value


def followed(polled: Polled) -> None:
    """Let the tracker take in what was found, and then that it is gone: nothing it counts steps back."""
    tracker = Tracker()
    counts: dict[str, float] = {}
    ends = polled.found.rows if isinstance(polled.found, Ends) else ()
    for at in (NOW, NOW + 60, NOW + 120, NOW + 180):
        for key, listing in polled.listings():
            tracker.observe(key, listing if at < NOW + 100 else JobListing(()), at, 60.0)
        for row in ends:
            tracker.take_ends(MemberKey("kunshan", "", row.user), [row], at, 600.0)
        lines = list(chain.from_iterable(lines_of(tracker, key) for key in tracker.members()))
        after = samples("".join(lines).encode())
        for series, count in counts.items():
            if re.match(r"[a-z_]+(_total|_bucket|_count|_sum)\b", series):
                assert after[series] >= count, series
        counts = after
        assert tracker.take_batch() or not tracker.members()


def lines_of(tracker: Tracker, key: MemberKey) -> Iterator[str]:
    source, group_id, user = key
    for chunks in (
        tracked_member(source, group_id, user, tracker.member(key)),
        tracked_group(source, f"{group_id}/{user}", tracker.group(source, group_id)),
    ):
        yield from (lines.decode() for lines in chunks.values())
    _ = waits(source, {group_id: group_id}, tracker.waits(source, NOW))


def compared(collector: str, status: str, body: bytes, kind: int, place: int) -> None:
    """Let something in an answer be changed: then samples are the same or absent, and none has another value."""

    def shown(document: Any) -> dict[str, float]:
        written = json.dumps(document).encode()
        return samples(loop().run_until_complete(Polled(collector, response(status, written)).poll()))

    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return
    if kind != A_ROW_AGAIN and (repeats(document) or contradicts(document)):
        # Which of them counts may change.
        return
    with suppress(PollError):
        # Of a key that was given twice, one is left.
        before = shown(document)
        incomplete = any(series.startswith(COMPLETE) and not value for series, value in before.items())
        if incomplete or (collector == "data_jobs" and not any(map(OF_ENDS.match, before))):
            # A row that comes twice may make up for one that is missing, and the list goes on to be incomplete.
            return
        if CHANGES[kind](document, place):
            for series, value in shown(document).items():
                if not series.startswith(OF_READING):
                    assert before.get(series) == value, (series, before.get(series), value, document)


def one_unreadable(document: Any, place: int) -> bool:
    """Let one number be unreadable."""
    numbers = [*numbers_in(document)]
    if numbers:
        parent, key = numbers[place % len(numbers)]
        set_unreadable(parent, key, place // len(numbers))
    return bool(numbers)


def all_unreadable(document: Any, place: int) -> bool:
    """Let all numbers of one name be unreadable."""
    numbers = [*numbers_in(document)]
    names = sorted({key for _, key in numbers})
    for parent, key in numbers:
        if key == names[place % len(names)]:
            set_unreadable(parent, key, place // len(names))
    return bool(numbers)


def set_unreadable(parent: Any, key: str, number: int) -> None:
    value = UNREADABLE[number % len(UNREADABLE)]
    if value is ABSENT:
        # Where no cores are kept for the system, all of them are effective.
        if key != "effective_cpus":
            del parent[key]
    elif value != -1 or key != "accountBalance":
        parent[key] = value


def a_row_again(document: Any, place: int) -> bool:
    """Let one row be there twice."""
    lists = [*lists_in(document)]
    if lists:
        rows = lists[place % len(lists)]
        # Of two with one id the first counts: behind the one that it repeats.
        number = place // len(lists) % len(rows)
        rows.insert(number + 1, copy.deepcopy(rows[number]))
        # Nothing tells that two nodes without a name are one.
        return "partitions" not in rows[number] or isinstance(rows[number].get("name"), str)
    return bool(lists)


CHANGES: Final = {2: one_unreadable, 3: all_unreadable, A_ROW_AGAIN: a_row_again}


def repeats(document: Any) -> bool:
    """Whether rows of one list have the same id."""
    return any(
        len({str(row[key]) for row in rows if key in row}) < sum(key in row for row in rows)
        for rows in lists_in(document)
        for key in ("id", "jobId", "job_id")
    )


def contradicts(document: Any) -> bool:
    """Whether an amount that is requested is also told otherwise: of a job that waits, that in use is the same."""
    if isinstance(document, dict) and any(
        document.get(f"{part}NumReq", used) != used
        for part in ("node", "proc", "gpu", "dcu")
        if (used := document.get(f"{part}NumUsed")) is not None
    ):
        return True
    return any(contradicts(value) for _, value in children(document))


def children(document: Any) -> list[tuple[Any, Any]]:
    return [
        *(document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else ()))
    ]


def numbers_in(document: Any) -> Iterator[tuple[Any, str]]:
    """Yield the place of each amount in a document, as its parent and its key there."""
    for key, value in children(document):
        if isinstance(key, str) and TELLING.search(key) and (key not in HOLDING or not isinstance(value, dict | list)):
            continue
        if isinstance(value, dict | list):
            yield from numbers_in(value)
        elif isinstance(document, dict) and (
            type(value) in (int, float) or (isinstance(value, str) and NUMBER.fullmatch(value))
        ):
            yield document, key


def lists_in(document: Any) -> Iterator[list[Any]]:
    """Yield the lists of rows in a document."""
    if isinstance(document, list) and document and all(isinstance(row, dict) for row in document):
        yield document
    for _, value in children(document):
        yield from lists_in(value)


# Fields of all of SCNet's lists of jobs, whatever they are called there.
JOB: Final = {
    "id": 77, "jobId": "63436", "name": "a", "jobName": "sleep", "clusterId": 11112, "jobManagerId": 77, "jobmanagerId": 77,
    "clusterUserName": "test", "queue": "comp", "status": "statR", "jobState": "statR", "jobStatus": "statR", "reason": "Priority",
    "jobQueueTime": "2026-11-29 10:00:00", "jobStartTime": "2026-11-29 10:00:07", "jobEndTime": "2026-11-29 10:01:38",
    "etime": "2026-11-29 10:01:38", "initContentAttr": '{"JobState":"FAILED"}',
    "nodeNumReq": 1, "procNumReq": 4, "gpuNumReq": 1, "dcuNumReq": 2, "cpuCore": 4, "gpuNum": 1,
    "nodeNumUsed": 1, "procNumUsed": 4, "gpuNumUsed": 1, "dcuNumUsed": 2,
}  # fmt: skip
DATA_JOBS: Final = {
    "meta_info": {"current_time": 1_795_999_990_000},
    "payload": {
        "list": [
            {"id": 1, "status": "RUNNING", "create_at": 1_795_999_000_000, "start_at": 1_795_999_100_000},
            {"id": "2", "status": "FINISHED", "create_at": 1_795_999_000_000, "start_at": 1_795_999_100_000, "end_at": 1_795_999_200_000},
        ],
        "page_info": {"total": 2},
    },
}  # fmt: skip
PARTITIONS: Final = {
    "partitions": [
        {"name": "batch", "state": "UP", "total_nodes": 2, "total_cpus": 128, "max_time_limit": 10, "maximum_nodes_per_job": 4},
        {"name": "gpu", "partition": {"state": ["UP"]}, "nodes": {"total": 1}, "cpus": {"total": 64},
         "maximums": {"nodes": {"number": 5, "set": True, "infinite": False}, "cpus_per_node": 7, "time": {"set": False}}},
    ],
    "nodes": [
        {"name": "n1", "state": "mixed", "state_flags": [], "cpus": 64, "alloc_cpus": 17, "partitions": ["batch", "gpu"]},
        {"name": "n2", "state": ["IDLE", "CLOUD"], "cpus": 66, "effective_cpus": 64, "alloc_cpus": 0, "partitions": ["batch"]},
    ],
}  # fmt: skip


def row_seeds() -> Iterator[bytes]:
    for collector, status, body in captured():
        if collector in registry() and len(body) < 8000:
            yield f"{collector} {status} 0\n".encode() + body
    for collector in registry():
        yield f'{collector} 200 0\n{{"code":"0","msg":"","data":{{"list":[{{"id":1}}],"total":1}}}}'.encode()
    for collector in ("member_jobs", "own_jobs", "live_jobs", "job_history"):
        others = [JOB | {"jobId": str(number), "id": number, "status": state, "jobState": state, "jobStatus": state}
                  for number, state in ((2, "statQ"), (3, "statC"), (4, "statH"), (5, "statE"))]  # fmt: skip
        for place in range(5):
            yield f"{collector} 200 {place}\n".encode() + as_json({"code": "0", "data": [JOB]})
            yield f"{collector} 200 {place}\n".encode() + as_json(
                {"code": "0", "data": {"total": 5, "list": [JOB, *others]}}
            )
    for place in range(5):
        yield f"data_jobs 200 {place}\n".encode() + as_json(DATA_JOBS)
        yield f"partitions 200 {place}\n".encode() + as_json(PARTITIONS)


# Keys and words of all answers that are seeds.
def words_of(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        yield from document
        yield from chain.from_iterable(map(words_of, document.values()))
    elif isinstance(document, list):
        yield from chain.from_iterable(map(words_of, document))


KEYS: Final = tuple(sorted({
    *chain.from_iterable(words_of(json.loads(body)) for _, _, body in captured()), *words_of([JOB, DATA_JOBS, PARTITIONS]),
}))  # fmt: skip
PLACES: Final = tuple(map(str, range(300)))
PAUSES: Final = ("", "30", "1.5", "-1", "99999999999", "Wed,01Dec2026")

TARGETS: Final = {
    "envelopes": FuzzTarget(
        envelopes,
        envelope_seeds,
        of_json(
            tuple(ENVELOPES), STATUSES, PAUSES, ENCODINGS, keys=(*KEYS, "errorCode", "errorMsg", "error", "message")
        ),
        (*KEYS, SECRET, *chain.from_iterable(CODES.values()), "<title>", "token", "NaN"),
        longest=2048,
    ),
    "rows": FuzzTarget(rows, row_seeds, of_json(tuple(registry()), STATUSES, PLACES, keys=KEYS), KEYS, longest=8192),
}
