"""One page of the list of queued data jobs. Source: the page 查询排队作业列表-QueryQueuedJobList.

Only what is used is named here: a field that nobody reads cannot spoil a row. All fields of a row but `id` are optional.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from exporter.octopus.envelope import error_of
from exporter.upstream import Response

# More of anything than this is not a count, and not a time.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class WireRow(msgspec.Struct, gc=False):
    """``rank_stamp`` is in milliseconds; it changes when the entry is moved."""

    id: int | str
    job_type: str | int | None = None
    processor_name: str | int | None = None
    resource_spec: str | int | None = None
    rank_stamp: Count | None = None


class WirePageInfo(msgspec.Struct, gc=False):
    total: Count | None = None


class WirePayload(msgspec.Struct, gc=False):
    rows: list[WireRow] | None = msgspec.field(name="list", default=None)
    page_info: WirePageInfo | None = None


class WireMeta(msgspec.Struct, gc=False):
    """ISO text in one example of the page, milliseconds in the other."""

    current_time: str | int | float | None = None


class WirePage(msgspec.Struct, gc=False):
    payload: WirePayload
    meta_info: msgspec.Raw = msgspec.Raw(b"null")


class RawPayload(msgspec.Struct, gc=False):
    """A payload of which not all rows are readable."""

    rows: list[msgspec.Raw] | None = msgspec.field(name="list", default=None)
    page_info: WirePageInfo | None = None


class RawPage(msgspec.Struct, gc=False):
    payload: RawPayload
    meta_info: msgspec.Raw = msgspec.Raw(b"null")


class Page(msgspec.Struct, frozen=True, gc=False):
    """A page as it was sent: `positions` rows of the queue, `rejected` of them unreadable, of `total` in the queue.

    `skew` is how far our clock is ahead of the server's in seconds, None where the page does not say what time it is.
    """

    rows: list[WireRow]
    positions: int
    total: int | None
    skew: float | None

    @property
    def rejected(self) -> int:
        return self.positions - len(self.rows)


_page = msgspec.json.Decoder(WirePage, strict=False)
_raw_page = msgspec.json.Decoder(RawPage, strict=False)
_row = msgspec.json.Decoder(WireRow, strict=False)
_meta = msgspec.json.Decoder(WireMeta)


def read_page(response: Response) -> Page:
    """The page in a successful answer. Raises the PollError that says what to do about anything else."""
    if not 200 <= response.status < 300:  # noqa: PLR2004 - the class of successes
        raise error_of(response)
    page = decoded(response.body)
    if page is None:
        raise error_of(response)
    total = page.payload.page_info.total if page.payload.page_info else None
    if page.payload.rows is None and total is None:
        raise error_of(response)
    sent = page.payload.rows or []
    rows = [row for row in read_rows(sent) if row.id != ""]
    return Page(rows, len(sent), total, skew_of(page.meta_info, response.received))


def decoded(body: bytes) -> WirePage | RawPage | None:
    """The whole page in one go, else with its rows left for later; None if it is no page."""
    for decoder in (_page, _raw_page):
        try:
            return decoder.decode(body)
        except UNREADABLE:
            continue
    return None


def read_rows(sent: list[WireRow] | list[msgspec.Raw]) -> Iterator[WireRow]:
    """The rows that can be read."""
    for row in sent:
        if isinstance(row, WireRow):
            yield row
            continue
        try:
            yield _row.decode(row)
        except UNREADABLE:
            continue


def skew_of(meta: msgspec.Raw, received: float) -> float | None:
    """How far our clock is ahead of the server's; None where `meta` does not say or cannot be read."""
    try:
        told = _meta.decode(meta).current_time
    except UNREADABLE:
        return None
    moment = moment_of(told)
    return None if moment is None or not math.isfinite(moment) else received - moment


def moment_of(told: str | float | None) -> float | None:
    """Unix seconds of a ``current_time``: ISO 8601 (UTC if it names no zone), or milliseconds as number or text."""
    if told is None:
        return None
    try:
        if not isinstance(told, str):
            return float(told) / 1000
        text = told.strip()
        if text.isascii() and text.isdigit():
            return float(text) / 1000
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
