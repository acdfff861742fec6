"""Promises to every declared collector: lenient rows, each series once, absent endpoints, the registry."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
import pytest

from exporter.errors import AuthenticationError, DecodeError, NotThereError, RecordError
from exporter.http import Response
from exporter.metrics.family import Family, Sample, Text, gauge
from exporter.metrics.format import Chunks
from exporter.polling import TargetKey
from exporter.sources import collector as collectors
from exporter.sources.collector import (
    Collector,
    Found,
    Rows,
    Subject,
    collected_by_default,
    collector,
    label_part,
    read_rows,
    registry,
    rendered,
    subjects_of,
    undisputed,
)
from exporter.sources.decoding import read_row, read_row_and_flaws
from exporter.sources.once import Once, Shape
from exporter.sources.scnet.api import open_envelope
from exporter.sources.scnet.subjects import REGION
from exporter.sources.values import Name

T = TypeVar("T")
ROOM = gauge("hpc_example_room", ("hpc_cluster", "kind"), "An example. Absent without an answer.", zh="示例。")
OTHER = gauge("hpc_example_other", (), "Another example. Absent always.", zh="示例。")
SUBJECT = Subject("kunshan", "", "exporter.yml:1:1")
ONCE = Once("rooms", Shape, lambda _subject, _found: ())


class Row(msgspec.Struct):
    kind: Name
    room: int | None = None
    beds: int = 0


class OneAnswer:
    """A RowSource that is given what it answers with."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.response = Response(status, body, {}, 0.0)
        self.known: dict[TargetKey, int | None] = {}
        self.lines: list[Chunks] = []

    def endpoint(self, _collector: Collector, _subject: Subject) -> Any:
        return self

    async def get(self, decode: Callable[[Response], T]) -> T:
        return decode(self.response)

    def open(self, response: Response) -> msgspec.Raw:
        return open_envelope(response)

    def shown(self, key: TargetKey) -> int | None:
        return self.known.get(key)

    def show(self, key: TargetKey, found: Found, chunks: Chunks) -> None:
        self.known[key] = found.fingerprint
        self.lines.append(chunks)


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Collector]]:
    """Declare a collector of `Row` in a registry of its own."""
    monkeypatch.setattr(collectors, "_declared", {})

    def declare(*, default: bool = False, family: Family = ROOM) -> Collector:
        @collector(
            "example",
            path="/hpc/openapi/v2/example",
            per=REGION,
            title=Text("room", "空间"),
            gives=Text("room", "空间"),
            families=(ROOM,),
            default=default,
            advice="ask {user} at {place}",
            once=ONCE,
        )
        def example(subject: Subject, rows: Rows[Row]) -> Iterator[Sample]:
            for row in rows:
                if row.kind == "?":
                    rows.reject()
                else:
                    values = (subject.source, row.kind)[: len(family.labels)]
                    yield family(*values, value=row.room)

        return collectors._declared["example"]

    return declare  # type: ignore[return-value]


def envelope(data: str, code: str = "0") -> bytes:
    return f'{{"code": "{code}", "msg": "", "data": {data}}}'.encode()


async def found(declared: Collector, body: bytes, status: int = 200) -> Found:
    result: Found = await declared.start(OneAnswer(body, status), SUBJECT).poll()
    return result


@pytest.mark.parametrize(
    "data",
    [
        '[{"kind": "a", "room": 2}]',
        '{"kind": "a", "room": 2}',
        '{"total": 1, "list": [{"kind": "a", "room": "2"}]}',
        '{"records": [{"kind": "a", "room": 2.0}]}',
        '[{"kind": "a", "room": 2, "fullName": "left unread"}]',
    ],
)
async def test_rows_come_in_lists_in_objects_and_alone(declared: Callable[..., Collector], data: str) -> None:
    assert (await found(declared(), envelope(data))).samples == (ROOM("kunshan", "a", value=2),)


@pytest.mark.parametrize("data", ["null", "[]", '{"list": null}'])
async def test_no_rows_are_no_samples_and_no_failure(declared: Callable[..., Collector], data: str) -> None:
    assert await found(declared(), envelope(data)) == Found((), 0, hash(envelope(data)))


