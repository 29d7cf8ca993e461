"""Codes that stay in their files train as those in memory, and the memory of a patient does not grow with his cells."""

import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import CodesError
from nic.patients.choices import NetworkName, Recipe
from nic.patients.cohort import Patient, SlideRow
from nic.patients.crops import PatientCells, SlideCells, gather_cells, make_batch
from nic.patients.ensemble import fit_folds
from nic.patients.networks import CROP_CELLS
from nic.patients.targets import Classes, Survival, Targets, Values
from nic.slides.d4 import D4_VARIANTS
from nic.slides.slide import SlideSource

SlideOf = Callable[..., CompressedSlide]
linux = pytest.mark.skipif(sys.platform != "linux", reason="memory and descriptors are read from /proc")


def patient(number: int, folder: Path, *slides: CompressedSlide) -> Patient:
    """Saves the slides."""
    for slide in slides:
        slide.save(folder / f"{slide.slide_id}.h5")
    sources = [SlideSource(slide.slide_id, folder / f"{slide.slide_id}.svs", None) for slide in slides]
    return Patient(str(number), "train", tuple(SlideRow(number + 2, source, {}) for source in sources))


@pytest.fixture(scope="module")
def cohort(slide_of: SlideOf, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Patient], Path]:
    """14 patients of one or two slides, glass around; one is larger than a crop, a third have codes of turned tiles.

    One file is packed, so that it has no place that could be mapped; grids of odd size leave rows at odd addresses.
    """
    folder, rng = tmp_path_factory.mktemp("filed"), np.random.default_rng(0)
    patients = []
    for number in range(14):
        slides = []
        for slide in range(1 + number % 4 // 3):
            shape = (CROP_CELLS + 15, 5) if number == 6 else tuple(rng.integers(5, 13, 2))
            kinds = np.pad(rng.integers(0, 4, shape), ((2, 1), (0, 3)))
            made = slide_of(kinds, rng, f"s{number}-{slide}")
            turned = rng.normal(size=(D4_VARIANTS - 1, *made.codes.shape)).astype(np.float16)
            variants = np.concatenate([made.codes[None], turned])
            slides.append(replace(made, variants=variants) if number % 3 == 0 else made)
        patients.append(patient(number, folder, *slides))
    with h5py.File(folder / "s5-0.h5", "a") as file:
        for name in ("features", "row"):
            array = file[name][:]
            del file[name]
            file.create_dataset(name, data=array, compression="gzip")
    return patients, folder


def in_memory(patients: list[Patient], folder: Path) -> list[PatientCells]:
    def read(path: Path) -> SlideCells:
        return SlideCells.of(CompressedSlide.load(path), CompressedSlide.load_variants(path))

    return [
        PatientCells(p.patient_id, tuple(read(folder / f"{source.slide_id}.h5") for source in p.slides))
        for p in patients
    ]


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("grid-cnn", Values(np.arange(14.0))),
        ("crop-cnn", Survival(np.arange(14) + 1.0, np.arange(14) % 3 > 0)),
        ("attention-mil", Classes(np.arange(14) % 2 == 0, ("a", "b"))),
        ("pooled-linear", Values(np.arange(14.0))),
    ],
)
def test_training_from_files_is_that_from_memory_to_the_last_bit(
    cohort: tuple[list[Patient], Path], name: NetworkName, targets: Targets
) -> None:
    filed = fit_folds(gather_cells(*cohort).cells, targets, Recipe(name, epochs=2), folds=2, seed=3)
    held = fit_folds(in_memory(*cohort), targets, Recipe(name, epochs=2), folds=2, seed=3)
    np.testing.assert_array_equal(filed.out_of_fold, held.out_of_fold)
    for one, other in zip(filed.networks, held.networks, strict=True):
        found, expected = one.state_dict(), other.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_batch_from_files_is_that_from_memory(cohort: tuple[list[Patient], Path]) -> None:
    filed, memory = gather_cells(*cohort).cells, in_memory(*cohort)
    of_files, of_memory = make_batch(filed), make_batch(memory)
    for name in ("cells", "place", "valid", "patient"):
        assert torch.equal(getattr(of_files, name), getattr(of_memory, name))
    for one, other in zip(filed, memory, strict=True):
        assert [s.shape for s in one.slides] == [s.shape for s in other.slides]
        assert [s.codes_shape for s in one.slides] == [s.codes_shape for s in other.slides]


@pytest.fixture(scope="module")
def large(slide_of: SlideOf, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Patient], Path]:
    """30 patients of 40,000 cells: 0.6 MiB each of rows and columns, would they be held, and as much of codes."""
    folder, rng = tmp_path_factory.mktemp("large"), np.random.default_rng(0)
    slide = slide_of(np.ones((200, 200), int), rng)
    return [patient(n, folder, replace(slide, slide_id=f"s{n}")) for n in range(30)], folder


def test_what_is_held_of_a_patient_does_not_grow_with_his_cells(
    large: tuple[list[Patient], Path], cohort: tuple[list[Patient], Path]
) -> None:
    """Everything that can be reached from a patient, written out."""
    of_many, of_few = gather_cells(*large).cells[-1], gather_cells(*cohort).cells[-1]
    assert len(pickle.dumps(of_many)) < len(pickle.dumps(of_few)) + 100 < 2000


@linux
def test_neither_memory_nor_open_files_grow_with_patients(large: tuple[list[Patient], Path]) -> None:
    patients, folder = large
    gather_cells(patients[:2], folder)  # what is imported and kept once

    def taken() -> tuple[int, int, int]:
        """KiB that no file backs, descriptors, maps of codes."""
        status, maps = Path("/proc/self/status").read_text(), Path("/proc/self/maps").read_text()
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        return int(status.split("RssAnon:")[1].split()[0]), descriptors, maps.count(str(folder))

    before = taken()
    cells = gather_cells(patients, folder).cells
    after = taken()
    assert after[0] - before[0] < 200 * len(cells)
    assert after[1:] == before[1:]
    opened = [slide.opened() for p in cells for slide in p.slides]  # as a batch of many small slides has them
    assert taken()[1:] == (before[1], len(opened))
    del opened
    assert taken()[1:] == before[1:]


@pytest.mark.parametrize("fate", ["changed", "gone"])
def test_a_file_that_changes_or_goes_while_training_is_named(slide_of: SlideOf, tmp_path: Path, fate: str) -> None:
    """Its places are those of another file now: what lies there would be taken for codes."""
    rng = np.random.default_rng(0)
    patients = [patient(n, tmp_path, slide_of(np.ones((5, 5), int), rng, f"s{n}")) for n in range(6)]
    cells, path = gather_cells(patients, tmp_path).cells, tmp_path / "s4.h5"
    if fate == "gone":
        path.unlink()
    else:
        slide_of(np.ones((6, 5), int), rng, "s4").save(path)
    with pytest.raises(CodesError, match=rf"s4\.h5: {fate} since it was checked"):
        fit_folds(cells, Values(np.arange(6.0)), Recipe(epochs=1), folds=2)


def test_codes_that_are_not_finite_are_refused_before_training(slide_of: SlideOf, tmp_path: Path) -> None:
    asked = [patient(1, tmp_path, slide_of(np.ones((5, 5), int), np.random.default_rng(0), "s1"))]
    with h5py.File(tmp_path / "s1.h5", "a") as file:
        file["features"][24, 7] = -np.inf
    with pytest.raises(CodesError, match=r"s1\.h5: codes are not finite"):
        gather_cells(asked, tmp_path)
