"""The dashboards, as code: ``python -m grafana`` writes `provisioned/`, English and Chinese from this one source."""
