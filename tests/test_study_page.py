"""docs/study.md and the schema for editors say what the study file's models take."""

import csv
import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from nic.patients.choices import Kind
from nic.study import EndpointEntry, Study, read_study
from nic.tracking.gates import DECIDING

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "study.md").read_text()
SCHEMA = ROOT / "docs" / "study.schema.json"
COMPLETE, ENDPOINTS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def models_in(type_: Any, known: list[type[BaseModel]]) -> list[type[BaseModel]]:
    """The models of a type and of its fields, each once."""
    if isinstance(type_, type) and issubclass(type_, BaseModel) and type_ not in known:
        known.append(type_)
        for field in type_.model_fields.values():
            models_in(field.annotation, known)
    for part in get_args(type_):
        models_in(part, known)
    return known


def rows() -> Iterator[list[str]]:
    """Cells of the tables of the page."""
    for line in PAGE.splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


MODELS = models_in(Study, [])


def test_the_models_of_the_file_are_found() -> None:
    assert {model.__name__ for model in MODELS} >= {"Study", "EndpointEntry", "CohortEntry", "Gate", "SlidesEntry"}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_is_explained(model: type[BaseModel]) -> None:
    """In backticks, or as a key of an example in backticks."""
    missing = [key for key in model.model_fields if not re.search(rf"`{key}`|`[^`\n]*\b{key}: [^`\n]*`", PAGE)]
    assert missing == []


def test_stated_defaults_are_those_of_the_models() -> None:
    stated = {key: cells for cells in rows() for key in re.findall(r"`(\w+)`", cells[0])}
    for model in (Study, EndpointEntry):
        for key, field in model.model_fields.items():
            if field.default not in (None, PydanticUndefined, (), {}, ""):
                default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
                assert default in stated[key][2].strip("`"), key
            if field.is_required():
                assert stated[key][2] == "required", key


def test_every_kind_is_explained_with_the_figure_that_decides() -> None:
    figures = {cells[0].strip("`"): cells[3].strip("`") for cells in rows() if len(cells) == 4}
    for kind in get_args(Kind):
        assert figures[kind] == DECIDING[kind]


def test_the_examples_are_read_with_the_table_that_is_shown(tmp_path: Path) -> None:
    assert len(COMPLETE.splitlines()) <= 16
    table = [cells for cells in rows() if len(cells) == 9]
    with (tmp_path / "slides.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    assert len(table) == 1 + 4
    (tmp_path / "study.yaml").write_text(COMPLETE)
    study = read_study(tmp_path / "study.yaml")
    cohort = study.cohorts["hospital"].read()
    assert [len(patient.slides) for patient in cohort.patients] == [1, 2, 1]
    for entry in study.endpoints:
        assert len(cohort.labelled(entry.endpoint, "train").patients) == 2
    (tmp_path / "kinds.yaml").write_text(COMPLETE[: COMPLETE.index("endpoints:")] + ENDPOINTS)
    assert {entry.kind for entry in read_study(tmp_path / "kinds.yaml").endpoints} == set(get_args(Kind))


def test_the_schema_is_that_of_the_models() -> None:
    assert SCHEMA.read_text() == runpy.run_path(str(ROOT / "docs" / "study_schema.py"))["schema_text"](), (
        "run python -m docs.study_schema"
    )


@pytest.mark.parametrize("text", [COMPLETE, *(file.read_text() for file in (ROOT / "studies").glob("*.yaml"))])
def test_an_editor_accepts_the_studies_and_shows_help(text: str) -> None:
    """As an editor reads YAML: numbers and truths are not text there."""
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(text), schema)
    assert text.startswith("# yaml-language-server: $schema=")
    for wrong in ({"foldz": 3}, {"folds": 1}, {"network": "cnn"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(text) | wrong, schema)
    assert schema["properties"]["folds"]["description"]
    assert schema["$defs"]["EndpointEntry"]["properties"]["values"]["description"]
