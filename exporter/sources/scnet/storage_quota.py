"""Storage of each user. Source: the page 查询用户存储配额 (parastor/quota)."""

from collections.abc import Iterator
from typing import Final

import msgspec

from exporter.metrics.family import Sample, Text, gauge
from exporter.sources.collector import Rows, Subject, collector
from exporter.sources.scnet.owner import OfUser
from exporter.sources.scnet.subjects import USER
from exporter.sources.values import Amount, Name, not_negative

LABELS: Final = ("hpc_cluster", "user", "path")
USED: Final = gauge(
    "hpc_storage_used_bytes",
    LABELS,
    "Storage used by the user below a path, in bytes; it can exceed the quota. The API reports GB, taken as 10^9 bytes. "
    "Absent while there is no recent data.",
    zh="用户在该路径下已用的存储（字节），可能超过配额。接口以 GB 为单位，按 10^9 字节换算。",
)
QUOTA: Final = gauge(
    "hpc_storage_quota_bytes",
    LABELS,
    "Storage quota of the user below a path, in bytes. Absent without a quota, and while there is no recent data.",
    zh="用户在该路径下的存储配额（字节）。",
    absent=Text("", "没有配额，或没有近期数据。"),
)
# Whether a region means 10^9 or 2^30 by GB is on no page. The share that is used does not depend on it.
GB: Final = 10**9


class Row(msgspec.Struct):
    """Amounts in GB, with a fraction."""

    path: Name
    threshold: Amount | None = None
    usage: Amount | None = None


@collector(
    "storage_quota",
    path="/hpc/openapi/v2/parastor/quota/usernames/{user}",
    per=USER,
    title=Text("storage", "存储"),
    gives=Text("storage of users, and their quotas", "用户的存储占用和配额"),
    families=(USED, QUOTA),
    polling=OfUser,
)
def storage_quota(user: Subject, rows: Rows[Row]) -> Iterator[Sample]:
    for row in rows:
        if not row.path:
            rows.reject()
            continue
        for family, gigabytes in ((USED, not_negative(row.usage)), (QUOTA, not_negative(row.threshold))):
            # Rounded: 0.1 GB are 100,000,000 bytes.
            yield family(user.source, user.user, row.path, value=None if gigabytes is None else round(gigabytes * GB))
