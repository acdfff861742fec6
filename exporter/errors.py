"""Every error that the exporter raises on purpose, sorted by the reaction to it.

::

    ExporterError
    ├── ConfigurationError        tell the person every mistake with its place; do not start
    ├── RecordError               drop and count this record, keep its neighbours
    └── PollError                 this poll yields nothing; what was known stays until it is stale
        ├── TransientError        try again within the same poll, then at the next one
        │   ├── ThrottledError      ... not before `retry_after`            reason throttled
        │   ├── UpstreamTimeoutError                                        reason timeout
        │   ├── UpstreamConnectionError                                     reason connection
        │   ├── ServerError         HTTP 5xx                                reason http
        │   └── UpstreamBusyError   an API code for "internal", "timed out" reason upstream
        ├── AuthenticationError   get another token and try once more       reason auth
        └── PermanentError        a repeated request gives the same answer; slow down
            ├── PermissionDeniedError  a fresh token is rejected, too       reason permission
            ├── RejectedError       the API reports an invalid request      reason rejected
            ├── UntrustedCertificateError  TLS: the person has to act       reason connection
            ├── UnexpectedStatusError  a redirect, 404 and the like         reason http
            ├── NotThereError       an optional endpoint that a region does not have; no failure
            ├── ApiError            an API code that no page lists          reason upstream
            └── DecodeError         the answer is not what the API describes  reason decode

Packages with errors of their own derive them from ExporterError where they arise: a secret that cannot be used, an
address that cannot be listened on, a state file that another exporter holds.

`reason` is the label value of ``hpc_exporter_poll_failures_total``. Exceptions of libraries (aiohttp, msgspec,
pydantic, OSError of a secret's file) are turned into these where they arise and never travel further.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from exporter.redaction import redact
from exporter.text import Text

Reason = Literal["auth", "permission", "rejected", "throttled", "timeout", "connection", "http", "decode", "upstream"]

# The steps to reach a host, in their order.
Reach = Literal["address", "connection", "TLS"]


class ExporterError(Exception):
    """The root: foreseen errors, with texts fit for a person: secrets are taken out.

    A command that ends with one has its `exit_status`.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(redact(message))


@dataclass(frozen=True, slots=True, order=True)
class ConfigProblem:
    """One thing wrong in a configuration file; `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path + ': ' if self.path else ''}{self.message}"


class ConfigurationError(ExporterError):
    """The configuration cannot be used; `mistakes` holds all that is wrong with it, in file order."""

    def __init__(self, mistakes: list[ConfigProblem]) -> None:
        self.mistakes = sorted(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class RecordError(ExporterError):
    """One record of an otherwise good answer cannot be used. There may be thousands; their texts are not shown."""

    def __init__(self, message: str = "") -> None:
        Exception.__init__(self, message)


class PollError(ExporterError):
    """A poll failed. `culprit` names a cause that is wider than the target (a host, a credential).

    `text` is the message in both languages, for the status page; `str` of the error, which logs show, is the English
    one.
    """

    reason: ClassVar[Reason]
    # The step that failed, where the host could not be reached.
    unreached: Reach | None = None

    def __init__(self, message: str | Text, *, culprit: str = "", api_code: str | None = None) -> None:
        super().__init__()
        self.text = message if isinstance(message, Text) else Text(message, message)
        self.culprit = culprit
        self.api_code = api_code

    @property
    def text(self) -> Text:
        return self._text

    @text.setter
    def text(self, text: Text) -> None:
        self._text = Text(redact(text.en), redact(text.zh))
        self.args = (self._text.en,)

    def again(self, text: Text | None = None) -> Self:
        """Return the error of another request that fails for the same cause."""
        error = type(self)(text or self.text, culprit=self.culprit)
        error.unreached = self.unreached
        return error


class TransientError(PollError):
    """A retry may succeed. `retry_after` is the pause in seconds that the upstream requested, if it did."""

    retry_after: float | None = None


class ThrottledError(TransientError):
    """The upstream limits the rate (HTTP 429, or 503 with Retry-After)."""

    reason = "throttled"

    def __init__(
        self, message: str | Text, *, retry_after: float | None = None, culprit: str = "", api_code: str | None = None
    ) -> None:
        super().__init__(message, culprit=culprit, api_code=api_code)
        self.retry_after = retry_after


class UpstreamTimeoutError(TransientError):
    """No complete answer within the time allowed for one request."""

    reason = "timeout"


class UpstreamConnectionError(TransientError):
    """The host could not be reached, or closed the connection."""

    reason = "connection"


class ServerError(TransientError):
    """HTTP 5xx without an envelope."""

    reason = "http"


class UpstreamBusyError(TransientError):
    """The API itself reports a transient failure."""

    reason = "upstream"


class AuthenticationError(PollError):
    """The token was rejected; another one may be accepted."""

    reason = "auth"


class PermanentError(PollError):
    """A repeated request gives the same answer: retry at the next, slower, poll only."""


class PermissionDeniedError(PermanentError):
    """A fresh token was rejected: its owner lacks the permission."""

    reason = "permission"


class RejectedError(PermanentError):
    """The API reports that a parameter or the user is wrong."""

    reason = "rejected"


class UntrustedCertificateError(PermanentError):
    """The host's certificate was not accepted."""

    reason = "connection"


class UnexpectedStatusError(PermanentError):
    """An HTTP status that no page describes: a redirect, 404, 405."""

    reason = "http"


class NotThereError(PermanentError):
    """The region does not have an endpoint that is optional (HTTP 404 or 405); it is requested again rarely."""

    reason = "http"


class ApiError(PermanentError):
    """An error code of the API that is not known to be anything better."""

    reason = "upstream"


class DecodeError(PermanentError):
    """The answer is too long, not JSON, or not of the documented form."""

    reason = "decode"
