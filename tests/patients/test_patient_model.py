"""The exported model answers as the trained one, its map is its prediction, and it refuses other codes."""

import json
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.compression.tissue_rule import Everything, Mask, OwnMask
from nic.encoder.spec import EncoderSpec
from nic.errors import CodesError, EncoderError, ForeignCodes, NoTissue
from nic.patients.calibration import PlattProbability
from nic.patients.calibration_fit import fit_calibration, platt
from nic.patients.choices import Recipe
from nic.patients.cohort import Endpoint, Kind
from nic.patients.cohort_table import read_cohort
from nic.patients.crops import PatientCells, SlideCells
from nic.patients.ensemble import Ensemble, fit_folds
from nic.patients.ensemble_graph import export_ensemble
from nic.patients.model_spec import PatientModelSpec
from nic.patients.predictor import PatientModel, predict_cohort
from nic.patients.targets import Classes, Survival, Targets, Values
from nic.patients.training import scores_of

KINDS: tuple[Kind, ...] = ("regression", "classification", "survival")
ENDPOINTS = {
    "regression": Endpoint("score", "regression", ("score",), "points"),
    "classification": Endpoint("pattern", "classification", ("pattern",), positive="b"),
    "survival": Endpoint("survival", "survival", ("months", "event"), "log hazard"),
}


@pytest.fixture(scope="module")
def slides(slide_of: Callable[..., CompressedSlide]) -> list[CompressedSlide]:
    rng = np.random.default_rng(0)
    shapes = [(int(rng.integers(3, 9)), int(rng.integers(3, 9))) for _ in range(12)]
    return [slide_of(rng.integers(0, 3, shape), rng, f"s{n}") for n, shape in enumerate(shapes)]


@pytest.fixture(scope="module")
def trained(slides: list[CompressedSlide]) -> dict[str, tuple[Ensemble, Targets]]:
    rng = np.random.default_rng(0)
    targets: dict[str, Targets] = {
        "regression": Values(rng.normal(50, 10, 12)),
        "classification": Classes(np.arange(12) % 2 == 0, ("a", "b")),
        "survival": Survival(rng.uniform(1, 60, 12), np.arange(12) % 2 == 0),
    }
    cells = [PatientCells(s.slide_id, (SlideCells.of(s),)) for s in slides]
    return {kind: (fit_folds(cells, t, Recipe(epochs=2), folds=2), t) for kind, t in targets.items()}


@pytest.fixture(scope="module")
def models(trained, slides, tmp_path_factory) -> dict[str, PatientModel]:
    folder = tmp_path_factory.mktemp("models")
    for kind, (ensemble, targets) in trained.items():
        difference = export_ensemble(
            ensemble,
            ENDPOINTS[kind],
            targets,
            cohort_digest="c0ffee",
            encoder=slides[0].encoder,
            encoder_version="nic-encoder/3",
            path=folder / f"{kind}.onnx",
        )
        assert difference <= 1e-4
    return {kind: PatientModel(folder / f"{kind}.onnx") for kind in trained}


