"""The Chinese reference of the configuration. Each section and key has its text here; a test finds what is missing."""

from collections.abc import Mapping
from typing import Final

from reference.keys import Key, Part
from reference.language import Language

INTRODUCTION: Final = """\
# 配置

<!-- Made by `make docs` from exporter/config/schema.py. Do not edit: a test compares the two. -->

*[English](configuration.md)*

配置是一个 YAML 文件：默认是当前目录下的 `exporter.yml`，也可以用 `--config.file` 指定。下面几行就足以开始：

```yaml
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com:65106
    token_file: kunshan-token
```

`hpc-exporter check` 会一次指出所有错误及其行号、列号；写错的键名和重复的键同样算错误。
[`config/exporter.example.yml`](../config/exporter.example.yml) 在一个文件里展示了所有的键，
[`config/exporter.schema.json`](../config/exporter.schema.json) 供编辑器补全和提示。程序运行时，`/config` 显示实际生效的
配置，密钥除外。

## 值的写法

| 值 | 写法 |
|---|---|
| 时长 | 整数加单位 `w`、`d`、`h`、`m`、`s`、`ms`，大单位在前：`500ms`、`15s`、`1h30m`、`2d`。数字不带单位是错误 |
| 大小 | 整数加单位 `B`、`kB`、`MB`、`GB`、`KiB`、`MiB`、`GiB`：`64MiB` |
| 文本 | 引号可有可无，按原样理解：用户名可以是 `1234` 或 `on`。首尾不能有空白 |
| 编号 | 必须写出每一位数字：`533686286955839488`。被电子表格改写成 `5.33687E+17` 的编号会被拒绝 |
| 是或否 | `true`/`false`，也可写 `yes` 或 `no`、`on` 或 `off` |
| 地址 | `https://host:port`，不能含用户名、密码、`?` 或 `#`。使用 `http://` 时途中任何人都能看到内容，除非就是本机，否则 `hpc-exporter check` 会给出警告 |
| 路径 | 相对路径从配置文件所在目录算起，也可以写绝对路径：`/etc/hpc-exporter/token` |

没有写出的键，以及写了却没有值的键，都取默认值。

### 变量

值中的 `${NAME}` 会替换为同名的环境变量；变量没有设置就是错误，提示中会写明变量名。需要字面的 `${` 时写 `$${`。变量只能是
一个值或值的一部分，其内容绝不会变成键或列表。

### 密钥

令牌、访问密钥和密码都有三种写法：直接写在配置里；写成 `${NAME}`；或者放在单独的文件里，用以 `_file` 结尾的键指向它。程序每
两秒查看一次这些文件：内容一变立即使用，不必重新加载，因旧内容而失败的采集会马上重试。文件后来损坏也不要紧：继续使用最后一次
有效的内容，并写入日志。密钥首尾的空白会被去掉；出现第二行是错误。`tls.ca_file` 文件也这样查看：新连接使用
新内容，文件损坏时什么都不变。

### 重新加载

所有的键都在重新加载时生效，没有哪个键需要重启。重新加载的方式有：SIGHUP、向 `/-/reload` 发送 POST 或 PUT，以及
`--config.enable-auto-reload`。加载要么全部成功，要么什么都不改：文件有错时原来的配置继续运行。没有改动的区域或项目不受任何
影响。有改动的会重新建立连接，其中仍向同一地址询问同一内容的目标保留已有的数据；改动顶层的 `poll.max_concurrency` 时，所有
区域和项目都是如此。只能用命令行参数设置的内容需要重启，见[命令行](cli.md)。

## 各部分

`clusters`、`octopus` 和 `accounts` 至少要有一个。
"""

KINDS: Final = {
    "duration": "时长",
    "size": "大小",
    "requests": "整数（请求数）",
    "attempts": "整数（次数）",
    "jobs": "整数（作业数）",
    "rate": "大于 0 的数：每秒请求数",
    "boolean": "是或否",
    "id": "编号",
    "text": "文本",
    "address": "地址",
    "secret": "密钥",
    "secret_file": "密钥文件的路径",
    "file": "路径",
    "collected": "[采集项](#采集项)",
}

