"""Bodies of scrapes while owners come, change and go."""

import asyncio
import gc
import gzip
import itertools
import re
import threading
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics import deflate
from exporter.metrics.exposition import Exposition
from exporter.metrics.family import Family
from exporter.metrics.format import Chunks, Format, sample, to_bytes

APPLES = Family("hpc_apples", "gauge", "Apples.", ("owner", "n"))
PEARS = Family("hpc_pears_total", "counter", "Pears.", ("owner", "n"))
OWN = b"# HELP own Own.\n# TYPE own gauge\nown 1\n"


def lines(family: Family, owner: str, values: list[int]) -> bytes:
    return to_bytes("".join(sample(family, (owner, str(n)), value) for n, value in enumerate(values)))


def chunks(owner: str, apples: list[int], pears: list[int] | None = None) -> Chunks:
    return {family: lines(family, owner, of_family) for family, of_family in [(PEARS, pears or []), (APPLES, apples)]}


@pytest.mark.parametrize(
    ("fmt", "expected"),
    [
        (
            Format.TEXT,
            """\
# HELP hpc_apples Apples.
# TYPE hpc_apples gauge
hpc_apples{owner="a",n="0"} 1
hpc_apples{owner="b",n="0"} 3
# HELP hpc_pears_total Pears.
# TYPE hpc_pears_total counter
hpc_pears_total{owner="a",n="0"} 2
# HELP own Own.
# TYPE own gauge
own 1
""",
        ),
        (
            Format.OPENMETRICS,
            """\
# HELP hpc_apples Apples.
# TYPE hpc_apples gauge
hpc_apples{owner="a",n="0"} 1
hpc_apples{owner="b",n="0"} 3
# HELP hpc_pears Pears.
# TYPE hpc_pears counter
hpc_pears_total{owner="a",n="0"} 2
# HELP own Own.
# TYPE own gauge
own 1
# EOF
""",
        ),
    ],
)
async def test_a_document(fmt: Format, expected: str) -> None:
    """Families in the order of their names, each once, then the exporter's own; one end in OpenMetrics."""
    exposition = Exposition()
    exposition.put("a", chunks("a", [1], [2]))
    exposition.put("b", chunks("b", [3]))
    own = OWN + (b"# EOF\n" if fmt is Format.OPENMETRICS else b"")

    assert (await exposition.body(fmt, compress=False, own=own)).decode() == expected
    assert gzip.decompress(await exposition.body(fmt, compress=True, own=own)).decode() == expected


@pytest.mark.parametrize(("fmt", "expected"), [(Format.TEXT, b""), (Format.OPENMETRICS, b"# EOF\n")])
async def test_nothing_to_say(fmt: Format, expected: bytes) -> None:
    exposition = Exposition()

    assert await exposition.body(fmt, compress=False, own=b"") == expected
    assert gzip.decompress(await exposition.body(fmt, compress=True, own=b"")) == expected


async def test_an_owner_is_replaced_and_removed_as_a_whole() -> None:
    """A family that the new lines lack leaves, with its header when it was the last."""
    exposition = Exposition()
    exposition.put("a", chunks("a", [1], [2]))
    exposition.put("a", chunks("a", [5]))

    assert (await exposition.body(Format.TEXT, compress=False)).endswith(
        b'# TYPE hpc_apples gauge\nhpc_apples{owner="a",n="0"} 5\n'
    )
    assert b"pears" not in await exposition.body(Format.TEXT, compress=False)
    exposition.remove("a")
    exposition.remove("never there")
    assert await exposition.body(Format.TEXT, compress=False) == b""
    assert not exposition._owned


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("fmt", Format)
async def test_an_unchanged_scrape_is_the_same_object(fmt: Format, compress: bool) -> None:
    """Also after a poll that brought the same again."""
    exposition = Exposition()
    exposition.put("a", chunks("a", [1] * 5000, [2]))
    first = await exposition.body(fmt, compress=compress, own=OWN)

    exposition.put("a", chunks("a", [1] * 5000, [2]))

    assert await exposition.body(fmt, compress=compress, own=OWN) is first
    exposition.put("a", chunks("a", [2] * 5000, [2]))
    assert await exposition.body(fmt, compress=compress, own=OWN) != first


