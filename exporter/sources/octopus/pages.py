"""One page of the list of queued data jobs. Source: the page 查询排队作业列表-QueryQueuedJobList.

Only fields in use are named here: an unused field cannot make a row unreadable. All fields of a row but `id` are
optional.
"""

import math
import re
from collections.abc import Sized
from datetime import UTC, datetime
from typing import Final

import msgspec

from exporter.errors import DecodeError
from exporter.http import Response, excerpt
from exporter.http.message import without_nan
from exporter.sources.octopus.api import error_of, fields_of
from exporter.sources.values import NULL, UNREADABLE, Count, count_of, id_of, id_of_text, text_of, value_of
from exporter.text import Text

# A number as JSON has it, of no more digits than a Long.
PLAIN_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")


class WireRow(msgspec.Struct, gc=False):
    """``rank_stamp`` is in milliseconds; it changes when the entry is moved."""

    id: int | str
    job_type: str | int | None = None
    processor_name: str | int | None = None
    resource_spec: str | int | None = None
    rank_stamp: Count | None = None


class WirePayload(msgspec.Struct, gc=False):
    rows: list[msgspec.Raw] | None = msgspec.field(name="list", default=None)
    page_info: msgspec.Raw = NULL


class WirePage(msgspec.Struct, gc=False):
    """Rows are read one by one: one that is odd must not cost the others."""

    payload: WirePayload
    meta_info: msgspec.Raw = NULL


class Page(msgspec.Struct, frozen=True, gc=False):
    """A page as it was sent: `positions` rows of the queue, `rejected` of them unusable, of `total` in the queue.

    `skew` is how far our clock is ahead of the server's in seconds, None where the page does not say what time it is.
    `rejected_values` counts single values that make no sense; with `rank_lost` a ``rank_stamp`` is among them.
    """

    rows: list[WireRow]
    positions: int
    total: int | None
    skew: float | None
    rejected_values: int = 0
    rank_lost: bool = False

    @property
    def rejected(self) -> int:
        return self.positions - len(self.rows)


_page = msgspec.json.Decoder(WirePage, strict=False)
_row = msgspec.json.Decoder(WireRow, strict=False)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_page(response: Response) -> Page:
    """Return the page in a successful answer. Raises the PollError that says what to do about anything else."""
    page = decoded(response)
    if page is None:
        raise error_of(response)
    result = opened(page, response.received)
    raise_if_all_rejected(result.rows, result.positions, response)
    return result


def decoded(response: Response) -> WirePage | None:
    """Return the page in a successful answer with its rows left for later; None if it holds neither rows nor a total."""
    if not 200 <= response.status < 300:  # noqa: PLR2004 - the class of successes
        return None
    for mended in (bytes, without_nan):
        try:
            page = _page.decode(mended(response.body))
        except UNREADABLE:
            continue
        return None if page.payload.rows is None and total_of(page.payload.page_info)[0] is None else page
    return None


def raise_if_all_rejected(read: Sized, rows: int, response: Response) -> None:
    """Raise DecodeError for a page of which no row can be read."""
    if rows and not read:
        said = excerpt(response.body)
        raise DecodeError(
            Text(f"none of the page's {rows} rows can be read: {said}", f"该页的 {rows} 行全部无法解析：{said}")
        )


def opened(page: WirePage, received: float) -> Page:
    """Return the page with its rows read. A row that cannot be told from others is left out."""
    sent = page.payload.rows or []
    rows: list[WireRow] = []
    total, odd = total_of(page.payload.page_info)
    rank_lost = False
    for raw in sent:
        try:
            row, odd_values, lost = read_row(raw)
        except UNREADABLE:
            continue
        if has_usable_id(row):
            rows.append(row)
            odd += odd_values
            rank_lost = rank_lost or lost
    return Page(rows, len(sent), total, skew_of(page.meta_info, received), odd, rank_lost)


def total_of(page_info: msgspec.Raw) -> tuple[int | None, int]:
    """Return the length of the queue, None where it is unknown; and whether what was sent for it makes no sense."""
    try:
        total, odd = count_of(_fields.decode(page_info).get("total", NULL))
    except UNREADABLE:
        return None, bytes(page_info) != b"null"
    return total, odd


def read_row(raw: msgspec.Raw) -> tuple[WireRow, int, bool]:
    """Return a row, how many of its values make no sense, and whether its stamp is one of them.

    Raises one of UNREADABLE.
    """
    try:
        return _row.decode(raw), 0, False
    except UNREADABLE:
        # Each field on its own: one that is odd must not cost the others.
        fields = _fields.decode(raw)
    stamp, lost = count_of(fields.get("rank_stamp", NULL))
    kind = [text_of(fields.get(name, NULL)) for name in ("job_type", "processor_name", "resource_spec")]
    job_type, processor, spec = kind
    row = WireRow(id_of(fields.get("id", NULL)) or "", job_type, processor, spec, stamp)
    return row, kind.count(None) + lost, lost


def has_usable_id(row: WireRow) -> bool:
    """Whether a row can be told from others; its id is then the same in whatever form it was sent."""
    if isinstance(row.id, int):
        return True
    text = id_of_text(row.id)
    if text is None:
        return False
    row.id = int(text) if PLAIN_NUMBER.fullmatch(text) else text
    return True


def skew_of(meta: msgspec.Raw, received: float) -> float | None:
    """Return the lead of this machine's clock over the server's; None where `meta` does not say or cannot be read."""
    moment = moment_of(value_of(fields_of(bytes(meta)).get("current_time", NULL)))
    return None if moment is None or not math.isfinite(moment) else received - moment


def moment_of(sent: object) -> float | None:
    """Unix seconds of a ``current_time``: ISO 8601 (UTC if it names no zone), or milliseconds as number or text.

    The page has an example of either.
    """
    text = str(sent).strip()
    try:
        if type(sent) in (int, float) or (text.isascii() and text.isdigit()):
            return float(text) / 1000
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
