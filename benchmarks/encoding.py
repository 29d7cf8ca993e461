"""How near encoding comes to what the cores can multiply: the ONNX graph, a faster runtime, torch eager, plain gemm.

    python -m benchmarks.encoding [encoder.onnx] [--threads 2]

Without a graph an untrained encoder of the published architecture is exported. Each thread encodes batches of its own,
as compression has it. The faster runtime is OpenVINO, or ONNX Runtime in f16 where there is a GPU; all then run on it.
"""

import argparse
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import seconds
from nic.encoder.export import export_encoder
from nic.encoder.faster import FasterEncoder, by_openvino, in_half
from nic.encoder.network import TileEncoder, scaled
from nic.encoder.onnx import OnnxEncoder
from nic.encoder.spec import Encoder
from nic.threads import cores

FLOP_A_TILE = 90.4e6
"""Of the published architecture at 64 px: two for each multiply-add."""
SIDE, BATCH, BATCHES = 2048, 64, 4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("encoder", type=Path, nargs="?", help="an .onnx file of 64 px tiles")
    arguments.add_argument("--threads", type=int, default=cores())
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        compare(given.encoder or exported(Path(folder)), given.threads)


def exported(folder: Path) -> Path:
    path = folder / "encoder.onnx"
    export_encoder(TileEncoder(), "random", [], path, np.zeros((4, 64, 64, 3), np.uint8))
    return path


def faster(path: Path) -> FasterEncoder:
    return in_half(path) if DEVICE == "cuda" else by_openvino(path)


def compare(path: Path, threads: int) -> None:
    exact, fast, network = OnnxEncoder(path), faster(path), TileEncoder().eval().to(DEVICE)
    tiles = np.random.default_rng(0).integers(0, 256, (BATCH, 64, 64, 3), np.uint8)
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
    taken = seconds(*ways.values(), repeats=9)
    taken[:, 3] *= batches * BATCH * FLOP_A_TILE / (batches // 2 * 2 * SIDE**3)  # for as many tiles as the others
    print(f"{threads} threads, {', '.join(exact.providers)}")
    for name, median in zip(ways, np.median(taken, 0), strict=True):
        print(f"  {name:18} {batches * BATCH / median:9.0f} tiles/s")
    print(f"gemm {FLOP_A_TILE * batches * BATCH / np.median(taken[:, 3]) / 1e9:.0f} GFLOP/s")
    print(f"least cosine of {fast.name} to f32: {fast.agreement:.5f}")
    to_gemm, to_eager, gained = (np.median(taken[:, a] / taken[:, b]) for a, b in ((3, 0), (2, 0), (0, 1)))
    print(f"ONNX Runtime f32 / gemm {to_gemm:.2f}, / torch eager {to_eager:.1f}; {fast.name} / f32 {gained:.1f}")


if __name__ == "__main__":
    main()
