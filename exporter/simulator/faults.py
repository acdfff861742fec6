"""Faults on request: their kind, the requests they hit, and how often.

    region.faults.add(Fault(kind="status", endpoint="queue_jobs", status=503, retry_after=2, times=3))

The same over HTTP: ``POST /simulator/faults`` with ``{"kind": "status", "endpoint": "queue_jobs", ...}``, where
`seconds` and `retry_after` may be durations such as ``"500ms"``.
"""

import json
import random
import re
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

import msgspec
from aiohttp import web

NullForm = Literal["null", "data_null", "data_absent", "data_empty"]
RegionEndpoint = Literal[
    "queue_jobs",
    "schedulers",
    "member_jobs",
    "own_jobs",
    "live_jobs",
    "job_history",
    "platform_history",
    "region_cores",
    "delete",
    "login",
    "state",
    "next",
    "center",
    "account",
    "queue_capacity",
    "user_limits",
    "storage_quota",
    "groups",
    "job_counts",
    "machine_time",
]
OctopusEndpoint = Literal["queuing_jobs", "data_jobs", "system_jobs", "iam"]
Endpoint = RegionEndpoint | OctopusEndpoint

Kind = Literal[
    "delay",
    "hang",
    "disconnect",
    "truncated",
    "drip",
    "huge",
    "empty",
    "broken_json",
    "wrong_shape",
    "code",
    "null_form",
    "error",
    "status",
    "redirect",
    "refused",
    "no_effect",
]
# The effect of each, with the fields that matter to it.
KINDS: Final[dict[Kind, str]] = {
    "delay": "wait `seconds`, then answer; adds to another fault",
    "hang": "never answer",
    "disconnect": "close the connection without an answer",
    "truncated": "close it in the middle of the answer",
    "drip": "the right answer in small pieces over `seconds`",
    "huge": "the right answer after `mebibytes` of white space: only its length is wrong",
    "empty": "HTTP 200 without a body",
    "broken_json": "half of the right answer, then an invalid character",
    "wrong_shape": "an envelope whose data is `data`",
    "code": "an envelope with `code` and `data`",
    "null_form": "no jobs, in the form that `null_form` names",
    "error": "an envelope with `code` under the HTTP `status`, with `retry_after` if given",
    "status": "the HTTP `status` without an envelope, with `retry_after` if given",
    "redirect": "HTTP 302 to `location`",
    "refused": "reject the token",
    "no_effect": "a deletion reports success, but does nothing",
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault. A field that is left out restricts nothing, or does not matter to the kind.

    `user` is the one that a request names, or else the owner of its token; for Octopus it is the queue's type, and
    `offset` that of the page. `since` and `until` are Unix seconds.
    `after`: the request takes effect, then the fault strikes.
    """

    kind: Kind
    endpoint: Endpoint | None = None
    user: str | None = None
    offset: int | None = None
    times: int | None = None
    since: float | None = None
    until: float | None = None
    probability: float = 1.0
    after: bool = False
    seconds: float = 1.0
    mebibytes: int = 64
    status: int = 500
    retry_after: float | None = None  # seconds
    retry_after_as_date: bool = False
    code: str = "10001"
    data: Any = None
    null_form: NullForm = "null"
    location: str = "https://elsewhere.example.com/"

    def concerns(self, endpoint: str, user: str, offset: int | None, now: float) -> bool:
        return (
            self.endpoint in (None, endpoint)
            and self.user in (None, user)
            and self.offset in (None, offset)
            and (self.since is None or self.since <= now)
            and (self.until is None or now < self.until)
        )


def read_faults(body: bytes) -> list[Fault]:
    """Return the fault, or the list of them, that a request orders. Raises msgspec.MsgspecError."""
    sent = msgspec.json.decode(body)
    return [msgspec.convert(_with_seconds(each), Fault) for each in (sent if isinstance(sent, list) else [sent])]


def _with_seconds(sent: Any) -> Any:
    """Return an order with numbers in the place of durations."""
    if not isinstance(sent, dict):
        return sent
    texts = {name: sent[name] for name in ("seconds", "retry_after") if isinstance(sent.get(name), str)}
    return sent | {name: _seconds(name, text) for name, text in texts.items()}


_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def _seconds(name: str, text: str) -> float:
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        raise msgspec.ValidationError(f"{name}: {text!r} is not a duration like 500ms or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


class Order(msgspec.Struct):
    """A fault on order; `left` requests will still meet it (None: no end)."""

    fault: Fault
    left: int | None


class Faults:
    """The faults on order in a region."""

    def __init__(self, rng: random.Random, now: Callable[[], float]) -> None:
        self._rng = rng
        self._now = now
        self.orders: list[Order] = []

    def add(self, fault: Fault) -> None:
        self.orders.append(Order(fault, fault.times))

    def clear(self) -> None:
        self.orders.clear()

    def take(self, endpoint: str, user: str, offset: int | None = None) -> tuple[float, Fault | None]:
        """Return the effect on one request: seconds to wait (the sum of its delays), and the first other fault."""
        seconds, struck = 0.0, None
        for order in self.orders:
            delays = order.fault.kind == "delay"
            if (delays or struck is None) and self._strikes(order, endpoint, user, offset):
                if delays:
                    seconds += order.fault.seconds
                else:
                    struck = order.fault
        self.orders = [order for order in self.orders if order.left != 0]
        return seconds, struck

    def _strikes(self, order: Order, endpoint: str, user: str, offset: int | None) -> bool:
        if order.left == 0 or not order.fault.concerns(endpoint, user, offset, self._now()):
            return False
        if order.fault.probability < 1 and self._rng.random() >= order.fault.probability:
            return False
        if order.left is not None:
            order.left -= 1
        return True


class EnvelopeWriter(Protocol):
    """Writes the answers of one API."""

    def envelope(self, data: Any = None, code: str = "0") -> bytes: ...
    def no_jobs(self, form: NullForm) -> bytes: ...


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json", charset="utf-8")


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
