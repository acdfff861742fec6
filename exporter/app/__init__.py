"""The composition root: wires the rooms together, reloads, shuts down."""

from exporter.app.application import Application, Options, validate

__all__ = ["Application", "Options", "validate"]
