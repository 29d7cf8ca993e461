"""Graphs whose weights lie in files beside them: imported without being loaded, digested, registered, served."""

import base64
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import mlflow
import numpy as np
import onnx
import pandas as pd
import pytest
from conftest import tissue_image, write_slide
from onnx_files import write_layers
from served_files import write_plain_graphs
from stores import new_store

from nic.compression.compress_cohort import compress_cohort
from nic.compression.compressed_slide import CompressedSlide
from nic.encoder.foreign import import_onnx
from nic.encoder.loading import load_encoder
from nic.errors import EncoderError
from nic.graphs.adapt import Scaling
from nic.graphs.files import graph_files, graph_in, graph_sha256
from nic.slides.slide import SlideSource
from nic.stages.import_encoder import OnnxInput
from nic.stages.import_encoder import imported as import_as
from nic.tracking.registry import encoder_digest, encoder_file, find_version, register_encoder

PLAIN = Scaling((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "rgb")
PX, WIDTH = 32, 64


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return write_layers(tmp_path / "source" / "layers.onnx", PX, WIDTH, 2)


@pytest.fixture
def imported(source: Path, tmp_path: Path) -> Path:
    path = tmp_path / "imported" / "encoder.onnx"
    import_onnx(source, path, name="layers", tile_px=PX, tile_mpp=0.5, read_mpp=0.5, scaling=PLAIN)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(tmp_path))
    mlflow.create_experiment("tests", str(tmp_path / "artifacts"))
    mlflow.set_experiment("tests")
    yield
    mlflow.set_tracking_uri(before)


def tiles(count: int, px: int = PX) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, px, px, 3), np.uint8)


def test_weights_stay_beside_the_graph_when_it_is_imported(source: Path, imported: Path) -> None:
    assert sorted(file.name for file in imported.parent.iterdir()) == ["encoder.onnx", "layers.data"]
    assert graph_files(imported) == [imported, imported.parent / "layers.data"]
    assert (imported.parent / "layers.data").read_bytes() == (source.parent / "layers.data").read_bytes()
    assert imported.stat().st_size < WIDTH * WIDTH
    encoder = load_encoder(imported)
    assert encoder.spec.code_size == WIDTH
    codes = encoder.encode(tiles(5))
    assert np.abs(codes[:, :3] - tiles(5).mean((1, 2)) / 255).max() <= 1e-5


def test_the_digest_is_of_all_files(imported: Path, tmp_path: Path) -> None:
    data, before = imported.parent / "layers.data", graph_sha256(imported)
    assert load_encoder(imported).spec.sha256 == before != hashlib.sha256(imported.read_bytes()).hexdigest()
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert graph_sha256(imported) != before
    assert load_encoder(imported).spec.sha256 == graph_sha256(imported)
    write_plain_graphs(tmp_path)
    alone = tmp_path / "encoder.onnx"
    assert graph_sha256(alone) == hashlib.sha256(alone.read_bytes()).hexdigest() == load_encoder(alone).spec.sha256


