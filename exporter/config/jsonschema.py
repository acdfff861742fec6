"""The JSON Schema of the configuration file, for editors; ``python -m exporter.config.jsonschema`` prints it."""

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from exporter.config.model import Config


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the files that `load` accepts, as far as a schema can describe them."""
    schema = {"$schema": GenerateJsonSchema.schema_dialect, "title": "hpc-exporter configuration"}
    return schema | Config.model_json_schema(schema_generator=_Generator)


def as_text() -> str:
    """Return the schema as it is kept in ``config/exporter.schema.json``."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Adds the descriptions of sections and keys, allows null for optional keys, and makes no titles of names."""

    def field_title_should_be_set(self, _schema: object) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        section, described = schema["cls"], super().model_schema(schema)
        del described["title"]
        rules = [f"Give exactly one of {', '.join(names[:-1])} and {names[-1]}." for names in section.exactly_one]
        described["description"] = " ".join([section.text().en, *rules])
        for name, field in section.model_fields.items():
            key = described["properties"][name] | {"description": field.description}
            del key["zh"]
            described["properties"][name] = key if field.is_required() else _or_null(key)
        return described


def _or_null(key: JsonSchemaValue) -> JsonSchemaValue:
    about = {name: key.pop(name) for name in ("default", "description") if key.get(name) is not None}
    key.pop("default", None)
    choices = [choice for choice in key.get("anyOf", [key]) if choice != {"type": "null"}]
    return {"anyOf": [*choices, {"type": "null"}], **about}


if __name__ == "__main__":
    sys.stdout.write(as_text())
