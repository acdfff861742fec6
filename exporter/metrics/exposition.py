"""All samples of the process, and the answers to scrapes made of them.

Owners (one for each target, and a few more) put their lines; a scrape joins what is there. Everything runs on the event
loop except joining and compressing of anything large, which gets immutable bytes and needs no lock. A scrape sees
the state of one moment: lines put while it is being compressed wait for the next one.
"""

import asyncio
from collections.abc import Hashable, Iterable
from typing import Final

from exporter.metrics import deflate
from exporter.metrics.deflate import Piece
from exporter.metrics.family import Family
from exporter.metrics.format import EOF, Chunks, Format, header, number
from exporter.threads import off_loop

# Bodies of more bytes than this are handled in a thread; below, changing threads would take longer than the work.
_LARGE: Final = 64 * 1024


class _FamilyLines:
    """One family's lines by owner. `piece` is what they compress to, None since the latest change."""

    __slots__ = ("header_pieces", "headers", "lines", "piece", "series", "size", "version")

    def __init__(self, family: Family) -> None:
        self.headers = {fmt: header(family, fmt) for fmt in Format}
        self.header_pieces = {fmt: deflate.compress([text]) for fmt, text in self.headers.items()}
        self.lines: dict[Hashable, bytes] = {}
        self.size = 0
        self.series = 0
        self.version = 0
        self.piece: Piece | None = None

    def replace(self, owner: Hashable, old: bytes, new: bytes) -> None:
        if new:
            self.lines[owner] = new
        else:
            del self.lines[owner]
        self.size += len(new) - len(old)
        self.series += new.count(b"\n") - old.count(b"\n")
        self.version += 1
        self.piece = None


