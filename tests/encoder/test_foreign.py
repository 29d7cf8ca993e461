"""An ONNX encoder from elsewhere gets pixels in front, and says how its tiles are cut."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from nic.encoder.foreign import import_onnx
from nic.encoder.loading import LoadedEncoder, load_encoder
from nic.errors import EncoderError
from nic.graphs.adapt import Scaling
from nic.graphs.write import export_graph
from nic.stages.import_encoder import OnnxInput
from nic.stages.import_encoder import imported as import_as

IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "rgb")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(3, 4, 5, stride=4), nn.Linear(4, 7)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        codes: torch.Tensor = self.linear(self.convolution(image).relu().mean((2, 3)))
        return codes


@pytest.fixture(scope="module")
def network() -> Small:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def source(network: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "small.onnx"
    export_graph(network, {"image": torch.rand(2, 3, 32, 32)}, ["codes"], {"image": {0: "batch"}}, {}, path)
    return path


def imported(
    source: Path, path: Path, tile_px: int = 32, scaling: Scaling = IMAGENET, output: str = ""
) -> LoadedEncoder:
    import_onnx(source, path, name="small", tile_px=tile_px, tile_mpp=0.5, read_mpp=0.5, scaling=scaling, output=output)
    return load_encoder(path)


def read_at(read_mpp: float) -> OnnxInput:
    return OnnxInput(32, 0.25, read_mpp, "0.485,0.456,0.406", "0.229,0.224,0.225", "rgb", "")


@pytest.mark.parametrize(("read_mpp", "expected"), [(0, 0.25), (0.125, 0.125)])
def test_slides_are_read_at_the_resolution_of_tiles_by_default(
    source: Path, tmp_path: Path, read_mpp: float, expected: float
) -> None:
    spec, _ = import_as(source, "small", read_at(read_mpp), tmp_path / "e.onnx")
    assert (spec.tile_mpp, spec.read_mpp) == (0.25, expected)


def test_an_encoder_that_would_read_coarser_than_its_tiles_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"read_mpp=0\.5 um/px for tiles of tile_mpp=0\.25"):
        import_as(source, "small", read_at(0.5), tmp_path / "e.onnx")
    assert not (tmp_path / "e.onnx").exists()


@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
def test_codes_are_those_of_the_network_on_scaled_pixels(
    network: Small, source: Path, tmp_path: Path, channel_order: str
) -> None:
    scaling = Scaling(IMAGENET.mean, IMAGENET.std, channel_order)  # type: ignore[arg-type]
    encoder = imported(source, tmp_path / "e.onnx", scaling=scaling)
    assert (encoder.spec.code_size, encoder.spec.tile_px, encoder.spec.objective) == (7, 32, "imported:small")
    tiles = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    pixels = tiles[..., ::-1] if channel_order == "bgr" else tiles
    image = (pixels / 255 - np.array(scaling.mean)) / np.array(scaling.std)
    with torch.no_grad():
        wanted = network(torch.from_numpy(image.transpose(0, 3, 1, 2)).float()).numpy()
    assert np.abs(encoder.encode(tiles) - wanted).max() <= 1e-5


def test_graphs_that_do_not_take_such_tiles_are_refused(network: Small, source: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"small\.onnx: takes 32 x 32 px, tile_px says 64"):
        imported(source, tmp_path / "e.onnx", tile_px=64)
    export_graph(network, {"image": torch.rand(2, 3, 32, 32)}, ["codes"], {}, {}, tmp_path / "fixed.onnx")
    with pytest.raises(EncoderError, match=r"fixed\.onnx: its batch is fixed at 2"):
        imported(tmp_path / "fixed.onnx", tmp_path / "e.onnx")
    map_only = nn.Sequential(network.convolution)
    export_graph(
        map_only, {"input": torch.rand(2, 3, 32, 32)}, ["map"], {"input": {0: "batch"}}, {}, tmp_path / "map.onnx"
    )
    with pytest.raises(EncoderError, match=r"map\.onnx: 3 tiles give \[3, 4, 7, 7\]"):
        imported(tmp_path / "map.onnx", tmp_path / "e.onnx")
    model = onnx.load(source)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    (tmp_path / "whole.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EncoderError, match=r"whole\.onnx: .*INT32.*wanted FLOAT"):
        imported(tmp_path / "whole.onnx", tmp_path / "e.onnx")
    with pytest.raises(EncoderError, match="wanted three numbers each"):
        imported(source, tmp_path / "e.onnx", scaling=Scaling((0.5,), (0.5,), "rgb"))


def test_a_file_that_is_not_a_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no graph at all")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("text", "empty", "gone"):
        with pytest.raises(EncoderError, match=rf"{name}\.onnx: not a readable ONNX graph"):
            imported(tmp_path / f"{name}.onnx", tmp_path / "e.onnx")


class ChannelsLast(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        codes: torch.Tensor = self.inner(image.permute(0, 3, 1, 2))
        return codes


class WithMap(nn.Module):
    def __init__(self, inner: Small) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner.convolution(image), self.inner(image)


class BesideOthers(nn.Module):
    """Standardises by the batch, as a network does that was exported while training."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        codes: torch.Tensor = self.inner(image)
        return codes - codes.mean(0)


def written(network: nn.Module, path: Path, example: torch.Tensor, outputs: list[str]) -> Path:
    export_graph(network, {"image": example}, outputs, {"image": {0: "batch"}}, {}, path, tolerance=1e-2)
    return path


def test_graphs_of_several_exporters_are_imported(network: Small, source: Path, tmp_path: Path) -> None:
    tiles = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    wanted = imported(source, tmp_path / "e.onnx").encode(tiles)
    last = written(ChannelsLast(network), tmp_path / "last.onnx", torch.rand(2, 32, 32, 3), ["codes"])
    assert np.abs(imported(last, tmp_path / "e.onnx").encode(tiles) - wanted).max() <= 1e-5
    half = written(copy.deepcopy(network).half(), tmp_path / "half.onnx", torch.rand(2, 3, 32, 32).half(), ["codes"])
    assert np.abs(imported(half, tmp_path / "e.onnx").encode(tiles) - wanted).max() <= 1e-2
    beside = tmp_path / "beside.onnx"  # the weights in a file of their own, as large networks have them
    onnx.save(onnx.load(source), beside, save_as_external_data=True, location="beside.data", size_threshold=0)
    assert (tmp_path / "beside.data").is_file()
    assert np.array_equal(imported(beside, tmp_path / "e.onnx").encode(tiles), wanted)


def test_the_code_is_chosen_by_name_among_several_outputs(network: Small, source: Path, tmp_path: Path) -> None:
    several = written(WithMap(network), tmp_path / "several.onnx", torch.rand(2, 3, 32, 32), ["map", "vector"])
    with pytest.raises(EncoderError, match=r"several\.onnx: .*map .*vector"):
        imported(several, tmp_path / "e.onnx")
    tiles = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    codes = imported(several, tmp_path / "e.onnx", output="vector").encode(tiles)
    assert np.abs(codes - imported(source, tmp_path / "f.onnx").encode(tiles)).max() <= 1e-5


def test_codes_that_depend_on_the_batch_are_refused(network: Small, tmp_path: Path) -> None:
    training = written(BesideOthers(network), tmp_path / "training.onnx", torch.rand(2, 3, 32, 32), ["codes"])
    with pytest.raises(EncoderError, match=r"training\.onnx: a tile's code depends on the tiles beside it"):
        imported(training, tmp_path / "e.onnx")