async def test_the_own_part_is_always_the_one_given() -> None:
    """It changes with every scrape, also where nothing else did."""
    exposition = Exposition()
    exposition.put("a", chunks("a", [1]))
    await exposition.body(Format.TEXT, compress=True, own=b"# before\n")

    assert gzip.decompress(await exposition.body(Format.TEXT, compress=True, own=b"# now\n")).endswith(b"\n# now\n")


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is compressed from now on; the compressing itself is the real one."""
    sizes: list[int] = []
    real = deflate.compress

    def spy(of_chunks: list[bytes]) -> deflate.Piece:
        sizes.append(sum(map(len, of_chunks)))
        return real(of_chunks)

    monkeypatch.setattr(deflate, "compress", spy)
    return sizes


@pytest.fixture
def may_compress(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Long texts are compressed once it is set: a thread may otherwise be done before its caller goes on."""
    event = threading.Event()
    real = deflate.compress

    def held_up(of_chunks: list[bytes]) -> deflate.Piece:
        assert sum(map(len, of_chunks)) < 20_000 or event.wait(100)
        return real(of_chunks)

    monkeypatch.setattr(deflate, "compress", held_up)
    yield event
    event.set()


async def test_only_families_that_changed_are_compressed_again(compressed: list[int]) -> None:
    exposition = Exposition()
    exposition.put("a", chunks("a", [1] * 1000, [2] * 1000))
    await exposition.body(Format.TEXT, compress=True, own=OWN)
    compressed.clear()

    exposition.put("b", chunks("b", [], [3]))
    await exposition.body(Format.TEXT, compress=True, own=OWN)

    pears = len(lines(PEARS, "a", [2] * 1000) + lines(PEARS, "b", [3]))
    assert sorted(compressed) == [len(OWN), pears]
    compressed.clear()
    await exposition.body(Format.OPENMETRICS, compress=True, own=OWN)
    assert compressed == [len(OWN) + len(b"# EOF\n")], "both formats share what is compressed"


async def test_scrapes_that_wait_share_one_compression_although_something_changes_all_the_time(
    compressed: list[int], may_compress: threading.Event
) -> None:
    """The first begins before the others come.

    These share the next one, which knows all that was put before they came.
    """
    exposition = Exposition()
    exposition.put("a", chunks("a", [1] * 20_000))
    scrapes = [asyncio.create_task(exposition.body(Format.TEXT, compress=True))]
    await asyncio.sleep(0)
    exposition.put("a", chunks("a", [2] * 20_000))
    scrapes += [asyncio.create_task(exposition.body(Format.TEXT, compress=True)) for _ in range(8)]

    async def keep_changing() -> None:
        for n in itertools.count():
            exposition.put("b", chunks("b", [n]))
            await asyncio.sleep(0)

    changing = asyncio.create_task(keep_changing())
    await asyncio.sleep(0)
    may_compress.set()
    first, *others = [gzip.decompress(body) for body in await asyncio.gather(*scrapes)]
    changing.cancel()

    assert sum(size > 20_000 for size in compressed) == 2
    assert lines(APPLES, "a", [1] * 20_000) in first
    assert all(lines(APPLES, "a", [2] * 20_000) in other for other in others)


async def test_lines_put_during_compression_are_in_the_next_scrape() -> None:
    """The state of one moment is compressed; a change meanwhile must not be taken for compressed."""
    exposition = Exposition()
    exposition.put("a", chunks("a", [1] * 20_000))
    during = asyncio.create_task(exposition.body(Format.TEXT, compress=True))
    await asyncio.sleep(0)
    exposition.put("a", chunks("a", [2] * 20_000))
    exposition.put("b", chunks("b", [], [7]))

    first = gzip.decompress(await during)
    second = gzip.decompress(await exposition.body(Format.TEXT, compress=True))

    assert first.endswith(lines(APPLES, "a", [1] * 20_000))
    assert second == await exposition.body(Format.TEXT, compress=False)
    assert lines(APPLES, "a", [2] * 20_000) in second
    assert lines(PEARS, "b", [7]) in second


async def test_a_scrape_given_up_does_not_stop_the_next(may_compress: threading.Event) -> None:
    """A client that hangs up cancels its request, perhaps while it compresses for all."""
    exposition = Exposition()
    exposition.put("a", chunks("a", [1] * 50_000))
    given_up = asyncio.create_task(exposition.body(Format.TEXT, compress=True))
    waiting = asyncio.create_task(exposition.body(Format.TEXT, compress=True))
    await asyncio.sleep(0)

    given_up.cancel()
    may_compress.set()

    assert gzip.decompress(await waiting) == await exposition.body(Format.TEXT, compress=False)
    with pytest.raises(asyncio.CancelledError):
        await given_up


async def test_scrapes_and_puts_side_by_side_never_mix_states() -> None:
    """Every put writes one number into all lines of its owner; each scrape sees one number for each owner."""
    exposition = Exposition()
    owners = [f"owner-{n}" for n in range(10)]
    for owner in owners:
        exposition.put(owner, chunks(owner, [0] * 200, [0] * 200))

    async def put() -> None:
        for value in range(1, 20):
            for owner in owners:
                exposition.put(owner, chunks(owner, [value] * 200, [value] * 200))
                await asyncio.sleep(0.001)

    putting = asyncio.create_task(put())
    scrapes = set()
    while not putting.done():
        await asyncio.sleep(0)  # an unchanged answer is given immediately, without a turn for the puts
        body = gzip.decompress(await exposition.body(Format.TEXT, compress=True))
        samples = re.findall(rb'^hpc_(?:apples|pears_total){owner="(.*)",n=".*"} (.*)$', body, re.MULTILINE)
        assert len(samples) == 10 * 400
        assert len(set(samples)) == 10, "an owner's lines are from two states"
        scrapes.add(frozenset(samples))

    assert len(scrapes) > 1, "nothing changed while it was scraped"


