"""A Slurm cluster as a source: its connection, its token, and the version of its API."""

import asyncio
import ssl
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import ClassVar, Final, TypeVar

import structlog

from exporter.config import FileSecret, Secret, Slurm
from exporter.config.files import UnansweredFileError, read_in_thread
from exporter.config.secrets import UnusableSecretError
from exporter.errors import UnexpectedStatusError
from exporter.http import Endpoint, Issued, Response, StaticToken, TokenProvider
from exporter.metrics.family import Family
from exporter.metrics.health import HPC_UP
from exporter.polling import WHOLE, TargetKey
from exporter.sources.collector import Collector, Per, itself
from exporter.sources.slurm.api import VERSIONS, VersionNotServedError, read_token
from exporter.sources.source import Context, Source
from exporter.text import Text

log = structlog.get_logger()

T = TypeVar("T")

USER_HEADER: Final = "X-SLURM-USER-NAME"
TOKEN_HEADER: Final = "X-SLURM-USER-TOKEN"  # noqa: S105 - a header's name


CLUSTER: Final = Per("slurm", HPC_UP, 3, "", Text("cluster", "集群"), itself)


# For a token that lacks the permission.
ADVICE: Final = "use the token of a user who may see all jobs and nodes, such as an operator"


class NoToken:
    """For a unix socket, which identifies the client; a TokenProvider."""

    origin = "no token"

    async def current(self) -> str:
        return ""

    async def replace(self, _rejected: str) -> None:
        """There is no other."""


class RenewedToken(StaticToken):
    """The token of the configuration. Its file, where something else renews it, is read again when it is rejected."""

    def __init__(self, secret: Secret, renewed: Callable[[Issued], None]) -> None:
        """`renewed` is called with a token that was found in the file."""
        super().__init__(secret, read_token)
        self._file = secret if isinstance(secret, FileSecret) else None
        self._renewed = renewed

    async def replace(self, rejected: str) -> str | None:
        if self._file is not None:
            # The watch over files tells of one that cannot be read.
            with suppress(UnusableSecretError, UnansweredFileError):
                content = await read_in_thread(self._file.read)
                if content != self._file.value():
                    self._file.update(content)
                    self._renewed(self.issued)
        return await super().replace(rejected)


class SlurmCluster(Source):
    """A configured cluster."""

    kind: ClassVar = "slurm"
    up_family: ClassVar[Family] = HPC_UP

    def __init__(
        self,
        cluster: Slurm,
        context: Context,
        *,
        slots: asyncio.Semaphore,
        tls: ssl.SSLContext | bool,
        owns: Callable[[TargetKey], bool] = WHOLE.owns,
    ) -> None:
        super().__init__(cluster, context, slots=slots, tls=tls, owns=owns, unix_socket=cluster.unix_socket)
        self.cluster = cluster
        self.token: TokenProvider = NoToken()
        if cluster.token is not None:
            self.token = RenewedToken(cluster.token, self._show_expiry)
        self._version = cluster.api_version
        self._finding = asyncio.Lock()

    @property
    def address(self) -> Hashable:
        return self.cluster.url

    async def get(self, collector: Collector, path: str, read: Callable[[Response], T]) -> T:
        """Request a path below the API's version and read the answer, in the newest version that is served.

        Raises PollError.
        """
        if self._version is not None:
            try:
                return await self._endpoint(collector, self._version, path).get(read)
            except VersionNotServedError as error:
                if self.cluster.api_version is not None:
                    raise not_served((self._version,), self.cluster, error) from None
                # The daemon was updated, or is another one now.
                self._version = None
        async with self._finding:
            return await self._find(collector, path, read)

    async def _find(self, collector: Collector, path: str, read: Callable[[Response], T]) -> T:
        """As `get`, and remember the version that was accepted. Another collector may have found it meanwhile."""
        for version in VERSIONS if self._version is None else (self._version,):
            try:
                answer = await self._endpoint(collector, version, path).get(read)
            except VersionNotServedError as error:
                last = error
            else:
                self._version = version
                log.info("the version of Slurm's API was found", source=self.name, version=version)
                return answer
        raise not_served(VERSIONS, self.cluster, last) from None

    def _endpoint(self, collector: Collector, version: str, path: str) -> Endpoint:
        cluster = self.cluster
        base = "http://localhost" if cluster.unix_socket else cluster.url
        return Endpoint(
            self.upstream,
            self.token,
            collector.name,
            f"{base}/slurm/{version}{path}",
            header="Authorization" if cluster.bearer else TOKEN_HEADER,
            scheme="Bearer " if cluster.bearer else "",
            headers={} if cluster.user_name is None else {USER_HEADER: cluster.user_name},
        )

    def use_changed(self, secrets: frozenset[Secret]) -> bool:
        """Use the new contents of `secrets`; False where none of them is its own."""
        if self.cluster.token is None or self.cluster.token not in secrets:
            return False
        self._show_expiry(read_token(self.cluster.token.value()))
        return True

    def _show_expiry(self, issued: Issued) -> None:
        self.context.own.token_expiry(self.name, "", issued.expires)

    async def show_token_expiry(self) -> None:
        """Put the expiry of the token into the metrics."""
        if self.cluster.token is not None:
            self._show_expiry(read_token(self.cluster.token.value()))


def not_served(versions: tuple[str, ...], cluster: Slurm, last: VersionNotServedError) -> UnexpectedStatusError:
    """Return the error for a daemon that serves none of `versions`; `last` is its answer to the last of them."""
    asked = versions[0] if len(versions) == 1 else f"{versions[-1]} to {versions[0]}"
    hint = (
        Text("correct api_version, or leave it out", "请更正 api_version，或不写")
        if cluster.api_version is not None
        else Text(
            "is url the address of slurmrestd? A version newer than these can be set with api_version",
            "url 是 slurmrestd 的地址吗？更新的版本可以用 api_version 指定",
        )
    )
    return UnexpectedStatusError(
        Text(
            f"the API is not served in version {asked} ({last}); {hint.en}",
            f"服务端不提供 {asked} 版本的接口（{last}）；{hint.zh}",
        )
    )
