"""Exporter.

Does it get its data, how does the API behave, and how is the process itself?
"""

from exporter.metrics.family import Text
from grafana.colours import BLUE, GREY, ORANGE, PURPLE, SKY, TEAL, VERMILION, WINE, YELLOW, shades
from grafana.parts import (
    UNKNOWN,
    Dashboard,
    Query,
    Row,
    bars,
    coloured,
    coloured_cell,
    lines,
    named,
    number,
    override,
    seconds,
    table,
    tiles,
    values,
)
from grafana.variables import OF_SOURCE, SOURCE

ENDPOINT_OF = "{{source}} {{collector}}"
REASON_COLOURS = {
    "auth": VERMILION,
    "permission": PURPLE,
    "rejected": GREY,
    "throttled": ORANGE,
    "timeout": YELLOW,
    "connection": BLUE,
    "http": SKY,
    "decode": WINE,
    "upstream": TEAL,
}


def of_exporters(expression: str) -> str:
    """Metrics that client libraries export of any process, selected for exporters."""
    return f"max by (instance) ({expression} and on (job, instance) hpc_exporter_build_info)"


def each(name: str, *, by: str = "source, collector", window: str = "$__rate_interval") -> str:
    """Return a query of the number of events at each collector."""
    return f"sum by ({by}) (increase({name}{{{OF_SOURCE}}}[{window}]))"


# A region without a target that works is one line, unless it has a few targets only.
EACH = "max by (source, collector, target)"
UP = f"hpc_exporter_target_up{{{OF_SOURCE}}}"
DEAD = f"(count by (source) ({EACH} ({UP})) > 3 and on (source) max by (source) ({UP}) == 0)"
ALL_OF_IT = f'label_replace(count_values by (source) ("target", {DEAD}), "target", "× $1", "target", "(.+)")'


def of_failing(each: str, of_region: str) -> str:
    """Return a query with a series for each target that fails, and one for each region whose targets all do."""
    return (
        f"({each}) unless on (source) {DEAD} or max by (source) ({of_region}) * on (source) group_right () {ALL_OF_IT}"
    )


TROUBLE = f"{EACH} (hpc_exporter_target_stale{{{OF_SOURCE}}} + on (source, collector, target) (1 - {UP})) > 0"
NO_SUCCESS = f"time() - hpc_exporter_target_last_success_timestamp_seconds{{{OF_SOURCE}}}"
FAILED_FOR = Text("No success for", "距上次成功")
STATE, LOADED, INSTANCE = Text("State", "状态"), Text("Loaded for", "配置已加载"), Text("Instance", "实例")
FAILING = table(
    Text("What does not work?", "哪些目标异常？"),
    "Targets whose last poll failed, and for how long there was no success; a region whose targets all fail is one line "
    "with their number. Missing: its data was too old and was removed. The reason is in the graph beside, the message in "
    "/api/v1/status; see the runbook HPCTargetFailing.",
    "最近一次轮询失败的目标及距上次成功的时间；所有目标都失败的区域只占一行，并给出目标数。“缺失”表示数据过旧已移除。"
    "原因见右图，详情见 /api/v1/status 与处理手册 HPCTargetFailing。",
    [
        (STATE, of_failing(TROUBLE, TROUBLE)),
        *named("source", "collector", "target"),
        # Of a region it is the last success of any target.
        (
            FAILED_FOR,
            of_failing(
                f"{EACH} ({NO_SUCCESS}) and on (source, collector, target) {UP} == 0", f"min by (source) ({NO_SUCCESS})"
            ),
        ),
    ],
    sort=STATE,
    size=(12, 9),
    no_value=Text("every target works, or was not tried yet", "所有目标正常（或尚未轮询）"),
    overrides=[
        coloured_cell(
            STATE,
            filled=True,
            mappings=values(v1=(Text("failing", "失败"), ORANGE), v2=(Text("missing", "缺失"), VERMILION)),
            custom__width=90,
        ),
        seconds(FAILED_FOR),
    ],
)

