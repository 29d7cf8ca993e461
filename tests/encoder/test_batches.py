"""How many tiles are encoded at a time, and what happens when they do not fit."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_files import write_hungry
from served_files import write_plain_graphs

from nic.encoder.batches import Batches
from nic.encoder.loading import load_encoder
from nic.graphs.device import CPU


def counted(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    return tiles[:, 0, 0, :2].astype(np.float32)


@pytest.mark.parametrize(("tile_px", "tiles"), [(16, 64), (64, 64), (128, 8), (224, 2), (512, 1)])
def test_a_batch_on_a_cpu_is_smaller_where_tiles_are_large(tile_px: int, tiles: int) -> None:
    assert Batches(counted, CPU, tile_px, "e").tiles == tiles


@pytest.mark.parametrize("count", [0, 1, 4, 5, 11])
def test_any_number_of_tiles_is_encoded_in_parts(count: int) -> None:
    seen = []

    def run(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(tiles))
        return counted(tiles)

    tiles = np.random.default_rng(0).integers(0, 256, (count, 224, 224, 3), np.uint8)
    assert np.array_equal(Batches(run, CPU, 224, "e").encode(tiles), counted(tiles))
    assert max(seen) <= 2


IN_LITTLE_MEMORY = """
import logging, resource, sys
from pathlib import Path
import numpy as np
from nic.encoder.loading import load_encoder
from nic.graphs.device import CPU

logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
encoder = load_encoder(Path(sys.argv[1]), device=CPU)
tiles = np.random.default_rng(0).integers(0, 256, (int(sys.argv[2]), 16, 16, 3), np.uint8)
if sys.argv[4] == "warm":
    encoder.encode(tiles[:1])
used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()  # as RLIMIT_DATA counts
resource.setrlimit(resource.RLIMIT_DATA, (used + (int(sys.argv[3]) << 20),) * 2)
print("before", encoder.batch_tiles)
try:
    codes = [encoder.encode(tiles) for _ in range(3)]
except Exception as error:
    print(type(error).__name__, error)
else:
    print("after", encoder.batch_tiles, float(np.abs(codes[2] - tiles.mean((1, 2))).max()) < 1e-2)
"""


def in_little_memory(graph: Path, tiles: int, mb: int, start: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", IN_LITTLE_MEMORY, str(graph), str(tiles), str(mb), start]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="bounds memory as Linux does")
def test_a_batch_that_does_not_fit_is_halved_with_one_warning(tmp_path: Path) -> None:
    """ONNX Runtime itself runs out of memory: 64 tiles take 256 MB of the 150 MB that the process may have."""
    write_hungry(tmp_path / "hungry.onnx")
    before, *halved, after = in_little_memory(tmp_path / "hungry.onnx", 256, 150, "warm")
    assert before == "before 64"
    assert len(halved) == 1
    assert halved[0].startswith("hungry.onnx: no memory for 64 tiles at a time, goes on with 32: ")
    word, tiles, right = after.split()
    assert (word, right) == ("after", "True")
    assert 1 <= int(tiles) <= 32


@pytest.mark.skipif(sys.platform != "linux", reason="bounds memory as Linux does")
def test_a_tile_that_does_not_fit_alone_is_an_error(tmp_path: Path) -> None:
    write_hungry(tmp_path / "hungry.onnx")
    lines = in_little_memory(tmp_path / "hungry.onnx", 64, 3, "cold")
    assert lines[-1].startswith("OutOfMemory hungry.onnx: cannot run on tiles [1, 16, 16, 3]: ")


def test_codes_are_the_same_in_parts(tmp_path: Path) -> None:
    write_plain_graphs(tmp_path)
    encoder = load_encoder(tmp_path / "encoder.onnx")
    px = encoder.spec.tile_px
    count = 2 * encoder.batch_tiles + 3
    tiles = np.random.default_rng(0).integers(0, 256, (count, px, px, 3), np.uint8)
    each = np.concatenate([encoder.encode(tile[None]) for tile in tiles])
    assert np.abs(encoder.encode(tiles) - each).max() <= 1e-4
