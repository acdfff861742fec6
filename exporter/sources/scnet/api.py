"""Calls of a SCNet region: addresses, the envelope of answers, and the meaning of its codes.

Source: the error tables of the official pages (查询队列作业统计信息, 查询集群信息, 查询成员实时作业列表, 删除作业), and the
codes that public clients report beside them (911404, 911406, 911009).
"""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    PollError,
    RejectedError,
    ServerError,
    ThrottledError,
    UnexpectedStatusError,
    UpstreamBusyError,
)
from exporter.http import Response, excerpt, one_line, retry_after_of
from exporter.http.message import http_error
from exporter.sources.decoding import decoded
from exporter.sources.values import NULL, value_of
from exporter.text import Text

SUCCESS = "0"
PASSING = {
    "10001": Text("internal error", "内部错误"),
    "10012": Text("connection broken", "连接中断"),
    "10013": Text("timed out", "超时"),
    "911404": Text("its authentication server cannot be reached", "无法访问认证服务器"),
}
TOKEN_REJECTED = {
    "10008": Text("no permission", "没有权限"),
    "10009": Text("not allowed to call this interface", "无权调用该接口"),
    "911406": Text("token not accepted", "令牌未被接受"),
}
REJECTED = {
    "10003": Text("parameters missing", "缺少参数"),
    "10004": Text("a parameter is invalid", "参数无效"),
    "10007": Text("the user is frozen", "用户已被冻结"),
    "10010": Text("file check failed", "文件校验失败"),
    "10011": Text("file too large", "文件过大"),
    "815005": Text("job submission failed", "作业提交失败"),
    "815007": Text("job submission failed", "作业提交失败"),
    "911009": Text("the region does not know this user", "区域中没有该用户"),
}
LISTED_CODES = frozenset({*PASSING, *TOKEN_REJECTED, *REJECTED})
# Web gateways before the API answer with a code of their own, the first of which means other things as well.
GATEWAY_REJECTED, GATEWAY_NOT_LOGGED_IN = "1001", "401"
NO_ENVELOPE = Text("the answer is not the JSON envelope that the API describes", "响应不是接口文档所述的 JSON 格式")


def address(path: str, params: Mapping[str, str], *, hpc_url: str, ac_url: str) -> str:
    """Return the address of a collector's path: at the AC service if it begins with ``/ac/``.

    `params` fill its ``{names}``.
    """
    base = ac_url if path.startswith("/ac/") else hpc_url
    return base + path.format_map({name: encoded(value) for name, value in params.items()})


def encoded(text: str) -> str:
    """Percent-encoded for one path segment or query value: nothing but unreserved characters stays as it is."""
    return quote(text, safe="")


class Envelope(msgspec.Struct, gc=False):
    """``msg`` is for people and can be of any type, gateways call it ``message``; ``data`` is read by the caller."""

    code: int | str
    msg: msgspec.Raw = NULL
    message: msgspec.Raw = NULL
    data: msgspec.Raw = NULL


_envelope = msgspec.json.Decoder(Envelope)


def open_envelope(response: Response) -> msgspec.Raw:
    """Return the ``data`` of a successful answer, ``null`` where there is none.

    Success is code "0", whatever the HTTP status. Raises the PollError that says what to do about anything else.
    """
    envelope = decoded(_envelope, response.body)
    if envelope is None:
        raise_for_status(response)
        begin = excerpt(response.body)
        raise DecodeError(Text(f"{NO_ENVELOPE.en}: {begin}", f"{NO_ENVELOPE.zh}：{begin}"))
    code = str(envelope.code)
    if code == SUCCESS:
        return envelope.data
    raise error_for(code, message_of(envelope.msg) or message_of(envelope.message), response)


def is_bare_null(response: Response) -> bool:
    """Whether the whole body is ``null`` on an HTTP success: the queue page's words for "no queue has a job"."""
    return response.body.strip() == b"null" and response.status in range(200, 300)


def raise_for_status(response: Response) -> None:
    """Raise for an HTTP status that is not a success; used where no envelope says more."""
    status = response.status
    if status in (401, 403):
        raise AuthenticationError(Text(f"HTTP {status}: the token was rejected", f"令牌被拒绝（HTTP {status}）"))
    if throttled := throttling(response):
        raise throttled
    if status >= 500:  # noqa: PLR2004 - the class of server errors
        raise ServerError(http_error(status, response.body))
    if not 200 <= status < 300:  # noqa: PLR2004 - the class of successes
        raise UnexpectedStatusError(http_error(status, response.body))


def throttling(response: Response, api_code: str | None = None) -> ThrottledError | None:
    """Return the error for HTTP 429, and for 503 that says when to come back; None for anything else."""
    retry_after = retry_after_of(response.headers, response.received)
    if response.status == 429 or (response.status == 503 and retry_after is not None):  # noqa: PLR2004 - HTTP statuses
        en, zh = f"rate limited (HTTP {response.status})", f"被限流（HTTP {response.status}）"
        if retry_after is not None:
            en, zh = f"{en}, next request in {retry_after:.0f} s", f"{zh}，{retry_after:.0f} 秒后再请求"
        return ThrottledError(Text(en, zh), retry_after=retry_after, api_code=api_code)
    return None


def error_for(code: str, message: str, response: Response) -> PollError:
    """Return the error for an envelope with a `code` other than "0"."""
    rejection = token_rejection(code, message, response.status)
    label = code if code in LISTED_CODES or rejected_by_gateway(code, message) else "other"
    if throttled := throttling(response, label):
        return throttled
    kind: type[PollError]
    if rejection is not None:
        kind, (en, zh) = AuthenticationError, rejection
        en, zh = f"the token was rejected: {en}", f"令牌被拒绝：{zh}"
    elif code in PASSING:
        kind, (en, zh) = UpstreamBusyError, PASSING[code]
        en, zh = f"the region failed: {en}", f"区域服务出错：{zh}"
    elif code in REJECTED:
        kind, (en, zh) = RejectedError, REJECTED[code]
        en, zh = f"the region rejected the request: {en}", f"请求被拒绝：{zh}"
    else:
        kind, en, zh = ApiError, "the region answered with an error that no page lists", "接口文档中没有的错误"
    said = list(filter(None, (one_line(code)[:20], message)))
    # The words of a code that is known are translated; English ones would repeat them.
    said_in_chinese = said[:1] if message.isascii() and kind is not ApiError else said
    return kind(Text(f"{en} (code {', '.join(said)})", f"{zh}（代码 {'，'.join(said_in_chinese)}）"), api_code=label)


def token_rejection(code: str, message: str, status: int) -> Text | None:
    """Return the reason why a token was rejected; None for an answer that says nothing against the token."""
    if rejected_by_gateway(code, message):
        return Text("a gateway does not accept it", "网关不接受该令牌")
    if code in TOKEN_REJECTED:
        return TOKEN_REJECTED[code]
    return Text(f"HTTP {status}", f"HTTP {status}") if status in (401, 403) else None


def rejected_by_gateway(code: str, message: str) -> bool:
    """Whether a gateway before the API does not accept the token."""
    return code == GATEWAY_NOT_LOGGED_IN or (code == GATEWAY_REJECTED and "token" in message.lower())


def message_of(raw: msgspec.Raw) -> str:
    """Return a message of the API in one printable line of bounded length; empty for anything but text."""
    value = value_of(raw)
    return one_line(value) if isinstance(value, str) else ""
