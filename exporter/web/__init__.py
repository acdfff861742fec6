"""What `serve` answers over HTTP. Knows the application by `ExporterApi` only."""

from exporter.web.listen import ListenError, bind, parse_listen_address
from exporter.web.server import ExporterApi, create_app, server_logger

__all__ = ["ExporterApi", "ListenError", "bind", "create_app", "parse_listen_address", "server_logger"]
