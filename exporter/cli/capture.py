"""`hpc-exporter capture`: the answers of each configured endpoint, without secrets, as files to read and to report."""

import argparse
import asyncio
import json
import secrets
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
import yaml

from exporter.app import Components, assemble
from exporter.app.membership import Membership, UnknownMembersError
from exporter.app.poll_once import poll
from exporter.app.target_info import info_of, target_infos
from exporter.cli import options
from exporter.cli.commands import Command, Flag
from exporter.cli.options import UsageError
from exporter.cli.output import OutputError, warn, warn_alike, write_file
from exporter.cli.questions import answered, code
from exporter.cli.standins import TOKENS, StandIns
from exporter.cli.terminal import progress
from exporter.clock import SystemClock
from exporter.config import Cluster, Config, Slurm
from exporter.config.model import User
from exporter.errors import (
    ExporterError,
    PollError,
    UntrustedCertificateError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.http import Request, Response, Settings, Upstream, on_response
from exporter.http.client import ResponseHook
from exporter.http.message import readable
from exporter.polling import Target
from exporter.redaction import redact
from exporter.sources.collector import NOT_THERE, Subject
from exporter.sources.scnet.discovery import ask_center
from exporter.sources.scnet.subjects import OWNER

# Errors of requests that were not answered.
NO_ANSWER: Final = (UpstreamConnectionError, UpstreamTimeoutError, UntrustedCertificateError)
# Pages of one list that are kept.
PAGES: Final = 3
# Characters of a source's name in that of a file, which may have 255 bytes.
LONGEST_NAME: Final = 40
PAGING: Final = frozenset({"offset", "start", "limit", "startTime", "endTime", "start_time", "end_time"})
# Keys of a configuration: credentials, and those whose values have stand-ins of a kind.
SECRETS: Final = frozenset({"token", "access_key", "secret_key", "password"})
NAMES: Final = {
    **dict.fromkeys(("accounts", "account"), "account"),
    **dict.fromkeys(("group", "groups"), "group"),
    **dict.fromkeys(("user", "users", "user_name"), "user"),
    **dict.fromkeys(("domain", "project"), "text"),
}
LOGIN_PATH: Final = "/api/user/v3/tokens"
WRONG_TOKEN: Final = "a-token-of-nobody"  # noqa: S105 - it is none

EXAMPLE = """examples:
  hpc-exporter capture --output=captured
  hpc-exporter capture --output=captured --with-refusals
  hpc-exporter simulate --replay=captured

Tokens, keys, users, names of persons and groups, telephone numbers, paths, addresses and names of jobs are replaced, equal
values by equal ones everywhere. Read the files before you pass them on.

Exit status: 1 if a host did not answer, although what others answered is written; errors that were answered are captured.
"""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request with its answer; `kind` says which token it carried: own, none or wrong."""

    source: str
    request: Request
    response: Response
    kind: str = "own"


@dataclass
class Capture:
    """All that was captured of a configuration.

    `failed` are endpoints that could not be read: source, collector and why. `silent`: a host did not answer.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    silent: bool = False
    subjects: dict[str, list[Subject]] = field(default_factory=dict)
    # Requests by source, kind and question.
    _kept: defaultdict[Hashable, list[Request]] = field(default_factory=lambda: defaultdict(list))

    def of(self, source: str, kind: str = "own") -> ResponseHook:
        """Return a hook that keeps exchanges: of each list some pages, of anything else the first answer to each token."""

        def note(request: Request, response: Response) -> None:
            alike = self._kept[source, kind, _asked(request)]
            if len(alike) < PAGES and request not in alike:
                alike.append(request)
                self.exchanges.append(Exchange(source, request, response, kind))

        return note


def _asked(request: Request) -> Hashable:
    """Return the question of a request, whichever page it wants."""
    parts = urlsplit(request.url)
    pairs = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in PAGING]
    return request.collector, request.method, parts.path, *pairs


COMMAND = Command(
    "record the answers of each endpoint, without secrets, as files",
    "Request each configured endpoint once and write request and answer into small files, with all secret or personal values "
    "replaced. `simulate --replay` serves them.",
    EXAMPLE,
    options.CONFIG_FILE,
    Flag("--output", "folder to create; it must be empty if it exists", options.FILE, required=True),
    Flag("--with-refusals", "also request each endpoint without a token and with a wrong one"),
    Flag("--keep-job-names", "do not replace the names of jobs"),
    *options.logging("error"),
)


