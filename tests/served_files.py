"""Two small real graphs, as training writes them, for tests of serving."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import torch
from made_once import made_once
from onnx import GraphProto, TensorProto, helper, numpy_helper

from nic.compression.compress_slide import DEFAULT_TILING
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.encoder_graph import export_encoder
from nic.encoder.loading import load_encoder
from nic.encoder.network import TileEncoder
from nic.encoder.spec import METADATA_KEY, EncoderSpec
from nic.patients.calibration import GradeProbabilities, SoftmaxProbabilities
from nic.patients.cohort import Endpoint
from nic.patients.ensemble import Ensemble
from nic.patients.ensemble_graph import export_ensemble
from nic.patients.grid_cnn import GridCNN
from nic.patients.model_spec import METADATA, PatientModelSpec
from nic.patients.targets import Values
from nic.slides.grid import TileGrid
from nic.slides.reader import PIXEL_VERSION


def write_graphs(folder: Path, tiling: Tiling = DEFAULT_TILING) -> None:
    """encoder.onnx and patient.onnx, with random weights that are always the same. tiling: of the slides.

    Each is exported once in a run, because that takes seconds.
    """
    made = made_once(f"graphs-{sha256(repr(tiling).encode()).hexdigest()}", lambda draft: _export(draft, tiling))
    shutil.copytree(made, folder, dirs_exist_ok=True)


def _export(folder: Path, tiling: Tiling) -> None:
    torch.manual_seed(0)
    sample = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    spec, _ = export_encoder(TileEncoder(), "random", [], folder / "encoder.onnx", sample)
    networks = tuple(GridCNN(spec.code_size).eval() for _ in range(2))
    export_ensemble(
        Ensemble(networks, np.arange(4.0), np.array([0, 1, 0, 1])),
        Endpoint("score", "regression", ("score",), "points"),
        Values(np.arange(4.0)),
        cohort_digest="0123456789abcdef",
        encoder=spec,
        encoder_version="nic-encoder/1",
        path=folder / "patient.onnx",
        tiling=tiling,
    )


def write_plain_graphs(folder: Path, code_size: int = 4, tiling: Tiling = DEFAULT_TILING) -> EncoderSpec:
    """encoder.onnx and patient.onnx that can be checked by hand, written without torch in milliseconds.

    A code is the mean of a tile's pixels, of 1, `code_size` times. The two networks score a cell by the mean of its
    code and by twice that: a patient's score is 1.5 times the mean of all codes.
    """
    spec = EncoderSpec(code_size, 64, 1.0, 0.5, "plain", ())
    number, axes = TensorProto.FLOAT, numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes")
    encoder = helper.make_graph(
        [
            helper.make_node("Cast", ["tiles"], ["floats"], to=number),
            helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
            helper.make_node("Unsqueeze", ["means", "last"], ["column"]),
            helper.make_node("Mul", ["column", "scale"], ["codes"]),
        ],
        "encoder",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["batch", 64, 64, 3])],
        [helper.make_tensor_value_info("codes", number, ["batch", code_size])],
        [
            axes,
            numpy_helper.from_array(np.array([1], np.int64), "last"),
            numpy_helper.from_array(np.full((1, code_size), 1 / 255, np.float32), "scale"),
        ],
    )
    folder.mkdir(exist_ok=True)
    _write_graph(encoder, {METADATA_KEY: spec.to_json()}, folder / "encoder.onnx")
    made = load_encoder(folder / "encoder.onnx").spec
    about = PatientModelSpec(
        "score", "regression", "points", (), made.sha256, "nic-encoder/1", 64.0, 2, "0123456789abcdef", 4, 0.5,
        tiling=replace(tiling, tile_um=64.0), runtimes=("onnx",), pixel_versions=(PIXEL_VERSION,),
    )  # fmt: skip
    _write_graph(_plain_patient(code_size, (1, 2)), {METADATA: about.to_json()}, folder / "patient.onnx")
    return made


def write_plain_classes(folder: Path, calibration: SoftmaxProbabilities | GradeProbabilities) -> EncoderSpec:
    """As `write_plain_graphs`, of a model of three classes or grades.

    The scores of three classes are 1.5, 0 and -1.5 times the mean of all codes; that of grades is 1.5 times the mean.
    """
    made, several = write_plain_graphs(folder), isinstance(calibration, SoftmaxProbabilities)
    about = PatientModelSpec(
        "kind", "multiclass" if several else "ordinal", "", calibration.classes, made.sha256, "nic-encoder/1", 64.0, 2,
        "0123456789abcdef", 4, 0.5, calibration, Tiling(64.0), runtimes=("onnx",), pixel_versions=(PIXEL_VERSION,),
    )  # fmt: skip
    factors = (1, 0, -1, 2, 0, -2) if several else (1, 2)
    _write_graph(_plain_patient(made.code_size, factors), {METADATA: about.to_json()}, folder / "patient.onnx")
    return made


def _plain_patient(code_size: int, factors: Sequence[float]) -> GraphProto:
    """The mean of each cell's code, times each factor."""
    number = TensorProto.FLOAT
    return helper.make_graph(
        [
            helper.make_node("ReduceMean", ["codes", "channel"], ["means"], keepdims=1),
            helper.make_node("Mul", ["means", "valid"], ["scores"]),
            helper.make_node("Mul", ["scores", "factors"], ["both"]),
            helper.make_node("Squeeze", ["both", "first"], ["score_maps"]),
        ],
        "patient",
        [
            helper.make_tensor_value_info("codes", number, [1, code_size, "rows", "cols"]),
            helper.make_tensor_value_info("valid", number, [1, 1, "rows", "cols"]),
        ],
        [helper.make_tensor_value_info("score_maps", number, [len(factors), "rows", "cols"])],
        [
            numpy_helper.from_array(np.array([1], np.int64), "channel"),
            numpy_helper.from_array(np.array([0], np.int64), "first"),
            numpy_helper.from_array(np.array(factors, np.float32).reshape(1, -1, 1, 1), "factors"),
        ],
    )


def _write_graph(graph: GraphProto, about: dict[str, str], path: Path) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, about)
    onnx.save(model, path)


def codes_file(
    path: Path, spec: EncoderSpec, cells: Sequence[tuple[int, int]], grid: tuple[int, int]
) -> CompressedSlide:
    """Write a file of codes at some cells of a grid; the n-th code is n in each number."""
    row, col = (np.array(axis, np.int32) for axis in zip(*cells, strict=True))
    codes = np.repeat(np.arange(len(cells), dtype=np.float16)[:, None], spec.code_size, axis=1)
    tissue = np.zeros(grid, bool)
    tissue[row, col] = True
    tiles = TileGrid(spec.tile_px, spec.tile_mpp, 0.5, (0, 0), *grid)
    slide = CompressedSlide(
        path.stem, codes, row, col, tiles, tissue, np.zeros(grid, bool), spec, "0" * 64, Tiling(spec.tile_um)
    )
    slide.save(path)
    return slide
