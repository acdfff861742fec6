"""Questions about the APIs that no page answers, and what captured answers say about them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from exporter.sources.scnet.login import read_token
from exporter.sources.values import read_jwt

Document = Mapping[str, Any]


def rows(document: Document) -> list[dict[str, Any]]:
    """Return the rows of an answer, wherever they are."""
    body = document["response"]["body"]
    data = body.get("data") if isinstance(body, dict) else body
    if isinstance(data, dict):
        data = next((data[name] for name in ("list", "records", "rows", "items") if name in data), [data])
    return [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []


def form(document: Document) -> str:
    """Return the form of an answer without rows in a few words; nothing for one that has some."""
    body = document["response"]["body"]
    if rows(document) or not _worked(document):
        return ""
    if not isinstance(body, dict):
        return "the whole body is null" if body is None else "no envelope"
    data = body.get("data", "absent")
    return f"data is {'null' if data is None else data if data == 'absent' else f'an empty {type(data).__name__}'}"


def code(document: Document) -> str:
    """Return the code in an answer's body, in the words of whichever service; nothing where there is none."""
    body = document["response"]["body"]
    fields = body if isinstance(body, dict) else {}
    errors = fields.get("errors") or [{}]
    inner = errors[0] if isinstance(errors, list) and isinstance(errors[0], dict) else {}
    found = (fields.get("code"), fields.get("error_code"), fields.get("errorCode"), inner.get("error_number"))
    return next((str(each) for each in found if each is not None), "")


def _worked(document: Document) -> bool:
    return document["response"]["status"] < 400 and code(document) in ("", "0")  # noqa: PLR2004 - HTTP's errors


def _lifetime(document: Document) -> str:
    for row in rows(document):
        expires = read_token(str(row.get("token"))).expires
        try:
            served = parsedate_to_datetime(document["response"]["headers"]["Date"]).timestamp()
        except (ValueError, KeyError):
            continue
        if expires is not None:
            return f"{expires - served:.0f} s"
    return ""


def _token(document: Document) -> str:
    headers = {name.lower(): value for name, value in document["request"]["headers"].items()}
    cluster = read_jwt(headers.get("token", ""), "expireTime", "clusterId").owner
    which = {"": "one that says nothing", "0": "the platform's"}.get(cluster, "the region's")
    return f"{which} {'was accepted' if _worked(document) else f'was not: {code(document)}'}"


def _arrays(document: Document) -> str:
    ids = [str(row.get("jobId", row.get("id"))) for row in rows(document)]
    return ", ".join([each for each in ids if "[" in each or "_" in each][:3])


def _clock(document: Document) -> str:
    meta = document["response"]["body"].get("meta_info") if isinstance(document["response"]["body"], dict) else None
    moment = meta.get("current_time") if isinstance(meta, dict) else None
    return {int: "a number", str: f"text like {moment!r}"}.get(type(moment), "absent")


def _page_size(document: Document) -> str:
    limit = dict(parse_qsl(urlsplit(document["request"]["target"]).query)).get("limit", "")
    return f"limit {limit}: HTTP {document['response']['status']} {code(document)}".strip()


def _names(document: Document) -> str:
    infos = [(row.get("groupUsersInfos"), row) for row in rows(document)]
    found = [info for given, row in infos for info in (given if given and isinstance(given, list) else [row])]
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
    ("/clusterUserNames/", "Which token does the member list take?", _token),
    ("/clusterUserNames/", "What does the answer look like where a member has no job?", form),
    ("/clusterUserNames/", "How are the tasks of an array numbered?", _arrays),
    ("/clusterUserNames/", "Are ended jobs listed, and in which words?", _ended),
    ("/jobs/monitor/page-list", "What is jobStartTime of a job that waits?", _starts),
    ("/jobs/monitor/page-list", "Are the amounts of a waiting job those requested, or 0?", _waiting_amounts),
    ("/hpc/openapi/v2/jobs", "In which words are states?", _ended),
    ("/historyjobs", "In which words are states?", _ended),
    ("/queuenames/", "What is the unit of queMaxWalltime?", _first("queMaxWalltime")),
    ("/userquotas/", "What is maxWallTime?", _first("maxWallTime")),
    ("/data/queuing-jobs", "What form has current_time?", _clock),
    ("/data/queuing-jobs", "How long may a page be?", _page_size),
    ("/ac/openapi/v2/user", "What does accountBalance look like?", _first("accountBalance")),
)


def answered(documents: Sequence[Document]) -> Iterator[str]:
    """Yield a line for each question and source that says something about it, then the answers to refused tokens.

    Each ends with the number of the first file that says so.
    """
    said: dict[str, int] = {}
    for part, question, answer in QUESTIONS:
        for number, document in enumerate(documents, 1):
            path = f"{urlsplit(document['request']['target']).path}/"
            asked = document["asked_with"] == "own" and (part in path if part.endswith("/") else f"{part}/" in path)
            if asked and (found := answer(document)):
                said.setdefault(f"{question} {document['source']}: {found}", number)
    yield from (f"{text} ({number:03})" for text, number in said.items())
    refusals: dict[tuple[str, str], dict[str, int]] = {}
    for number, document in enumerate(documents, 1):
        if document["asked_with"] != "own":
            what = f"HTTP {document['response']['status']}, code {code(document) or 'none'}{_pause(document)}"
            refusals.setdefault((document["asked_with"], what), {}).setdefault(document["collector"], number)
    for (kind, what), collectors in refusals.items():
        which = "no token" if kind == "none" else "a wrong token"
        where = ", ".join(f"{collector} ({number:03})" for collector, number in collectors.items())
        yield f"What is the answer to {which}? {what}: {where}"
