"""Several classes and ordered grades: every network learns them, its maps are additive, and the graph answers alike."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import CodesError, EndpointError
from nic.patients.attention_mil import AttentionMIL
from nic.patients.calibration import GradeProbabilities, SoftmaxProbabilities
from nic.patients.choices import NetworkName, Recipe
from nic.patients.cohort import Endpoint
from nic.patients.context_mil import ContextMIL
from nic.patients.crop_cnn import CropCNN
from nic.patients.crops import PatientCells, SlideCells
from nic.patients.ensemble import Ensemble, ensemble_scores, fit_folds
from nic.patients.ensemble_graph import export_ensemble
from nic.patients.grid_cnn import GridCNN
from nic.patients.model_spec import PatientModelSpec
from nic.patients.networks import PatientNetwork
from nic.patients.pooled_linear import PooledLinear
from nic.patients.pooling_mil import MaxMIL, MeanMIL
from nic.patients.predictor import PatientModel, stacked_scores
from nic.patients.splits import stratified_folds
from nic.patients.targets import Categories, Grades, Targets
from nic.patients.training import fit_network, scores_of

NAMES = ("inflamed", "excluded", "desert")
NETWORKS: tuple[NetworkName, ...] = get_args(NetworkName)[:7]
"""Those of the graph. glimpses, last, has a graph of its own in test_glimpses.py: it takes as long as all others."""
LEARN_SHARES = [name for name in NETWORKS if name != "max-mil"]
"""Networks that can learn how much of something there is; a maximum says whether there is any."""
ENDPOINTS = {
    "multiclass": Endpoint("phenotype", "multiclass", ("phenotype",)),
    "ordinal": Endpoint("grade", "ordinal", ("grade",), classes=("1", "2", "3")),
}
Planted = tuple[list[CompressedSlide], np.ndarray]


@pytest.fixture(scope="module")
def planted(slide_of: Callable[..., CompressedSlide]) -> Planted:
    """60 slides of kinds 1 to 3, and the share of each kind, [60, 3]."""
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.full(3, 0.7), 60)
    shapes = [(int(rng.integers(5, 9)), int(rng.integers(5, 9))) for _ in share]
    kinds = [1 + rng.choice(3, shape, p=s) for s, shape in zip(share, shapes, strict=True)]
    return [slide_of(k, rng, f"s{n}") for n, k in enumerate(kinds)], share


def targets_of(kind: str, share: np.ndarray) -> Targets:
    """The most frequent kind; or the third of the patients by the share of kind 2."""
    if kind == "multiclass":
        return Categories(share.argmax(1), NAMES)
    return Grades(np.digitize(share[:, 1], np.quantile(share[:, 1], [0.4, 0.7])), ("1", "2", "3"))


def cells_of(slides: list[CompressedSlide]) -> list[PatientCells]:
    return [PatientCells(s.slide_id, (SlideCells.of(s),)) for s in slides]


@pytest.mark.parametrize("kind", ENDPOINTS)
@pytest.mark.parametrize("name", LEARN_SHARES)
def test_every_network_learns_what_was_planted(planted: Planted, name: NetworkName, kind: str) -> None:
    slides, share = planted
    cells, targets = cells_of(slides), targets_of(kind, share)
    network = fit_network(cells[:40], targets.take(np.arange(40)), Recipe(name, epochs=14), seed=0)
    scores, index = scores_of(network, cells[40:]), targets.arrays[0][40:]
    if kind == "multiclass":
        assert scores.shape == (20, 3)
        np.testing.assert_allclose(scores.sum(1), 0, atol=1e-5)
        assert np.mean([roc_auc_score(index == k, scores[:, k]) for k in range(3)]) > 0.85
    else:
        assert scores.shape == (20,)
        assert spearmanr(share[40:, 1], scores)[0] > 0.75


def untrained_networks(outputs: int) -> tuple[PatientNetwork, ...]:
    """All networks, in the order of their names; of one output, which test_rivals.py exports, two of them."""
    torch.manual_seed(0)
    networks: list[PatientNetwork] = [
        GridCNN(8, outputs=outputs),
        CropCNN(8, 2, width=16, outputs=outputs),
        AttentionMIL(8, outputs=outputs),
        PooledLinear(8, outputs=outputs),
        ContextMIL(8, outputs=outputs),
        MeanMIL(8, outputs=outputs),
        MaxMIL(8, outputs=outputs),
    ]
    for network in networks:
        network.eval().start_from(torch.randn(500, 8) * torch.arange(1.0, 9) + 3)
        if outputs > 1:
            network.centre()
    return tuple(networks if outputs > 1 else networks[::2][:2])


Exported = Callable[[str], tuple[Ensemble, PatientModel]]


@pytest.fixture(scope="module")
def exported(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """exported(kind): one graph of its networks, calibrated on made scores out of fold. Each is made once."""
    slides, share = planted
    folder = tmp_path_factory.mktemp("several")

    @cache
    def make(kind: str) -> tuple[Ensemble, PatientModel]:
        targets, rng, path = targets_of(kind, share), np.random.default_rng(0), folder / f"{kind}.onnx"
        index, fold = targets.arrays[0], stratified_folds(targets, 4, seed=0)
        made = np.eye(3)[index] * 2 - 2 / 3 + rng.normal(size=(60, 3)) if kind == "multiclass" else 2.0 * index - 2
        ensemble = Ensemble(untrained_networks(3 if kind == "multiclass" else 1), made, fold)
        encoder = slides[0].encoder
        export_ensemble(
            ensemble,
            ENDPOINTS[kind],
            targets,
            cohort_digest="c",
            encoder=encoder,
            encoder_version="e/1",
            path=path,
        )
        return ensemble, PatientModel(path)

    return make


@pytest.mark.parametrize(("kind", "place"), [*(("multiclass", n) for n in range(len(NETWORKS))), ("ordinal", 1)])
def test_the_mean_of_each_map_of_a_network_is_its_score(
    exported: Exported, planted: Planted, kind: str, place: int
) -> None:
    """In torch and in the graph, of a patient of two slides."""
    (ensemble, model), (slides, _) = exported(kind), planted
    patient = PatientCells("two", tuple(SlideCells.of(s) for s in slides[:2]))
    wanted = scores_of(ensemble.networks[place], [patient])[0]
    scored = [model.scored(slide, np.array([place])) for slide in slides[:2]]
    maps = np.concatenate([s.cells for s in scored], axis=-1)  # [N], or [C, N]
    np.testing.assert_allclose(maps.mean(-1, dtype=float), wanted, atol=2e-4)
    by_sums = sum(s.sums[place] for s in scored) / sum(s.tiles for s in scored)
    np.testing.assert_allclose(by_sums, wanted, atol=2e-4)
    if kind == "multiclass":
        np.testing.assert_allclose(maps.sum(0), 0, atol=1e-4)  # the classes' scores of each cell sum to 0


def test_the_answer_of_several_classes(exported: Exported, planted: Planted) -> None:
    (ensemble, model), (slides, _) = exported("multiclass"), planted
    answer = model.predict(slides[:2])
    patient = PatientCells("two", tuple(SlideCells.of(s) for s in slides[:2]))
    each = np.array([scores_of(network, [patient])[0] for network in ensemble.networks])  # [K, C]
    np.testing.assert_allclose(answer.class_scores, ensemble_scores(ensemble, [patient])[0], atol=2e-4)
    calibration = model.spec.calibration
    assert isinstance(calibration, SoftmaxProbabilities)
    odds = np.exp(calibration.slope * each + np.array(calibration.biases))
    probability = np.exp(calibration.slope * each.mean(0) + np.array(calibration.biases))
    probability /= probability.sum()
    top = int(probability.argmax())
    assert list(answer.calibrated) == [f"probability_{name}" for name in NAMES]
    np.testing.assert_allclose(list(answer.calibrated.values()), probability, atol=1e-3)
    assert sum(answer.calibrated.values()) == pytest.approx(1)
    assert answer.class_name == NAMES[top]
    assert answer.prediction == max(answer.calibrated.values())
    assert answer.score == answer.class_scores[top]
    assert answer.uncertainty == pytest.approx((odds / odds.sum(1, keepdims=True))[:, top].std(), abs=1e-3)
    for shown, slide in zip(answer.score_maps, slides[:2], strict=True):
        assert shown.shape == (3, *slide.valid.shape)
        np.testing.assert_array_equal(np.isfinite(shown[0]), slide.valid)
    means = np.mean([m[:, s.valid] for m, s in zip(answer.score_maps[:1], slides, strict=False)], axis=(0, 2))
    np.testing.assert_allclose(means, model.predict(slides[:1]).class_scores, atol=1e-4)
    np.testing.assert_array_equal(stacked_scores([answer, answer]), [answer.class_scores] * 2)


def test_the_answer_of_grades(exported: Exported, planted: Planted) -> None:
    (ensemble, model), (slides, _) = exported("ordinal"), planted
    answer = model.predict(slides[:1])
    calibration = model.spec.calibration
    assert isinstance(calibration, GradeProbabilities)
    each = np.array([scores_of(network, cells_of(slides[:1]))[0] for network in ensemble.networks])
    at_most = 1 / (1 + np.exp(calibration.slope * each[:, None] - np.array(calibration.thresholds)))  # [K, 2]
    expected = np.diff(np.c_[np.zeros(len(each)), at_most, np.ones(len(each))]) @ [1, 2, 3]
    assert sum(answer.calibrated.values()) == pytest.approx(1)
    numbers = [float(name) for name in ("1", "2", "3")]
    assert answer.prediction == pytest.approx(np.dot(list(answer.calibrated.values()), numbers))
    assert answer.uncertainty == pytest.approx(expected.std(), abs=1e-3)
    assert f"probability_{answer.class_name}" == max(answer.calibrated, key=lambda name: answer.calibrated[name])
    assert answer.class_scores == ()
    assert answer.score_maps[0].shape == slides[0].valid.shape
    assert answer.score == pytest.approx(each.mean(), abs=2e-4)


@pytest.mark.parametrize("kind", ENDPOINTS)
def test_the_spec_survives_its_journey_and_knows_the_shares(exported: Exported, planted: Planted, kind: str) -> None:
    spec = exported(kind)[1].spec
    assert PatientModelSpec.from_json(spec.to_json()) == spec
    assert spec.classes == (NAMES if kind == "multiclass" else ("1", "2", "3"))
    index = targets_of(kind, planted[1]).arrays[0]
    assert spec.shares == pytest.approx(np.bincount(index) / 60)
    assert (spec.outputs, spec.folds, spec.guess) == (
        3 if kind == "multiclass" else 1,
        len(exported(kind)[0].networks),
        None,
    )
    units = {"multiclass": "probability of the class", "ordinal": "expected grade, 1 to 3"}
    assert spec.prediction_unit == units[kind]
    if kind == "ordinal":
        words = ("low", "middle", "high")
        named = replace(spec, classes=words, calibration=replace(spec.calibration, classes=words))
        assert named.prediction_unit == "expected grade, 1 (low) to 3 (high)"
    without = json.loads(spec.to_json()) | {"calibration": None}
    with pytest.raises(CodesError, match="always calibrated"):
        PatientModelSpec.from_json(json.dumps(without))


def test_out_of_fold_scores_of_several_classes_come_from_the_network_that_never_saw_the_patient(
    planted: Planted,
) -> None:
    slides, share = planted
    cells, targets = cells_of(slides[:24]), targets_of("multiclass", share[:24])
    ensemble = fit_folds(cells, targets, Recipe("grid-cnn", epochs=2), folds=2, seed=0)
    assert ensemble.out_of_fold.shape == (24, 3)
    for number, network in enumerate(ensemble.networks):
        members = np.flatnonzero(ensemble.fold == number)
        again = scores_of(network, [cells[i] for i in members])
        np.testing.assert_allclose(ensemble.out_of_fold[members], again, atol=1e-5)


def test_folds_hold_every_class_and_a_class_without_a_patient_is_refused(planted: Planted) -> None:
    slides, share = planted
    targets = targets_of("multiclass", share)
    fold = stratified_folds(targets, 3, seed=0)
    index = targets.arrays[0]
    counts = np.array([np.bincount(index[fold == k], minlength=3) for k in range(3)])
    assert np.ptp(counts, axis=0).max() <= 1
    two = np.flatnonzero(index != 1)
    with pytest.raises(EndpointError, match=r"none of \d+ patients is 'excluded'; wanted patients of each of inflamed"):
        fit_network([cells_of(slides)[i] for i in two], targets.take(two), Recipe(epochs=1), seed=0)
