"""Published Keras encoders: the codes that Keras gives, and each mistake that raises no error would be seen."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from nic.encoder.keras_file import import_published, read_keras
from nic.encoder.loading import load_encoder
from nic.encoder.network import scaled
from nic.errors import EncoderError

SETS = ("example", "random", "he")


@pytest.fixture(scope="session")
def published(shared_data: Path) -> Path:
    return shared_data / "published_encoders"


@pytest.mark.parametrize("name", ["multitask-4", "bigan", "mean-rgb"])
def test_the_graph_gives_keras_codes(published: Path, tmp_path: Path, name: str) -> None:
    reference = np.load(published / "reference.npz")
    spec, difference = import_published(published / f"{name}.h5", name, tmp_path / "e.onnx", reference["he_input"][:4])
    assert (spec.tile_px, spec.tile_mpp, spec.read_mpp, spec.objective) == (128, 0.5, 0.5, f"published:{name}")
    assert difference <= 1e-4
    encoder = load_encoder(tmp_path / "e.onnx")
    for part in SETS:
        tiles = reference[f"{part}_input"]
        wanted = (
            (tiles / 127.5 - 1).mean((1, 2)) if name == "mean-rgb" else reference[f"{part}_{name.replace('-', '')}"]
        )
        assert spec.code_size == wanted.shape[1]
        assert np.abs(encoder.encode(tiles) - wanted).max() <= 1e-4


def codes(layers: nn.Sequential, pixels: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(layers(nn.functional.avg_pool2d(pixels, 2)))


def swapped(layers: nn.Sequential) -> nn.Sequential:
    """BatchNorm before LeakyReLU."""
    order = list(layers)
    for i in range(0, 12, 3):
        order[i + 1], order[i + 2] = order[i + 2], order[i + 1]
    return nn.Sequential(*order)


def changed(kind: type[nn.Module], **values: float) -> Callable[[nn.Sequential], nn.Sequential]:
    def change(layers: nn.Sequential) -> nn.Sequential:
        for layer in layers:
            if isinstance(layer, kind):
                for name, value in values.items():
                    setattr(layer, name, value)
        return layers

    return change


MISTAKES: dict[str, Callable[[nn.Sequential], nn.Sequential]] = {
    "dense not permuted": lambda layers: nn.Sequential(*layers[:-2], nn.Flatten(), layers[-1]),
    "BatchNorm before LeakyReLU": swapped,
    "slope 0.01": changed(nn.LeakyReLU, negative_slope=0.01),
    "BatchNorm eps 1e-5": changed(nn.BatchNorm2d, eps=1e-5),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_layers_would_be_seen(published: Path, mistake: str) -> None:
    """Largest differences of METHOD: 4.9, 22, 2.6, 0.045; the tolerance of 1e-4 is far below each."""
    reference = np.load(published / "reference.npz")
    pixels = scaled(torch.from_numpy(reference["he_input"]))
    layers = read_keras(published / "multitask-4.h5").layers
    assert np.abs(codes(layers, pixels) - reference["he_multitask4"]).max() <= 1e-4
    assert np.abs(codes(MISTAKES[mistake](layers).eval(), pixels) - reference["he_multitask4"]).max() > 1e-2


@pytest.mark.parametrize("mistake", ["zero to one", "BGR", "pooled in uint8"])
def test_a_mistake_in_the_pixels_would_be_seen(published: Path, mistake: str) -> None:
    reference = np.load(published / "reference.npz")
    tiles = torch.from_numpy(reference["he_input"])
    if mistake == "pooled in uint8":
        small = tiles.float().unflatten(1, (64, 2)).unflatten(3, (64, 2)).mean((2, 4)).byte()
        tiles = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    pixels = scaled(tiles.flip(3) if mistake == "BGR" else tiles)
    pixels = (pixels + 1) / 2 if mistake == "zero to one" else pixels
    layers = read_keras(published / "multitask-4.h5").layers
    assert np.abs(codes(layers, pixels) - reference["he_multitask4"]).max() > 1e-3


def edited(source: Path, path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """A copy whose model_config was edited."""
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        edit(config)
        file.attrs["model_config"] = json.dumps(config)
    return path


def layer(config: dict[str, Any], index: int) -> dict[str, Any]:
    return config["config"]["layers"][index]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: layer(c, 2).update(class_name="PReLU"), "leaky_re_lu_1 is a PReLU"),
        (lambda c: layer(c, 1)["config"].update(padding="same"), "conv2d_1 has padding 'same', wanted 'valid'"),
        (lambda c: layer(c, 1)["config"].update(data_format="channels_first"), "channels_first"),
        (lambda c: layer(c, 4)["config"].update(activation="relu"), "conv2d_2 has activation 'relu'"),
        (lambda c: layer(c, 1)["config"].update(dilation_rate=[2, 2]), "dilation_rate"),
        (lambda c: layer(c, 4)["config"].update(name="conv2d_9"), "conv2d_2 has no conv2d_9/kernel"),
        (lambda c: layer(c, 5).update(inbound_nodes=[[["conv2d_1", 0, 0, {}]]]), "wanted a chain"),
    ],
)
def test_unsupported_layers_are_refused_by_name(
    published: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = edited(published / "multitask-4.h5", tmp_path / "edited.h5", edit)
    with pytest.raises(EncoderError, match=rf"edited\.h5: .*{message}"):
        read_keras(path)


def test_files_that_are_not_keras_2_models_are_refused(published: Path, tmp_path: Path) -> None:
    whole = (published / "multitask-4.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "text.h5").write_text("no encoder")
    for name in ("cut", "empty", "text"):
        with pytest.raises(EncoderError, match=rf"{name}\.h5: \d+ bytes that are no whole HDF5 file"):
            read_keras(tmp_path / f"{name}.h5")
    with pytest.raises(EncoderError, match="no such file"):
        read_keras(tmp_path / "gone.h5")
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(EncoderError, match=r"bare\.h5: no model_config"):
        read_keras(tmp_path / "bare.h5")
    path = tmp_path / "keras3.h5"
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        file.attrs["keras_version"] = "3.4.1"
    with pytest.raises(EncoderError, match=r"keras3\.h5: saved by Keras 3\.4\.1"):
        read_keras(path)
