"""Slides and patients as a user names them: by a folder, by a table, or by the files of codes."""

from pathlib import Path

import pytest

from entrypoints import status
from nic.stages.selection import selected_patients, selected_slides


def test_without_slides_every_file_of_codes_is_a_patient(tmp_path: Path) -> None:
    for folder, suffix in (("codes", "h5"), ("slides", "scn")):
        (tmp_path / folder).mkdir()
        for number in range(3):
            (tmp_path / folder / f"s{number}.{suffix}").touch()
    for where in ("", str(tmp_path / "slides")):
        patients = selected_patients(where, tmp_path / "codes")
        assert [patient.patient_id for patient in patients] == ["s0", "s1", "s2"]


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("patient,slide\nA,s0.scn\nB,s1.scn\n", ""),
        ("patient,slide,split\nA,s0.scn,test\nB,s1.scn,\n", ""),  # parts of another project
        ("case,file,mpp\nA,s0.scn,\nB,s1.scn,0.5\n", "patient=case,slide=file"),
    ],
)
def test_patients_to_be_scored_are_in_no_part(tmp_path: Path, table: str, columns: str) -> None:
    (tmp_path / "new.csv").write_text(table)
    patients = selected_patients(str(tmp_path / "new.csv"), tmp_path, columns)
    assert [(p.patient_id, p.slides[0].path.name) for p in patients] == [("A", "s0.scn"), ("B", "s1.scn")]


def test_slides_to_be_compressed_are_in_no_part(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("case,file\nA,s0.scn\nB,s1.scn\n")
    named = {"slides": str(tmp_path / "new.csv"), "columns": "patient=case,slide=file"}
    assert [source.slide_id for source in selected_slides(*named.values())] == ["s0", "s1"]
    status.run(status.Config(out=tmp_path / "codes", **named))
    (tmp_path / "new.csv").write_text("case,file,split\nA,s0.scn,x\nA,s1.scn,y\n")
    assert len(selected_slides(*named.values())) == 2
