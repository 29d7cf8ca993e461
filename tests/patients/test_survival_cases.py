"""Survival and several slides a patient: the right answer, or an error that names the place."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sksurv.metrics import concordance_index_censored

from nic.errors import CodesError, ConflictingLabels, NoEvents
from nic.patients.choices import Recipe
from nic.patients.cohort import Endpoint, Labelled
from nic.patients.cohort_table import read_cohort
from nic.patients.crops import gather_cells
from nic.patients.ensemble import ensemble_scores, fit_folds
from nic.patients.ensemble_graph import export_ensemble
from nic.patients.plausibility import warnings_of
from nic.patients.predictor import PatientModel, predict_cohort
from nic.patients.targets import Survival

SURVIVAL = Endpoint("survival", "survival", ("followed", "died"))
PATIENTS = 45


@pytest.fixture(scope="module")
def study(slide_of: Callable[..., object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients of one to three slides; the more cells of kind 2, the earlier the death. Columns of unusual names."""
    folder = tmp_path_factory.mktemp("survival")
    rng = np.random.default_rng(0)
    lines = ["patient,slide,split,followed,died"]
    for number in range(PATIENTS):
        share, split = rng.random(), "train" if number < 30 else "external"
        death, end = 0.5 + rng.exponential(20 * np.exp(-6 * (share - 0.5))), rng.uniform(10, 80)
        for slide in range(1 + number % 3):
            slide_id = f"s{number}-{slide}"
            shape = (int(rng.integers(4, 8)), int(rng.integers(4, 8)))
            slide_of(1 + (rng.random(shape) < share), rng, slide_id).save(folder / f"{slide_id}.h5")
            lines.append(f"p{number},{slide_id}.svs,{split},{min(death, end):.1f},{int(death < end)}")
    (folder / "c.csv").write_text("\n".join(lines) + "\n")
    return folder


def train(study: Path) -> Labelled:
    return read_cohort(study / "c.csv").labelled(SURVIVAL, "train")


def test_all_slides_of_a_patient_count_and_a_higher_answer_dies_earlier(study: Path, tmp_path: Path) -> None:
    labelled, external = train(study), read_cohort(study / "c.csv").labelled(SURVIVAL, "external")
    gathered, unseen = gather_cells(labelled.patients, study), gather_cells(external.patients, study)
    assert [len(p.slides) for p in gathered.cells] == [1 + n % 3 for n in range(30)]
    ensemble = fit_folds(gathered.cells, labelled.targets, Recipe(epochs=15), folds=2, seed=0)
    answers = ensemble_scores(ensemble, unseen.cells)
    assert isinstance(external.targets, Survival)
    months, event = external.targets.arrays
    assert concordance_index_censored(event, months, answers)[0] > 0.7
    export_ensemble(
        ensemble, SURVIVAL, labelled.targets, cohort_digest="c", encoder=gathered.encoder,
        encoder_version="nic-encoder/1", path=tmp_path / "m.onnx",
    )  # fmt: skip
    served = predict_cohort(PatientModel(tmp_path / "m.onnx"), external.patients, study)
    np.testing.assert_allclose([s.prediction if s else np.nan for s in served], answers, atol=1e-4)


def test_folds_of_which_one_leaves_no_event_to_learn_from_are_refused(study: Path) -> None:
    labelled = train(study)
    gathered = gather_cells(labelled.patients, study)
    event = np.arange(30) < 3
    with pytest.raises(NoEvents, match="patients of the other folds: none of 27 patients has an event"):
        fit_folds(
            gathered.cells,
            Survival(np.arange(1.0, 31), event),
            Recipe(epochs=1),
            fold=np.where(event, 1, 0).astype(np.intp),
        )


def test_deaths_that_are_all_at_one_time_are_learned_from(study: Path) -> None:
    labelled = train(study)
    gathered = gather_cells(labelled.patients, study)
    ties = Survival(np.full(30, 12.0), np.arange(30) % 2 == 0)
    assert np.isfinite(fit_folds(gathered.cells, ties, Recipe(epochs=2), folds=2).out_of_fold).all()


def test_an_inverted_event_column_is_reported_before_training(study: Path) -> None:
    targets = train(study).targets
    assert isinstance(targets, Survival)
    sites = [""] * len(targets)
    assert not any("inverted" in w for w in warnings_of(targets, sites, 1))
    assert any("inverted" in w for w in warnings_of(replace(targets, event=~targets.event), sites, 1))


def test_slides_of_one_patient_that_disagree_are_refused_with_their_rows(tmp_path: Path) -> None:
    rows = ["1,a.svs,train,12,1", "1,b.svs,train,14,1", "2,c.svs,train,3,0"]
    (tmp_path / "c.csv").write_text("\n".join(["patient,slide,split,followed,died", *rows]))
    with pytest.raises(ConflictingLabels, match=r"column 'followed': patient 1 is '12' in row 2 and '14' in row 3"):
        train(tmp_path)


def test_a_damaged_file_among_several_slides_is_named(study: Path, tmp_path: Path) -> None:
    labelled = train(study)
    for file in study.glob("*.h5"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = tmp_path / "s2-1.h5"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    with pytest.raises(CodesError, match=r"s2-1\.h5: not a compressed slide"):
        gather_cells(labelled.patients, tmp_path)
