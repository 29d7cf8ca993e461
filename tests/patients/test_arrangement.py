"""The grid network learns a class from the arrangement of tissues, where averages cannot."""

import numpy as np
import pytest
import torch
from liver_truth import truth_map
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nic.patients.crops import PatientCells, SlideCells
from nic.patients.ensemble import fit_folds
from nic.patients.targets import Classes
from nic.phantom.liver import liver_layout
from nic.phantom.synthetic_patients import liver_patients

pytestmark = pytest.mark.slow


def test_arrangement_is_learned_from_eighty_patients_where_pooling_holds_chance() -> None:
    """True maps of phantom livers of another seed than the embedded study's, one code a tissue, and noise."""
    rng = np.random.default_rng(0)
    made, slides = liver_patients(7, 80, 0)
    pattern = made.labels.groupby("patient").growth_pattern.first()
    first = {s.slide_id.rpartition("-")[0]: s for s in reversed(slides)}
    centres = 0.35 * rng.normal(size=(5, 128))
    cells = []
    for patient in pattern.index:
        kinds = truth_map(liver_layout(first[patient], rng))
        row, col = np.nonzero(kinds)
        codes = centres[kinds[row, col]] + 0.5 * rng.normal(size=(len(row), 128))
        slide = SlideCells(torch.tensor(codes, dtype=torch.float16), torch.tensor(row), torch.tensor(col))
        cells.append(PatientCells(patient, (slide,)))
    positive = (pattern == "desmoplastic").to_numpy()
    ensemble = fit_folds(cells, Classes(positive, ("replacement", "desmoplastic")), seed=0)
    means = np.stack([p.slides[0].codes.float().mean(dim=0).numpy() for p in cells])
    pooled = np.empty(len(cells))
    for number in range(5):
        train, test = ensemble.fold != number, ensemble.fold == number
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(means[train], positive[train])
        pooled[test] = model.decision_function(means[test])
    by_fold = {
        name: np.mean([roc_auc_score(positive[ensemble.fold == k], score[ensemble.fold == k]) for k in range(5)])
        for name, score in (("grid", ensemble.out_of_fold), ("pooled", pooled))
    }
    assert by_fold["grid"] > 0.9, by_fold
    assert by_fold["pooled"] < 0.7, by_fold
