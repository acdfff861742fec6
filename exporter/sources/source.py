"""What the application needs of anything that it polls, whoever the vendor is."""

from typing import Protocol

from exporter.config import FileSecret
from exporter.metrics.family import Family
from exporter.polling import Target, TargetKey


class Source(Protocol):
    """A configured region or project at work. Making one has no effect yet."""

    @property
    def up_family(self) -> Family:
        """The family that says whether all its targets work."""
        ...

    def warnings(self) -> list[str]:
        """What is allowed in its configuration but may surprise."""
        ...

    def targets(self) -> list[Target]:
        """All that is polled there, in the order of the configuration."""
        ...

    def secret_changed(self, secret: FileSecret) -> list[TargetKey]:
        """Use the new content of `secret`; the targets that may work again now."""
        ...

    def show_token_expiry(self) -> None:
        """Put the ends of its tokens into the metrics."""
        ...

    def hide_token_expiry(self) -> None:
        """Take the ends of its tokens out of the metrics."""
        ...

    async def close(self) -> None:
        """Let requests in flight finish, then close the connections."""
        ...