SECTIONS: Final[Mapping[str, str]] = {
    "poll": "多久采集一次，以及有多大的耐心。",
    "accounts[]": "SCNet 登录账号。一次登录可得到每个区域的令牌。",
    "accounts[].tls": "如何校验上游的证书。",
    "clusters[]": "SCNet 区域（计算中心）。",
    "clusters[].users[]": "按队列统计作业的调度器用户。",
    "clusters[].members[]": "要列出作业的用户组成员。",
    "octopus[]": "华为云 Octopus 项目。",
    "octopus[].iam": "华为云登录，令牌会自动更新。",
    "octopus[].queues[]": "数据作业的队列。",
    "tracking": "逐次采集地跟踪作业：状态变化、等待和运行时间。",
    "per_job": "单个作业的时间序列。",
}

KEYS: Final[Mapping[str, str]] = {
    "poll": "多久采集一次，以及有多大的耐心；每个区域和项目还可以有自己的设置。",
    "poll.interval": "同一目标两次采集之间的间隔。",
    "poll.timeout": "单个请求最多用多长时间。",
    "poll.stale_after": "数据比这更旧时从 /metrics 消失；不能短于采集间隔。不写则为间隔的 3 倍。",
    "poll.max_concurrency": "同时进行的请求数：写在顶层时指所有上游合计，否则指该上游。",
    "poll.max_body": "解压后允许的最大响应；更长的响应算作采集失败。",
    "poll.retries": "遇到可能自行恢复的故障时，一次采集最多再试几次；0 表示立即放弃。",
    "accounts": "SCNet 登录账号。",
    "accounts[].name": "区域和用户用这个名字引用该账号；账号之间不能重名。",
    "accounts[].user": "平台登录名，可能与调度器用户名不同。",
    "accounts[].access_key": "访问密钥（Access Key），较新的登录方式。",
    "accounts[].access_key_file": "存放访问密钥的文件。",
    "accounts[].secret_key": "与访问密钥配对的 Secret Key；它绝不会被发送。",
    "accounts[].secret_key_file": "存放 Secret Key 的文件。",
    "accounts[].token_url": "用访问密钥换取令牌的地址。",
    "accounts[].password": "密码，较旧的登录方式；需要同时写 org_id 和 url。",
    "accounts[].password_file": "存放密码的文件。",
    "accounts[].org_id": "登录所属组织的编号；只与密码一起使用。",
    "accounts[].url": "用密码登录时的 AC 地址；只与密码一起使用。",
    "accounts[].tls": "如何校验 token_url 或 url 的证书。",
    "accounts[].tls.ca_file": "PEM 文件，其中的证书颁发机构代替系统信任的机构。",
    "accounts[].tls.insecure_skip_verify": "完全不校验证书：途中任何人都能读到令牌。",
    "clusters": "SCNet 区域。",
    "clusters[].name": "标签 hpc_cluster；在 clusters 和 octopus 中不能重名。",
    "clusters[].cluster_id": "区域编号（clusterId），每一位数字都要写。",
    "clusters[].hpc_url": "区域的 HPC 地址（hpcUrls）；末尾的 /hpc 可以不写。",
    "clusters[].ac_url": "AC 地址，用于成员作业列表和登录；末尾的 /ac 可以不写。不写则与 hpc_url 相同。",
    "clusters[].token": "该区域的令牌；不会自动更新。",
    "clusters[].token_file": "存放令牌的文件；内容改变后重新读取。",
    "clusters[].account": "提供令牌的账号的名字；令牌自动更新。",
    "clusters[].requests_per_second": "对该区域每秒最多发出的请求数，所有分片合计。不写则不限制。",
    "clusters[].tls": "如何校验区域的证书。",
    "clusters[].collect": "对该区域启用的采集项。不写则为默认启用的采集项。",
    "clusters[].poll": "仅用于该区域的设置，优先于顶层的设置。",
    "clusters[].users": "按队列统计哪些用户的作业。不写则为令牌自己的用户。",
    "clusters[].members": "要列出作业的用户组及其成员；令牌的所有者必须是组管理员。",
    "clusters[].users[].name": "调度器用户；标签 user。只写名字等同于 {name: ...}。",
    "clusters[].users[].token": "该用户自己的令牌。不写则使用区域的令牌。",
    "clusters[].users[].token_file": "存放该用户令牌的文件。",
    "clusters[].users[].account": "提供该用户令牌的账号的名字。",
    "clusters[].members[].group_id": "用户组编号，每一位数字都要写。",
    "clusters[].members[].group": "标签 group，每个编号一个。不写则为编号。",
    "clusters[].members[].users": "组内成员的调度器用户名；标签 user。",
    "octopus": "华为云 Octopus 项目。",
    "octopus[].name": "标签 project；在 clusters 和 octopus 中不能重名。",
    "octopus[].base_url": "项目所在区域的 Octopus 地址。",
    "octopus[].project_id": "项目编号，会成为请求地址的一部分。",
    "octopus[].token": "IAM 令牌。",
    "octopus[].token_file": "存放 IAM 令牌的文件；内容改变后重新读取。",
    "octopus[].iam": "用来获取令牌的登录。",
    "octopus[].queues": "要观察的队列。",
    "octopus[].requests_per_second": "对该项目每秒最多发出的请求数，所有分片合计。不写则不限制。",
    "octopus[].tls": "如何校验证书。",
    "octopus[].poll": "仅用于该项目的设置，优先于顶层的设置。",
    "octopus[].iam.url": "IAM 地址，例如 https://iam.cn-north-4.myhuaweicloud.com。",
    "octopus[].iam.domain": "用户所属的账号（domain）。",
    "octopus[].iam.user": "IAM 用户。",
    "octopus[].iam.password": "用户的密码。",
    "octopus[].iam.password_file": "存放密码的文件。",
    "octopus[].iam.project": "令牌限定的项目，即区域名，例如 cn-north-4。",
    "octopus[].queues[].queue_type": "PROCESSOR、INTERNAL 或 RESIM；标签 queue_type。",
    "octopus[].queues[].cluster_type": "CCE 或 MODELARTS；标签 cluster_type。",
    "octopus[].queues[].cluster_id": "集群编号；标签 cluster_id。MODELARTS 必须写。",
    "tracking": "逐次采集地跟踪作业。",
    "tracking.enabled": "是否跟踪作业。没有状态文件也可以跟踪。",
    "tracking.state_file": "状态文件（SQLite），重启后从这里接着计数。不写则保存在内存中，重启后丢失。",
    "per_job": "单个作业的时间序列。",
    "per_job.enabled": "是否为列出的每个作业提供各自的时间序列。",
    "per_job.max_jobs": "整个进程最多多少个作业；hpc_exporter_jobs_dropped 给出被省略的作业数。",
}


def of_section(part: Part) -> str:
    return SECTIONS[part.path]


def of_key(key: Key) -> str:
    return KEYS[key.path]


CHINESE: Final = Language(
    introduction=INTRODUCTION,
    columns=("键", "值", "默认", "含义"),
    kinds=KINDS,
    clause="，",
    comma="、",
    and_=" 和 ",
    bounds="{} 到 {}",
    list_of="列表：{}",
    required="必填",
    section="见 {}",
    name_or_section="列表：名字，或见 {}",
    also="{} 的键与此相同。",
    exactly_one="{} 必须写一个，且只能写一个。",
    at_most_one="{} 最多写一个。",
    either="要么用 {}，要么用 {}：两组不能混用。",
    collectors="采集项",
    collectors_text="`collect` 可以写的名字。一个采集项以一种方式请求一个接口。默认不启用的采集项是可选的：区域返回 404 或 405 "
    "表示没有这个接口，之后每小时再请求一次。",
    collector_columns=("配置", "采集项", "默认", "每个", "提供", "指标"),
    yes="是",
    no="否",
    say=lambda text: text.zh,
    of_section=of_section,
    of_key=of_key,
)
