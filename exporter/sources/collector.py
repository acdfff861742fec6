"""Collectors: each requests one endpoint in one way, and is declared in one file of a vendor's package.

The declaration names the endpoint, the unit that it is requested for, the fields of a row, and the families. The values
of ``collect``, targets and their labels, shards, lenient decoding, rendering, the rows of ``once`` and ``check
--online``, the names on the status page, the references and the JSON Schema are derived from it.
docs/adding-a-collector.md shows a complete one.
"""

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final, Generic, Protocol, TypeVar, get_args, get_type_hints

import msgspec

from exporter.errors import AuthenticationError, NotThereError, PollError
from exporter.http import Endpoint, Response
from exporter.metrics import health, self_metrics, tracking
from exporter.metrics.family import Family, Sample, Text
from exporter.metrics.format import Chunks, sample, to_bytes
from exporter.polling import TargetKey
from exporter.sources.decoding import raw_rows, read_each, read_row_and_flaws
from exporter.sources.once import Once

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")

# HTTP statuses of an optional endpoint that a region does not have.
NOT_THERE: Final = (404, 405)
# Default advice for a token without the permission.
ADVICE: Final = "ask the region's support to let the token's owner use this interface"


@dataclass(frozen=True, slots=True)
class Subject:
    """The unit that one target of a collector is polled for: a region, a user, a member.

    `source` is the name of the region or project, `target` the value of the label of that name, and `place` is
    FILE:LINE:COL in the configuration. `user`, `group` and `group_id` are empty for other units. `params` fill the
    ``{names}`` in the collector's path. `configured` is the target as the configuration names it, if that differs;
    `section` the part of the configuration, if the collector needs more of it.
    """

    source: str
    target: str
    place: str
    user: str = ""
    group: str = ""
    group_id: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    configured: str | None = None
    section: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Per:
    """The unit for which a collector is requested: each region, user, member or queue, for example.

    `section` is the key of the configuration whose entries have such collectors. `subjects` yields the subjects of an
    entry; its second argument is the owner of the entry's token, for an entry without users. `up` is the family that
    says whether an entry answers. Collectors are listed and polled by `order`. `key` is the key in an entry that names
    the subjects, empty for the entry itself.
    """

    section: str
    up: Family
    order: int
    key: str
    text: Text
    subjects: Callable[[Any, str], Iterable[Subject]]
    # Whether all users but one need a token of their own, because the answer does not say whose jobs it lists.
    own_tokens: bool = False
    # Whether it is requested from the platform, with the token of the entry's account.
    needs_account: bool = False


def itself(entry: Any, _owner: str) -> Iterator[Subject]:
    """Yield an entry of the configuration as its only subject."""
    yield Subject(entry.name, "", entry.place)


def label_part(text: str) -> str:
    """Escape slashes in a part of a target's label: "a/b" of user c and "a" of user b/c are two."""
    return text.replace("%", "%25").replace("/", "%2F")


class Rows(Generic[R]):
    """The readable rows of an answer; `rejected` counts the others, `odd` single values that cannot be read."""

    def __init__(self, rows: list[R], rejected: int = 0, odd: int = 0) -> None:
        self._rows = rows
        self.rejected = rejected
        self.odd = odd

    def __iter__(self) -> Iterator[R]:
        return iter(self._rows)

    @property
    def unreadable(self) -> int:
        """All that was left out of the answer."""
        return self.rejected + self.odd

    def reject(self) -> None:
        """Count a row as not understood; the generator then leaves it out."""
        self.rejected += 1


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a declared collector's poll. Equal fingerprints mean equal answers; None: do not compare."""

    samples: tuple[Sample, ...]
    rejected: int = 0
    fingerprint: int | None = None


class Polling(Protocol):
    """The polling of a target; see `exporter.polling.Target` for `poll` and `publish`."""

    def poll(self) -> Awaitable[Any]: ...
    def publish(self, records: Any) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Collector:
    """A declared collector.

    `start` makes the polling of one target of a region or project. A collector that is not on by `default` is optional.
    `advice` is for a token without the permission; it may name the ``{user}``, the ``{group_id}`` and the ``{place}`` of
    the subject. `once` says how the command of that name shows the results; None: as the values of the families.
    """

    name: str
    path: str
    per: Per
    title: Text
    gives: Text
    families: tuple[Family, ...]
    start: Callable[[Any, Subject], Polling]
    default: bool
    advice: str = ADVICE
    # Whether it lists jobs of members, which the tracker follows from poll to poll and `jobs list` shows.
    lists_jobs: bool = False
    # Whether it reads a history of ended jobs: the tracker then waits for its rows before it counts starts and ends.
    tells_ends: bool = False
    once: Once | None = None

    def advice_for(self, subject: Subject) -> str:
        """Return the advice for a subject whose token may not make the request."""
        return self.advice.format(user=subject.user or "the user", group_id=subject.group_id, place=subject.place)

    @property
    def optional(self) -> bool:
        """Whether HTTP 404 and 405 mean that a region does not have the endpoint, which is no failure."""
        return not self.default

    def key(self, subject: Subject) -> TargetKey:
        """Return the labels of a target."""
        return TargetKey(subject.source, self.name, subject.target)

    def configured_key(self, subject: Subject) -> TargetKey:
        """Return the key that assigns the target to a shard: it does not change with the owner of a token."""
        target = subject.target if subject.configured is None else subject.configured
        return TargetKey(subject.source, self.name, target)


