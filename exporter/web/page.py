"""The status page at `/`: what is polled and how it goes."""

from html import escape
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
       color: #1b1f24; background: #fff }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #d0d7de; vertical-align: top }
.up { color: #116329 } .pending { color: #6e5494 } .failing { color: #9a6700 } .stale { color: #a40e26 }
@media (prefers-color-scheme: dark) {
  body { color: #e6edf3; background: #0d1117 } th, td { border-color: #30363d } a { color: #58a6ff }
  .up { color: #3fb950 } .pending { color: #bc8cff } .failing { color: #d29922 } .stale { color: #ff7b72 }
}
"""
COLUMNS = ("Source", "Endpoint", "Target", "State", "Last success", "Next poll", "Last error")


def status_page(status: dict[str, Any], telemetry_path: str) -> str:
    """The page as HTML. Every text from outside is escaped."""
    rows = "".join(target_row(target) for target in status["targets"])
    warnings = "".join(f"<p>⚠ {escape(warning)}</p>" for warning in status["config"]["warnings"])
    head = "".join(f"<th scope=col>{column}</th>" for column in COLUMNS)
    links = " · ".join(
        f'<a href="{escape(path)}">{text}</a>'
        for path, text in [
            (telemetry_path, "Metrics"),
            ("/api/v1/status", "Status as JSON"),
            ("/config", "Configuration"),
            ("/-/ready", "Ready"),
            ("/-/healthy", "Healthy"),
        ]
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>HPC Exporter</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>HPC Exporter</h1><p>Version {escape(status['version'])} · {links}</p>{warnings}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></body></html>\n"
    )


def target_row(target: dict[str, Any]) -> str:
    error = target["last_error"]
    cells = [
        target["source"],
        target["endpoint"],
        target["target"],
        None,
        target["last_success"] or "never",
        target["next_poll"] or "now",
        f"{error['reason']}: {error['message']}" if error else "",
    ]
    state = f'<td class="{target["state"]}">{target["state"]}</td>'
    return "<tr>" + "".join(state if cell is None else f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
