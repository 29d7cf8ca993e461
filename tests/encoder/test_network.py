"""The published architecture, its export and its graph."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from nic.encoder.encoder_graph import export_encoder
from nic.encoder.loading import load_encoder
from nic.encoder.network import TileEncoder, scaled
from nic.errors import EncoderError, ParityFailed


@pytest.fixture(scope="module")
def trained() -> TileEncoder:
    """An encoder whose BatchNorms have seen data, so that folding them has something to get wrong."""
    torch.manual_seed(0)
    encoder = TileEncoder()
    with torch.no_grad():
        for _ in range(5):
            encoder(torch.rand(16, 3, 64, 64) * 2 - 1)
        for layer in encoder.features:
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.5, 0.5)
    return encoder.eval()


@pytest.fixture(scope="module")
def exported(trained: TileEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    sample = np.random.default_rng(1).integers(0, 256, (8, 64, 64, 3), np.uint8)
    spec, difference = export_encoder(trained, "multitask", ["a", "b"], path, sample)
    assert difference <= 1e-4
    assert spec.sha256 == load_encoder(path).spec.sha256
    return path


def test_the_published_network_has_595_968_parameters() -> None:
    """Counted as Keras counts: the running means and variances of the four BatchNorms are parameters too."""
    assert sum(p.numel() for p in TileEncoder().parameters()) + 4 * 2 * 128 == 595_968


def test_pixels_are_scaled_to_minus_one_and_one() -> None:
    tiles = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    assert torch.allclose(scaled(tiles).flatten(), torch.tensor([-1.0, -0.6, 1.0]))


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_graph_computes_what_torch_does_at_any_batch(trained: TileEncoder, exported: Path, batch: int) -> None:
    tiles = np.random.default_rng(batch).integers(0, 256, (batch, 64, 64, 3), np.uint8)
    with torch.no_grad():
        expected = trained(scaled(torch.from_numpy(tiles))).numpy()
    assert np.abs(load_encoder(exported).encode(tiles) - expected).max() <= 1e-4


def test_the_graph_has_the_spec_of_its_tiles(exported: Path) -> None:
    spec = load_encoder(exported).spec
    assert (spec.tile_px, spec.tile_mpp, spec.read_mpp, spec.code_size) == (64, 1.0, 0.5, 128)
    assert (spec.objective, spec.tasks) == ("multitask", ("a", "b"))
    assert len(spec.sha256) == 64


def test_the_graph_holds_no_path_of_the_machine_that_made_it(exported: Path) -> None:
    """Else the digest of equal weights would differ from checkout to checkout, and paths would be served."""
    project = Path(__file__).resolve().parents[2]
    content = exported.read_bytes()
    assert str(project).encode() not in content
    assert b".py" not in content


def test_tiles_of_another_size_are_refused(exported: Path) -> None:
    with pytest.raises(EncoderError, match="takes uint8"):
        load_encoder(exported).encode(np.zeros((1, 128, 128, 3), np.uint8))


def test_a_graph_that_is_not_an_encoder_is_refused(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "mute.onnx")
    with pytest.raises(EncoderError, match=r"mute\.onnx.*nic\.encoder"):
        load_encoder(tmp_path / "mute.onnx")
    for content in (b"", b"no graph"):
        (tmp_path / "broken.onnx").write_bytes(content)
        with pytest.raises(EncoderError, match=r"broken\.onnx"):
            load_encoder(tmp_path / "broken.onnx")
    with pytest.raises(EncoderError, match=r"gone\.onnx"):
        load_encoder(tmp_path / "gone.onnx")


def test_a_graph_that_differs_from_torch_is_not_kept(trained: TileEncoder, tmp_path: Path) -> None:
    class Wrong(TileEncoder):
        """Trains with other pixels than it will be served."""

        def forward(self, tiles: torch.Tensor) -> torch.Tensor:
            return super().forward(tiles) + 1e-3

    wrong = Wrong()
    wrong.load_state_dict(trained.state_dict())
    with pytest.raises(ParityFailed, match="differ by 1"):
        export_encoder(wrong, "multitask", [], tmp_path / "e.onnx", np.zeros((1, 64, 64, 3), np.uint8))
    assert not (tmp_path / "e.onnx").exists()


def test_running_an_encoder_needs_no_torch() -> None:
    modules = "nic.encoder.loading, nic.compression.compress_slide, nic.patients.predictor"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_one_onnx_runtime_is_installed() -> None:
    from importlib.metadata import distributions

    names = {d.metadata["Name"] for d in distributions()}
    assert len(names & {"onnxruntime", "onnxruntime-gpu"}) == 1
