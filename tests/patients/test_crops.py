"""Batches hold every cell at its place, whatever the D4 variant, the padding and the number of slides."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from nic.encoder.spec import EncoderSpec
from nic.errors import ForeignCodes, NoTissue
from nic.patients.cohort import Patient
from nic.patients.cohort_table import read_cohort
from nic.patients.crops import PatientCells, SlideCells, gather_cells, make_batch
from nic.slides.d4 import D4_VARIANTS


@pytest.fixture
def kinds() -> np.ndarray:
    """Tissue that touches every edge, so that nothing is cut away."""
    kinds = np.random.default_rng(0).integers(0, 5, (5, 7))
    kinds[0, 0] = kinds[-1, -1] = 1
    return kinds


def test_a_d4_variant_is_that_of_the_whole_grid(slide_of, kinds) -> None:
    slide = slide_of(kinds, np.random.default_rng(0))
    cells, dense = SlideCells.of(slide), slide.dense()
    seen = []
    for turn in range(D4_VARIANTS):
        wanted = dense[:, ::-1] if turn & 1 else dense
        wanted = wanted[:, :, ::-1] if turn & 2 else wanted
        wanted = wanted.transpose(0, 2, 1) if turn & 4 else wanted
        batch = make_batch([PatientCells("p", (cells.d4_variant(turn),))])
        np.testing.assert_array_equal(batch.codes[0].numpy(), wanted)
        np.testing.assert_array_equal(batch.valid[0, 0].numpy() > 0, (wanted != 0).any(axis=0))
        seen.append(wanted.tobytes())
    assert len(set(seen)) == D4_VARIANTS


def test_slides_of_unequal_size_are_padded_and_know_their_patient(slide_of, kinds) -> None:
    rng = np.random.default_rng(0)
    small, large = slide_of(kinds[:1, :3], rng), slide_of(kinds, rng)
    one = PatientCells("one", (SlideCells.of(large),))
    two = PatientCells("two", (SlideCells.of(small), SlideCells.of(large)))
    batch = make_batch([two, one])
    assert batch.codes.shape == (3, 8, 5, 7)
    assert batch.patient.tolist() == [0, 0, 1]
    assert batch.valid.sum(dim=(1, 2, 3)).tolist() == [len(s.codes) for s in (small, large, large)]
    torch.testing.assert_close(batch.codes[1], batch.codes[2])
    np.testing.assert_array_equal(batch.codes[0, :, :1, :3].numpy(), small.dense())
    assert not batch.codes[0, :, 1:].any()


def test_glass_around_the_tissue_is_cut_away(slide_of) -> None:
    kinds = np.zeros((40, 50), int)
    kinds[30:33, 41:45] = 2
    assert SlideCells.of(slide_of(kinds, np.random.default_rng(0))).shape == (3, 4)


def patients(folder: Path, *slides: tuple[str, str]) -> tuple[Patient, ...]:
    lines = [f"{patient},{slide}.svs,train" for patient, slide in slides]
    (folder / "c.csv").write_text("\n".join(["patient,slide,split", *lines]))
    return read_cohort(folder / "c.csv").patients


def test_a_patient_is_answered_from_the_slides_there_are(slide_of, kinds, tmp_path) -> None:
    for slide_id in ("a", "c"):
        slide_of(kinds, np.random.default_rng(0), slide_id).save(tmp_path / f"{slide_id}.h5")
    asked = patients(tmp_path, ("1", "a"), ("1", "b"), ("2", "x"), ("3", "c"))
    gathered = gather_cells(asked, tmp_path)
    assert [p.patient_id for p in gathered.cells] == ["1", "3"]
    assert gathered.has_codes.tolist() == [True, False, True]
    assert gathered.missing == ("b", "x")


def test_no_codes_at_all_are_refused(tmp_path) -> None:
    with pytest.raises(NoTissue, match=r"no compressed slide of 1 patients; run `compress`"):
        gather_cells(patients(tmp_path, ("1", "a")), tmp_path)


def test_codes_of_two_encoders_are_refused(slide_of, kinds, tmp_path) -> None:
    other = EncoderSpec(8, 64, 1.0, 0.5, "vae", (), sha256="b" * 64)
    slide_of(kinds, np.random.default_rng(0), "a").save(tmp_path / "a.h5")
    slide_of(kinds, np.random.default_rng(0), "b", other).save(tmp_path / "b.h5")
    with pytest.raises(ForeignCodes, match=r"b: codes of encoder bbbb.*wanted codes of aaaa.*as slide a;"):
        gather_cells(patients(tmp_path, ("1", "a"), ("2", "b")), tmp_path)


def test_codes_of_another_tiling_are_refused(slide_of, kinds, tmp_path) -> None:
    slide = slide_of(kinds, np.random.default_rng(0), "a")
    slide.save(tmp_path / "a.h5")
    half = replace(slide, grid=replace(slide.grid, overlap_px=32), tiling=replace(slide.tiling, overlap_px=32))
    for other in (half, replace(slide, tiling=replace(slide.tiling, min_tissue=0.3))):
        replace(other, slide_id="b").save(tmp_path / "b.h5")
        with pytest.raises(ForeignCodes, match=r"b: compressed with \w+=.*; wanted .* with \w+=.*, as slide a;"):
            gather_cells(patients(tmp_path, ("1", "a"), ("2", "b")), tmp_path)


def test_a_slide_without_codes_is_refused(slide_of) -> None:
    with pytest.raises(NoTissue, match="empty: no cell"):
        SlideCells.of(slide_of(np.zeros((3, 3), int), np.random.default_rng(0), "empty"))


def test_the_chance_of_a_centre_is_that_of_exact_distances(slide_of) -> None:
    """To the last bit, so that a seed draws the same crops whatever computes the distances; holes and edges alike."""
    rng = np.random.default_rng(0)
    for shape, share in (((1, 1), 1), ((60, 45), 0.97), ((31, 200), 0.999), ((90, 70), 1), ((25, 25), 0.5)):
        kinds = (rng.random(shape) < share).astype(int)
        kinds[0, 0] = kinds[-1, -1] = 1
        squared = distance_transform_edt(np.pad(kinds, 1))[1:-1, 1:-1][kinds > 0] ** 2
        np.testing.assert_array_equal(SlideCells.of(slide_of(kinds, rng)).centre_odds, squared / squared.sum())
