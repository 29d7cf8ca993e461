"""Codes belong to the named encoder or to another tool; the two are never confused."""

import pytest

from nic.compression.interchange.tile_codes import imported_encoder
from nic.encoder.spec import IMPORTED, EncoderSpec
from nic.errors import ForeignCodes
from nic.tracking.registry import encoder_of_codes

OURS = EncoderSpec(128, 64, 1.0, 0.5, "supervised", ("mitosis",), "a" * 64)
THEIRS = imported_encoder("uni_v1", "TRIDENT", 1024, 256, 0.5)


def test_imported_codes_have_a_name_and_no_graph() -> None:
    assert encoder_of_codes(IMPORTED, THEIRS) == ("uni_v1/TRIDENT", None)


def test_imported_codes_and_own_codes_are_not_confused() -> None:
    with pytest.raises(ForeignCodes, match="codes of an encoder of nic, aaaaaaaaaaaa, not of imported"):
        encoder_of_codes(IMPORTED, OURS)
    with pytest.raises(ForeignCodes, match="codes of uni_v1/TRIDENT, not of models:/nic-encoder@champion"):
        encoder_of_codes("models:/nic-encoder@champion", THEIRS)
