"""Which requests are refused with every token, so that they do not cost a login at each of their polls."""

from exporter.clock import Clock

# A fresh token did not help: the next one is asked for after so many seconds.
PATIENCE = 600.0


class Denials:
    """What was refused with a fresh token, by its URL.

    A refusal is believed for a while, and longer each time that it is repeated with yet another token: whoever got that
    one, it has not helped either. So many refused requests together cost no more logins than a single one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._denied: dict[str, tuple[str, float]] = {}

    def note(self, url: str, token: str) -> None:
        """`url` was refused with a fresh `token`."""
        self._denied[url] = (token, self._clock.monotonic())

    def end(self, url: str) -> None:
        """`url` was answered."""
        self._denied.pop(url, None)

    def holds(self, url: str, token: str) -> bool:
        """Whether a refusal of `url` with `token` says nothing against the token."""
        if url not in self._denied:
            return False
        before, since = self._denied[url]
        if token != before:
            self.note(url, token)
            return True
        return self._clock.monotonic() < since + PATIENCE
