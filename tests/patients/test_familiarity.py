"""The score separates patients like those of the training from others, by the distances of scipy."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from nic.compression.compressed_slide import CompressedSlide
from nic.patients.familiarity import Familiarity
from nic.patients.familiarity_fit import fit_familiarity, mean_code


@pytest.fixture
def familiarity() -> Familiarity:
    rng = np.random.default_rng(0)
    return fit_familiarity(rng.normal(size=(200, 8)) * np.arange(1, 9))


def test_about_one_new_patient_of_a_hundred_is_strange(familiarity: Familiarity) -> None:
    new = np.random.default_rng(1).normal(size=(5000, 8)) * np.arange(1, 9)
    scores = [mahalanobis(code, familiarity.mean, familiarity.precision) / familiarity.threshold for code in new]
    assert 0.002 < (np.array(scores) > 1).mean() < 0.03


def test_few_patients_of_many_dimensions_leave_room_for_the_next() -> None:
    rng = np.random.default_rng(0)
    few = fit_familiarity(rng.normal(size=(40, 128)))
    away = rng.normal(size=(500, 128)) - few.mean
    scores = np.sqrt(np.einsum("nd,de,ne->n", away, few.precision, away)) / few.threshold
    assert (scores > 1).mean() < 0.15


def test_the_score_of_slides_is_that_of_all_their_tiles(
    familiarity: Familiarity, slide_of: Callable[..., CompressedSlide], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    slides = [slide_of(rng.integers(0, 3, shape), rng, name) for shape, name in (((4, 5), "a"), ((6, 3), "b"))]
    width = slides[0].codes.shape[1]
    fitted = fit_familiarity(rng.normal(size=(30, width)))
    fitted.save(tmp_path / "familiarity.npz")
    pooled = np.concatenate([s.codes for s in slides]).astype(float).mean(0)
    expected = mahalanobis(pooled, fitted.mean, fitted.precision) / fitted.threshold
    assert mean_code(s.codes for s in slides) == pytest.approx(pooled)
    assert Familiarity.load(tmp_path / "familiarity.npz").score(slides) == pytest.approx(expected)