async def test_an_odd_field_costs_that_field_and_an_odd_row_that_row(declared: Callable[..., Collector]) -> None:
    rows = '[{"kind": "a", "room": "--"}, {"kind": "b", "room": 1}, {"room": 3}, 7, {"kind": "?", "room": 4}]'
    result = await found(declared(), envelope(rows))
    assert (result.samples, result.rejected) == ((ROOM("kunshan", "b", value=1),), 4)
    assert result.fingerprint is None, "each poll counts what it rejects"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ('"text"', Text('the answer\'s data is not a list: "text"', '响应的 data 不是列表："text"')),
        ("[7]", Text("none of the answer's 1 rows can be read: [7]", "响应中的 1 行全部无法解析：[7]")),
        (
            '[{"room": 1}, []]',
            Text(
                'none of the answer\'s 2 rows can be read: [{"room": 1}, []]',
                '响应中的 2 行全部无法解析：[{"room": 1}, []]',
            ),
        ),
    ],
)
async def test_an_answer_without_a_readable_row_says_nothing(
    declared: Callable[..., Collector], data: str, text: Text
) -> None:
    with pytest.raises(DecodeError) as raised:
        await found(declared(), envelope(data))
    assert raised.value.text == text


def test_samples_stand_in_the_order_of_their_families_and_labels() -> None:
    rows = Rows[Row]([])
    samples = [ROOM("kunshan", "b", value=1), OTHER(value=3), ROOM("kunshan", "a", value=2), ROOM("x", "c", value=None)]
    assert undisputed([(samples, rows)]) == (samples[1], samples[2], samples[0])
    assert rows.rejected == 0


async def test_of_two_samples_with_the_same_labels_none_is_shown(declared: Callable[..., Collector]) -> None:
    """Unless they agree: nothing says which is right."""
    example = declared()
    result = await found(example, envelope('[{"kind": "a", "room": 1}, {"kind": "a", "room": 2}]'))
    assert (result.samples, result.rejected) == ((), 1)
    result = await found(example, envelope('[{"kind": "a", "room": 1}, {"kind": "a", "room": 1}]'))
    assert (result.samples, result.rejected) == ((ROOM("kunshan", "a", value=1),), 0)


async def test_the_same_answer_again_is_not_read_again(declared: Callable[..., Collector]) -> None:
    source = OneAnswer(envelope('[{"kind": "a", "room": 1}]'))
    polling = declared().start(source, SUBJECT)
    await polling.publish(await polling.poll())
    assert source.known == {TargetKey("kunshan", "example", ""): hash(source.response.body)}
    assert await polling.poll() is None
    await polling.publish(None)
    assert source.lines == [{ROOM: b'hpc_example_room{hpc_cluster="kunshan",kind="a"} 1\n'}]


async def test_an_answer_that_expired_while_it_was_requested_again_is_read(declared: Callable[..., Collector]) -> None:
    class Expiring(OneAnswer):
        async def get(self, decode: Callable[[Response], T]) -> T:
            result = decode(self.response)
            self.known.clear()
            return result

    source = Expiring(envelope('[{"kind": "a", "room": 1}]'))
    polling = declared().start(source, SUBJECT)
    await polling.publish(await polling.poll())
    assert (await polling.poll()).samples == (ROOM("kunshan", "a", value=1),)


@pytest.mark.parametrize("status", [404, 405])
async def test_an_optional_endpoint_may_not_be_there(declared: Callable[..., Collector], status: int) -> None:
    example = declared()
    for body in (b"", b"<html>", envelope("null", "404")):
        with pytest.raises(NotThereError) as raised:
            await found(example, body, status)
        path = "/hpc/openapi/v2/example"
        assert raised.value.text == Text(
            f"HTTP {status}: this region does not have {path}", f"HTTP {status}：该区域没有接口 {path}"
        )
    assert (await found(example, envelope('[{"kind": "a", "room": 1}]'), status)).samples, "the envelope decides"
    with pytest.raises(AuthenticationError):
        await found(example, envelope("null", "10008"), status)


async def test_an_endpoint_that_is_on_by_default_has_to_be_there(declared: Callable[..., Collector]) -> None:
    with pytest.raises(Exception, match="HTTP 404") as raised:
        await found(declared(default=True), b"", 404)
    assert not isinstance(raised.value, NotThereError)


