"""Error answers, of Octopus and of the gateway before it, and what they mean.

Sources: the pages QueryQueuedJobList (status codes) and 错误码 of the Octopus API, and the error table of the API gateway.
An Octopus code says the same as the HTTP status that it comes with; a gateway's code says more.
"""

import random
from collections.abc import Mapping

import msgspec

from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    PollError,
    RejectedError,
    ServerError,
    ThrottledError,
    UnexpectedStatusError,
    UpstreamBusyError,
)
from exporter.http import Response, excerpt, one_line, retry_after_of
from exporter.http.message import http_error
from exporter.sources.values import UNREADABLE
from exporter.text import Text

# The HTTP status that the page lists with each code, for answers that come with a success.
OCTOPUS_STATUS = {
    "octopus.400000": 400,
    "octopus.400001": 401,
    "octopus.400003": 403,
    "octopus.400004": 404,
    "octopus.400005": 405,
    "octopus.400009": 409,
    "octopus.400100": 500,
    "octopus.400102": 502,
}
TOKEN_REJECTED = {
    "octopus.400001": Text("it is not valid", "令牌无效"),
    "0301": Text("missing, expired or of another place", "令牌缺失、已过期或属于别处"),
    "0307": Text(
        "it must be renewed, or is of another region than base_url: a token is valid in its own region only",
        "令牌需要更新，或与 base_url 不在同一区域：令牌只在所属区域有效",
    ),
}
THROTTLED = "0308"
_GATEWAY_NUMBERS = (
    *("0101", "0103", "0104", "0105", "0106", "0201", "0301", "0302", "0303"),
    *("0304", "0305", "0306", "0307", "0308", "0310", "0311"),
)
# Older gateways spell their name with a W.
_GATEWAYS = ("APIG.", "APIGW.")
LISTED_CODES = frozenset({*OCTOPUS_STATUS, *(gateway + n for gateway in _GATEWAYS for n in _GATEWAY_NUMBERS)})

_CODE_NAMES = ("error_code", "errorCode", "code")
_MESSAGE_NAMES = ("error_msg", "errorMsg", "errorMessage", "message")
# A gateway that does not say when to come back means a few seconds.
SHORTEST_PAUSE, LONGEST_PAUSE = 2.0, 5.0
CODE_LIMIT = 40

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def error_of(response: Response) -> PollError:
    """Return the error for an answer that is not the expected one."""
    code, message = read_error(response.body)
    label = None if not code else code if code in LISTED_CODES else "other"
    said = quoted(response.status, code, message)
    key = gateway_number(code)
    status = OCTOPUS_STATUS.get(code, 0) if 200 <= response.status < 300 else response.status  # noqa: PLR2004 - successes
    if throttled := throttling(response, key, said, label):
        return throttled
    if key in TOKEN_REJECTED or status == 401:  # noqa: PLR2004 - HTTP's Unauthorized
        reason = TOKEN_REJECTED.get(key, Text("it was not accepted", "未被接受"))
        text = Text(f"the token was rejected: {reason.en} ({said.en})", f"令牌被拒绝：{reason.zh}（{said.zh}）")
        return AuthenticationError(text, api_code=label)
    if status == 0:
        return without_status(response, code, said, label)
    return error_for_status(status, said, label) if message or code else bare(status, response)


def quoted(status: int, code: str, message: str) -> Text:
    """Return an excerpt of an answer, for messages.

    English words of a code that is known are not repeated in Chinese.
    """
    repeated = message.isascii() and code in LISTED_CODES
    return Text(
        ", ".join(filter(None, (f"HTTP {status}", code and f"code {code}", message))),
        "，".join(filter(None, (f"HTTP {status}", code and f"代码 {code}", "" if repeated else message))),
    )


# The error for an HTTP status, and the words before what was answered.
STATUS_ERRORS: Mapping[int, tuple[type[PollError], Text]] = {
    400: (
        RejectedError,
        Text("the request was rejected: a parameter is missing or wrong", "请求被拒绝：参数缺失或有误"),
    ),
    403: (PermissionDeniedError, Text("the token's owner lacks the permission", "令牌所有者没有权限")),
    404: (
        UnexpectedStatusError,
        Text("there is no such thing: are base_url and project_id right?", "不存在：请检查 base_url 和 project_id"),
    ),
}


def error_for_status(status: int, said: Text, label: str | None) -> PollError:
    """Return the error for an HTTP status of 400 or more.

    `label` is the error's code as a label, None if there is none.
    """
    if status in STATUS_ERRORS:
        kind, words = STATUS_ERRORS[status]
        return kind(Text(f"{words.en} ({said.en})", f"{words.zh}（{said.zh}）"), api_code=label)
    if status < 500:  # noqa: PLR2004 - the class of server errors
        return UnexpectedStatusError(said, api_code=label)
    if label is None:
        return ServerError(said)
    return UpstreamBusyError(Text(f"the service failed ({said.en})", f"服务出错（{said.zh}）"), api_code=label)


def bare(status: int, response: Response) -> PollError:
    """Return the error for an HTTP status whose body is none of the API's."""
    return error_for_status(status, http_error(status, response.body), None)


def without_status(response: Response, code: str, said: Text, label: str | None) -> PollError:
    """Return an HTTP success that is no answer to what was asked."""
    if code:
        text = Text(f"an error that no page lists ({said.en})", f"接口文档中没有的错误（{said.zh}）")
        return ApiError(text, api_code=label)
    begin = excerpt(response.body)
    return DecodeError(Text(f"the answer is not what the API describes: {begin}", f"响应与接口文档不符：{begin}"))


def throttling(response: Response, key: str, said: Text, label: str | None) -> ThrottledError | None:
    """Return the error for HTTP 429, for 503 that says when to come back, and for the gateway's own code."""
    told = retry_after_of(response.headers, response.received)
    if response.status != 429 and key != THROTTLED and (response.status != 503 or told is None):  # noqa: PLR2004 - HTTP
        return None
    pause = random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE) if told is None else told  # noqa: S311 - spreads load
    text = Text(
        f"rate limited: next request in {pause:.0f} s ({said.en})", f"被限流：{pause:.0f} 秒后再请求（{said.zh}）"
    )
    return ThrottledError(text, retry_after=pause, api_code=label)


def gateway_number(code: str) -> str:
    """Return the number of a gateway's code, which means the same whatever the gateway is called, and other codes as they are."""
    prefix = next((gateway for gateway in _GATEWAYS if code.startswith(gateway)), "")
    return code.removeprefix(prefix)


def read_error(body: bytes) -> tuple[str, str]:
    """Code and message of an error body in each of its spellings, "" where there is none."""
    fields = fields_of(body)
    # IAM wraps them once more.
    inner = fields_of(bytes(fields["error"])) if "error" in fields else {}
    code = first(_CODE_NAMES, fields) or first(_CODE_NAMES, inner)
    message = first(_MESSAGE_NAMES, fields) or first(_MESSAGE_NAMES, inner)
    return code[:CODE_LIMIT], message


def fields_of(body: bytes) -> Mapping[str, msgspec.Raw]:
    try:
        return _fields.decode(body)
    except UNREADABLE:
        return {}


def first(names: tuple[str, ...], fields: Mapping[str, msgspec.Raw]) -> str:
    """Return the first of the named fields that holds text or a number, in one printable line."""
    for name in names:
        if name in fields:
            try:
                value = msgspec.json.decode(fields[name], type=str | int)
            except UNREADABLE:
                continue
            return one_line(str(value))
    return ""