class Exposition:
    """Sample lines by owner and family, and the documents made of them. For use from one event loop."""

    def __init__(self) -> None:
        self._families: dict[Family, _FamilyLines] = {}  # in the order of their names
        self._owned: dict[Hashable, frozenset[Family]] = {}
        self._combinations: dict[frozenset[Family], frozenset[Family]] = {}
        self._excluded: frozenset[str] = frozenset()
        self._version = 0
        # Made of the present lines and nothing else: emptied at every change.
        self._compressed: dict[Format, Piece] = {}
        self._bodies: dict[tuple[Format, bool], tuple[bytes, bytes]] = {}
        self._working = asyncio.Lock()
        # The number of times compressing has begun; and of each format, which of these was the latest, with its result.
        self._begun = 0
        self._latest: dict[Format, tuple[int, Piece]] = {}

    @property
    def series(self) -> int:
        """Number of sample lines that are shown now."""
        return sum(of_family.series for of_family in self._present())

    def exclude(self, names: Iterable[str]) -> None:
        """Show no families of these names from now on, and all others.

        Their lines are kept, in case they are shown again.
        """
        excluded = frozenset(names)
        if excluded != self._excluded:
            self._excluded = excluded
            self._changed()

    def put(self, owner: Hashable, chunks: Chunks) -> None:
        """Replace all lines of an owner. Cheap if they are the same as before."""
        owned = self._owned.get(owner, frozenset())
        if owned != chunks.keys():
            for family in owned - chunks.keys():
                self._set(family, owner, b"")
            self._note_families(owner, frozenset(chunks))
        for family, lines in chunks.items():
            self._set(family, owner, lines)

    def renew(self, owner: Hashable, family: Family, value: float) -> bool:
        """Replace the value of the owner's only line in a family; False if it has no line there.

        The rest of the line is taken from itself: to render it again would take most of the time of an unchanged poll.
        """
        of_family = self._families.get(family)
        old = of_family.lines.get(owner) if of_family is not None else None
        if of_family is None or old is None:
            return False
        of_family.replace(owner, old, b"%b%b\n" % (old[: old.rindex(b" ") + 1], number(value).encode()))
        self._changed()
        return True

    def remove(self, owner: Hashable) -> None:
        """Remove all lines of an owner, if it has any."""
        self.put(owner, {})

    async def body(self, fmt: Format, compress: bool, own: bytes = b"") -> bytes:
        """Return a complete document in a format, plain or gzip; the same object again if nothing changed.

        `own` is a document of further families in the same format (see `SelfMetrics.render`), appended to ours.
        """
        ready = self._bodies.get((fmt, compress))
        if ready is not None and ready[0] == own:
            return ready[1]
        version = self._version
        tail = own.removesuffix(EOF) + (EOF if fmt is Format.OPENMETRICS else b"")
        body = await (self._gzip(fmt, tail) if compress else self._text(fmt, tail))
        if version == self._version:
            self._bodies[fmt, compress] = (own, body)
        return body

    def _note_families(self, owner: Hashable, families: frozenset[Family]) -> None:
        if families:
            # Thousands of owners have the same few combinations: each is kept once.
            self._owned[owner] = self._combinations.setdefault(families, families)
        else:
            self._owned.pop(owner, None)

    def _set(self, family: Family, owner: Hashable, lines: bytes) -> None:
        of_family = self._families.get(family)
        if of_family is None:
            of_family = self._families[family] = _FamilyLines(family)
            self._families = dict(sorted(self._families.items(), key=lambda item: item[0].name))
        old = of_family.lines.get(owner, b"")
        if lines == old:
            return
        of_family.replace(owner, old, lines)
        self._changed()

    def _changed(self) -> None:
        self._version += 1
        self._compressed.clear()
        self._bodies.clear()

    def _present(self) -> list[_FamilyLines]:
        excluded = self._excluded
        return [
            of_family for family, of_family in self._families.items() if of_family.lines and family.name not in excluded
        ]

    async def _text(self, fmt: Format, tail: bytes) -> bytes:
        chunks: list[bytes] = []
        size = len(tail)
        for of_family in self._present():
            chunks.append(of_family.headers[fmt])
            chunks.extend(of_family.lines.values())
            size += of_family.size
        chunks.append(tail)
        return await off_loop(size, _LARGE, lambda: b"".join(chunks))

    async def _gzip(self, fmt: Format, tail: bytes) -> bytes:
        domain = self._compressed.get(fmt) or await self._compress_for_all(fmt)
        end = await off_loop(len(tail), _LARGE, lambda: deflate.compress([tail]))
        return deflate.gzip_member(domain, end)

    async def _compress_for_all(self, fmt: Format) -> Piece:
        """Return all families as one piece, not older than this call.

        Simultaneous scrapes share one compression, even if polls change lines all the time.
        """
        begun_before = self._begun
        async with self._working:
            number, latest = self._latest.get(fmt, (0, None))
            if latest is None or number <= begun_before:
                self._begun += 1
                number, latest = self._begun, await self._compress(fmt)
                self._latest[fmt] = number, latest
            return latest

    async def _compress(self, fmt: Format) -> Piece:
        """Return all families as one piece; those that did not change since they were last compressed are only copied."""
        version = self._version
        present = self._present()
        pieces = {of_family: of_family.piece for of_family in present if of_family.piece is not None}
        changed = [of_family for of_family in present if of_family.piece is None]
        versions = [of_family.version for of_family in changed]
        lines = [list(of_family.lines.values()) for of_family in changed]
        size = sum(of_family.size for of_family in changed)

        new = await off_loop(size, _LARGE, lambda: [deflate.compress(of_family) for of_family in lines])
        for of_family, of_version, piece in zip(changed, versions, new, strict=True):
            pieces[of_family] = piece
            if of_family.version == of_version:
                of_family.piece = piece

        whole = deflate.concatenate(
            piece for of_family in present for piece in (of_family.header_pieces[fmt], pieces[of_family])
        )
        if version == self._version:
            self._compressed[fmt] = whole
        return whole
