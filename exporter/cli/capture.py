"""`hpc-exporter capture`: the answers of each configured endpoint, without secrets, as files to read and to report."""

import argparse
import asyncio
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec
import yaml

from exporter.app import Components, assemble
from exporter.app.membership import Membership
from exporter.app.poll_once import all_targets, poll
from exporter.app.target_info import info_of, target_infos
from exporter.cli import options
from exporter.cli.options import UsageError
from exporter.cli.output import OutputError, warn, write_file
from exporter.cli.questions import answered
from exporter.cli.standins import TOKENS, StandIns
from exporter.clock import SystemClock
from exporter.config import Config
from exporter.errors import ExporterError, PollError
from exporter.http import Request, Response, on_response
from exporter.http.client import readable
from exporter.polling import Target
from exporter.redaction import redact
from exporter.sources.collector import Subject
from exporter.sources.scnet.discovery import ask_center

# Pages of one list that are kept.
PAGES: Final = 3
WRONG_TOKEN: Final = "a-token-of-nobody"  # noqa: S105 - it is none

EXAMPLE = """examples:
  hpc-exporter capture --output=captured
  hpc-exporter capture --output=captured --with-refusals
  hpc-exporter simulate --replay=captured

Tokens, keys, users, names of persons and groups, telephone numbers, paths, addresses and names of jobs are replaced, equal
values by equal ones everywhere. Read the files before you pass them on.
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
    """All that was captured of a configuration; `failed` are texts about endpoints without an answer."""

    exchanges: list[Exchange] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    subjects: dict[str, list[Subject]] = field(default_factory=dict)

    def note(self, source: str, request: Request, response: Response, kind: str = "own") -> None:
        """Keep an exchange, unless it is one more of the same."""
        alike = [
            each
            for each in self.exchanges
            if each.source == source and each.kind == kind and each.request.collector == request.collector
        ]
        if len(alike) < (PAGES if kind == "own" else 1) and all(
            (each.request.url, each.request.data) != (request.url, request.data) for each in alike
        ):
            self.exchanges.append(Exchange(source, request, response, kind))


def add_parser(subparsers: options.Subparsers) -> None:
    parser = subparsers.add_parser(
        "capture",
        help="record the answers of each endpoint, without secrets, as files",
        description="Request each configured endpoint once and write request and answer into small files, with all secret or "
        "personal values replaced. `simulate --replay` serves them.",
        epilog=EXAMPLE,
    )
    options.add_config_file(parser)
    options.add_path(
        parser,
        "--output",
        dest="folder",
        required=True,
        help="folder to create; it must be empty if it exists",
    )
    parser.add_argument(
        "--with-refusals", action="store_true", help="also request each endpoint without a token and with a wrong one"
    )
    parser.add_argument("--keep-job-names", action="store_true", help="do not replace the names of jobs")
    options.add_logging(parser, default="error")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Capture; 1 where nothing answered."""
    options.setup_logging(args)
    folder: Path = args.folder
    with suppress(OSError):
        if folder.is_file() or any(folder.iterdir()):
            raise UsageError(
                f"{folder} is there and not empty: name a folder that is not, so that nothing old is passed on"
            )
    components = assemble(args.config_file, retries=0)
    captured = asyncio.run(_capture(components, refusals=args.with_refusals))
    if not captured.exchanges:
        raise ExporterError(f"nothing answered; first: hpc-exporter check --online. {'; '.join(captured.failed)}")
    stand_ins = StandIns(secrets.token_bytes(16), keep_job_names=args.keep_job_names)
    files = dict(_files(captured, components.config, stand_ins))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}") from None
    for name, text in files.items():
        write_file(folder / name, text)
    warn(
        *(f"no answer: {text}" for text in captured.failed),
        f"{len(captured.exchanges)} answers in {folder}; read them before you pass them on, beginning with {folder / 'summary.md'}",
    )
    return 0


# Asking.


async def _capture(components: Components, *, refusals: bool) -> Capture:
    captured = Capture()
    infos = target_infos(components.config)
    first: dict[tuple[str, str], Target] = {}
    for target in all_targets(components):
        first.setdefault((target.key.source, target.key.collector), target)
    try:
        for (source, collector), target in first.items():
            with on_response(partial(captured.note, source)):
                outcome = await poll(components, target)
            if outcome.error is not None:
                captured.failed.append(f"{source} {collector}: {outcome.error}")
            captured.subjects.setdefault(source, []).append(info_of(infos, target.key).subject)
        await _ask_platform(components, captured)
        if refusals:
            await _ask_refused(components, captured)
    finally:
        await components.close()
    return captured