async def test_a_family_has_to_be_declared(declared: Callable[..., Collector]) -> None:
    with pytest.raises(ValueError, match="does not declare hpc_example_other"):
        await found(declared(family=OTHER), envelope('[{"kind": "a", "room": 1}]'))


def test_a_name_is_declared_once(declared: Callable[..., Collector]) -> None:
    declared()
    with pytest.raises(ValueError, match="two collectors example"):
        declared()


def test_every_collector_is_complete() -> None:
    """Both languages, and names that Prometheus and people can use."""
    assert list(registry()) == [each.name for each in registry().values()]
    for each in registry().values():
        assert all((*each.title, *each.gives, *each.per.text)), each.name
        assert each.families or each.tells_ends, each.name
        assert each.default or each.optional


def test_a_declaration_is_kept_as_it_is(declared: Callable[..., Collector]) -> None:
    example = declared()
    assert (example.path, example.once) == ("/hpc/openapi/v2/example", ONCE)
    assert example.advice_for(SUBJECT) == "ask the user at exporter.yml:1:1"


def test_a_target_is_named_by_its_subject_and_shared_as_configured(declared: Callable[..., Collector]) -> None:
    example = declared()
    known = Subject("kunshan", label_part("a/b%2F"), "exporter.yml:1:1", configured="")
    assert example.key(known) == TargetKey("kunshan", "example", "a%2Fb%252F")
    assert example.configured_key(known) == TargetKey("kunshan", "example", "")
    assert example.configured_key(SUBJECT) == example.key(SUBJECT) == TargetKey("kunshan", "example", "")


def test_subjects_are_those_of_what_an_entry_collects() -> None:
    entry = SimpleNamespace(name="own", place="exporter.yml:1:1", collect=("jobs",))
    assert [(each.name, subject.source) for each, subject in subjects_of("slurm", entry)] == [("jobs", "own")]
    assert [each.name for each, _ in subjects_of("slurm", entry, every=True)] == ["jobs", "partitions"]
    assert collected_by_default("slurm") == ("jobs", "partitions")


def test_subjects_may_be_the_owner_of_the_token(
    declared: Callable[..., Collector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an entry names none; a collector that is not on by default is not collected where nothing is said."""

    def subjects(entry: Any, owner: str) -> list[Subject]:
        return [Subject(entry.name, owner or "nobody", "exporter.yml:1:1")]

    example = declared()
    of_mine = replace(example, per=replace(example.per, section="mine", subjects=subjects))
    monkeypatch.setattr(collectors, "registry", lambda: {"example": of_mine})
    entry = SimpleNamespace(name="own", place="exporter.yml:1:1", collect=("example",))
    assert [subject.target for _, subject in subjects_of("mine", entry, "lab")] == ["lab"]
    assert [subject.target for _, subject in subjects_of("mine", entry)] == ["nobody"]
    assert collected_by_default("mine") == ()


def test_lines_of_a_family_stand_together() -> None:
    samples = [ROOM("kunshan", "a", value=1), OTHER(value=3), ROOM("kunshan", "b", value=2)]
    assert rendered(samples) == {
        ROOM: b'hpc_example_room{hpc_cluster="kunshan",kind="a"} 1\nhpc_example_room{hpc_cluster="kunshan",kind="b"} 2\n',
        OTHER: b"hpc_example_other 3\n",
    }


def test_a_field_without_a_default_is_needed() -> None:
    for row, said in ((b'{"kind": [], "room": 1}', "^kind: "), (b'{"room": 1}', "kind"), (b"7", "^Expected `object`")):
        with pytest.raises(RecordError, match=said):
            read_row(msgspec.Raw(row), Row)
    for data in (b'[{"kind": "a"}]', b' \n{"kind": "a"}\n '):
        assert list(read_rows(msgspec.Raw(data), Row)) == [Row(Name("a"))]


def test_flaws_are_counted() -> None:
    raw = msgspec.Raw(b'{"kind": 7, "room": "--", "beds": []}')
    assert read_row_and_flaws(raw, Row) == (Row(Name("7")), 2)
    assert read_row_and_flaws(msgspec.Raw(b'{"kind": 7}'), Row) == (Row(Name("7")), 0)
