"""Lenient decoding of the rows of an answer: a row or a field that cannot be read must not affect the others.

Rows are msgspec structs, in the forms that docs/adding-a-collector.md describes.
"""

from collections.abc import Callable, Iterable, Sequence, Sized
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from exporter.errors import DecodeError, RecordError
from exporter.http import excerpt
from exporter.http.message import without_nan
from exporter.sources.values import MAY_BE_UNKNOWN, UNREADABLE, lenient
from exporter.text import Text

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")


def decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """Return a decoded answer, with null for NaN and Infinity, which are no JSON; None if it is malformed."""
    for mended in (bytes, without_nan):
        try:
            return decoder.decode(mended(body))
        except UNREADABLE:
            continue
    return None


def read_each(data: msgspec.Raw, rows: Sequence[msgspec.Raw], read: Callable[[msgspec.Raw], T]) -> tuple[list[T], int]:
    """Return the rows of ``data`` that can be read, and the number of those for which `read` raises RecordError.

    Raises DecodeError if these are all.
    """
    found = readable(rows, read)
    rejected = len(rows) - len(found)
    raise_if_all_rejected(found, rejected, data)
    return found, rejected


def readable(rows: Iterable[msgspec.Raw], read: Callable[[msgspec.Raw], T]) -> list[T]:
    """Return the rows that can be read, without those for which `read` raises RecordError."""
    found = []
    for raw in rows:
        try:
            found.append(read(raw))
        except RecordError:
            continue
    return found


# Up to this size all rows are decoded in one go, in about a millisecond; a longer list is decoded row by row, so that
# the thread it is decoded in lets the event loop have its turn.
ONE_GO_LIMIT: Final = 256 * 1024


def in_one_go(data: msgspec.Raw, read: Callable[[bytes], T]) -> T | None:
    """Return all rows, read in one call; None if there are too many, or any is malformed."""
    body = bytes(data)
    if len(body) > ONE_GO_LIMIT:
        return None
    try:
        return read(body)
    except (*UNREADABLE, RecordError, KeyError):
        return None


def raise_if_all_rejected(read: Sized, rejected: int, data: msgspec.Raw) -> None:
    """Raise DecodeError for a list of which no row can be read: its content is unknown, not empty."""
    if rejected and not read:
        said = excerpt(bytes(data))
        raise DecodeError(
            Text(
                f"none of the answer's {rejected} rows can be read: {said}",
                f"响应中的 {rejected} 行全部无法解析：{said}",
            )
        )


# The names under which an object is known to hold its rows.
LISTS: Final = ("list", "records", "rows", "items")


def raw_rows(data: msgspec.Raw) -> list[msgspec.Raw]:
    """Return the rows of a list, of an object that holds one, or a single row. Raises DecodeError for anything else."""
    if not bytes(data).lstrip().startswith(b"{"):
        return list_of(data)
    held = fields_of(data)
    name = next((name for name in LISTS if name in held), None)
    return [data] if name is None else raw_rows(held[name])


def list_of(data: msgspec.Raw) -> list[msgspec.Raw]:
    """Return the members of a list; null means that there are none. Raises DecodeError for anything else."""
    found: list[msgspec.Raw] | None = _decoded_data(data, list[msgspec.Raw] | None)
    return found or []


def fields_of(data: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the fields of an object. Raises DecodeError for anything else."""
    found: dict[str, msgspec.Raw] = _decoded_data(data, dict[str, msgspec.Raw])
    return found


def _decoded_data(data: msgspec.Raw, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except UNREADABLE:
        said = excerpt(bytes(data))
        raise DecodeError(Text(f"the answer's data is not a list: {said}", f"响应的 data 不是列表：{said}")) from None


def read_row(raw: msgspec.Raw, row: type[R]) -> R:
    """One row; a field that cannot be read takes its default. Raises RecordError where it has none."""
    return read_row_and_flaws(raw, row)[0]


def read_row_and_flaws(raw: msgspec.Raw, row: type[R]) -> tuple[R, int]:
    """As `read_row`, with the number of fields that could not be read; an amount sent as "--", for example, is none."""
    try:
        decoded: R = _decoded(raw, row)
    except UNREADABLE:
        pass
    else:
        return decoded, 0
    try:
        given = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except UNREADABLE as error:
        raise RecordError(str(error)) from None
    values, flaws = dict[str, Any](), 0
    for each in _fields_of(row):
        try:
            if each.encode_name not in given:
                continue
            if (read := MAY_BE_UNKNOWN.get(each.type)) is not None:
                values[each.name], is_odd = read(given[each.encode_name])
                flaws += is_odd
            else:
                values[each.name] = _decoded(given[each.encode_name], each.type)
        except UNREADABLE as error:
            if each.required:
                raise RecordError(f"{each.encode_name}: {error}") from None
            flaws += 1
    try:
        return row(**values), flaws
    except (TypeError, ValueError) as error:
        raise RecordError(str(error)) from None


@cache
def _fields_of(row: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the fields of a row. Cached: finding them takes longer than reading a row."""
    return msgspec.structs.fields(row)


def _decoded(raw: msgspec.Raw, kind: Any) -> Any:
    return msgspec.json.decode(raw, type=kind, strict=False, dec_hook=lenient)