async def _ask_platform(components: Components, captured: Capture) -> None:
    """Ask for what only `discover` asks otherwise: the region, and the groups."""
    for name, region in components.regions.items():
        with (
            on_response(partial(captured.note, name)),
            suppress(PollError),
        ):
            await ask_center(region.upstream, region.tokens.own, region.cluster.ac_url)
    membership = Membership(SystemClock())
    for name, at_work in components.accounts.items():
        with on_response(partial(captured.note, name)):
            await membership.ask(at_work, components.slots)


async def _ask_refused(components: Components, captured: Capture) -> None:
    """Repeat each request that carried a token and changes nothing, without one and with a wrong one."""
    for each in tuple(captured.exchanges):
        request = each.request
        names = [name for name in request.headers if name.lower() in TOKENS]
        upstream = getattr(components.sources.get(each.source), "upstream", None)
        if not names or upstream is None or request.collector == "token" or request.method not in ("GET", "POST"):
            continue
        without = {name: value for name, value in request.headers.items() if name not in names}
        for kind, headers in (("none", without), ("wrong", {**request.headers, **dict.fromkeys(names, WRONG_TOKEN)})):
            changed = msgspec.structs.replace(request, headers=headers, secrets=())
            with (
                on_response(partial(captured.note, each.source, kind=kind)),
                suppress(PollError),
            ):
                await upstream.call(changed, lambda response: response)


# Writing.


def _files(captured: Capture, config: Config, stand_ins: StandIns) -> Iterator[tuple[str, str]]:
    """Yield names and contents of all files."""
    # An account is called like its login, as a rule.
    names = {account.name: stand_ins.of("account", account.name) for account in config.accounts}
    documents = [_document(each, names, stand_ins) for each in _in_order(captured.exchanges)]
    for number, document in enumerate(documents, 1):
        name = f"{number:03}-{document['source']}-{document['collector']}"
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
    except ValueError:
        kind = headers.get("Content-Type", "").partition(";")[0]
        return f"({len(body)} bytes of {kind if kind in ('text/html', 'text/plain', 'application/json') else 'something'}, no JSON)"
    return stand_ins.value(content)


def _text(document: Mapping[str, Any]) -> str:
    # Not redacted once more: parts of stand-ins of tokens are those of all tokens.
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _replayed(captured: Capture, config: Config, stand_ins: StandIns) -> dict[str, Any]:
    """Return a configuration for the captured answers; ``${REPLAY_URL}`` is where they are served."""
    entry: dict[str, Any]
    sections: dict[str, list[dict[str, Any]]] = {"accounts": [], "clusters": []}
    for account in config.accounts:
        name = stand_ins.of("account", account.name)
        url = f"${{REPLAY_URL}}/{name}"
        keys = {
            "access_key": "replayed",
            "secret_key": "replayed",
            "token_url": f"{url}/api/user/v3/tokens",
            "url": url,
        }
        entry = {
            "name": name,
            "user": stand_ins.of("user", account.user),
            **keys,
            "collect": list(account.collect),
        }
        sections["accounts"].append(entry)
    for cluster in config.clusters:
        subjects = captured.subjects.get(cluster.name, [])
        users = dict.fromkeys(stand_ins.of("user", each.user) for each in subjects if each.user and not each.group_id)
        members = [
            {
                "group_id": stand_ins.id_of(each.group_id),
                "group": stand_ins.of("group", each.group),
                "users": [stand_ins.of("user", each.user)],
            }
            for each in subjects
            if each.group_id
        ]
        url = f"${{REPLAY_URL}}/{quote(cluster.name)}"
        entry = {"name": cluster.name, "cluster_id": stand_ins.id_of(cluster.cluster_id), "hpc_url": url, "ac_url": url}
        entry |= (
            {"token": "replayed"} if cluster.account is None else {"account": stand_ins.of("account", cluster.account)}
        )
        entry |= {"collect": list(cluster.collect), "users": list(users), "members": members[:1]}
        sections["clusters"].append({name: value for name, value in entry.items() if value != []})
    return {name: entries for name, entries in sections.items() if entries}


def _summary(documents: list[dict[str, Any]]) -> Iterator[str]:
    yield "# Captured answers"
    yield ""
    yield "| source | collector | token | HTTP status | code |"
    yield "|---|---|---|---|---|"
    for each in documents:
        body = each["response"]["body"]
        code = body.get("code", "") if isinstance(body, dict) else ""
        yield f"| {each['source']} | {each['collector']} | {each['asked_with']} | {each['response']['status']} | {code} |"
    yield ""
    yield "## Questions that the documentation leaves open"
    yield ""
    yield from (f"- {line}" for line in answered(documents))