def run(args: argparse.Namespace) -> int:
    """Capture; 1 where a host did not answer."""
    folder: Path = args.output
    with suppress(OSError):
        if folder.is_file() or any(folder.iterdir()):
            raise UsageError(
                f"{folder} is there and not empty: name a folder that is not, so that nothing old is passed on"
            )
    captured, unknown_members = Capture(), ""
    try:
        components = assemble(args.config_file, retries=0)
    except UnknownMembersError as error:
        # The answer that says so is one to capture.
        unknown_members = str(error)
        components = assemble(args.config_file, retries=0, offline=True)
    asyncio.run(_capture(components, captured, refusals=args.with_refusals))
    if not captured.exchanges:
        failed = (f"{source} {name}: {text}" for source, name, text in captured.failed)
        told = "; ".join(filter(None, (unknown_members, *failed)))
        raise ExporterError(f"nothing answered; first: hpc-exporter check --online. {told}")
    stand_ins = StandIns(secrets.token_bytes(16), keep_job_names=args.keep_job_names)
    files = dict(_files(captured, components.config, stand_ins))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}") from None
    for name, text in files.items():
        write_file(folder / name, text)
    if unknown_members:
        warn(f"failed: {unknown_members}")
    warn_alike((source, name, f" failed: {text}") for source, name, text in captured.failed)
    warn(
        f"{len(captured.exchanges)} answers in {folder}; read them before you pass them on, beginning with {folder / 'summary.md'}",
    )
    return 1 if captured.silent else 0


# Requests.


async def _capture(components: Components, captured: Capture, *, refusals: bool) -> None:
    infos = target_infos(components.config)
    first: dict[tuple[str, str, str], Target] = {}
    for target in components.targets():
        # A project's queues are few, and their rows differ.
        queue = target.key.target if target.key.source in components.projects else ""
        first.setdefault((target.key.source, target.key.collector, queue), target)
    try:
        with progress("asking", len(first)) as advance:
            for (source, collector, _), target in first.items():
                with on_response(captured.of(source)):
                    outcome = await poll(components, target)
                if outcome.error is not None:
                    captured.failed.append((source, collector, str(outcome.error)))
                    captured.silent = captured.silent or isinstance(outcome.error, NO_ANSWER)
                subject = info_of(infos, target.key).subject
                if subject.configured == OWNER:
                    # Only the poll has found out whose token it is.
                    subject = replace(subject, user=outcome.key.target)
                captured.subjects.setdefault(source, []).append(subject)
                advance()
        await _ask_platform(components, captured)
        if refusals:
            await _ask_refused(components, captured)
    finally:
        await components.close()


async def _ask_platform(components: Components, captured: Capture) -> None:
    """Request what otherwise only `discover` does: the region, and the groups."""
    for name, region in components.regions.items():
        with on_response(captured.of(name)), suppress(PollError):
            await ask_center(region.upstream, region.tokens.own, region.cluster.ac_url)
    membership = Membership(SystemClock())
    for name, session in components.accounts.items():
        with on_response(captured.of(name)):
            await membership.ask(session, components.slots)


async def _ask_refused(components: Components, captured: Capture) -> None:
    """Repeat the first request to each endpoint that carried a token, without one and with a wrong one."""
    first: dict[Hashable, Exchange] = {}
    for each in captured.exchanges:
        asked = each.request.method in ("GET", "POST") and each.response.status not in NOT_THERE
        if asked and any(name.lower() in TOKENS for name in each.request.headers):
            first.setdefault((each.source, each.request.collector, urlsplit(each.request.url).path), each)
    for each in first.values():
        upstream = _upstream(components, each.source)
        names = [name for name in each.request.headers if name.lower() in TOKENS]
        without = {name: value for name, value in each.request.headers.items() if name not in names}
        for kind, headers in (("none", without), ("wrong", {**without, **dict.fromkeys(names, WRONG_TOKEN)})):
            request = msgspec.structs.replace(each.request, headers=headers, secrets=())
            with on_response(captured.of(each.source, kind)), suppress(PollError):
                await upstream.call(request, lambda response: response)
        await upstream.close()


def _upstream(components: Components, source: str) -> Upstream:
    """Return a separate connection: rejections that are wanted must not count as failures of other requests."""
    part = next(part for part in components.config.polled if part.name == source)
    settings = Settings(source, retries=0, unix_socket=part.unix_socket if isinstance(part, Slurm) else "")
    return Upstream(settings, slots=components.slots, tls=components.contexts[part.tls])


# Files.


def _files(captured: Capture, config: Config, stand_ins: StandIns) -> Iterator[tuple[str, str]]:
    """Yield names and contents of all files."""
    # An account is called like its login, as a rule.
    names = {account.name: stand_ins.of("account", account.name) for account in config.accounts}
    exchanges = _in_order(captured.exchanges)
    # Twice: names that the last answers tell may stand in the messages of the first.
    for each in exchanges:
        _document(each, names, stand_ins)
    documents = [_document(each, names, stand_ins) for each in exchanges]
    for number, document in enumerate(documents, 1):
        name = f"{number:03}-{document['source'][:LONGEST_NAME]}-{document['collector']}"
        suffix = "" if document["asked_with"] == "own" else f"-{document['asked_with']}-token"
        yield (
            f"{''.join(each if each.isalnum() or each in '-_' else '-' for each in name)}{suffix}.json",
            _text(document),
        )
    yield (
        "replay.yml",
        redact(yaml.safe_dump(_replayed(captured, config, stand_ins), sort_keys=False, allow_unicode=True)),
    )
    yield "summary.md", redact("\n".join(_summary(documents)) + "\n")


