"""Who may ask, and how much: --web.config.file, logins, certificates, limits."""

from exporter.web.guard.door import Door, Doorkeeper
from exporter.web.guard.gate import add_headers, connection, gate, send
from exporter.web.guard.logins import Logins
from exporter.web.guard.policy import PolicyFile
from exporter.web.guard.settings import WebSettings, load_settings

__all__ = [
    "Door",
    "Doorkeeper",
    "Logins",
    "PolicyFile",
    "WebSettings",
    "add_headers",
    "connection",
    "gate",
    "load_settings",
    "send",
]
