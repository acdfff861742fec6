"""Pieces compressed one by one are one gzip file to everyone who reads it."""

import gzip
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics import deflate
from exporter.metrics.deflate import compress, concatenate, gzip_member


@pytest.fixture(autouse=True, scope="module", params=["isal.isal_zlib", "zlib"])
def library(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything holds with the library that is not made for every processor, and without it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deflate, "zlib", pytest.importorskip(request.param))
        yield


texts = st.lists(st.lists(st.binary(max_size=300), max_size=5), max_size=6)


def lines(count: int) -> list[bytes]:
    """Chunks of many sizes, together well above the size that is handled in one piece."""
    return [b'hpc_queue_jobs{queue="%d"} %d\n' % (number, number * 7919) * (number % 9 + 1) for number in range(count)]


@given(texts=texts)
def test_a_member_of_pieces_reads_as_their_texts(texts: list[list[bytes]]) -> None:
    """Contents, CRC and length are what a gzip of the whole has: gzip.decompress checks all three."""
    member = gzip_member(concatenate(compress(chunks) for chunks in texts))

    assert gzip.decompress(member) == b"".join(chunk for chunks in texts for chunk in chunks)


@given(texts=st.lists(st.binary(max_size=5000), max_size=8))
def test_the_combined_checksum_is_that_of_the_whole(texts: list[bytes]) -> None:
    whole = concatenate(compress([text]) for text in texts)

    assert whole.crc == zlib.crc32(b"".join(texts))
    assert whole.length == sum(map(len, texts))


@given(first=st.binary(max_size=50), second=st.binary(max_size=50), third=st.binary(max_size=50))
def test_pieces_can_be_put_together_in_any_grouping(first: bytes, second: bytes, third: bytes) -> None:
    """The exposition keeps a combined piece and appends to it."""
    a, b, c = compress([first]), compress([second]), compress([third])

    assert concatenate((concatenate((a, b)), c)) == concatenate((a, concatenate((b, c)))) == concatenate((a, b, c))


def test_the_length_wraps_at_32_bits_and_the_checksum_does_not() -> None:
    """A file of 4 GiB of zeros, put together by doubling one of 1 MiB; the trailer is as RFC 1952 has it."""
    piece = compress([bytes(2**20)])
    for _ in range(12):
        piece = concatenate((piece, piece))

    assert piece.length == 2**32
    # zlib's of as many zeros, which takes it seconds: crc32(bytes(2**20), before), 4096 times.
    assert gzip_member(piece)[-8:] == (0xD202EF8D).to_bytes(4, "little") + bytes(4)


def test_large_texts_are_handled_in_batches_and_read_the_same() -> None:
    chunks = lines(20_000)
    assert sum(map(len, chunks)) > 2 * 1024 * 1024

    member = gzip_member(compress(chunks))

    assert gzip.decompress(member) == b"".join(chunks)
    assert len(member) < sum(map(len, chunks)) / 5


def test_the_gzip_command_reads_it(run_real_part: Callable[[list[str], bytes], bytes]) -> None:
    chunks = lines(5_000)
    member = gzip_member(concatenate([compress(chunks[:1000]), compress(chunks[1000:]), compress([])]))

    assert run_real_part(["gzip", "-cd"], member) == b"".join(chunks)


def test_a_streaming_reader_sees_one_member_with_nothing_after_it() -> None:
    """As Go's reader does: header, blocks, trailer, and the end of the body right there."""
    member = gzip_member(concatenate([compress([b"a\n"]), compress([b"b\n"] * 1000)]))
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)

    read = b"".join(reader.decompress(member[at : at + 7]) for at in range(0, len(member), 7))

    assert read == b"a\n" + b"b\n" * 1000
    assert reader.eof
    assert reader.unused_data == b""


def test_an_empty_document_is_a_valid_file() -> None:
    assert gzip.decompress(gzip_member(concatenate([]))) == b""
