"""What each metric means, in Chinese; the English is the catalogue's help. A test finds what is missing."""

from collections.abc import Mapping
from typing import Final

_OVER_TIME: Final = {
    f"scnet_member_{resource}_seconds_total": (
        f"用户组成员的作业占用{text}的累计时间，单位为{unit}：两次采集的平均值乘以间隔，间隔最多按三个采集周期计。"
        "数量未知的作业不计入。"
    )
    for resource, text, unit in (
        ("cpu", " CPU 核", "核秒"),
        ("gpu", " GPU ", " GPU 秒"),
        ("dcu", " DCU ", " DCU 秒"),
    )
}
_READ: Final = "只计资源规格能读懂的作业，其余见 octopus_queued_unread_resource_specs。"
_TOLD: Final = "从第一次完整读取时开始计数：读取过程中变化的队列或丢失的页不说明任何问题。"

MEANINGS: Final[Mapping[str, str]] = {
    "scnet_up": "区域的每个目标最近一次采集是否都成功：1 为全部成功，0 为至少一个失败。",
    "scnet_job_transitions_total": (
        "相邻两次采集之间作业状态的变化。从 none：首次列出；到 gone：连续两次完整列表中都没有。两次采集之间经过的状态看不到。"
    ),
    "scnet_jobs_finished_total": (
        "结束的作业，每个作业号在第一次看到结束时计一次。vanished_running 和 vanished_queued：不再列出，也没有看到结束状态；"
        "unknown：最后一次看到时处于本程序不认识的状态；"
        "completed 表示结束，不表示成功。"
    ),
    "scnet_job_observed_wait_seconds": (
        "作业等待（排队、保留、等待其他作业，或首次运行前被挂起）到被看到运行为止的时间（秒），从一个采集间隔的中点到另一个的中点："
        "每次等待的误差不超过一个这样的间隔。在同一间隔内提交并开始运行的作业记为 0。没有计入的见 "
        "scnet_job_observations_censored_total。"
    ),
    "scnet_job_observed_run_seconds": (
        "作业运行（含其间被挂起）到被看到不再运行为止的时间（秒），从一个采集间隔的中点到另一个的中点：每次运行的误差不超过一个"
        "这样的间隔。在同一间隔内开始并结束的运行看不到。"
    ),
    "scnet_job_observations_censored_total": (
        "未能测得的等待和运行。left_truncated：第一次采集时作业已经在，或在三个以上周期没有采集之后才出现；gap：变化发生在"
        "这样一段时间里；vanished：作业等待过，但没有看到它运行。"
    ),
    "scnet_member_oldest_queued_timestamp_seconds": "用户组成员等得最久的作业首次被看到等待的 Unix 时间（秒）。",
    **_OVER_TIME,
    "scnet_member_unaccounted_seconds_total": (
        "没有计入成员资源时间的时长（秒）：两次成功采集的间隔超出三个采集周期的部分。"
    ),
    "octopus_up": "项目的每个队列最近一次采集是否都成功：1 为全部成功，0 为至少一个失败。",
    "octopus_queue_length": "队列中的条目数，由接口给出。标签取自配置中的队列，没有写的为空。",
    "octopus_queue_listing_complete": (
        "最近一次读取是否确知包含队列的每个条目：1 为是，0 为否，即丢了一页、有一行读不懂，或读取过程中队列发生了变化。"
    ),
    "octopus_queued_jobs": "排队的数据作业数，按类型、处理器和资源规格分，按接口的写法，没有返回则为空。只有正在排队的种类。",
    "octopus_queued_requested_cpu_cores": f"排队作业申请的 CPU 核数。{_READ}",
    "octopus_queued_requested_memory_bytes": f"排队作业申请的内存（字节）。{_READ}",
    "octopus_queued_unread_resource_specs": "资源规格缺失或形式未知的排队作业数，申请的核数和内存不包括它们。",
    "octopus_queued_oldest_rank_timestamp_seconds": (
        "队列中最小的排序时间戳，Unix 时间（秒）。条目被移动时它会改变：它不是入队时间。"
    ),
    "octopus_queue_arrivals_total": f"进入队列的条目。{_TOLD}",
    "octopus_queue_departures_total": (
        f"离开队列的条目，不论去向。多页的队列要等第二次读取也没有它时才计数，因此晚一次采集。{_TOLD}"
    ),
    "octopus_job_observed_queue_seconds": (
        "看到进入又看到离开的条目在队列中的时间（秒）：从首次看到它的采集，到最后一次看到和第一次没看到之间的中点。"
        + _TOLD
    ),
    "hpc_exporter_target_up": (
        "目标最近一次采集是成功（1）还是失败（0）。目标是一个用户、GROUP/USER，或队列的类型；项目中多个队列类型相同时为 "
        "QUEUE_TYPE/CLUSTER_TYPE/CLUSTER_ID。"
    ),
    "hpc_exporter_target_stale": "目标的数据是否因最近一次成功早于 stale_after 而不再提供：1 为是，0 为否。",
    "hpc_exporter_target_last_success_timestamp_seconds": "目标最近一次成功采集的 Unix 时间（秒）。",
    "hpc_exporter_jobs_dropped": "区域中因达到 max_jobs 而没有单独序列的作业数。需要 per_job。",
    "hpc_exporter_build_info": "正在运行的程序：版本、源代码版本和 Python 版本，恒为 1。",
    "hpc_exporter_poll_interval_seconds": "配置中同一目标两次采集的间隔（秒）。",
    "hpc_exporter_polls_total": "已结束的采集，不论成败。一次采集可能需要多个请求。",
    "hpc_exporter_poll_failures_total": "重试之后仍然失败的采集，按原因分。",
    "hpc_exporter_poll_duration_seconds": "一次采集的用时（秒），不论成败，包括重试和等待。",
    "hpc_exporter_api_requests_total": "发往上游的 HTTP 请求，按应答的状态码分；没有应答的为 none。",
    "hpc_exporter_api_errors_total": "接口自己报错的应答，按错误码分；接口文档没有列出的错误码记为 other。",
    "hpc_exporter_api_retries_total": "一次采集中遇到临时故障后的再次尝试。",
    "hpc_exporter_token_expiry_timestamp_seconds": (
        "当前令牌到期的 Unix 时间（秒）；user 是令牌的所有者，区域自己的令牌为空。"
    ),
    "hpc_exporter_token_refreshes_total": "取得的新令牌，包括启动时的和替换旧令牌的。",
    "hpc_exporter_token_refresh_failures_total": "未能取得新令牌的尝试。",
    "hpc_exporter_queues_dropped_total": "不再以 0 显示的无作业队列：一个用户的这类队列超过 1000 个。",
    "hpc_exporter_unknown_states_total": "本程序不认识的作业状态；这些作业计入状态 unknown。",
    "hpc_exporter_records_rejected_total": "应答本身正常，但其中略去的内容：没有可用编号的记录，以及读不懂的单个值（其作业照常计数，含该值的合计不显示）。",
    "hpc_exporter_tracked_jobs": "跟踪器在两次采集之间跟踪的作业数。",
    "hpc_exporter_state_file_write_failures_total": "写入跟踪器状态文件失败的次数。计数在内存中继续，进程结束时丢失。",
    "hpc_exporter_task_restarts_total": "后台任务因未预见的错误而失败并被重新启动的次数，按任务分。",
    "hpc_exporter_series": "本次应答中的序列总数，包括所有指标。",
    "hpc_exporter_config_last_reload_successful": "最近一次加载配置是成功（1），还是仍在使用之前的配置（0）。",
    "hpc_exporter_config_last_reload_success_timestamp_seconds": "加载当前配置的 Unix 时间（秒）。",
    "hpc_exporter_shard_ordinal": "本实例负责的分片的序号，从 0 开始。",
    "hpc_exporter_total_shards": "目标被分成的分片数；1 表示本实例采集全部目标。",
    "hpc_exporter_http_requests_total": "本程序回答的 HTTP 请求，按路径和状态码分；不提供的路径记为 other。",
}
