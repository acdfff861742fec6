"""An example for each section of the configuration, the same in every language. Each shows every key of its section."""

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, str]] = {
    "poll": """
poll:
  interval: 60s
  timeout: 15s
  stale_after: 3m
  max_concurrency: 16
  retries: 2
  max_body: 64MiB

clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com:65106
    token_file: kunshan-token
    poll: {interval: 5m, stale_after: 15m}
""",
    "accounts[]": """
accounts:
  - name: lab
    user: alice
    access_key_file: scnet-access-key
    secret_key_file: scnet-secret-key
    token_url: https://api.scnet.cn/api/user/v3/tokens
  - name: guest
    user: bob
    access_key: ${GUEST_ACCESS_KEY}
    secret_key: ${GUEST_SECRET_KEY}
  - name: older
    user: alice
    password_file: scnet-password
    org_id: 0123456789abcdef
    url: https://ac.example.com:65102
    tls: {ca_file: region-ca.pem}
  - name: older-guest
    user: bob
    password: ${GUEST_PASSWORD}
    org_id: 0123456789abcdef
    url: https://ac.example.com:65102
""",
    "accounts[].tls": """
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com:65106
    token_file: kunshan-token
    tls:
      ca_file: region-ca.pem
      insecure_skip_verify: false
""",
    "clusters[]": """
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com:65106
    ac_url: https://ac.example.com:65102
    account: lab
    requests_per_second: 5
    tls: {ca_file: region-ca.pem}
    collect: [queue_jobs, cluster, member_jobs]
    poll: {interval: 30s}
    users: [test]
    members:
      - {group_id: 533686286955839488, users: [test]}
  - name: hefei
    cluster_id: 11250
    hpc_url: https://hpc.example.org:65106
    token_file: hefei-token
  - name: xian
    cluster_id: 11270
    hpc_url: https://hpc.example.net:65106
    token: ${XIAN_TOKEN}
""",
    "clusters[].users[]": """
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com:65106
    token_file: kunshan-token
    users:
      - test
      - {name: alice, account: lab}
      - {name: bob, token_file: bob-token}
      - {name: carol, token: "${CAROL_TOKEN}"}
""",
    "clusters[].members[]": """
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com:65106
    ac_url: https://ac.example.com:65102
    token_file: kunshan-token
    members:
      - group_id: 533686286955839488
        group: chemistry
        users: [test, bob]
""",
    "octopus[]": """
octopus:
  - name: driving
    base_url: https://octopus.cn-north-11.example.com
    project_id: 087679f0aa
    iam:
      url: https://iam.cn-north-11.example.com
      domain: example-company
      user: exporter
      password_file: iam-password
      project: cn-north-11
    queues:
      - {queue_type: INTERNAL}
    requests_per_second: 2
    tls: {ca_file: project-ca.pem}
    poll: {interval: 2m}
  - name: mapping
    base_url: https://octopus.cn-north-11.example.com
    project_id: 1b0c5e7d22
    token_file: mapping-token
    queues:
      - {queue_type: RESIM}
  - name: labelling
    base_url: https://octopus.cn-north-11.example.com
    project_id: 5f3a90c1e8
    token: ${LABELLING_TOKEN}
    queues:
      - {queue_type: INTERNAL}
""",
    "octopus[].iam": """
octopus:
  - name: driving
    base_url: https://octopus.cn-north-11.example.com
    project_id: 087679f0aa
    iam:
      url: https://iam.cn-north-11.example.com
      domain: example-company
      user: exporter
      password_file: iam-password
      project: cn-north-11
    queues:
      - {queue_type: INTERNAL}
  - name: mapping
    base_url: https://octopus.cn-north-11.example.com
    project_id: 1b0c5e7d22
    iam:
      url: https://iam.cn-north-11.example.com
      domain: example-company
      user: exporter
      password: ${IAM_PASSWORD}
      project: cn-north-11
    queues:
      - {queue_type: INTERNAL}
""",
    "octopus[].queues[]": """
octopus:
  - name: driving
    base_url: https://octopus.cn-north-11.example.com
    project_id: 087679f0aa
    token_file: octopus-token
    queues:
      - {queue_type: PROCESSOR, cluster_type: MODELARTS, cluster_id: pool-1}
      - {queue_type: PROCESSOR, cluster_type: CCE}
      - {queue_type: INTERNAL}
""",
    "tracking": """
tracking:
  enabled: true
  state_file: tracker.db
""",
    "per_job": """
per_job:
  enabled: true
  max_jobs: 500
""",
}
