"""The client's batch_tiles reaches the encoder, and does not change the codes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from conftest import tissue_image, write_slide
from onnx import TensorProto, helper, numpy_helper
from served_files import write_graphs

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.loading import load_encoder
from nic.encoder.spec import METADATA_KEY, USUAL_BATCH_TILES, EncoderSpec
from nic.errors import RequestRefused
from nic.serving.cache import CodesCache
from nic.serving.limits import Budget, Limits
from nic.serving.row_reader import RowReader
from nic.serving.served_model import RequestParams, ServedModel
from nic.slides.slide import SlideSource


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch_tiles")
    write_slide(folder / "a.tif", tissue_image(900, 800))
    write_graphs(folder)
    write_counting_graph(folder / "counting.onnx")
    return folder


def write_counting_graph(path: Path) -> None:
    """An encoder whose code, [1], is the number of tiles that came with it."""
    spec = EncoderSpec(1, 64, 1.0, 0.5, "counting", ())
    nodes = [
        helper.make_node("Shape", ["tiles"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["count"]),
        helper.make_node("Concat", ["count", "one"], ["size"], axis=0),
        helper.make_node("Cast", ["count"], ["code"], to=TensorProto.FLOAT),
        helper.make_node("Expand", ["code", "size"], ["codes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "counting",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["batch", 64, 64, 3])],
        [helper.make_tensor_value_info("codes", TensorProto.FLOAT, ["batch", 1])],
        [
            numpy_helper.from_array(np.array([0], np.int64), "first"),
            numpy_helper.from_array(np.array([1], np.int64), "one"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, path)


def here(graph: Path) -> RowReader:
    return RowReader(load_encoder(graph))


def apart(graph: Path) -> RowReader:
    return RowReader.within(Limits((graph.parent,), at_once=1), load_encoder(graph), Tiling())


@pytest.mark.parametrize("reading", [here, apart])
@pytest.mark.parametrize("batch_tiles", [1, 7, USUAL_BATCH_TILES])
def test_batches_have_the_given_number_of_tiles(
    folder: Path, tmp_path: Path, reading: Callable[[Path], RowReader], batch_tiles: int
) -> None:
    budget, source = Budget(1000, float("inf"), batch_tiles), SlideSource("a", folder / "a.tif")
    reading(folder / "counting.onnx").compress(source, (folder,), budget, tmp_path / "a.h5")
    codes = CompressedSlide.load(tmp_path / "a.h5").codes[:, 0]
    whole, rest = divmod(len(codes), batch_tiles)
    assert sorted(codes) == sorted([batch_tiles] * whole * batch_tiles + [rest] * rest)


def test_the_answer_does_not_depend_on_batch_tiles(folder: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame({"slide": [str(folder / "a.tif")]})
    files = {"patient": folder / "patient.onnx", "encoder": folder / "encoder.onnx"}

    def prediction(cache: str, batch_tiles: int) -> float:
        kept = CodesCache(tmp_path / cache, 1 << 30)
        model = ServedModel.load(files, kept, Limits((folder,), readers=0), "nic-score", "7")
        return float(model.answer(rows, RequestParams(batch_tiles=batch_tiles))["prediction"][0])

    answers = [prediction(f"cache {batch_tiles}", batch_tiles) for batch_tiles in (0, 1, 7, 1024)]
    assert answers == pytest.approx([answers[0]] * 4, abs=1e-4)
    assert prediction("cache 1", 7) == answers[1]
    assert len(list((tmp_path / "cache 1").glob("*.h5"))) == 1


@pytest.mark.parametrize("batch_tiles", [-1, 1025, 1 << 40])
def test_too_large_batch_tiles_are_refused(batch_tiles: int) -> None:
    with pytest.raises(RequestRefused, match=f"batch_tiles={batch_tiles}; wanted 0 to 1024"):
        RequestParams(batch_tiles=batch_tiles)