_declared: dict[str, Collector] = {}


def register(collector: Collector) -> Collector:
    """Add a collector to the registry. Raises ValueError where the name is taken."""
    if collector.name in _declared:
        raise ValueError(f"there are two collectors {collector.name}")
    _declared[collector.name] = collector
    return collector


@lru_cache(maxsize=1)
def registry() -> Mapping[str, Collector]:
    """All collectors by name: those on by default first, then in the order of their names.

    Imports each module of each vendor's package, so that a new collector needs no more than its file. Modules whose
    names begin with an underscore declare none, and only the command that needs one may import it.
    """
    package = importlib.import_module("exporter.sources")
    for vendor in pkgutil.iter_modules(package.__path__, "exporter.sources."):
        if vendor.ispkg:
            paths = importlib.import_module(vendor.name).__path__
            for module in pkgutil.iter_modules(paths):
                if not module.name.startswith("_"):
                    importlib.import_module(f"{vendor.name}.{module.name}")
    in_order = sorted(_declared.values(), key=lambda each: (not each.default, each.per.order, each.name))
    return {collector.name: collector for collector in in_order}


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, Family]:
    """All families of the exporter by name, in the order of their names."""
    declared = [family for each in registry().values() for family in (each.per.up, *each.families)]
    families = [*declared, *tracking.FAMILIES, *health.FAMILIES, *self_metrics.FAMILIES]
    return dict(sorted({family.name: family for family in families}.items()))


def collected_by_default(section: str) -> tuple[str, ...]:
    """Return the names of the collectors of a section that are on where its `collect` is left out."""
    return tuple(each.name for each in collectors_of(section) if each.default)


def subjects_of(
    section: str, entry: Any, owner: str = "", *, every: bool = False
) -> Iterator[tuple[Collector, Subject]]:
    """Yield the collectors in the `collect` of an entry of the configuration, each with each of its subjects.

    `every`: all collectors of the section, whether `collect` names them or not.
    """
    for each in collectors_of(section):
        if every or each.name in entry.collect:
            for subject in each.per.subjects(entry, owner):
                yield each, subject


def collectors_of(section: str) -> tuple[Collector, ...]:
    """Return the collectors of a section of the configuration, in the order of the registry."""
    return tuple(collector for collector in registry().values() if collector.per.section == section)


class RowSource(Protocol):
    """Interface of a source for the polling of declared collectors."""

    def endpoint(self, collector: Collector, subject: Subject) -> Endpoint:
        """Return the collector's path, requested with the right token."""
        ...

    def open(self, response: Response) -> msgspec.Raw:
        """Return the data of a successful answer. Raises the PollError that says what to do about any other."""
        ...

    def shown(self, key: TargetKey) -> int | None:
        """Return the fingerprint of the answer that the target shows now."""
        ...

    def show(self, key: TargetKey, found: Found, chunks: Chunks) -> None:
        """Replace the samples of the target."""
        ...


Generate = Callable[[Subject, Rows[R]], Iterator[Sample]]


def collector(
    name: str,
    *,
    path: str,
    per: Per,
    title: Text,
    gives: Text,
    families: tuple[Family, ...],
    default: bool = False,
    advice: str = ADVICE,
    once: Once | None = None,
    polling: "type[RowPolling[Any]] | None" = None,
) -> Callable[[Generate[R]], Generate[R]]:
    """Declare a collector of rows, by a generator that turns a subject and its rows into samples.

    The annotation of its parameter `rows` says what a row is, as ``Rows[Row]`` with a msgspec struct `Row`. Numbers may
    come as text; for ids and names in any form there are the types `Id` and `Name` of `exporter.sources.values`. A
    field that cannot be read takes its default, or rejects its row where it has none. A collector that is not on by
    `default` is optional: regions without its endpoint are normal. `polling` is the class of its polls where they take
    more than one request.
    """

    def declare(generate: Generate[R]) -> Generate[R]:
        row = get_args(get_type_hints(generate)["rows"])[0]
        declared: Collector

        def start(source: RowSource, subject: Subject) -> Polling:
            return (polling or RowPolling)(source, declared, subject, row, generate)

        declared = register(Collector(name, path, per, title, gives, families, start, default, advice, once=once))
        return generate

    return declare


