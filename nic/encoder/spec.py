"""The spec of an encoder, and the protocol by which other rooms use one. Needs numpy alone."""

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nic.errors import EncoderError
from nic.threads import cores

IMPORTED = "imported"
"""Objective of an encoder without a graph in nic: its codes come from another tool."""

MULTITASK = "multitask"
"""Objective of an encoder that was taught tile tasks, with a head for each."""

Runtime = Literal["onnx", "onnx-f16", "openvino"]
"""What runs an encoder's graph, as files of codes say it."""
EXACT: Runtime = "onnx"
"""Runtime of codes in f32."""

METADATA_KEY = "nic.encoder"
"""Of the spec in the metadata of an ONNX graph."""


@dataclass(frozen=True)
class EncoderSpec:
    """How slides are tiled for an encoder. It is kept in the ONNX metadata, so nobody has to remember it.

    code_size: D. tile_px: side of a tile as the graph takes it. tile_mpp: um/px of such a tile. read_mpp: um/px that
    slides are read at before averaging by area to tile_mpp; a scanner's own coarser level differs from the average of
    the finer one, so codes would depend on the pyramid. objective: what the encoder was trained for. tasks: tile tasks
    that it was trained on. sha256: of the ONNX file; empty until the file exists. The codes of another tool have
    objective IMPORTED, tasks (encoder, tool), and a digest of what is known of that encoder.
    Raises EncoderError when read_mpp is coarser than tile_mpp: tiles would be enlarged from fewer pixels.
    """

    code_size: int
    tile_px: int
    tile_mpp: float
    read_mpp: float
    objective: str
    tasks: tuple[str, ...]
    sha256: str = ""

    def __post_init__(self) -> None:
        if not (self.code_size > 0 and self.tile_px > 0):
            raise EncoderError(
                f"{self.objective}: codes of {self.code_size} from {self.tile_px} px, wanted more than 0"
            )
        if not 0 < self.read_mpp <= self.tile_mpp < math.inf:
            raise EncoderError(
                f"{self.objective}: slides are read at read_mpp={self.read_mpp:g} um/px for tiles of "
                f"tile_mpp={self.tile_mpp:g}; wanted read_mpp above 0 and no coarser than tile_mpp"
            )

    @property
    def tile_um(self) -> float:
        """Side of the field of a tile in um."""
        return self.tile_px * self.tile_mpp

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "EncoderSpec":
        """Raises EncoderError when a field is missing, unknown or impossible.

        Older specs may have a read_mpp coarser than tile_mpp; such an encoder now reads at tile_mpp.
        """
        try:
            fields = json.loads(text)
            read_mpp = min(fields["read_mpp"], fields["tile_mpp"])
            return cls(**{**fields, "read_mpp": read_mpp, "tasks": tuple(fields["tasks"])})
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise EncoderError(f"encoder spec is not readable: {error}; it is {text[:120]!r}") from error

    def with_sha256(self, sha256: str) -> "EncoderSpec":
        return replace(self, sha256=sha256)


USUAL_BATCH_TILES = 64


class Encoder(Protocol):
    """Anything that turns tiles into codes. It may also have a `runtime` where its codes differ from those in f32,
    `batch_tiles` and `at_once`; see the functions below."""

    @property
    def spec(self) -> EncoderSpec: ...

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tiles uint8 [N, tile_px, tile_px, 3] RGB to codes float32 [N, D]; called from several threads."""
        ...


def check_tiles(tiles: NDArray[np.uint8], spec: EncoderSpec) -> None:
    """Raises EncoderError unless they are uint8 [N, tile_px, tile_px, 3]."""
    shape = (spec.tile_px, spec.tile_px, 3)
    if tiles.shape[1:] != shape or tiles.dtype != np.uint8:
        raise EncoderError(f"tiles are {tiles.dtype} {tiles.shape[1:]}, the encoder takes uint8 {shape}")


def runtime_of(encoder: Encoder) -> str:
    """The runtime that computes an encoder's codes: its `runtime`, or EXACT where it has none."""
    return str(getattr(encoder, "runtime", EXACT))


def batch_tiles_of(encoder: Encoder) -> int:
    """Tiles to encode at a time, by the memory of the encoder's device."""
    return int(getattr(encoder, "batch_tiles", USUAL_BATCH_TILES))


def at_once_of(encoder: Encoder) -> int:
    """How many threads it pays to encode with: the encoder's `at_once`, else the number of cores."""
    return int(getattr(encoder, "at_once", cores()))


def devices_of(encoder: Encoder) -> str:
    """The device of an encoder, or its devices with their shares of the tiles; empty for one that names none."""
    return str(getattr(encoder, "shares", getattr(encoder, "device", "")))