actions = st.lists(
    st.tuples(
        st.sampled_from("abcd"), st.lists(st.integers(0, 3), max_size=3), st.lists(st.integers(0, 3), max_size=3)
    ),
    max_size=15,
)


@given(steps=actions)
def test_after_any_puts_and_removes_every_document_says_what_is_there(
    steps: list[tuple[str, list[int], list[int]]],
) -> None:
    """Against a plain dictionary: contents in both formats and both codings, and the number of series."""

    async def run() -> None:
        exposition = Exposition()
        model: dict[str, tuple[list[int], list[int]]] = {}
        for owner, apples, pears in steps:
            model[owner] = (apples, pears)
            if apples or pears:
                exposition.put(owner, chunks(owner, apples, pears))
            else:
                exposition.remove(owner)

            bodies = {
                (fmt, compress): await exposition.body(fmt, compress=compress)
                for fmt in Format
                for compress in (False, True)
            }

            expected = {("hpc_apples", o, str(n)): v for o, values in model.items() for n, v in enumerate(values[0])}
            expected |= {
                ("hpc_pears_total", o, str(n)): v for o, values in model.items() for n, v in enumerate(values[1])
            }
            assert exposition.series == len(expected)
            for (fmt, compress), body in bodies.items():
                document = gzip.decompress(body) if compress else body
                parse: Callable[[str], object] = parse_text if fmt is Format.TEXT else parse_openmetrics
                assert read(parse, document) == expected

    asyncio.run(run())


def read(parse: Callable[[str], object], document: bytes) -> dict[tuple[str, str, str], float]:
    found = parse(document.decode())
    assert hasattr(found, "__iter__")
    return {(s.name, s.labels["owner"], s.labels["n"]): s.value for family in found for s in family.samples}


async def test_large_documents_do_not_hold_up_the_loop() -> None:
    """While a large document is made, other tasks go on."""
    exposition = Exposition()
    for owner in range(150):
        exposition.put(owner, chunks(str(owner), list(range(1000)), list(range(1000))))
    making = asyncio.create_task(exposition.body(Format.TEXT, compress=True))
    turns = 0

    while not making.done():
        turns += 1
        await asyncio.sleep(0)

    assert turns > 5


async def test_memory_does_not_grow_with_the_number_of_polls() -> None:
    """Many rounds of polls, scrapes, and targets that come and go leave no more than a few do."""
    exposition = Exposition()

    async def round_of_polls(number: int) -> None:
        for owner in range(10):
            exposition.put(owner, chunks(str(owner), [number % 10] * 50, [1] * (owner % 3)))
        exposition.put(("passing", number), chunks("passing", [1] * 50))
        for fmt in Format:
            for compress in (False, True):
                await exposition.body(fmt, compress=compress, own=b"# %d\n" % number)
        exposition.remove(("passing", number))

    async def memory_after(rounds: range) -> int:
        for number in rounds:
            await round_of_polls(number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        few = await memory_after(range(10))
        many = await memory_after(range(10, 200))
    finally:
        tracemalloc.stop()

    assert many < few + 20_000


@given(owner=st.text(), value=st.floats() | st.integers(), renewed=st.floats() | st.integers())
async def test_a_renewed_line_is_the_line_rendered_with_the_other_value(
    owner: str, value: float, renewed: float
) -> None:
    """A blank, a quote or a line break in a label is not where the value begins."""
    exposition, expected = Exposition(), Exposition()
    exposition.put("o", {APPLES: to_bytes(sample(APPLES, (owner, "0"), value))})
    expected.put("o", {APPLES: to_bytes(sample(APPLES, (owner, "0"), renewed))})

    assert exposition.renew("o", APPLES, renewed)

    for fmt in Format:
        assert await exposition.body(fmt, compress=False) == await expected.body(fmt, compress=False)
        assert gzip.decompress(await exposition.body(fmt, compress=True)) == await expected.body(fmt, compress=False)


def test_what_is_not_there_is_not_renewed() -> None:
    exposition = Exposition()
    assert not exposition.renew("a", APPLES, 1)
    exposition.put("a", chunks("a", [1]))
    assert not exposition.renew("a", PEARS, 1)
    assert not exposition.renew("b", APPLES, 1)
    assert exposition.series == 1
