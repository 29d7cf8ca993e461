"""Fixtures for every room: real slides where they are available, and small slides of known pixels."""

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from made_once import begin_run
from numpy.typing import NDArray

from nic.compression.compress_cohort import compress_cohort
from nic.encoder.spec import EncoderSpec
from nic.threads import cores

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
LONGEST = (
    "tracking/test_small_store.py",
    "compression/test_ray_workers.py",
    "phantom/test_phantom_study.py",
    "registry/test_server.py",
    "patients/test_several_classes.py",
    "stages/test_compare.py",
    "compression/test_processes.py",
    "encoder/test_keras_file.py",
    "graphs/test_fusing.py",
    "encoder/test_resume.py",
    "patients/test_patient_model.py",
    "patients/test_rivals.py",
    "entrypoints/test_mlproject.py",
    "evaluation/test_score_map.py",
)
"""Files of tests that take the longest, from half a minute to two minutes each."""


def pytest_xdist_auto_num_workers() -> int:
    """The cores that this process may use; xdist would count those of the machine, or half of them."""
    return cores()


def pytest_configure(config: pytest.Config) -> None:
    """Workers, one a core, compute on one thread each: with two, small sums and trainings take twice the time."""
    if config.getoption("numprocesses", None):  # of the process that starts the workers
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by the libraries when a worker loads them
    else:
        gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that no worker runs one alone after the others have ended."""
    tests = Path(__file__).parent
    ranks = {tests / file: rank for rank, file in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(LONGEST)))


def pytest_collection_finish() -> None:
    """All modules are loaded, and stay: the garbage collector leaves their two million objects out."""
    gc.freeze()
    gc.enable()


compress_here = partial(compress_cohort, readers=0)
"""Compresses in this process, which starts sooner; tests/compression/test_processes.py tests other processes."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder of real slides, tiles and weights that are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def folder_of_the_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    """pytest gives each worker a folder in that of the run."""
    own = tmp_path_factory.getbasetemp()
    begin_run(own if worker_id == "master" else own.parent)


@pytest.fixture(autouse=True, scope="session")
def operators_read_once() -> Iterator[None]:
    """torch parses the source of its 500 ONNX operators for every graph that it exports: 1.5 s each time."""
    if "torch" not in sys.modules:
        yield
        return
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(autouse=True, scope="module")
def no_experiment_of_others() -> Iterator[None]:
    """MLflow keeps a chosen experiment for the whole process; the next file of tests has another store."""
    yield
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    if fluent := sys.modules.get("mlflow.tracking.fluent"):
        vars(fluent)["_active_experiment_id"] = None


class PixelEncoder:
    """A second real encoder, whose codes can be checked by hand: [48], the tile averaged to 4 x 4 px."""

    spec = EncoderSpec(48, 64, 1.0, 0.5, "pixels", (), "0" * 64)

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        blocks = tiles.reshape(len(tiles), 4, 16, 4, 16, 3).mean((2, 4))
        return blocks.reshape(len(tiles), 48).astype(np.float32) / 255


@pytest.fixture
def pixel_encoder() -> PixelEncoder:
    return PixelEncoder()


def tissue_image(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Grainy pink and purple tissue with a margin of glass: [height, width, 3] RGB."""
    return _drawn(width, height, seed).copy()


@lru_cache(maxsize=16)
def _drawn(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(size=(max(2, height // 60), max(2, width // 60), 1)).astype(np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None].clip(0, 1)
    image = (1 - field) * np.array([225, 150, 190]) + field * np.array([120, 60, 150])
    grain = cv2.GaussianBlur(rng.normal(0, 30, (height, width, 1)).astype(np.float32), (0, 0), 1.0)
    image += grain[..., None]  # without grain all tissue is out of focus
    margin = min(width, height) // 8
    framed = np.full((height, width, 3), 242.0)
    framed[margin:-margin, margin:-margin] = image[margin:-margin, margin:-margin]
    return framed.round().astype(np.uint8)


def write_slide(
    path: Path,
    image: NDArray[np.uint8],
    mpp: float | None = 0.5,
    downsamples: Sequence[int] = (1, 2, 4),
    compression: str = "jpeg",
) -> Path:
    """Write an image as a tiled pyramid, with its um/px in the TIFF tags; without tags where mpp is None."""
    tags = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        for downsample in downsamples:
            size = (image.shape[1] // downsample, image.shape[0] // downsample)
            level = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if downsample > 1 else image
            file.write(
                level,
                tile=(128, 128),
                photometric="rgb",
                compression=compression,
                compressionargs={"level": 95} if compression == "jpeg" else None,
                subfiletype=0 if downsample == 1 else 1,
                metadata=None,
                **tags,
            )
    return path


def spoil_tile(path: Path, index: int, kept: float = 0.5) -> None:
    """Keep the first part of a TIFF tile of level 0 and overwrite the rest with zeros, as a failed disk does."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0].aspage()
        offset, count = page.dataoffsets[index], page.databytecounts[index]
    content, start = bytearray(path.read_bytes()), round(kept * count)
    content[offset + start : offset + count] = bytes(count - start)
    path.write_bytes(content)