BOARD = Dashboard(
    uid="hpc-exporter",
    title=Text("HPC / 6 Exporter", "HPC / 6 Exporter"),
    description=Text("Does the exporter get its data, and is it well?", "exporter 能否获取数据，自身是否正常？"),
    variables=[SOURCE],
    panels=[
        tiles(
            Text("Exporter", "Exporter"),
            "Whether Prometheus can scrape it. Down: there is no data at all, see the runbook HPCExporterDown.",
            "Prometheus 能否抓取。宕机时一无所知：见处理手册 HPCExporterDown。",
            "max by (instance) (up and on (job, instance) last_over_time(hpc_exporter_build_info[$__range]))",
            legend="{{instance}}",
            size=(6, 4),
            states=[(Text("down", "宕机"), VERMILION), (Text("up", "正常"), BLUE)],
            no_value=Text("not scraped", "未抓取"),
        ),
        tiles(
            Text("Regions and projects", "区域与项目"),
            "Whether it answers, and whether the last poll of all its targets worked. Failing: see below what, and why.",
            "是否有响应，以及所有目标最近一次轮询是否都成功。失败：见下方详情。",
            'max by (source) (label_replace(hpc_up, "source", "$1", "hpc_cluster", "(.*)") or label_replace(octopus_up, "source", "$1", "project", "(.*)")) '
            "* on (source) (1 + (hpc_exporter_targets_up >= bool on (source) hpc_exporter_targets))",
            legend="{{source}}",
            size=(9, 4),
            states=[
                (Text("down", "无响应"), VERMILION),
                (Text("some targets failing", "部分目标失败"), ORANGE),
                (Text("working", "正常"), BLUE),
            ],
            no_value=Text("nothing was polled yet", "尚未轮询"),
        ),
        number(
            Text("Targets failing", "失败目标"),
            "Targets whose last poll failed. A few: a user or a permission; all of a region: the region.",
            "最近轮询失败的目标数。个别失败是用户或权限问题；整个区域失败是区域问题。",
            f"count(hpc_exporter_target_up{{{OF_SOURCE}}} == 0) or vector(0)",
            steps=((None, BLUE), (1, ORANGE)),
        ),
        number(
            Text("Without data", "数据缺失"),
            "Targets whose data was too old and is gone. Alerts on it cannot fire: see the runbook HPCDataStale.",
            "数据过旧已移除的目标数，其告警失效：见处理手册 HPCDataStale。",
            f"sum(hpc_exporter_target_stale{{{OF_SOURCE}}})",
            steps=((None, BLUE), (1, VERMILION)),
            no_value=UNKNOWN,
        ),
        tiles(
            Text("Configuration", "配置"),
            "Whether the last attempt to load the configuration worked. Rejected: the one before is still in use; "
            "hpc-exporter check names every mistake.",
            "最近一次加载配置是否成功。被拒绝：仍使用旧配置；运行 hpc-exporter check 查看错误。",
            "hpc_exporter_config_last_reload_successful",
            legend=Text("configuration", "配置"),
            size=(3, 4),
            states=[(Text("rejected", "被拒绝"), VERMILION), (Text("loaded", "已加载"), BLUE)],
        ),
        FAILING,
        bars(
            Text("Failed polls, by reason", "失败的轮询（按原因）"),
            "After all retries. auth: token; permission: right; throttled: rate limited; timeout, connection: network; "
            "http, upstream: the region; decode: an unknown format.",
            "重试后仍失败。auth 令牌；permission 权限；throttled 限流；timeout/connection 网络；http/upstream 区域；decode 未知格式。",
            Query(each("hpc_exporter_poll_failures_total", by="reason"), "{{reason}}"),
            axis=Text("polls", "轮询次数"),
            custom={"axisSoftMax": 5},
            size=(12, 9),
            overrides=coloured(REASON_COLOURS),
        ),
        Row(Text("The APIs", "接口")),
        lines(
            Text("How long polls take (p90)", "轮询耗时（p90）"),
            "With retries and waits, so rejected requests make it long, too. Near poll.timeout: polls will fail soon.",
            "含重试与等待。接近 poll.timeout 时轮询即将失败。",
            Query(
                f"histogram_quantile(0.9, sum by (source, collector, le) (rate(hpc_exporter_poll_duration_seconds_bucket{{{OF_SOURCE}}}[$__rate_interval]))) >= 0",
                ENDPOINT_OF,
            ),
            unit="s",
            min_step="10m",
        ),
        lines(
            Text("Requests by response", "请求（按响应）"),
            "HTTP requests per minute, by status; none: no response. 401 and 403: token; 429: rate limited; 5xx: the region.",
            "每分钟 HTTP 请求数（按状态码）；none 为无响应。401/403 令牌；429 限流；5xx 区域故障。",
            Query(
                f"sum by (source, code) (rate(hpc_exporter_api_requests_total{{{OF_SOURCE}}}[$__rate_interval])) * 60",
                "{{source}} {{code}}",
            ),
            axis=Text("requests per minute", "请求/分钟"),
        ),
        bars(
            Text("API error codes", "接口返回的错误码"),
            "By the API's own code; other: a code that no page lists. The runbook HPCTargetFailing explains them.",
            "按接口错误码；other 为文档未列出的错误码。含义见处理手册 HPCTargetFailing。",
            Query(f"{each('hpc_exporter_api_errors_total', by='source, api_code')} > 0", "{{source}} {{api_code}}"),
            axis=Text("answers", "响应数"),
            no_value=Text("none", "无"),
            defaults=shades(VERMILION),
        ),
        bars(
            Text("Retries", "重试"),
            "Further attempts within a poll. A few are normal; as many as polls means the region is in trouble.",
            "单次轮询内的重试。少量正常；与轮询数相当说明区域异常。",
            Query(each("hpc_exporter_api_retries_total"), ENDPOINT_OF),
            axis=Text("attempts", "次数"),
            defaults=shades(ORANGE),
            custom={"axisSoftMax": 5},
        ),
        lines(
            Text("Polls made / planned", "实际轮询/计划"),
            "1 means every target is polled as often as configured. Below: failing targets are polled less often, or polls "
            "take longer than their interval.",
            "1 表示按配置频率轮询。低于 1：失败目标被降频，或轮询耗时超过间隔。",
            Query(
                f"sum by (source, collector) (rate(hpc_exporter_polls_total{{{OF_SOURCE}}}[$__rate_interval])) * on (source, collector) "
                f"max by (source, collector) (hpc_exporter_poll_interval_seconds{{{OF_SOURCE}}}) / on (source, collector) "
                f"count by (source, collector) (hpc_exporter_target_stale{{{OF_SOURCE}}})",
                ENDPOINT_OF,
            ),
            unit="percentunit",
        ),
        bars(
            Text("Unreadable or unknown data", "无法识别的数据"),
            "Records that were left out, unknown job states, and reported times that disagree with the polls. "
            "Please report them: see the runbook HPCUnknownStates.",
            "被忽略的记录、未知作业状态，以及与轮询所见不符的上报时间。请反馈：见处理手册 HPCUnknownStates。",
            [
                Query(
                    each("hpc_exporter_records_rejected_total"),
                    Text(f"{ENDPOINT_OF} records", f"{ENDPOINT_OF} 记录"),
                ),
                Query(
                    each("hpc_exporter_unknown_states_total"),
                    Text(f"{ENDPOINT_OF} states", f"{ENDPOINT_OF} 状态"),
                ),
                Query(
                    each("hpc_exporter_time_disagreements_total"),
                    Text(f"{ENDPOINT_OF} times", f"{ENDPOINT_OF} 时间"),
                ),
                Query(
                    "sum by (source) (increase(hpc_exporter_queues_dropped_total[$__rate_interval]))",
                    Text("{{source}} forgotten queues", "{{source}} 遗忘的队列"),
                ),
            ],
            axis=Text("number", "次数"),
            defaults=shades(PURPLE),
            custom={"axisSoftMax": 5},
        ),
        Row(Text("Tokens", "令牌")),
        lines(
            Text("Token lifetime left", "令牌剩余有效期"),
            "A saw-tooth is renewed automatically. A line that falls to 0 is a pasted token: replace it in time. See the runbook HPCTokenExpiring.",
            "锯齿形为自动续期。持续降到 0 为手工令牌，须提前更换。见处理手册 HPCTokenExpiring。",
            Query(
                f"min by (source, user) (hpc_exporter_token_expiry_timestamp_seconds{{{OF_SOURCE}}} - time())",
                "{{source}} {{user}}",
            ),
            unit="s",
            size=(12, 7),
        ),
        bars(
            Text("Tokens obtained", "令牌获取"),
            "New tokens, and attempts that failed. Failures without success: see the runbook HPCTokenRefreshFailing.",
            "新令牌与失败次数。只有失败：见处理手册 HPCTokenRefreshFailing。",
            [
                Query(
                    each("hpc_exporter_token_refreshes_total", by="source"),
                    Text("{{source}} obtained", "{{source}} 成功"),
                ),
                Query(
                    each("hpc_exporter_token_refresh_failures_total", by="source"),
                    Text("{{source}} failed", "{{source}} 失败"),
                ),
            ],
            axis=Text("tokens", "令牌数"),
            custom={"axisSoftMax": 5},
            size=(12, 7),
        ),
        Row(Text("The process", "进程")),
        lines(
            Text("Memory", "内存"),
            "Grows for a week with the jobs that end: they are remembered that long, so that each counts once. In a simulation sped "
            "up sixty times it grows sixty times as fast. Growing on after that without more series is a leak: please report it.",
            "头一周随结束的作业增长：这些作业会保留一周，以保证每个只计一次；加速六十倍的模拟中，增长也快六十倍。"
            "此后序列数不变而内存仍持续增长为泄漏：请反馈。",
            Query(of_exporters("process_resident_memory_bytes"), "{{instance}}"),
            unit="bytes",
            size=(6, 7),
        ),
        lines(
            Text("CPU", "CPU"),
            "Cores used. Near 1: one event loop is full, divide the targets with --total-shards.",
            "使用的核数。接近 1 时应使用 --total-shards 分片。",
            Query(of_exporters("rate(process_cpu_seconds_total[$__rate_interval])"), "{{instance}}"),
            axis=Text("cores", "核"),
            size=(6, 7),
        ),
        lines(
            Text("Series, and jobs followed", "序列与跟踪作业"),
            "Series in a scrape; jobs that the tracker follows; jobs without series of their own because of per_job.max_jobs: "
            "see the runbook HPCSeriesDropped.",
            "每次抓取的序列数、跟踪的作业数，以及因 per_job.max_jobs 而无独立序列的作业数：见处理手册 HPCSeriesDropped。",
            [
                Query("hpc_exporter_series", Text("series", "序列")),
                Query("sum(hpc_exporter_tracked_jobs)", Text("jobs followed", "跟踪作业")),
                Query("sum(hpc_exporter_jobs_dropped)", Text("jobs without series", "无序列作业")),
            ],
            axis=Text("series, jobs", "序列、作业"),
            size=(6, 7),
        ),
        lines(
            Text("HTTP responses", "HTTP 响应"),
            "HTTP responses by path and status. 503 on /metrics: too many simultaneously; 401: a wrong password.",
            "按路径与状态码统计的 HTTP 响应。/metrics 返回 503：并发过多；401：密码错误。",
            Query(
                "sum by (path, code) (rate(hpc_exporter_http_requests_total[$__rate_interval])) * 60",
                "{{path}} {{code}}",
            ),
            axis=Text("requests per minute", "请求/分钟"),
            size=(6, 7),
        ),
        bars(
            Text("Failed writes and restarted tasks", "写入失败与任务重启"),
            "Writes of tracking.state_file that failed: counting goes on in memory, and is lost at a restart; look for a full "
            "disk or missing rights. Background tasks that failed and were started again: the log says why.",
            "tracking.state_file 写入失败次数：计数仍在内存中进行，重启后丢失，请检查磁盘空间与权限。"
            "因错误而被重新启动的后台任务：原因见日志。",
            [
                Query(
                    "sum by (instance) (increase(hpc_exporter_state_file_write_failures_total[$__rate_interval]))",
                    "{{instance}}",
                ),
                Query(
                    "sum by (instance, task) (increase(hpc_exporter_task_restarts_total[$__rate_interval]))",
                    "{{instance}} {{task}}",
                ),
            ],
            axis=Text("number", "次数"),
            defaults=shades(VERMILION),
            custom={"axisSoftMax": 5},
            size=(8, 5),
        ),
        table(
            Text("Instances", "实例"),
            "Versions of all instances. With shards, every number from 0 up to their count has to be here once.",
            "各实例版本。使用分片时，从 0 起的每个编号都应各出现一次。",
            [
                ("instance", INSTANCE),
                ("version", Text("Version", "版本")),
                ("revision", Text("Revision", "修订")),
                ("python_version", Text("Python", "Python")),
                (None, "max by (instance, version, revision, python_version) (hpc_exporter_build_info)"),
                (Text("Shard", "分片"), "max by (instance) (hpc_exporter_shard_ordinal)"),
                (Text("of", "总分片"), "max by (instance) (hpc_exporter_total_shards)"),
                (LOADED, "max by (instance) (time() - hpc_exporter_config_last_reload_success_timestamp_seconds)"),
            ],
            sort=None,
            size=(16, 5),
            unit="none",
            overrides=[override(INSTANCE, custom__width=190), seconds(LOADED)],
        ),
    ],
)
