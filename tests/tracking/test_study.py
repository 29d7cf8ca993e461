"""A study file is checked when it is read, and its errors name the file and the field."""

from pathlib import Path

import pytest
import yaml

from nic.errors import StudyError
from nic.study import read_study

PHANTOM = Path(__file__).resolve().parents[2] / "studies" / "phantom.yaml"


def edited(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(PHANTOM.read_text()) | changes))
    return path


def test_paths_are_relative_to_the_root_and_the_root_to_the_file(tmp_path: Path) -> None:
    study = read_study(edited(tmp_path, root="../elsewhere"))
    assert study.cohorts["breast"] == (tmp_path.parent / "elsewhere" / "breast.csv").resolve()
    assert study.tile_tasks[0].path == (tmp_path.parent / "elsewhere" / "tiles" / "mitosis").resolve()


def test_the_embedded_study_has_the_three_kinds_of_endpoint() -> None:
    study = read_study(PHANTOM)
    assert {e.kind for e in study.endpoints} == {"regression", "classification", "survival"}
    assert study.endpoint("survival").endpoint.columns == ("time_months", "event")
    assert study.endpoint("growth-pattern").model_name == "nic-growth-pattern"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cohort": {}}, "cohort"),
        ({"endpoints": []}, "endpoints"),
        ({"endpoints": [{"name": "x", "cohort": "lung", "kind": "regression", "column": "y"}]}, "lung"),
        ({"endpoints": [{"name": "x", "cohort": "liver", "kind": "survival", "time": "t"}]}, "event"),
        ({"endpoints": [{"name": "x", "cohort": "liver", "kind": "ranking", "column": "y"}]}, "kind"),
        ({"endpoints": [{"name": "a/b", "cohort": "liver", "kind": "regression", "column": "y"}]}, "name"),
        ({"tile_tasks": [{"name": "a", "path": "x", "mpp": -1}]}, "mpp"),
        ({"tile_tasks": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]}, "twice"),
    ],
)
def test_faults_are_named(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(StudyError, match=said) as caught:
        read_study(edited(tmp_path, **changes))
    assert "study.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b", "a: [1"])
def test_what_is_no_study_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=r"broken\.yaml"):
        read_study(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"nowhere\.yaml"):
        read_study(tmp_path / "nowhere.yaml")


def test_an_unknown_endpoint_is_answered_with_those_there_are() -> None:
    with pytest.raises(StudyError, match="growth-pattern"):
        read_study(PHANTOM).endpoint("grade")