def _in_order(exchanges: list[Exchange]) -> list[Exchange]:
    """Return logins and what names users first: what they name is then known in all others."""
    rank = {"token": 0, "center": 1, "groups": 2}
    return sorted(exchanges, key=lambda each: (rank.get(each.request.collector, 3), each.source))


def _document(each: Exchange, names: Mapping[str, str], stand_ins: StandIns) -> dict[str, Any]:
    request, response = each.request, each.response
    return {
        "source": names.get(each.source, each.source),
        "collector": request.collector,
        "asked_with": each.kind,
        "request": {
            "method": request.method,
            "host": stand_ins.of("host", urlsplit(request.url).netloc),
            "target": stand_ins.target(request.url),
            "headers": stand_ins.headers(request.headers),
            "body": _body(request.data or b"", request.headers, stand_ins),
        },
        "response": {
            "status": response.status,
            "headers": stand_ins.headers(response.headers),
            "body": _body(response.body, response.headers, stand_ins),
        },
    }


def _body(body: bytes, headers: Mapping[str, str], stand_ins: StandIns) -> Any:
    """Return a body with stand-ins; of one that is no JSON only what it is."""
    if not body:
        return ""
    try:
        content = json.loads(readable(Response(200, body, headers, 0.0)).body, parse_constant=lambda _: None)
        return stand_ins.value(content)
    except (ValueError, RecursionError):
        kind = headers.get("Content-Type", "").partition(";")[0]
        return f"({len(body)} bytes of {kind if kind in ('text/html', 'text/plain', 'application/json') else 'something'}, no JSON)"


def _text(document: Mapping[str, Any]) -> str:
    # Not redacted once more: parts of stand-ins of tokens are those of all tokens.
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _replayed(captured: Capture, config: Config, stand_ins: StandIns) -> dict[str, Any]:
    """Return a configuration for the captured answers; ``${REPLAY_URL}`` is where they are served."""

    def written(value: Any, key: str, of: str, url: str) -> Any:
        """Return a value as the configuration has it under `key`, of an entry of the section `of`."""
        if isinstance(value, dict):
            return {name.removesuffix("_file"): written(each, name, key, url) for name, each in value.items()}
        if isinstance(value, list):
            return [written(each, key, of, url) for each in value]
        if key.removesuffix("_file") in SECRETS:
            return "replayed"
        if key.endswith("url"):
            return f"{url}{LOGIN_PATH}" if key == "token_url" else url
        kind = NAMES.get(of if key == "name" else key)
        return stand_ins.id_of(value) if key.endswith("_id") else stand_ins.of(kind, value) if kind else value

    def entry(section: Any, of: str) -> dict[str, Any]:
        name = written(section.name, "name", of, "")
        dumped = section.model_dump(mode="json", exclude_none=True, exclude={"tls", "poll", "requests_per_second"})
        token = {"token": "replayed"} if of == "slurm" else {}
        found: dict[str, Any] = written(dumped, of, "", f"${{REPLAY_URL}}/{quote(name, safe='')}")
        return {**token, **{key: value for key, value in found.items() if value != []}}

    clusters = [_captured_part(cluster, captured.subjects.get(cluster.name, [])) for cluster in config.clusters]
    sections = {"accounts": config.accounts, "clusters": clusters, "slurm": config.slurm, "octopus": config.octopus}
    found = {of: [entry(section, of) for section in entries] for of, entries in sections.items() if entries}
    return {**found, "tracking": {"time_zone": str(config.tracking.time_zone)}}


def _captured_part(cluster: Cluster, subjects: list[Subject]) -> Cluster:
    """Return a region with the users and members that were asked for; all members, where a list was of all."""
    known = {user.name: user for user in cluster.users or ()}
    users = dict.fromkeys(each.user for each in subjects if each.user and not each.group_id)
    asked = {(each.group_id, each.user) for each in subjects if each.group_id}
    members = [
        member.model_copy(
            update={"users": tuple(user for user in member.users if not asked or (member.group_id, user) in asked)}
        )
        for member in cluster.members
    ]
    return cluster.model_copy(
        update={
            "users": tuple(known.get(name) or User(name=name) for name in users) or None,
            "members": tuple(member for member in members if member.users),
        }
    )


def _summary(documents: list[dict[str, Any]]) -> Iterator[str]:
    yield "# Captured answers"
    yield ""
    yield "| file | source | collector | token | HTTP status | code |"
    yield "|---|---|---|---|---|---|"
    for number, each in enumerate(documents, 1):
        row = (
            f"{number:03}",
            each["source"],
            each["collector"],
            each["asked_with"],
            each["response"]["status"],
            code(each),
        )
        yield f"| {' | '.join(map(str, row))} |"
    yield ""
    yield "## Questions that the documentation leaves open"
    yield ""
    yield from (f"- {line}" for line in answered(documents))
