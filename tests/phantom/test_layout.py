"""The liver's layout: the same pieces in every slide, only their arrangement differs."""

import numpy as np
import pytest
from liver_truth import LOOSE, NODULE, RING, TUMOUR, truth_map
from numpy.typing import NDArray
from scipy import ndimage

from nic.errors import StudyError
from nic.phantom.liver import (
    GAP_UM,
    RING_UM,
    LiverLayout,
    LiverSlide,
    liver_layout,
)
from nic.phantom.plan import PLAN_MPP
from nic.phantom.synthetic_patients import LIVER_CELLS


def layout(count: int, encapsulated: int, radius_um: float, seed: int) -> LiverLayout:
    slide = LiverSlide("L", "aspen", LIVER_CELLS[count], count, encapsulated, radius_um, 500.0, 1.0)
    return liver_layout(slide, np.random.default_rng(seed))


CASES = [(3, 3, 120.0, 0), (4, 1, 75.0, 1), (5, 4, 118.0, 2), (5, 0, 96.0, 3)]


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> tuple[int, int, LiverLayout]:
    count, encapsulated, radius_um, seed = request.param
    return count, encapsulated, layout(count, encapsulated, radius_um, seed)


def distance_um(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(ndimage.distance_transform_edt(~mask) * PLAN_MPP)


def test_as_many_nests_as_nodules_as_rings(case: tuple[int, int, LiverLayout]) -> None:
    count, _, made = case
    assert len(made.nests) == len(made.nodules) == len(made.rings) == count
    for masks in (made.nests, made.nodules, made.rings):
        assert ndimage.label(np.logical_or.reduce(masks), np.ones((3, 3)))[1] == count


def test_every_ring_keeps_its_gap_and_the_right_number_surround_nests(case: tuple[int, int, LiverLayout]) -> None:
    _, encapsulated, made = case
    inside = 0
    for ring in made.rings:
        filled = ndimage.binary_fill_holes(ring)
        owners = [(obj, obj is not None) for obj in (*made.nests, *made.nodules) if (obj & filled).any()]
        assert len(owners) == 1
        owner = owners[0][0]
        inside += any(owner is nest for nest in made.nests)
        away = distance_um(owner)[ring]
        assert GAP_UM[0] <= away.min() <= GAP_UM[1] + 2 * PLAN_MPP
        assert away.max() - away.min() == pytest.approx(RING_UM, abs=2 * PLAN_MPP)
    assert inside == encapsulated


def test_nothing_overlaps_and_all_lies_in_the_section(case: tuple[int, int, LiverLayout]) -> None:
    _, _, made = case
    pieces = [*made.nests, *made.nodules, *made.rings]
    assert np.sum(pieces, axis=0).max() == 1
    assert not (np.logical_or.reduce(pieces) & ~made.section).any()


def test_the_truth_map_holds_every_tissue_in_cells(case: tuple[int, int, LiverLayout]) -> None:
    count, _, made = case
    kinds = truth_map(made)
    assert kinds.shape == (LIVER_CELLS[count],) * 2
    area_um2 = {TUMOUR: made.nests, NODULE: made.nodules, RING: made.rings}
    for value, masks in area_um2.items():
        cells = np.logical_or.reduce(masks).sum() * PLAN_MPP**2 / 64**2
        assert (kinds == value).sum() == pytest.approx(cells, rel=0.35, abs=3)
    assert (kinds == LOOSE).mean() > 0.3


def test_the_same_seed_gives_the_same_layout() -> None:
    first, again, other = (layout(4, 2, 100.0, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(truth_map(first), truth_map(again))
    assert (truth_map(first) != truth_map(other)).any()


def test_a_slide_too_small_for_its_objects_is_refused() -> None:
    slide = LiverSlide("L7-1", "aspen", 12, 5, 3, 110.0, 500.0, 1.0)
    with pytest.raises(StudyError, match="L7-1: 12 cells"):
        liver_layout(slide, np.random.default_rng(0))