def as_probability(spec: PatientModelSpec, log_odds: np.ndarray) -> np.ndarray:
    """Platt's, written out."""
    assert isinstance(spec.calibration, PlattProbability)
    return 1 / (1 + np.exp(-(spec.calibration.slope * log_odds + spec.calibration.intercept)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_served_answer_is_that_of_the_trained_networks(models, trained, slides, kind: Kind) -> None:
    ensemble, _ = trained[kind]
    patient = PatientCells("p", tuple(SlideCells.of(s) for s in slides[:3]))
    scores = np.array([float(scores_of(n, [patient])[0]) for n in ensemble.networks])
    wanted, by_fold = scores.mean(), scores
    if kind == "classification":
        wanted, by_fold = (as_probability(models[kind].spec, log_odds) for log_odds in (wanted, scores))
    found = models[kind].predict(slides[:3])
    assert found.score == pytest.approx(scores.mean(), abs=1e-4)
    assert found.prediction == pytest.approx(wanted, abs=1e-4)
    assert found.uncertainty == pytest.approx(by_fold.std(), abs=1e-4)
    assert found.tiles == sum(len(s.codes) for s in slides[:3])


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_of_the_maps_is_the_score(models, slides, kind: Kind) -> None:
    found = models[kind].predict(slides[:2])
    assert [m.shape for m in found.score_maps] == [s.valid.shape for s in slides[:2]]
    for shown, slide in zip(found.score_maps, slides[:2], strict=True):
        np.testing.assert_array_equal(np.isfinite(shown), slide.valid)
    mean = np.concatenate([m[np.isfinite(m)] for m in found.score_maps]).mean(dtype=float)
    assert mean == pytest.approx(found.score, abs=1e-4)


def test_glass_around_a_slide_changes_nothing(models, slides) -> None:
    slide = slides[0]
    rows, cols = slide.valid.shape
    grid = type(slide.grid)(64, 1.0, 0.499, (0, 0), rows + 20, cols + 9)
    shape = (grid.rows, grid.cols)
    wide = CompressedSlide(
        slide.slide_id, slide.codes, slide.row + 17, slide.col + 5, grid, np.zeros(shape, bool), np.zeros(shape, bool),
        slide.encoder, "f", slide.tiling,
    )  # fmt: skip
    model = models["regression"]
    assert model.predict([wide]).prediction == pytest.approx(model.predict([slide]).prediction, abs=1e-4)


def test_a_slide_of_one_tile_is_answered(models, slide_of) -> None:
    found = models["survival"].predict([slide_of(np.array([[2]]), np.random.default_rng(0))])
    assert found.tiles == 1
    assert np.isfinite(found.prediction)


def test_the_model_says_what_it_is(models, trained) -> None:
    spec = models["classification"].spec
    assert (spec.endpoint, spec.kind, spec.classes) == ("pattern", "classification", ("a", "b"))
    assert (spec.encoder_version, spec.encoder_sha256) == ("nic-encoder/3", "a" * 64)
    assert (spec.folds, spec.patients, spec.cohort, spec.tile_um) == (2, 12, "c0ffee", 64.0)
    assert spec.median == np.median(trained["classification"][0].comparable.as_ensemble)
    assert PatientModelSpec.from_json(spec.to_json()) == spec
    guesses = [models[kind].spec.guess for kind in KINDS]
    assert guesses == [np.median(trained["regression"][1].value), 0.5, None]


def test_an_answer_says_what_it_means(models, trained, slides) -> None:
    said = {kind: model.predict(slides[:1]) for kind, model in models.items()}
    interval = said["regression"].calibrated
    assert interval["low"] < said["regression"].prediction < interval["high"]
    assert said["classification"].calibrated == {}
    assert 0 <= said["survival"].calibrated["percentile"] <= 100
    for kind, model in models.items():
        assert tuple(said[kind].calibrated) == model.spec.answers
        assert model.spec.calibration == fit_calibration(trained[kind][1], trained[kind][0].comparable)


def test_the_prediction_of_a_rare_class_is_its_share_and_not_a_half() -> None:
    """Networks are trained with both classes at equal weight: log odds of 0 are those of the average patient."""
    rng = np.random.default_rng(0)
    positive = rng.random(2000) < 0.05
    log_odds = rng.normal(1.0 * positive, 1)
    spec = replace(rare_class(), calibration=platt(positive, log_odds))
    assert float(spec.predictions(np.array(0.5))) == pytest.approx(0.05, abs=0.02)
    assert rare_class().predictions(np.array([-800.0, 0.0, 800.0])).tolist() == [0, 0.5, 1]


def rare_class() -> PatientModelSpec:
    return PatientModelSpec(
        "pattern", "classification", "", ("a", "b"), "0", "nic-encoder/1", 64.0, 5, "c0ffee", 2000, 0.0
    )


@pytest.mark.parametrize(
    ("kind", "unit"),
    [("regression", "points"), ("classification", "probability of b"), ("survival", "log hazard")],
)
def test_a_prediction_says_what_its_number_is(models: dict[str, PatientModel], kind: str, unit: str) -> None:
    assert models[kind].spec.prediction_unit == unit


def test_a_model_from_before_calibration_is_read() -> None:
    fields = {"endpoint": "x", "kind": "regression", "unit": "", "classes": [], "encoder_sha256": "0", "folds": 2}
    fields |= {"encoder_version": "nic-encoder/1", "tile_um": 64.0, "cohort": "c", "patients": 3, "median": 1.0}
    spec = PatientModelSpec.from_json(json.dumps(fields))
    assert spec.calibration is None
    assert spec.answers == ()
    assert spec.tiling == Tiling(64.0)
    assert not spec.tiling_recorded
    assert PatientModelSpec.from_json(spec.to_json()) == spec


def test_codes_of_another_encoder_are_refused(models, slide_of) -> None:
    other = EncoderSpec(8, 64, 1.0, 0.5, "vae", (), sha256="b" * 64)
    slide = slide_of(np.ones((2, 2), int), np.random.default_rng(0), "foreign", other)
    with pytest.raises(ForeignCodes, match=r"foreign: codes of encoder b{12}.*a{12}"):
        models["regression"].predict([slide])


@pytest.mark.parametrize(
    ("changed", "theirs", "ours"),
    [
        ({"overlap_px": 16}, "overlap_px=16", "overlap_px=0"),
        ({"min_tissue": 0.5}, "min_tissue=0.5", "min_tissue=0.6"),
        ({"exclude": ()}, "exclude=nothing", "exclude=blurred,dark,pen"),
        ({"tissue": OwnMask(), "mask": Mask("0123abcd")}, "tissue=given", "tissue=otsu"),
        ({"min_tissue": 0.0, "tissue": Everything()}, "min_tissue=0.0, tissue=all", "min_tissue=0.6, tissue=otsu"),
    ],
)
def test_slides_of_another_tiling_are_refused(
    models, slide_of, changed: dict[str, object], theirs: str, ours: str
) -> None:
    """The score is a mean over other tiles; a training on a mix of both is refused too."""
    usual = slide_of(np.ones((2, 2), int), np.random.default_rng(0), "usual")
    slide = replace(usual, slide_id="other", tiling=replace(usual.tiling, **changed))
    with pytest.raises(ForeignCodes, match=f"other: compressed with {theirs}; wanted .* with {ours}, as .*; compress"):
        models["regression"].predict([usual, slide])


def test_masks_of_each_slide_are_one_tiling(models, slide_of) -> None:
    slide = slide_of(np.ones((2, 2), int), np.random.default_rng(0), "masked")
    model = models["regression"]
    model = replace_spec(model, replace(model.spec, tiling=Tiling(64.0, tissue=OwnMask())))
    for mask in (Mask("01234567"), Mask("89abcdef"), None):
        assert model.predict([replace(slide, tiling=Tiling(64.0, tissue=OwnMask(), mask=mask))]).tiles == 4


def test_a_model_from_before_its_tiling_was_recorded_takes_what_it_took(models, slide_of) -> None:
    slide = slide_of(np.ones((2, 2), int), np.random.default_rng(0), "old")
    model = replace_spec(models["regression"], replace(models["regression"].spec, tiling_recorded=False))
    assert model.predict([replace(slide, tiling=replace(slide.tiling, exclude=()))]).tiles == 4
    with pytest.raises(ForeignCodes, match="overlap_px=16"):
        model.predict([replace(slide, tiling=replace(slide.tiling, overlap_px=16))])


def replace_spec(model: PatientModel, spec: PatientModelSpec) -> PatientModel:
    other = copy(model)
    other.spec = spec
    return other


def test_nothing_to_see_is_refused(models, slide_of) -> None:
    glass = slide_of(np.zeros((2, 2), int), np.random.default_rng(0), "glass")
    with pytest.raises(NoTissue, match="glass"):
        models["regression"].predict([glass])
    with pytest.raises(NoTissue):
        models["regression"].predict([])


def test_what_is_no_patient_model_is_refused(models, tmp_path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(EncoderError, match=r"text\.onnx"):
        PatientModel(tmp_path / "text.onnx")
    with pytest.raises(CodesError, match="not readable"):
        PatientModelSpec.from_json('{"endpoint": "x"}')


def test_a_cohort_is_answered_in_its_order_with_a_gap_where_slides_are_missing(models, slides, tmp_path: Path) -> None:
    for slide in slides[:2]:
        slide.save(tmp_path / f"{slide.slide_id}.h5")
    (tmp_path / "c.csv").write_text(
        "patient,slide,split\nz,s1.svs,train\ny,gone.svs,train\nx,s0.svs,train\nx,lost.svs,train\n"
    )
    found = predict_cohort(models["regression"], read_cohort(tmp_path / "c.csv").patients, tmp_path)
    alone = [models["regression"].predict([s]).prediction for s in slides[:2]]
    assert [f.prediction if f else None for f in found] == [alone[1], None, alone[0]]
