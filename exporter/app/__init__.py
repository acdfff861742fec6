"""The composition root: builds what a configuration names, serves it and reloads it, or polls it once."""

from exporter.app.application import Application, Options
from exporter.app.components import Components, assemble, validate

__all__ = ["Application", "Components", "Options", "assemble", "validate"]
