"""How close encoding comes to the cores' matrix products, and to torch on the same device.

    python -m benchmarks.encoding [encoder.onnx] [--threads 2]
    python -m benchmarks.encoding --transformer ViT-S [--threads 2] [--repeats 7]

The first compares the ONNX graph, a faster runtime, torch eager and plain gemm. Without a graph an untrained encoder of
the published architecture is exported. Each thread encodes its own batches, as in compression. The faster runtime is
OpenVINO, or ONNX Runtime in f16 if there is a GPU; all then run on it.
The second takes a vision transformer of 224 px with random weights, exported by torch: torch eager, ONNX Runtime on the
graph as written and with fused attention, in f32, and in f16 if there is a GPU. On a CPU all use the same number of
threads for one run. Processor time is shown beside wall time; it says more on a busy machine.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.timing import seconds
from nic.encoder.batches import Batches
from nic.encoder.encoder_graph import export_encoder
from nic.encoder.foreign import import_onnx
from nic.encoder.loading import LoadedEncoder, load_encoder
from nic.encoder.network import TileEncoder, scaled
from nic.encoder.spec import Encoder
from nic.graphs.adapt import Scaling
from nic.graphs.device import Device
from nic.graphs.run import OnnxGraph
from nic.graphs.write import export_graph
from nic.threads import cores

FLOP_A_TILE = 90.4e6
"""Of the published architecture at 64 px: two for each multiply-add."""
SIDE, BATCH, BATCHES = 2048, 64, 4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WHERE = Device(DEVICE)  # type: ignore[arg-type]
SIZES = {"ViT-S": (384, 6, 12), "ViT-B": (768, 12, 12), "ViT-L": (1024, 16, 24)}
"""Width, heads, blocks."""
PX, PATCH_PX = 224, 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("encoder", type=Path, nargs="?", help="an .onnx file of 64 px tiles")
    arguments.add_argument("--threads", type=int, default=cores())
    arguments.add_argument("--transformer", choices=SIZES)
    arguments.add_argument("--repeats", type=int, default=7)
    arguments.add_argument("--tiles", type=int, default=64 if DEVICE == "cuda" else 8, help="of a transformer's batch")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        if options.transformer:
            compare_transformer(options.transformer, Path(folder), options.threads, options.tiles, options.repeats)
        else:
            compare(options.encoder or exported(Path(folder)), options.threads)


def exported(folder: Path) -> Path:
    path = folder / "encoder.onnx"
    export_encoder(TileEncoder(), "random", [], path, np.zeros((4, 64, 64, 3), np.uint8))
    return path


def faster(path: Path) -> LoadedEncoder:
    return load_encoder(path, "onnx-f16", WHERE) if DEVICE == "cuda" else load_encoder(path, "openvino")


def compare(path: Path, threads: int) -> None:
    exact, fast, network = load_encoder(path, device=WHERE), faster(path), TileEncoder().eval().to(DEVICE)
    batch = exact.batch_tiles
    tiles = np.random.default_rng(0).integers(0, 256, (batch, 64, 64, 3), np.uint8)
    left, right = torch.rand(SIDE, SIDE, device=DEVICE), torch.rand(SIDE, SIDE, device=DEVICE)
    batches = BATCHES * threads

    def encode(encoder: Encoder) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(encoder.encode, [tiles] * batches))

    def eager() -> None:
        with torch.no_grad():
            for _ in range(batches):
                network(scaled(torch.from_numpy(tiles).to(DEVICE))).cpu()

    def gemm() -> None:
        for _ in range(batches // 2):
            product = torch.mm(left, right)
        product[0, 0].cpu()  # waits for all

    ways: dict[str, Callable[[], None]] = {
        "ONNX Runtime f32": lambda: encode(exact),
        fast.name: lambda: encode(fast),
        "torch eager f32": eager,
        "gemm f32": gemm,
    }
    timings = seconds(*ways.values(), repeats=9)
    timings[:, 3] *= batches * batch * FLOP_A_TILE / (batches // 2 * 2 * SIDE**3)  # for as many tiles as the others
    print(f"{threads} threads, {exact.device_note}, {batch} tiles a batch")
    for name, median in zip(ways, np.median(timings, 0), strict=True):
        print(f"  {name:18} {batches * batch / median:9.0f} tiles/s")
    print(f"gemm {FLOP_A_TILE * batches * batch / np.median(timings[:, 3]) / 1e9:.0f} GFLOP/s")
    print(f"least cosine of {fast.name} to f32: {fast.agreement:.5f}")
    to_gemm, to_eager, gained = (np.median(timings[:, a] / timings[:, b]) for a, b in ((3, 0), (2, 0), (0, 1)))
    print(f"ONNX Runtime f32 / gemm {to_gemm:.2f}, / torch eager {to_eager:.1f}; {fast.name} / f32 {gained:.1f}")


class Block(nn.Module):
    """Attention with query, key and value from one layer, as timm has it, and two layers behind."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.before, self.behind = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        batch, rows, width = x.shape
        packed = self.qkv(self.before(x)).reshape(batch, rows, 3, self.heads, width // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        x = x + self.out(mixed.reshape(batch, rows, width))
        added: Tensor = x + self.down(functional.gelu(self.up(self.behind(x))))
        return added


class Transformer(nn.Module):
    """Images float [B, 3, 224, 224] to codes [B, width]."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, PATCH_PX, PATCH_PX)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, (PX // PATCH_PX) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        codes: Tensor = self.norm(self.blocks(x))[:, 0]
        return codes


class Layers(nn.Module):
    """The linear layers of a transformer alone, nine tenths of its work: [B, rows, width] to the same."""

    def __init__(self, network: Transformer) -> None:
        super().__init__()
        self.blocks = network.blocks

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        for block in self.blocks:
            x = block.out(block.qkv(x)[..., :width])
            x = block.down(block.up(x))
        return x


def export_transformer(size: str, folder: Path) -> tuple[Transformer, Path]:
    """A network of random weights, and the encoder that import_encoder makes of its graph."""
    torch.manual_seed(0)
    network = Transformer(*SIZES[size]).eval()
    source, path = folder / f"{size}.onnx", folder / "imported" / "encoder.onnx"
    export_graph(network, {"image": torch.rand(2, 3, PX, PX)}, ["codes"], {"image": {0: "batch"}}, {}, source)
    how = {"tile_px": PX, "tile_mpp": 0.5, "read_mpp": 0.5, "scaling": Scaling(MEAN, STD, "rgb")}
    import_onnx(source, path, name=size, **how)  # type: ignore[arg-type]
    return network, path


def eagerly(model: nn.Module, inputs: Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(inputs))


def repeated(count: int, work: Callable[[], np.ndarray]) -> np.ndarray:
    for _ in range(count):
        result = work()
    return result


def compare_transformer(size: str, folder: Path, threads: int, count: int, repeats: int) -> None:
    network, path = export_transformer(size, folder)
    network = network.to(DEVICE)
    mean, std = (torch.tensor(values, device=DEVICE).view(3, 1, 1) for values in (MEAN, STD))
    tiles = np.random.default_rng(0).integers(0, 256, (count, PX, PX, 3), np.uint8)

    def eager(model: nn.Module, kind: torch.dtype) -> np.ndarray:
        with torch.no_grad():
            image = torch.from_numpy(tiles).to(DEVICE).permute(0, 3, 1, 2) / 255
            return model(((image - mean) / std).to(kind)).float().cpu().numpy()

    fused = load_encoder(path, device=WHERE, threads=threads)
    plain = OnnxGraph(path, threads, WHERE)
    parts = Batches(lambda part: plain.run(tiles=part)[0], WHERE, PX, "plain")
    ways: dict[str, Callable[[], np.ndarray]] = {
        "torch eager f32": lambda: eager(network, torch.float32),
        "ONNX Runtime f32, as it is written": lambda: parts.encode(tiles),
        "ONNX Runtime f32, fused": lambda: fused.encode(tiles),
    }
    if DEVICE == "cuda":
        half, by_half = Transformer(*SIZES[size]).eval(), load_encoder(path, "onnx-f16", WHERE)
        half.load_state_dict(network.state_dict())
        half = half.half().to(DEVICE)
        ways["torch eager f16"] = lambda: eager(half, torch.float16)
        ways["ONNX Runtime f16, fused"] = lambda: by_half.encode(tiles)
    else:
        rows = torch.rand(parts.tiles, (PX // PATCH_PX) ** 2 + 1, SIZES[size][0])
        layers, file = Layers(network).eval(), folder / "layers.onnx"
        export_graph(layers, {"rows": rows}, ["out"], {"rows": {0: "batch"}}, {}, file)
        by_ort, runs = OnnxGraph(file, threads, WHERE), count // parts.tiles
        ways["torch, the linear layers alone"] = lambda: repeated(runs, lambda: eagerly(layers, rows))
        ways["ONNX Runtime, the linear layers alone"] = lambda: repeated(runs, lambda: by_ort.run(rows=rows.numpy())[0])
    codes = [way() for way in ways.values()]
    wall, busy = np.empty((repeats, len(ways))), np.empty((repeats, len(ways)))
    for turn in range(repeats):
        for place, way in enumerate(ways.values()):
            start, processor = time.perf_counter(), time.process_time()
            way()
            wall[turn, place], busy[turn, place] = time.perf_counter() - start, time.process_time() - processor
    print(f"{size}, {count} tiles of {PX} px, {threads} threads, {fused.device_note}; {parts.tiles} tiles a run")
    for place, name in enumerate(ways):
        apart = np.abs(codes[place] - codes[3 if "alone" in name else 0]).max()
        medians = np.median(wall[:, place]), np.median(busy[:, place])
        print(f"  {name:36} {count / medians[0]:8.1f} tiles/s, {1e3 * medians[1] / count:7.1f} ms of processor a tile,"
              f" codes differ by {apart:.1e}")  # fmt: skip
    print(f"codes fused against as written: {np.abs(codes[2] - codes[1]).max():.1e}")
    for name, timings in (("wall", wall), ("processor", busy)):
        gained, over, whole = (np.median(timings[:, a] / timings[:, b]) for a, b in ((1, 2), (0, 1), (0, 2)))
        print(f"{name}: fused / as written {gained:.2f}; as written / torch {over:.2f}; fused / torch {whole:.2f}")
    alone = [np.median(timings[:, 3] / timings[:, 4]) for timings in (wall, busy)]
    if DEVICE == "cuda":
        print(f"f16: fused / torch {alone[0]:.2f}")
    else:
        print(f"the bound, linear layers alone: ONNX Runtime / torch {alone[0]:.2f} wall, {alone[1]:.2f} processor")


if __name__ == "__main__":
    main()
