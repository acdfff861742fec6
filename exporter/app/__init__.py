"""The composition root: wires the rooms together, reloads, shuts down."""

from exporter.app.application import Application, Options
from exporter.app.assembly import Assembly, assemble, validate

__all__ = ["Application", "Assembly", "Options", "assemble", "validate"]