class RowPolling(Generic[R]):
    """Polls one target of a collector that is declared by `collector`."""

    def __init__(
        self, source: RowSource, declared: Collector, subject: Subject, row: type[R], generate: Generate[R]
    ) -> None:
        self._source = source
        self._collector = declared
        self._subject = subject
        self._row = row
        self._generate = generate
        self._key = declared.key(subject)
        self._shown = source.shown

    @cached_property
    def _endpoint(self) -> Endpoint:
        return self._source.endpoint(self._collector, self._subject)

    async def poll(self) -> Found | None:
        """Poll once; None where the answer is the one that is shown. Raises PollError."""
        return await get_unless_shown(self._endpoint, lambda: self._shown(self._key), self._read)

    async def publish(self, found: Found | None) -> None:
        if found is not None:
            self._source.show(self._key, found, rendered(found.samples))

    def _read(self, response: Response) -> Found:
        rows = self._rows(response)
        samples = self._samples([(self._subject, rows)])
        return Found(samples, rows.unreadable, None if rows.unreadable else hash(response.body))

    def _rows(self, response: Response) -> Rows[R]:
        return read_rows(opened(self._source.open, self._collector, response), self._row)

    def _samples(self, answers: Iterable[tuple[Subject, Rows[R]]]) -> tuple[Sample, ...]:
        """Return those with a known value. Raises ValueError for one of a family that was not declared."""
        return undisputed((self._declared(subject, rows), rows) for subject, rows in answers)

    def _declared(self, subject: Subject, rows: Rows[R]) -> Iterator[Sample]:
        for each in self._generate(subject, rows):
            if each.family not in self._collector.families:
                raise ValueError(f"{self._collector.name} does not declare {each.family.name}")
            yield each


def undisputed(answers: Iterable[tuple[Iterable[Sample], Rows[Any]]]) -> tuple[Sample, ...]:
    """Return the samples with a known value, in a fixed order.

    Samples with the same labels and different values are left out and counted as rejected: it is unknown which is right.
    """
    found: dict[tuple[Family, tuple[str, ...]], Sample] = {}
    disputed = set[Sample]()
    for samples, rows in answers:
        for each in samples:
            if each.value is None:
                continue
            first = found.setdefault((each.family, each.values), each)
            if first != each:
                rows.reject()
                disputed.add(first)
    known = (each for each in found.values() if each not in disputed)
    return tuple(sorted(known, key=lambda each: (each.family.name, each.values)))


def opened(open_envelope: Callable[[Response], msgspec.Raw], collector: Collector, response: Response) -> msgspec.Raw:
    """Return the data of the answer to a collector. The envelope decides whether it is a success, not the HTTP status.

    Raises PollError; NotThereError where the collector is optional and the region does not have the endpoint.
    """
    try:
        return open_envelope(response)
    except AuthenticationError:
        raise
    except PollError:
        if collector.optional and response.status in NOT_THERE:
            status, path = response.status, collector.path
            text = Text(f"HTTP {status}: this region does not have {path}", f"HTTP {status}：该区域没有接口 {path}")
            raise NotThereError(text) from None
        raise


async def get_unless_shown(
    endpoint: Endpoint, shown: Callable[[], int | None], read: Callable[[Response], T]
) -> T | None:
    """Request an endpoint and read the answer, unless its fingerprint is that of the one `shown`: None.

    Raises PollError.
    """
    known = shown()
    found = await endpoint.get(lambda response: None if hash(response.body) == known else read(response))
    if found is None and shown() != known:
        # The answer that was shown has expired during the request.
        return await endpoint.get(read)
    return found


def rendered(samples: Iterable[Sample]) -> Chunks:
    """Return the lines of samples, by family, in their order."""
    lines: defaultdict[Family, list[str]] = defaultdict(list)
    for family, values, value in samples:
        assert value is not None  # noqa: S101 - unknown ones were left out
        lines[family].append(sample(family, values, value))
    return {family: to_bytes("".join(of_family)) for family, of_family in lines.items()}


def read_rows(data: msgspec.Raw, row: type[R]) -> Rows[R]:
    """Return the rows in an answer's ``data``: a list, an object that holds one, a single object, or null for none.

    Raises DecodeError for anything else, and where there are rows but none can be read: that says nothing.
    """
    read, rejected = read_each(data, raw_rows(data), lambda raw: read_row_and_flaws(raw, row))
    return Rows([each for each, _ in read], rejected, sum(flaws for _, flaws in read))
