"""Whether all targets of a region or project work, known without looking at each of them after every poll."""

from exporter.polling.target import TargetKey


class SourceHealth:
    """The targets of one source, sorted into those not tried yet and those whose last poll failed."""

    def __init__(self) -> None:
        self._untried: set[TargetKey] = set()
        self._failing: set[TargetKey] = set()
        self._known: set[TargetKey] = set()

    def add(self, key: TargetKey) -> None:
        """Expect `key` to be tried; nothing happens if it is known already."""
        if key not in self._known:
            self._known.add(key)
            self._untried.add(key)

    def remove(self, key: TargetKey) -> None:
        self._known.discard(key)
        self._untried.discard(key)
        self._failing.discard(key)

    def note(self, key: TargetKey, *, ok: bool) -> None:
        """A poll of `key` ended."""
        self._untried.discard(key)
        if ok:
            self._failing.discard(key)
        else:
            self._failing.add(key)

    @property
    def empty(self) -> bool:
        return not self._known

    @property
    def known(self) -> frozenset[TargetKey]:
        return frozenset(self._known)

    @property
    def tried(self) -> bool:
        return not self._untried

    @property
    def up(self) -> bool | None:
        """True if the last poll of every target worked; None while some were not tried and none failed."""
        if self._failing:
            return False
        return None if self._untried else True
