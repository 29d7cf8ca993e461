"""Writes docs/study.schema.json, by which an editor completes and checks a study file: python -m docs.study_schema"""

import json
from pathlib import Path

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import StringSchema

from nic.study import Study

FILE = Path(__file__).with_name("study.schema.json")


class WordSchema(GenerateJsonSchema):
    """A study file's text may look like a number or a truth: `positive: 1` and `positive: yes` are words."""

    def str_schema(self, schema: StringSchema) -> JsonSchemaValue:
        return super().str_schema(schema) | {"type": ["string", "number", "boolean"]}


def schema_text() -> str:
    schema = Study.model_json_schema(schema_generator=WordSchema)
    return json.dumps({"$schema": WordSchema.schema_dialect, **schema}, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(schema_text())
