"""Questions about the APIs that no page answers, and what captured answers say about them."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from exporter.sources.values import epoch_seconds

Document = Mapping[str, Any]
ENDED: Final = ("statC", "statDE", "statD", "statT", "statN", "statF", "statEX")


def rows(document: Document) -> list[dict[str, Any]]:
    """Return the rows of an answer, wherever they are."""
    body = document["response"]["body"]
    data = body.get("data") if isinstance(body, dict) else body
    if isinstance(data, dict):
        data = next((data[name] for name in ("list", "records", "rows", "items") if name in data), [data])
    return [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []


def form(document: Document) -> str:
    """Return the form of an answer's data in a word."""
    body = document["response"]["body"]
    if not isinstance(body, dict):
        return "the whole body is null" if body is None else "no envelope"
    if "data" not in body:
        return "data is absent"
    return (
        {None: "data is null"}.get(body["data"], "")
        if body["data"] is None
        else f"data is a {type(body['data']).__name__}"
    )


def _lifetime(document: Document) -> str:
    for row in rows(document):
        try:
            claims = json.loads(base64.urlsafe_b64decode(str(row.get("token")).split(".")[1] + "=="))
            served = parsedate_to_datetime(document["response"]["headers"]["Date"]).timestamp()
        except (ValueError, KeyError, IndexError, TypeError):
            continue
        expires = epoch_seconds(claims.get("expireTime"))
        if expires is not None:
            return f"{expires - served:.0f} s"
    return ""


def _names(document: Document) -> str:
    found = [info for row in rows(document) for info in row.get("groupUsersInfos") or [row]]
    named = sum(bool(isinstance(info, dict) and info.get("clusterUserName")) for info in found)
    return f"clusterUserName in {named} of {len(found)} rows" if found else ""


def _ended(document: Document) -> str:
    states = sorted({str(row.get("status", row.get("jobStatus", row.get("jobState")))) for row in rows(document)})
    return f"states listed: {', '.join(states)}" if states else ""


def _starts(document: Document) -> str:
    waiting = [
        row.get("jobStartTime", "absent")
        for row in rows(document)
        if row.get("jobState") in ("statQ", "statH", "statW")
    ]
    forms = sorted({"a time" if value and value != "absent" else repr(value) for value in waiting})
    return ", ".join(forms)


def _waiting_amounts(document: Document) -> str:
    waiting = [row.get("procNumUsed") for row in rows(document) if row.get("jobState") == "statQ"]
    return f"procNumUsed of waiting jobs: {sorted({str(each) for each in waiting})}" if waiting else ""


def _first(name: str) -> Callable[[Document], str]:
    return lambda document: ", ".join(sorted({repr(row[name]) for row in rows(document) if name in row})[:3])


def _pause(document: Document) -> str:
    return next(
        (
            f", {name}: {value}"
            for name, value in document["response"]["headers"].items()
            if name.lower() == "retry-after"
        ),
        "",
    )


# A part of the path of an endpoint, a question about its answers, and what one of these says.
QUESTIONS: Final[Sequence[tuple[str, str, Callable[[Document], str]]]] = (
    ("/tokens", "How long does a token live?", _lifetime),
    ("/groupmembers", "Does a member's row name the region's user?", _names),
    ("/view/queue/jobs", "What does the answer look like where no queue has a job?", form),
    ("/clusterUserNames/", "Are ended jobs listed, and in which words?", _ended),
    ("/jobs/monitor/page-list", "What is jobStartTime of a job that waits?", _starts),
    ("/jobs/monitor/page-list", "Are the amounts of a waiting job those requested, or 0?", _waiting_amounts),
    ("/hpc/openapi/v2/jobs", "In which words are states?", _ended),
    ("/historyjobs", "In which words are states?", _ended),
    ("/queuenames/", "What is the unit of queMaxWalltime?", _first("queMaxWalltime")),
    ("/userquotas/", "What is maxWallTime?", _first("maxWallTime")),
    ("/ac/openapi/v2/user", "What does accountBalance look like?", _first("accountBalance")),
)


def answered(documents: Sequence[Document]) -> Iterator[str]:
    """Yield a line for each question and source that says something about it, then what refusals look like."""
    for part, question, answer in QUESTIONS:
        for document in documents:
            path = f"{urlsplit(document['request']['target']).path}/"
            asked = document["asked_with"] == "own" and (part in path if part.endswith("/") else f"{part}/" in path)
            if asked and (found := answer(document)):
                yield f"{question} {document['source']}: {found}"
    refusals: dict[tuple[str, str], list[str]] = {}
    for document in documents:
        if document["asked_with"] != "own":
            body = document["response"]["body"]
            code = body.get("code", "none") if isinstance(body, dict) else "none"
            said = f"HTTP {document['response']['status']}, code {code}{_pause(document)}"
            refusals.setdefault((document["asked_with"], said), []).append(document["collector"])
    for (kind, said), collectors in refusals.items():
        which = "no token" if kind == "none" else "a wrong token"
        yield f"What is the answer to {which}? {said}: {', '.join(dict.fromkeys(collectors))}"
