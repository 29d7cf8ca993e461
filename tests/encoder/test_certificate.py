"""A certificate finds what was planted in encoders made for the purpose; the card says it in words."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from nic.encoder.certificate import (
    Certificate,
    CodeStatistics,
    Comparison,
    Robustness,
    TaskFigure,
    code_statistics,
    encoded,
    neighbours,
    robustness,
)
from nic.encoder.model_card import comparison_text, model_card
from nic.encoder.spec import EncoderSpec
from nic.errors import EncoderError

TEMPLATE = (Path(__file__).resolve().parents[2] / "registry" / "encoder_card.md").read_text()
SPEC = EncoderSpec(48, 64, 1.0, 0.5, "multitask", ("mitosis",), "ab12" * 16)


class MeanEncoder:
    """Mean red, green and blue: blind to where things lie."""

    spec = EncoderSpec(3, 64, 1.0, 0.5, "mean", (), "0" * 64)

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return tiles.mean((1, 2)).astype(np.float32) - 128


class EdgeEncoder(MeanEncoder):
    """How much darker each pixel of the green channel is than the tile: blind to brightness, not to where."""

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        green = tiles[..., 1].reshape(len(tiles), -1).astype(np.float32)
        return green - green.mean(1, keepdims=True)


def tiles(count: int = 20) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    colour = rng.integers(60, 200, (count, 1, 1, 3))
    return (colour + rng.integers(-40, 40, (count, 64, 64, 1))).clip(0, 255).astype(np.uint8)


def test_robustness_distinguishes_an_encoder_that_ignores_place_from_one_that_does_not() -> None:
    mean, edge = robustness(MeanEncoder(), tiles(), 0), robustness(EdgeEncoder(), tiles(), 0)
    assert mean.dihedral == pytest.approx(1, abs=1e-5)
    assert abs(edge.dihedral) < 0.1
    assert edge.colour > 0.95 > mean.colour
    assert abs(edge.strangers) < 0.1


def test_the_cosines_equal_those_of_each_pair() -> None:
    some = tiles(3)
    encoder = EdgeEncoder()
    expected = []
    for tile in some:
        for image in (tile, tile[:, ::-1]):
            for quarter in range(4):
                a, b = encoder.encode(tile[None])[0], encoder.encode(np.rot90(image, quarter)[None])[0]
                expected.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    expected = np.delete(np.array(expected).reshape(3, 8), 0, axis=1)  # the first is the tile itself
    assert robustness(encoder, some, 0).dihedral == pytest.approx(expected.mean(), abs=1e-5)


def test_dead_dimensions_are_counted_and_the_rank_is_that_of_the_spread() -> None:
    rng = np.random.default_rng(0)
    codes = np.zeros((4000, 10), np.float32)
    codes[:, :6] = rng.normal(size=(4000, 6)) + 100  # a shift is no spread
    statistics = code_statistics(codes)
    assert (statistics.tiles, statistics.size, statistics.dead) == (4000, 10, 4)
    assert statistics.effective_rank == pytest.approx(6, abs=0.05)
    one_direction = np.outer(rng.normal(size=500), np.ones(10)).astype(np.float32)
    assert code_statistics(one_direction).effective_rank == pytest.approx(1, abs=0.05)


def test_codes_that_are_not_finite_are_refused() -> None:
    codes = np.ones((5, 4), np.float32)
    codes[2, 1] = np.nan
    with pytest.raises(EncoderError, match="1 of 5 codes are not finite"):
        code_statistics(codes)


def test_neighbours_are_the_nearest_of_other_slides() -> None:
    rng = np.random.default_rng(0)
    codes, groups = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(6, size=60).astype(str)
    queries = np.array([3, 40])
    for query, nearest in zip(queries, neighbours(codes, groups, queries, 4), strict=True):
        cosine = [c @ codes[query] / np.linalg.norm(c) / np.linalg.norm(codes[query]) for c in codes]
        others = [i for i in np.argsort(cosine)[::-1] if groups[i] != groups[query]]
        assert list(nearest) == others[:4]


def test_few_other_slides_give_few_neighbours() -> None:
    groups = np.array(["a", "a", "a", "b"])
    assert neighbours(np.eye(4, dtype=np.float32), groups, np.array([0]), 5).tolist() == [[3]]


def test_many_tiles_are_encoded_batch_by_batch() -> None:
    seen: list[int] = []
    encoder = SimpleNamespace(encode=lambda batch: (seen.append(len(batch)), batch.mean((1, 2, 3))[:, None])[1])
    codes = encoded(encoder, tiles(300))
    assert codes[:, 0] == pytest.approx(tiles(300).mean((1, 2, 3)))
    assert max(seen) <= 128


def certificate(**changed: object) -> Certificate:
    task = TaskFigure("mitosis", ("other", "mitosis"), 0.97, 0.95, 0.99, 400, 12)
    parts = {"spec": SPEC, "parity": 2e-6, "parity_tiles": 128, "tasks": (task,), "trained_with": "mitosis 1.00"}
    parts |= {"codes": CodeStatistics(400, 48, 2, 20.5), "robustness": Robustness(100, 0.9, 0.7, 0.1)}
    return Certificate(**(parts | changed))  # type: ignore[arg-type]


def test_the_certificate_is_json_with_the_spec_in_it() -> None:
    content = json.loads(certificate().to_json())
    assert EncoderSpec.from_json(json.dumps(content["spec"])) == SPEC
    assert content["tasks"][0]["classes"] == ["other", "mitosis"]
    assert content["comparison"] is None


def test_the_card_states_the_measurements_and_the_limits_of_use() -> None:
    card = model_card(certificate(), TEMPLATE)
    assert "$" not in card
    assert "| mitosis | other, mitosis | 0.970 [0.950, 0.990] | 400 | 12 |" in card
    assert "Do not use it" in card
    for words in ("2.0e-06 on 128 tiles", "2 of 48", "20.5 of 48", "| 0.900 |", "| 0.700 |", SPEC.sha256, "64 px at 1"):
        assert words in card


def test_the_card_says_plainly_when_tuning_did_not_help() -> None:
    poor = Comparison("a 0.50, b 1.50", "a 1.00, b 1.00", 0.004, -0.01, 0.02, "trial", taken=False)
    card = model_card(certificate(comparison=poor), TEMPLATE)
    assert "Tuning did not help" in card
    assert "+0.004 [-0.010, +0.020]" in card
    assert "chosen on the same held-out tiles" in card
    good = Comparison("a 0.50, b 1.50", "a 1.00, b 1.00", 0.1, 0.05, 0.2, "full", taken=True)
    assert "both trained in full" in comparison_text(good)
    assert "The tuned ones were used" in comparison_text(good)


def test_the_card_warns_of_intervals_from_few_slides() -> None:
    few = TaskFigure("mitosis", ("other", "mitosis"), 0.97, 0.95, 0.99, 400, 4)
    assert "its interval is too narrow" in model_card(certificate(tasks=(few,)), TEMPLATE)
    assert "too narrow" not in model_card(certificate(), TEMPLATE)


def test_the_card_states_what_was_not_measured() -> None:
    card = model_card(certificate(tasks=(), codes=None, robustness=None), TEMPLATE)
    for words in ("probe_encoder", "not measured: the study has no tile tasks"):
        assert words in card
