"""The JSON Schema of the configuration file, for editors; ``python -m exporter.config.jsonschema`` prints it."""

import json
import sys
from typing import Any

from exporter.config.model import Config


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what `load` accepts, as far as a schema can say it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "hpc-exporter configuration"}
    return schema | _cleaned(Config.model_json_schema())


def as_text() -> str:
    """Return the schema as it is kept in ``config/exporter.schema.json``."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _cleaned(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out the Chinese texts, and what pydantic adds: titles made from names, and null as the default of keys."""
    return {
        key: _cleaned_value(value)
        for key, value in schema.items()
        if not (key in {"title", "zh"} and isinstance(value, str)) and not (key == "default" and value is None)
    }


def _cleaned_value(value: Any) -> Any:
    if isinstance(value, dict):
        return _cleaned(value)
    return [_cleaned_value(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.stdout.write(as_text())
