"""Money and standing of each account. Source: the page 查询用户信息 (user) as four public clients read it."""

from collections.abc import Iterator
from typing import Final

import msgspec

from exporter.metrics.family import Sample, Text, gauge
from exporter.sources.collector import Rows, Subject, collector
from exporter.sources.scnet.subjects import ACCOUNT
from exporter.sources.values import Amount, Name

BALANCE: Final = gauge(
    "hpc_account_balance_cny",
    ("account",),
    "Balance of the account in yuan, which may be negative. Absent while there is no recent data.",
    zh="账号余额（元），可能为负。",
)
STATUS: Final = gauge(
    "hpc_account_status",
    ("account", "status"),
    "Present status of the account, as the label status: Normal, Trial, Owe (in arrears), Disable, or other if undocumented; "
    "always 1. Absent with any other status, and while there is no recent data.",
    zh="账号当前的状态，见标签 status：Normal 正常，Trial 试用，Owe 欠费，Disable 停用，文档没有列出的为 other；恒为 1。",
    absent=Text("", "账号处于其他状态，或没有近期数据。"),
)

STATUSES: Final = {status.casefold(): status for status in ("Normal", "Trial", "Owe", "Disable")}


class Row(msgspec.Struct, rename="camel"):
    """The balance is text, in yuan. The owner's names come along and are not read."""

    account_status: Name | None = None
    account_balance: Amount | None = None


@collector(
    "account",
    path="/ac/openapi/v2/user",
    per=ACCOUNT,
    title=Text("account", "账号"),
    gives=Text("balance and status of the account", "账号的余额和状态"),
    families=(BALANCE, STATUS),
)
def account(subject: Subject, rows: Rows[Row]) -> Iterator[Sample]:
    for row in rows:
        yield BALANCE(subject.source, value=row.account_balance)
        if row.account_status:
            status = STATUSES.get(row.account_status.strip().casefold(), "other")
            if status == "other":
                rows.reject()
            yield STATUS(subject.source, status, value=1)
