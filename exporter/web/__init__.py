"""What `serve` answers over HTTP. Knows the application by its public face only."""

from exporter.web.listen import ListenError, bind, parse_listen_address
from exporter.web.server import Face, create_app, server_logger

__all__ = ["Face", "ListenError", "bind", "create_app", "parse_listen_address", "server_logger"]
