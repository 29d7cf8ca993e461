"""Counts of patients: what is fitted on those of the training, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mitosis_slides import made_heads, made_slide
from numpy.typing import NDArray
from scipy.stats import spearmanr

from nic.comparators.mitosis_counting import fit_count, mitosis_counts, mitosis_scores
from nic.comparators.mitosis_detections import MitosisOptions
from nic.encoder.task_heads import TaskHeads
from nic.errors import CodesError, EndpointError, ForeignCodes
from nic.patients.cohort import Labelled, Patient, SlideRow
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values
from nic.slides.source import SlideSource

OPTIONS = MitosisOptions(window_mm2=0.2, thresholds=(0.5, 0.9, 0.99))
PATIENTS, EXTERNAL, SIDE = 24, 8, 24
LIKELY, DOUBTFUL = 6.0, 1.0
"""Log odds: those of mitoses, and those of look-alikes, which only the threshold of 0.5 counts."""


def patient(number: int, slides: int = 1) -> Patient:
    rows = [SlideRow(2, SlideSource(f"s{number}-{n}", Path(f"s{number}-{n}.tif")), {}) for n in range(slides)]
    return Patient(f"P{number}", "train", tuple(rows))


def write(folder: Path, slide_id: str, mitoses: int, alike: int, seed: int, overlap_px: int = 0) -> None:
    odds = np.full(SIDE * SIDE, -5.0)
    cells = np.random.default_rng(seed).permutation(SIDE * SIDE)
    odds[cells[:mitoses]] = LIKELY
    odds[cells[mitoses : mitoses + alike]] = DOUBTFUL
    made_slide(odds.reshape(SIDE, SIDE), overlap_px, slide_id).save(folder / f"{slide_id}.h5")


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mitoses rise with the patient's number; look-alikes, which are more, do not."""
    folder: Path = tmp_path_factory.mktemp("codes")
    rng = np.random.default_rng(0)
    mitoses = [*range(0, 4 * PATIENTS, 4), *range(0, 12 * EXTERNAL, 12)]
    for number, count in enumerate(mitoses):
        write(folder, f"s{number}-0", count, int(rng.integers(0, 300)), number)
    return folder


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> TaskHeads:
    return made_heads(tmp_path_factory.mktemp("heads"))


def training(targets: Targets) -> Labelled:
    return Labelled(tuple(patient(n) for n in range(PATIENTS)), targets, ())


def external(targets: Targets = Values(np.zeros(EXTERNAL))) -> Labelled:  # noqa: B008
    return Labelled(tuple(patient(PATIENTS + n) for n in range(EXTERNAL)), targets, ())


RISING = np.arange(PATIENTS, dtype=np.float64)


def test_the_threshold_is_the_one_that_ranks_training_patients_best(codes: Path, heads: TaskHeads) -> None:
    train = training(Values(RISING))
    counts = mitosis_counts(train.patients, codes, heads, OPTIONS, OPTIONS.thresholds)
    by_scipy = [spearmanr(RISING, column).statistic for column in counts.T]
    fitted = fit_count(train, codes, heads, OPTIONS)
    assert fitted.threshold == OPTIONS.thresholds[int(np.argmax(by_scipy))] != 0.5
    assert fitted.figure == pytest.approx(max(by_scipy))
    assert fitted.figure > 0.9 > by_scipy[0]
    assert fitted.sign == 1


@pytest.mark.parametrize(
    ("targets", "sign"),
    [
        (Values(-RISING), -1),
        (Classes(RISING > 10, ("few", "many")), 1),
        (Classes(RISING < 10, ("many", "few")), -1),
        (Grades((RISING // 8).astype(np.intp), ("1", "2", "3")), 1),
        (Survival(60 - RISING, np.arange(PATIENTS) % 3 > 0), 1),
        (Survival(1 + RISING, np.arange(PATIENTS) % 3 > 0), -1),
    ],
)
def test_the_direction_is_that_of_the_training_patients(
    targets: Targets, sign: int, codes: Path, heads: TaskHeads
) -> None:
    fitted = fit_count(training(targets), codes, heads, OPTIONS)
    scores = mitosis_scores(training(targets), external(), codes, heads, OPTIONS)
    assert fitted.sign == sign
    assert np.isfinite(scores).all()
    assert spearmanr(scores, np.arange(EXTERNAL)).statistic * sign > 0.9


def test_labels_of_external_patients_change_nothing(codes: Path, heads: TaskHeads) -> None:
    train = training(Values(RISING))
    one = mitosis_scores(train, external(), codes, heads, OPTIONS)
    other = mitosis_scores(train, external(Values(-np.arange(EXTERNAL, dtype=np.float64))), codes, heads, OPTIONS)
    assert np.array_equal(one, other)
    few = replace(external(), patients=external().patients[:2])
    assert np.array_equal(mitosis_scores(train, few, codes, heads, OPTIONS), one[:2])


def test_a_patient_has_the_highest_count_of_all_slides(heads: TaskHeads, tmp_path: Path) -> None:
    write(tmp_path, "s0-0", 10, 0, 0)
    write(tmp_path, "s0-1", 40, 0, 1)
    write(tmp_path, "s1-0", 10, 0, 0)
    write(tmp_path, "s2-0", 40, 0, 1)
    three = (patient(0, slides=3), patient(1), patient(2))  # a third slide has no file
    counts: NDArray[np.float64] = mitosis_counts(three, tmp_path, heads, OPTIONS, (0.9,))[:, 0]
    assert counts[0] == counts[2] > counts[1] > 0


def test_no_detection_anywhere_is_a_score_of_zero(heads: TaskHeads, tmp_path: Path) -> None:
    for number in range(PATIENTS + EXTERNAL):
        write(tmp_path, f"s{number}-0", 0, 0, number)
    train = training(Values(RISING))
    assert np.isnan(fit_count(train, tmp_path, heads, OPTIONS).figure)
    assert (mitosis_scores(train, external(), tmp_path, heads, OPTIONS) == 0).all()


def test_what_cannot_be_counted_is_refused(codes: Path, heads: TaskHeads, tmp_path: Path) -> None:
    unordered = Categories(np.arange(PATIENTS, dtype=np.intp) % 3, ("a", "b", "c"))
    with pytest.raises(EndpointError, match="a, b, c have no order"):
        mitosis_scores(training(unordered), external(), codes, heads, OPTIONS)
    with pytest.raises(CodesError, match="P99: none of its 1 slides has codes"):
        mitosis_counts((patient(0), patient(99)), codes, heads, OPTIONS, (0.5,))
    write(tmp_path, "s0-0", 1, 0, 0)
    write(tmp_path, "s1-0", 1, 0, 0, overlap_px=32)
    with pytest.raises(ForeignCodes, match="s1-0: compressed with overlap_px=32"):
        mitosis_counts((patient(0), patient(1)), tmp_path, heads, OPTIONS, (0.5,))
