"""Networks and folders of codes are named by the caller; unknown ones are refused."""

from pathlib import Path

import pytest

from nic.errors import StudyError
from nic.patients.choices import networks_named
from nic.stages.compare_networks import codes_of


def test_networks_are_named_or_refused() -> None:
    assert networks_named(["grid-cnn", "pooled-linear"]) == ("grid-cnn", "pooled-linear")
    with pytest.raises(StudyError, match="no network 'grid'; there are context-mil, grid-cnn, crop-cnn"):
        networks_named(["grid"])


def test_the_folder_of_a_cohorts_codes_is_found_or_asked_for(tmp_path: Path) -> None:
    for name in ("breast-aa11", "liver-aa11", "liver-bb22"):
        (tmp_path / name).mkdir()
    assert codes_of(tmp_path, "breast", "").name == "breast-aa11"
    assert codes_of(tmp_path, "liver", "bb").name == "liver-bb22"
    with pytest.raises(StudyError, match="cohort 'liver': liver-aa11, liver-bb22; wanted one; name the encoder"):
        codes_of(tmp_path, "liver", "")
    with pytest.raises(StudyError, match="cohort 'lung': none; wanted one; compress the cohort first"):
        codes_of(tmp_path, "lung", "")
