"""What an encoder says of itself: possible, and readable however old."""

import json

import pytest

from nic.encoder.spec import EncoderSpec
from nic.errors import EncoderError

SPEC = EncoderSpec(8, 224, 0.5, 0.25, "imported:x", ("mitosis",), "a" * 64)


def test_a_spec_survives_its_json() -> None:
    assert EncoderSpec.from_json(SPEC.to_json()) == SPEC


@pytest.mark.parametrize(("tile_mpp", "read_mpp"), [(0.25, 0.5), (0.5, 0.0), (0.5, float("nan")), (float("inf"), 1.0)])
def test_a_spec_that_reads_coarser_than_its_tiles_is_refused(tile_mpp: float, read_mpp: float) -> None:
    with pytest.raises(EncoderError, match=r"x: slides are read at read_mpp=.* no coarser than tile_mpp"):
        EncoderSpec(8, 224, tile_mpp, read_mpp, "x", ())


@pytest.mark.parametrize(("code_size", "tile_px"), [(0, 224), (8, 0)])
def test_a_spec_without_code_or_tile_size_is_refused(code_size: int, tile_px: int) -> None:
    with pytest.raises(EncoderError, match="wanted more than 0"):
        EncoderSpec(code_size, tile_px, 0.5, 0.5, "x", ())


def test_a_stored_spec_that_read_coarser_than_its_tiles_reads_at_their_resolution() -> None:
    stored = json.dumps({**json.loads(SPEC.to_json()), "tile_mpp": 0.25, "read_mpp": 0.5})
    spec = EncoderSpec.from_json(stored)
    assert (spec.tile_mpp, spec.read_mpp) == (0.25, 0.25)