@pytest.mark.parametrize("name", ["../layers.data", "/etc/hostname", "inner/layers.data", ""])
def test_weights_elsewhere_are_refused(source: Path, tmp_path: Path, name: str) -> None:
    model = onnx.load(source, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
    moved = tmp_path / "inner" / "moved.onnx"
    moved.parent.mkdir()
    moved.write_bytes(model.SerializeToString())
    for use in (graph_files, graph_sha256, load_encoder):
        with pytest.raises(EncoderError, match=r"moved\.onnx: its weights are in .*wanted a file in the graph's own"):
            use(moved)
    takes = OnnxInput(PX, 0.5, 0.0, "0,0,0", "1,1,1", "rgb", "")
    with pytest.raises(EncoderError, match="own folder"):
        import_as(moved, "moved", takes, tmp_path / "e.onnx")


def test_missing_or_truncated_weights_are_refused(source: Path, imported: Path, tmp_path: Path) -> None:
    data = imported.parent / "layers.data"
    os.truncate(data, data.stat().st_size // 2)
    with pytest.raises(EncoderError, match=r"encoder\.onnx: not a readable ONNX graph"):
        load_encoder(imported)
    data.unlink()
    with pytest.raises(EncoderError, match=r"weights are in layers\.data, and there is no such file beside it"):
        load_encoder(imported)


def test_weights_that_are_links_are_imported_as_files(source: Path, tmp_path: Path) -> None:
    """As Hugging Face's cache has them."""
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for file in source.parent.iterdir():
        (linked / file.name).symlink_to(file)
    path = tmp_path / "e" / "encoder.onnx"
    import_onnx(linked / source.name, path, name="l", tile_px=PX, tile_mpp=0.5, read_mpp=0.5, scaling=PLAIN)
    assert not any(file.is_symlink() for file in path.parent.iterdir())
    assert load_encoder(path).encode(tiles(2)).shape == (2, WIDTH)


def test_a_graph_in_half_precision_also_has_its_weights_beside_it(imported: Path) -> None:
    exact, half = load_encoder(imported), load_encoder(imported, "onnx-f16")
    wanted = exact.encode(tiles(3))
    assert np.abs(half.encode(tiles(3)) - wanted).max() <= 2e-3
    assert half.spec == exact.spec


def test_all_files_are_registered_and_served(imported: Path, store: None) -> None:
    wanted = load_encoder(imported)
    version = register_encoder(imported, {"nic.encoder_sha256": wanted.spec.sha256})
    graph = encoder_file(version.uri)
    assert [file.name for file in graph_files(graph)] == ["encoder.onnx", "layers.data"]
    assert encoder_digest(version.uri) == graph_sha256(graph) == find_version(version.uri).tags["nic.graph.encoder"]
    assert load_encoder(graph.parent).spec == wanted.spec
    assert np.abs(served_code(version.uri) - wanted.encode(tiles(1))[0]).max() <= 1e-6


def served_code(uri: str) -> np.ndarray:
    """The code of the first tile by a registered version, as a server gives it."""
    served = mlflow.pyfunc.load_model(uri)
    image = base64.b64encode(cv2.imencode(".png", tiles(1)[0][..., ::-1])[1].tobytes()).decode()
    return np.array(json.loads(served.predict(pd.DataFrame({"image": [image]}))["code"][0]))


def test_a_folder_with_two_graphs_is_refused(imported: Path) -> None:
    (imported.parent / "other.onnx").write_bytes(imported.read_bytes())
    with pytest.raises(EncoderError, match=r"imported: a folder with 2 \.onnx files, wanted one"):
        graph_in(imported.parent)


IMPORT = """
import resource, sys
from pathlib import Path
from nic.stages.import_encoder import OnnxInput, imported
onnx = OnnxInput(32, 0.5, 0.0, "0,0,0", "1,1,1", "rgb", "")
spec, difference = imported(Path(sys.argv[1]), "large", onnx, Path(sys.argv[2]))
print(spec.sha256, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_graph_beyond_2_gib(tmp_path: Path, store: None) -> None:
    """Imported, digested, registered, loaded, compressed with and served; the peak of memory is printed."""
    (tmp_path / "source").mkdir()
    source = write_layers(tmp_path / "source" / "large.onnx", PX, 12288, 4)
    size = source.with_suffix(".data").stat().st_size
    assert size > 2.2 * (1 << 30)
    path = tmp_path / "imported" / "encoder.onnx"
    words = [sys.executable, "-c", IMPORT, str(source), str(path)]
    start = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    sha256, peak_kb = done.stdout.split()
    print(f"import of {size / 1e9:.2f} GB: peak {int(peak_kb) / 1e6:.2f} GB, {time.monotonic() - start:.0f} s")
    encoder = load_encoder(path)
    assert encoder.spec.sha256 == sha256
    version = register_encoder(path, {"nic.encoder_sha256": sha256})
    again = load_encoder(encoder_file(version.uri))
    assert again.spec == encoder.spec
    codes = again.encode(tiles(2))
    assert np.abs(codes[:, :3] - tiles(2).mean((1, 2)) / 255).max() <= 1e-5
    slide = SlideSource("a", write_slide(tmp_path / "a.tif", tissue_image(400, 380)))
    assert compress_cohort([slide], again, tmp_path / "codes", readers=1).compressed == ["a"]
    assert CompressedSlide.load(tmp_path / "codes" / "a.h5").codes.shape[1] == codes.shape[1]
    del encoder, again
    assert np.abs(served_code(version.uri) - codes[0]).max() <= 1e-5
    print(f"this process: peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
